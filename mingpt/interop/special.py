"""Special tokens and chat templates of a folder of Hugging Face's, read as untrusted input, and written again.

config.json, generation_config.json             the ids that begin, end and pad a text; the second one's win
tokenizer_config.json, special_tokens_map.json  what these tokens are called; the first one's win
chat_template.jinja                             the template, else the one in tokenizer_config.json
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mingpt.core.errors import CheckpointError
from mingpt.core.paths import shown
from mingpt.core.token_ids import Tokenizer
from mingpt.data.bpe_tokenizer import LibraryTokenizer
from mingpt.data.special_tokens import SpecialTokens
from mingpt.interop.reading import CONFIG, read_object, read_text

logger = logging.getLogger(__name__)

IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
NAMES = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
FLAGS = ("add_bos_token", "add_eos_token")
EXTRA = ("additional_special_tokens", "extra_special_tokens")  # transformers 4's name, and 5's
GENERATION, TOKENIZER_CONFIG = "generation_config.json", "tokenizer_config.json"
TOKENS_MAP, TEMPLATE = "special_tokens_map.json", "chat_template.jinja"
TEMPLATE_BYTES = 1 << 20  # long ones of popular models have 10 thousand


def read(folder: Path, config: Mapping[str, Any], tokenizer: Tokenizer, vocab_size: int) -> SpecialTokens:
    """Return what `folder` says of special tokens.

    Args:
        config: the content of its config.json.
        tokenizer: tokenizer of its tokenizer.json; tokens that it doesn't have are left out, since transformers would
            add them to an export's vocabulary, with ids that the model has no rows for.
        vocab_size: rows of the model; ids beyond it, as -1 for none, are no tokens.

    Raises:
        CheckpointError: a value of the wrong kind, or a file that can't be read.
    """
    generation, own, named = (_optional(folder, name) for name in (GENERATION, TOKENIZER_CONFIG, TOKENS_MAP))
    ids = {}
    for name in IDS:
        generated, configured = _ids(generation, name, GENERATION), _ids(config, name, CONFIG)
        if known := [id for id in generated or configured if 0 <= id < vocab_size]:
            ids[name] = known
    tokens = {}
    added = tokenizer.special if isinstance(tokenizer, LibraryTokenizer) else {}
    for name in NAMES:
        token = _token(own, name, TOKENIZER_CONFIG) or _token(named, name, TOKENS_MAP)
        token = token or added.get(ids.get(f"{name}_id", [-1])[0])
        if token and _is_known(token, name, folder, tokenizer):
            tokens[name] = token
    sides = [side for side in (own.get("padding_side"),) if side in ("left", "right")]
    return SpecialTokens(
        ids=ids,
        tokens=tokens,
        extra=[
            token
            for token in _extra(own) or _extra(named)
            if token not in tokens.values() and _is_known(token, EXTRA[0], folder, tokenizer)
        ],
        chat_templates=_templates(folder, own),
        flags={name: value for name in FLAGS if isinstance(value := own.get(name), bool)},
        padding_side=sides[0] if sides else None,
    )


def ids_of(special: SpecialTokens) -> dict[str, int | list[int] | None]:
    """Entries of a config.json or generation_config.json.

    None is written for what isn't there: of some classes transformers assumes ids of its own where nothing is said.
    """
    found = {name: special.ids.get(name, []) for name in IDS}
    return {name: (ids[0] if len(ids) == 1 else ids) if ids else None for name, ids in found.items()}


def entries_of(special: SpecialTokens) -> dict[str, Any]:
    """Entries of a tokenizer_config.json, as transformers 4 and 5 take them."""
    templates = special.chat_templates
    listed = [{"name": name, "template": template} for name, template in templates.items()]
    chat = templates["default"] if [*templates] == ["default"] else listed
    return {
        **special.tokens,
        **special.flags,
        **({EXTRA[0]: special.extra} if special.extra else {}),
        **({"chat_template": chat} if templates else {}),
        **({"padding_side": special.padding_side} if special.padding_side else {}),
    }


def _optional(folder: Path, name: str) -> dict[str, Any]:
    return read_object(folder, name) if os.path.lexists(folder / name) else {}


def _is_known(token: str, name: str, folder: Path, tokenizer: Tokenizer) -> bool:
    """Return whether the tokenizer has this special token, and report one that it hasn't."""
    known = isinstance(tokenizer, LibraryTokenizer) and tokenizer.has(token)
    if not known:
        logger.warning(f"{shown(folder)}: {name}={token[:40]!r} is no token of tokenizer.json, and is left out")
    return known


def _ids(config: Mapping[str, Any], name: str, file: str) -> list[int]:
    value = config.get(name)
    found = value if isinstance(value, list) else [] if value is None else [value]
    if any(type(id) is not int for id in found):
        raise CheckpointError(f"{file}: {name}={str(value)[:80]}: must be a token's id, a list of them, or null")
    return found


def _token(config: Mapping[str, Any], name: str, file: str) -> str | None:
    """A token's text, which may lie in an object with how it is matched."""
    value = config.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str | None):
        raise CheckpointError(f"{file}: {name}={str(value)[:80]}: must be text, or an object with its content")
    return text


def _extra(config: Mapping[str, Any]) -> list[str]:
    value: Any = next((config[name] for name in EXTRA if config.get(name)), [])
    if isinstance(value, dict):  # by names that a class of its own gives them
        value = list(value.values())
    if not isinstance(value, list):
        raise CheckpointError(f"{EXTRA[0]}={str(value)[:80]}: must be a list of tokens")
    return [token for each in value if (token := _token({EXTRA[0]: each}, EXTRA[0], TOKENIZER_CONFIG))]


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    own_file = os.path.lexists(folder / TEMPLATE)
    value = read_text(folder, TEMPLATE, TEMPLATE_BYTES) if own_file else config.get("chat_template")
    if value is None:
        return {}
    listed = [{"name": "default", "template": value}] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("template"), str)
        for one in listed
    ):
        raise CheckpointError(f"{TOKENIZER_CONFIG}: chat_template: must be text, or a list of names and templates")
    return {one["name"]: one["template"] for one in listed}
