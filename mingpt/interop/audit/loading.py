"""The TARGET of a command line, or a Python object, as what is audited.

A run folder, a Hugging Face folder, a file of per-token log-probabilities, `package.module:factory`, or a model.
Code of others runs in two cases: of a module that is named, and of a Hugging Face folder that is trusted.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mingpt.core.errors import CheckpointError, DataError, UsageError, in_one_line
from mingpt.core.paths import path_of, shown
from mingpt.core.run_files.records import is_run
from mingpt.core.token_ids import Tokenizer
from mingpt.interop.audit import hugging_face, token_file
from mingpt.interop.audit.calling import TargetError
from mingpt.interop.audit.modules import target_of_model
from mingpt.interop.audit.target import Claim, Target
from mingpt.interop.reading import CONFIG
from mingpt.models.base import LanguageModel
from mingpt.runs.run import load
from mingpt.runs.trained_run import Run

KINDS = "a run folder, a Hugging Face folder, package.module:factory, or a file of log-probabilities"


def target_of(
    what: Any,
    *,
    vocab_size: int | None = None,
    block_size: int | None = None,
    trust: bool = False,
    text: str | None = None,
) -> Target:
    """Return what is audited.

    Args:
        what: a path or `package.module:factory`; or a Run, a module, or a callable from (b, t) ids to (b, t, v) logits
        vocab_size, block_size: of a model that has neither attribute, nor a config with them
        trust: a Hugging Face folder may hold code and pickles, which are run
        text: a text that its tokenizer must give back, or that a file of scores must be of

    Raises:
        UsageError: there is no such thing.
        TargetError, CheckpointError, DataError: it can't be loaded, or isn't what it must be.
    """
    sizes = {"vocab_size": vocab_size, "block_size": block_size}
    if isinstance(what, str | os.PathLike):
        found = _named(os.fspath(what), sizes, trust)
    elif isinstance(what, Run):
        found = _of_run(what, sizes)
    else:
        found = _of_model(what, sizes)
    return found if text is None else replace(found, text=text)


def _named(name: str, sizes: dict[str, int | None], trust: bool) -> Target:
    path = path_of(name)
    if path.is_dir():
        if is_run(path):
            return _of_run(load(path, device="cpu"), sizes)
        if (path / CONFIG).exists():
            return hugging_face.target_of_folder(path, trust, sizes)
        raise CheckpointError(f"{shown(path)}: neither a run folder nor one of Hugging Face: it has no {CONFIG}")
    if path.is_file():
        return Target(name=name, load=_load(name), scores=token_file.read(path))
    module, colon, factory = name.partition(":")
    if not colon or not factory or "/" in name:
        raise UsageError(f"{name}: there is no such file or folder; must be {KINDS}")
    return _of_factory(name, module, factory, sizes)


def _load(name: str, sizes: dict[str, int | None] | None = None, trust: bool = False) -> str:
    """Return Python that loads a target by its name."""
    given = {key: value for key, value in (sizes or {}).items() if value} | ({"trust": True} if trust else {})
    words = "".join(f", {key}={value!r}" for key, value in given.items())
    return f"from mingpt.interop.audit.loading import target_of\n\ntarget = target_of({name!r}{words})"


def _of_factory(name: str, module: str, factory: str, sizes: dict[str, int | None]) -> Target:
    """Call the factory that is named, with the current folder among those that modules are looked for in."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(module), factory)()
    except Exception as error:  # any code of others
        raise TargetError(f"{name}: can't be made: {type(error).__name__}: {in_one_line(error)}") from error
    finally:
        sys.path.remove(here)
    return _of_model(made, sizes, name=name, load=_load(name, sizes))


def _of_model(model: Any, sizes: dict[str, int | None], **known: Any) -> Target:
    if isinstance(model, LanguageModel):
        known |= {"autoregressive": model.autoregressive}
    elif hasattr(getattr(model, "config", None), "get_text_config"):
        known |= hugging_face.known_of(model.config)
    known |= {key: value or known.get(key) for key, value in sizes.items()}
    return target_of_model(model, **known)


def _of_run(run: Run, sizes: dict[str, int | None]) -> Target:
    name = str(run.folder)
    given = sizes | {"block_size": sizes["block_size"] or run.config.data.block_size}
    return replace(_of_model(run.model, given, name=shown(run.folder), load=_load(name)), **_text_of(run))


def _text_of(run: Run) -> dict[str, Any]:
    """Return the tokenizer of a run and, where it has a text and a loss of it, its claim."""
    known: dict[str, Any] = {"codec": RunCodec(run.tokenizer)}
    try:
        ids, last = torch.from_numpy(run.validation_ids().astype("int64")), run.last_record()
    except (DataError, CheckpointError):  # imported, or its text is gone
        return known
    if last.get("val_loss") is None:
        return known
    text, source = run.tokenizer.decode(ids.tolist()), str(Path(shown(run.folder)) / "metrics.jsonl")
    return known | {"claim": Claim(ids, text, last["val_loss"], last.get("bits_per_byte"), source)}


class RunCodec:
    """The tokenizer of a run."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._sizes = [len(spelled) for spelled in tokenizer.spelling]

    def encode(self, text: str) -> Sequence[int]:
        """Return the ids of a text."""
        ids: list[int] = self._tokenizer.encode(text).tolist()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return self._tokenizer.decode(ids)

    def byte_count(self, ids: Sequence[int]) -> int | None:
        """Return how many bytes of UTF-8 ids stand for."""
        return sum(self._sizes[id] for id in ids)
