"""A run as a folder that transformers' AutoModelForCausalLM and AutoTokenizer load, offline.

config.json              which class, and its settings
model.safetensors        the weights under its names, each number as it is
generation_config.json   how `chargpt sample` draws, and where transformers' generate stops
tokenizer.json           the vocabulary (see `vocabulary`)
tokenizer_config.json    what AutoTokenizer needs besides it: special tokens and the chat template (see `special`)
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from mingpt.core.atomic_io import draft_of, sync_folder, write_atomic
from mingpt.core.errors import UsageError, require
from mingpt.core.paths import path_of
from mingpt.inference.generate import Sampling
from mingpt.interop import special, vocabulary
from mingpt.interop.architectures import ARCHITECTURES, architecture_of, spelled
from mingpt.interop.reading import CONFIG, TOKENIZER, WEIGHTS
from mingpt.interop.weights import as_theirs
from mingpt.runs.trained_run import Run

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Exported:
    """What was written: where, and which class of transformers loads it."""

    folder: Path
    class_name: str


def export(run: Run, folder: str | Path, dtype: str = "float32") -> Exported:
    """Write `run` into `folder`, which must be new or empty; all of it is there at the end, or nothing.

    Args:
        dtype: type of the weights; bfloat16 and float16 round them.

    Raises:
        UsageError: no class of transformers computes this model (says why), or the folder is in use.
    """
    require(dtype in DTYPES, "dtype", dtype, f"must be one of {', '.join(DTYPES)}")
    folder = path_of(folder)
    used = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    require(not used, "out", folder, "must be a new folder, or an empty one")
    settings = spelled(run.model)
    name = architecture_of(settings)
    architecture = ARCHITECTURES[name]
    described = {
        CONFIG: architecture.config(settings, name) | {"dtype": dtype, **special.ids_of(run.special)},
        special.GENERATION: _generation(run),
        special.TOKENIZER_CONFIG: {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": run.model.config.block_size,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            **special.entries_of(run.special),
        },
    }
    contents = {file: (json.dumps(content, indent=2) + "\n").encode() for file, content in described.items()}
    contents[TOKENIZER] = vocabulary.as_json(run.tokenizer).encode()
    contents[WEIGHTS] = safetensors.torch.save(their_weights(run, DTYPES[dtype]), {"format": "pt"})
    _write(folder, contents)
    return Exported(folder, architecture.class_name)


def their_weights(run: Run, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The weights of `run` under transformers' names, of tied ones the first, on the CPU."""
    settings = spelled(run.model)
    architecture = ARCHITECTURES[architecture_of(settings)]
    ours = {name: p.detach().cpu().to(dtype) for name, p in run.model.named_parameters()}
    ours |= {name: torch.zeros(shape, dtype=dtype) for name, shape in architecture.added(settings).items()}
    theirs = as_theirs(architecture.places, settings["n_layer"], ours)
    return {name: tensor.contiguous() for name, tensor in theirs.items()}


def _generation(run: Run) -> dict[str, Any]:
    usual = Sampling()
    drawn = {"do_sample": True, "temperature": usual.temperature, "top_k": usual.top_k, "top_p": usual.top_p}
    return {**drawn, "max_length": run.model.config.block_size, **special.ids_of(run.special)}


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """By way of a hidden folder next to it."""
    home = folder.absolute().parent
    draft = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        draft = draft_of(home / folder.name)
        draft.mkdir()
        for name, content in contents.items():
            write_atomic(draft / name, content)
        if folder.exists():
            folder.rmdir()
        os.replace(draft, folder)
        sync_folder(home)
    except OSError as error:
        raise UsageError(f"out={folder}: can't be written: {error.strerror or error}") from None
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
