"""Check that a checkpoint is compatible with a model and a tokenizer.

Two models of equal shapes can differ in heads, norms or positions, so a checkpoint has its model's settings, and what
differs is listed instead of loaded.
"""

import dataclasses
import logging
from typing import Any

import torch
from torch import Tensor

from mingpt.core.errors import CheckpointError
from mingpt.core.paths import shown
from mingpt.core.shell import quoted
from mingpt.core.token_ids import Tokenizer
from mingpt.data import tokenizers
from mingpt.model import build
from mingpt.models.base import LanguageModel
from mingpt.models.config import NOT_OF_THE_FUNCTION, ModelConfig
from mingpt.models.init import position_tables
from mingpt.runs import checkpoint
from mingpt.runs.checkpoint import Checkpoint
from mingpt.utils import process_kept

logger = logging.getLogger(__name__)


def require_same_vocabulary(saved: Checkpoint, tokenizer: Tokenizer, resumed: bool = False) -> None:
    """Check that a checkpoint has this tokenizer.

    Args:
        resumed: the checkpoint's own run is resumed, whose tokenizer can't be set.

    Raises:
        CheckpointError: it has another.
    """
    theirs = tokenizers.from_json(saved.tokenizer)
    if theirs.to_json() != tokenizer.to_json():
        path = shown(saved.folder / "tokenizer.json")
        fix = "" if resumed else f", or on another its tokenizer: {quoted(f'--data.tokenizer={path}')}"
        raise CheckpointError(
            f"{shown(saved.folder)}: another vocabulary: {theirs.vocab_size} tokens there, {tokenizer.vocab_size} "
            f"here; use the text that it was trained on{fix}"
        )


def require_same_model(config: ModelConfig, saved: Checkpoint) -> None:
    there, here = saved.state.get("model"), described(config)
    if not isinstance(there, dict):
        raise CheckpointError(f"{shown(saved.folder)}: state.json describes no model")
    usual = {field.name: field.default for field in dataclasses.fields(config)}  # before a setting existed
    differing = {name: (there.get(name, usual[name]), value) for name, value in here.items()}
    listed = ", ".join(
        f"model.{name} is {theirs} there and {ours} here"
        for name, (theirs, ours) in differing.items()
        if theirs != ours and name not in NOT_OF_THE_FUNCTION
    )
    if listed:
        raise CheckpointError(f"{shown(saved.folder)}: another model: {listed}")


def rows_of(saved: Checkpoint) -> int:
    """Tokens that the checkpoint's model knows: models of other projects have rows for more than their vocabulary."""
    try:
        rows = saved.state["model"]["vocab_size"]
    except (KeyError, TypeError):
        return 0
    return rows if any(tensor.ndim == 2 and len(tensor) == rows for tensor in saved.model.values()) else 0


def described(config: ModelConfig) -> dict[str, Any]:
    """Return a checkpoint's description of its model: every setting, with what others imply in the place of null."""
    return {name: value for name, value in config.spelled_out().items() if name != "pretrained_folder"}


def skeleton(config: ModelConfig) -> LanguageModel:
    """Return a model on the meta device: names and shapes of its tensors, without memory for them.

    Raises:
        RuntimeError, OverflowError, TypeError: sizes that no tensor has.
    """
    with process_kept(), torch.device("meta"):
        return build(config)


def start_from(model: LanguageModel, saved: Checkpoint, tokenizer: Tokenizer) -> None:
    """Give `model` the checkpoint's weights; a longer block keeps its own rows beyond theirs, which is logged.

    Raises:
        CheckpointError: another vocabulary or model; nothing is loaded then.
    """
    require_same_vocabulary(saved, tokenizer)
    require_same_model(model.config, saved)
    weights = {**saved.model}
    for name, table in position_tables(model).items():
        weights[f"{name}.weight"] = _with_rows_of(weights[f"{name}.weight"], table.weight.detach(), name)
    checkpoint.load_weights(model, weights, saved.folder)
    logger.info(f"weights from {shown(saved.folder)}, optimizer fresh")


def _with_rows_of(trained: Tensor, fresh: Tensor, name: str) -> Tensor:
    """`trained` for as many rows as it has, `fresh` from there on."""
    rows = min(len(trained), len(fresh))
    if len(fresh) > rows:
        logger.info(f"{name}: rows 0 to {rows - 1} copied, rows {rows} to {len(fresh) - 1} new and untrained")
    return torch.cat((trained[:rows], fresh[rows:]))
