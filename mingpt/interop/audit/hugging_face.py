"""A Hugging Face folder as what is audited, through transformers, without a network."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mingpt.core.errors import MingptError, in_one_line
from mingpt.core.paths import shown
from mingpt.interop.audit.calling import TargetError
from mingpt.interop.audit.modules import target_of_model
from mingpt.interop.audit.target import Target
from mingpt.interop.reading import TOKENIZER, stored_tensors

INSTALL = "transformers is not installed: run `pip install transformers` to audit a Hugging Face folder"
LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "context_length")


def target_of_folder(folder: Path, trust: bool, sizes: Mapping[str, int | None]) -> Target:
    """Load a folder.

    Args:
        trust: pickles are loaded and code of the folder is run; False: safetensors alone, and no code of it

    Raises:
        CheckpointError: no safetensors, or damaged ones.
        TargetError: transformers can't load it.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ModuleNotFoundError:
        raise MingptError(INSTALL) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust}
    if not trust:
        stored_tensors(folder)
        how["use_safetensors"] = True
    try:
        model, told = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **how
        )
    except Exception as error:  # whatever a folder makes of it
        hint = "" if trust else "; --trust=True also runs code of the folder and loads pickles"
        raise TargetError(f"{shown(folder)}: transformers can't load it: {in_one_line(error)[:200]}{hint}") from error
    missing = sorted(map(str, told.get("missing_keys", ())))
    if missing:
        raise TargetError(f"{shown(folder)}: {len(missing)} weights are missing, as {missing[0]}")
    known = known_of(model.config) | {key: size for key, size in sizes.items() if size}
    trusted = ", trust=True" if trust else ""
    load = f"from mingpt.interop.audit.loading import target_of\n\ntarget = target_of({str(folder)!r}{trusted})"
    return target_of_model(model, name=shown(folder), load=load, codec=_codec(transformers, folder, how), **known)


def known_of(config: Any) -> dict[str, Any]:
    """Return vocabulary size, trained length and special ids, as a config of transformers has them."""
    text = config.get_text_config()
    length = next((size for name in LENGTHS if isinstance(size := getattr(text, name, None), int) and size > 0), None)
    padding = getattr(text, "pad_token_id", None)
    return {
        "vocab_size": text.vocab_size,
        "padding": padding if isinstance(padding, int) and 0 <= padding < text.vocab_size else None,
        "block_size": length,
        "special": frozenset({*_special(config), *_special(text)}),
    }


def _special(config: Any) -> Iterator[int]:
    """Yield the ids that a config names, as those of padding and of images."""
    for name, value in vars(config).items():
        if name.endswith(("_token_id", "_token_index", "_token_ids")):
            for id in value if isinstance(value, list | tuple) else (value,):
                if isinstance(id, int):
                    yield id


class FolderCodec:
    """The tokenizer of a folder, without the special tokens that it puts around a text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> Sequence[int]:
        """Return the ids of a text."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def byte_count(self, ids: Sequence[int]) -> int | None:
        """Return None: these tokenizers don't say which bytes an id stands for."""
        return None


def _codec(transformers: Any, folder: Path, how: Mapping[str, Any]) -> FolderCodec | None:
    """Return the tokenizer of a folder; None if it has none that can be loaded."""
    if not (folder / TOKENIZER).exists():
        return None
    try:
        given = {key: value for key, value in how.items() if key != "use_safetensors"}
        return FolderCodec(transformers.AutoTokenizer.from_pretrained(folder, **given))
    except Exception:  # a kind that this version doesn't know
        return None
