"""A Hugging Face folder as an ordinary run, which is sampled, evaluated, drawn and trained on like any other.

It has no text of its own and no step was made: its one checkpoint is step 0.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mingpt.core.errors import CheckpointError, require
from mingpt.core.paths import path_of
from mingpt.core.run_files.records import HOME
from mingpt.core.safe_parsing import TOKENIZER_BYTES
from mingpt.core.token_ids import Tokenizer
from mingpt.interop import special, vocabulary
from mingpt.interop.architectures import ARCHITECTURES, Architecture, spelled
from mingpt.interop.reading import (
    CONFIG,
    DTYPES,
    TOKENIZER,
    Stored,
    read_object,
    read_tensors,
    read_text,
    stored_tensors,
)
from mingpt.interop.weights import as_ours, as_theirs, numbered
from mingpt.models.base import LanguageModel
from mingpt.models.config import GPTConfig
from mingpt.runs import compatibility, imported

logger = logging.getLogger(__name__)

MOST_TOKENS = 1024  # of a block, where nothing but memory bounds it and no more is asked for


def import_folder(folder: str | Path, out: str | Path | None = None, block_size: int | None = None) -> Path:
    """Make a run of the model in `folder`; returns the run's folder.

    Args:
        out: it; None: out/ and the name of `folder`.
        block_size: context length of the run; None: what `folder` says, of rotary positions at most MOST_TOKENS.

    Raises:
        CheckpointError: damaged, hostile, or a model that can't be expressed here; says what, and nothing is written.
        UsageError: `out` is in use, or `block_size` more than `folder` allows.
    """
    folder = path_of(folder)
    described, stored = read_object(folder, CONFIG), stored_tensors(folder)
    try:
        architecture = _architecture(described)
        weights_there = _their_names(architecture, stored)
        config = architecture.settings(described, len(stored))
        _check_buffers(architecture, config, stored)
        model = _skeleton(architecture, config, weights_there)
        tokenizer = _tokenizer(folder, config)
        tokens = special.read(folder, described, tokenizer, config.vocab_size)
        weights = _weights(architecture, config.n_layer, model, weights_there)
    except CheckpointError as reason:
        message = str(reason)
        raise CheckpointError(message if message.startswith(str(folder)) else f"{folder}: {message}") from None
    size = _block_size(config, block_size, bool(model.get_submodule("position").bounded))
    run = path_of(out) if out is not None else _free(HOME / (folder.resolve().name or "imported"))
    origin = {"folder": str(folder.absolute()), "model_type": described["model_type"]}
    imported.write(run, replace(config, block_size=size), model, weights, tokenizer, tokens, origin)
    logger.info(
        f"{folder}: {architecture.class_name}, {model.parameter_count:,} parameters, vocabulary {config.vocab_size:,}, "
        f"blocks of {size:,}; run folder: {run}"
    )
    return run


def _architecture(described: Mapping[str, Any]) -> Architecture:
    kind = described.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise CheckpointError(f"{CONFIG}: model_type={str(kind)[:40]}: must be one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[kind]


def _their_names(architecture: Architecture, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """The weights alone, as a model with a head names them: without buffers, which follow from the settings.

    Raises:
        CheckpointError: weights of a type that isn't taken.
    """
    weights = {name: where for name, where in stored.items() if not name.endswith(tuple(architecture.buffers))}
    for name, where in weights.items():
        if where.dtype not in DTYPES:
            raise CheckpointError(
                f"{where.file}: {name[:80]} is of type {where.dtype}, and weights must be of {', '.join(DTYPES)}; "
                "of quantised ones, import the model that was not"
            )
    headless = not any(name.startswith(architecture.base) for name in weights)
    return {architecture.base + name: where for name, where in weights.items()} if headless else weights


def _check_buffers(architecture: Architecture, config: GPTConfig, stored: Mapping[str, Stored]) -> None:
    """Check that what is ignored has the shape that it follows from the settings.

    Raises:
        CheckpointError: it has another.
    """
    for ending, shape_of in architecture.buffers.items():
        for name, where in stored.items():
            if name.endswith(ending) and where.shape != shape_of(config):
                raise CheckpointError(f"{name[:80]} is {where.shape}, not {shape_of(config)} as {CONFIG} says")


def _skeleton(architecture: Architecture, config: GPTConfig, stored: Mapping[str, Stored]) -> LanguageModel:
    """A model of these settings without numbers, once names and shapes are seen to be those of the files.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape.
    """
    layers = numbered(architecture.places, config.n_layer)
    optional = {"head"} if config.tie_embeddings else set()
    missing = [p.layer for ours, p in layers.items() if ours not in optional and f"{p.layer}.weight" not in stored]
    if missing:
        raise CheckpointError(f"{missing[0]}.weight is missing" + (", and others" if len(missing) > 1 else ""))
    try:
        model = compatibility.skeleton(replace(config, init="gpt2"))
    except (RuntimeError, OverflowError, TypeError):
        raise CheckpointError(f"{CONFIG}: sizes that no model has") from None
    ours: dict[str, Tensor] = dict(model.named_parameters())
    for name, shape in architecture.added(spelled(model)).items():
        ours[name] = torch.empty(shape, device="meta")
    expected = as_theirs(architecture.places, config.n_layer, ours)
    if config.tie_embeddings:  # some files have the table under both names
        expected |= {"lm_head.weight": ours["embedding.weight"]} if "lm_head.weight" in stored else {}
    for name, tensor in expected.items():
        if name not in stored:
            raise CheckpointError(f"{name} is missing")
        if stored[name].shape != tuple(tensor.shape):
            raise CheckpointError(f"{name} is {stored[name].shape}, not {tuple(tensor.shape)} as {CONFIG} says")
    if unknown := sorted(stored.keys() - expected.keys()):
        others = f" and {len(unknown) - 1} others" if len(unknown) > 1 else ""
        raise CheckpointError(f"{unknown[0][:80]}{others}: unknown tensors, so this model computes something else")
    return model


def _weights(
    architecture: Architecture, n_layer: int, model: LanguageModel, stored: Mapping[str, Stored]
) -> dict[str, Tensor]:
    """Under our names.

    Raises:
        CheckpointError: biases that ours has not, or a head that is not the table that it should be.
    """
    found = as_ours(architecture.places, n_layer, read_tensors(stored))
    own = {name for name, _ in model.named_parameters()}
    for name in found.keys() - own:
        tied = name == "head.weight" and torch.equal(found[name], found["embedding.weight"])
        if not tied and found[name].count_nonzero():
            raise CheckpointError(f"{name} is not zero, and can't be expressed here")
    return {name: tensor for name, tensor in found.items() if name in own}


def _tokenizer(folder: Path, config: GPTConfig) -> Tokenizer:
    if not (folder / TOKENIZER).exists():
        raise CheckpointError(
            f"{folder / TOKENIZER}: missing; transformers writes it by AutoTokenizer.from_pretrained(folder)"
            ".save_pretrained(folder)"
        )
    tokenizer = vocabulary.from_json(read_text(folder, TOKENIZER, TOKENIZER_BYTES))
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(f"{TOKENIZER}: {tokenizer.vocab_size} tokens, but {CONFIG} says {config.vocab_size}")
    return tokenizer


def _block_size(config: GPTConfig, wanted: int | None, bounded: bool) -> int:
    if wanted is not None:
        fits = wanted == config.block_size if bounded else wanted <= config.block_size
        rule = f"must be {'' if bounded else 'at most '}{config.block_size}, as the folder says"
        require(fits, "block_size", wanted, rule)
        return wanted
    if bounded or config.block_size <= MOST_TOKENS:
        return config.block_size
    logger.info(f"blocks of {MOST_TOKENS} tokens, of {config.block_size} that it could; --block_size takes more")
    return MOST_TOKENS


def _free(wanted: Path) -> Path:
    """`wanted`, or with -2, -3, ... after it."""
    number, found = 1, wanted
    while found.exists():
        number += 1
        found = wanted.with_name(f"{wanted.name}-{number}")
    return found
