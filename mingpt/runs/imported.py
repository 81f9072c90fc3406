"""Write the run folder of a model that was trained elsewhere: no text and no step, one checkpoint, of step 0."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from mingpt.core.atomic_io import sha256, write_atomic
from mingpt.core.system_config import SystemConfig
from mingpt.core.token_ids import Tokenizer
from mingpt.data.bpe_tokenizer import LibraryTokenizer
from mingpt.data.data_config import DataConfig
from mingpt.data.special_tokens import SpecialTokens
from mingpt.data.tokenizers import TOKENIZERS
from mingpt.models.base import LanguageModel
from mingpt.models.config import ModelConfig
from mingpt.runs import checkpoint, compatibility, metrics_log, run_dir
from mingpt.runs.config import Config
from mingpt.trainer import Progress

TOKENIZER = "tokenizer.json"


def write(
    run: Path,
    config: ModelConfig,
    model: LanguageModel,
    weights: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    special: SpecialTokens,
    origin: Mapping[str, str],
) -> None:
    """Write the folder `run`.

    Args:
        config: settings of the model, with its block_size as a run
        model: the model, whose weights may be on the meta device
        weights: weights by name
        tokenizer: its tokenizer; one that can't be made from a text is stored as tokenizer.json
        special: its special tokens
        origin: where it comes from, for environment.json

    Raises:
        UsageError: the folder holds a run.
    """
    content = tokenizer.to_json()
    ready_made = isinstance(tokenizer, LibraryTokenizer)
    kind = TOKENIZER if ready_made else next(name for name in TOKENIZERS if TOKENIZERS[name] is type(tokenizer))
    settings = Config(
        system=SystemConfig(work_dir=str(run)),
        data=DataConfig(block_size=config.block_size, tokenizer=kind),
        model=config,
    )
    described = {
        "text": None,
        "text_sha256": None,
        "vocabulary_sha256": sha256(content.encode()),
        "model": {"parameters": model.parameter_count, "flops_per_token": model.flops_per_token()},
        "imported": origin,
        "defaults": settings.usual(),
    }
    state = {**asdict(Progress()), "model": compatibility.described(config), "special": special.as_json()}
    with run_dir.opened(settings) as (folder, _):
        checkpoint.save(folder, model=weights, optimizer={}, state=state, tokenizer=content)
        if ready_made:
            write_atomic(folder / TOKENIZER, content.encode())
        run_dir.write_json(folder, "environment.json", metrics_log.environment(torch.device("cpu"), **described))
        run_dir.write_config(folder, settings)
