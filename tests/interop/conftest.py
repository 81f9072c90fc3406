"""Runs that nobody trained, and folders as transformers itself writes them."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from mingpt.data.bpe_tokenizer import LibraryTokenizer
from mingpt.data.tokenizers import CharTokenizer
from mingpt.model import build
from mingpt.models.config import CONFIGS, ModelConfig
from mingpt.runs.config import Config
from mingpt.runs.trained_run import Run
from mingpt.trainer import Progress

VOCABULARY = "\n !abcdeé"
SIZES: dict[str, Any] = {"n_layer": 2, "n_query_head": 6, "n_embd": 24, "block_size": 17, "vocab_size": len(VOCABULARY)}
MakeRun = Callable[..., Run]


def randomised(model: Any) -> Any:
    """Its parameters large: none hides behind a zero."""
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=draws) + (p.ndim == 1 and name.endswith("norm.weight")))
    return model.eval()


@pytest.fixture(scope="session")
def a_run() -> MakeRun:
    """make(**settings of the model) -> a run that was never trained, in no folder."""

    def make(**settings: Any) -> Run:
        family = CONFIGS[settings.get("type", "gpt")]
        sizes = {name: value for name, value in SIZES.items() if name in {field.name for field in fields(family)}}
        model = build(ModelConfig(**sizes | settings))
        return Run(Path("nowhere"), Config(), randomised(model), CharTokenizer(VOCABULARY), Progress())

    return make


@pytest.fixture(scope="session")
def bpe() -> LibraryTokenizer:
    return LibraryTokenizer.of("ROMEO:\nAy me, sad hours seem long!\nWas that my father?\n" * 9, 280)


@pytest.fixture
def folder(tmp_path: Path, a_run: MakeRun) -> Path:
    """A folder that can be imported, of a small Llama with a vocabulary of characters."""
    from mingpt.interop import exporting

    exporting.export(a_run(rope=True, norm="rmsnorm", mlp="swiglu", bias=False), tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.fixture
def edit() -> Callable[..., None]:
    """edit(folder, key=value, gone=...) changes its config.json; `...` removes a key."""

    def change(folder: Path, **changes: Any) -> None:
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))

    return change
