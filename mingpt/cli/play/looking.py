"""The view Look: what a model makes of a text: loss of each token, attention, dependency map, hidden state."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mingpt.cli.play.writing import names_of, rounded
from mingpt.core.errors import require
from mingpt.inference.causality import dependency_columns
from mingpt.models.attention.layers import GroupedQueryAttention
from mingpt.models.base import LanguageModel, RecurrentStateLike, evaluating
from mingpt.runs.trained_run import Run

MOST_TOKENS = 512  # of a text, whatever the block; attention takes their square, the map as many passes
KEPT = 4  # texts whose attention is kept, as a page asks for one head after the other
ROWS = 16  # copies of a text, with another token masked in each, in one pass

Square = npt.NDArray[np.float32]


class Context(NamedTuple):
    """A run and the (1, t) ids of a text, no longer than is shown."""

    run: Run
    text: str
    ids: Tensor


def read(run: Run, text: str) -> Context:
    """Return the ids of a text.

    Raises:
        UsageError: it is empty, too long, or has characters outside the vocabulary.
    """
    ids = run.encode_block(text)
    most = min(MOST_TOKENS, run.model.config.block_size)
    require(ids.shape[1] <= most, "text", f"{ids.shape[1]} tokens", f"at most {most} are shown")
    return Context(run, text, ids)


def look(run: Run, text: str) -> Iterator[dict[str, Any]]:
    """Yield what there is to see of a text: its tokens, their losses in nats, sizes of attention and hidden state.

    A model that infills has pseudo-losses: of each token while it is masked.  One that sees what it predicts has none.

    Raises:
        UsageError: as `read`.
    """
    shown = read(run, text)
    losses: list[float | None] = [None] * shown.ids.shape[1]
    for known_so_far in _losses(run.model, shown.ids):
        losses = known_so_far
        yield {}
    found = [None if loss is None else rounded(loss) for loss in losses]
    known = [loss for loss in found if loss is not None]
    yield {
        **names_of(run.tokenizer, shown.ids[0].tolist()),
        "losses": found,
        "pseudo": run.model.infills,
        "ppl": rounded(math.exp(min(sum(known) / len(known), 700))) if known and not run.model.infills else None,
        **sizes(run),
    }


def _losses(model: LanguageModel, ids: Tensor) -> Iterator[list[float | None]]:
    """Yield the loss of each token, None without one, at the end; and in between, of models that take long."""
    if model.autoregressive:
        with evaluating(model):
            logits = model(ids).logits.cpu().double()  # not every accelerator has float64
        yield [None, *F.cross_entropy(logits[0, :-1], ids[0, 1:].cpu(), reduction="none").tolist()]
    elif model.infills:
        found: list[float | None] = []
        for first in range(0, ids.shape[1], ROWS):
            masked = torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)[first : first + ROWS]
            texts = ids.expand(len(masked), -1)
            with evaluating(model):
                logits = model.masked_logits(texts, masked)[masked].cpu().double()
            found += F.cross_entropy(logits, texts[masked].cpu(), reduction="none").tolist()
            yield found


def sizes(run: Run) -> dict[str, Any]:
    """Return how many layers, heads and units there are to see; None of what a model has not."""
    layers = [module for module in run.model.modules() if isinstance(module, GroupedQueryAttention)]
    attention = {
        "layers": len(layers),
        "heads": layers[0].n_query_head if layers else 0,
        "kv_heads": layers[0].n_kv_head if layers else 0,
        "windows": [layer.window for layer in layers],
    }
    hidden = None
    if has_recurrent_state(run.model):
        state: RecurrentStateLike = run.model.new_state(1)  # type: ignore[assignment]
        hidden = {"layers": len(state.layers), "units": state.layers[0][0].shape[-1]}
    return {"attention": attention if layers else None, "hidden": hidden, "look_tokens": MOST_TOKENS}


def has_recurrent_state(model: LanguageModel) -> bool:
    """Return whether what a model keeps of a text is the hidden state of each layer."""
    return model.config.supports_tbptt


class Attention:
    """Attention patterns; those of the last few texts are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int, str], list[Tensor]] = OrderedDict()

    def weights(self, run: Run, text: str, layer: int, head: int) -> Iterator[Square]:
        """Yield the (t, t) weights of a head: row i is what query i attends to; rows sum to 1.

        Raises:
            UsageError: as `read`; the model has no attention, or no such layer or head.
        """
        read(run, text)
        key = run.folder, run.progress.step, text
        maps = self._kept.pop(key, None) or run.attention(text)
        self._kept[key] = maps
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        require(layer < len(maps), "layer", layer, f"must be below {len(maps)}")
        require(head < maps[layer].shape[1], "head", head, f"must be below {maps[layer].shape[1]}")
        yield maps[layer][0, head].float().numpy()


def dependency(run: Run, text: str) -> Iterator[Square]:
    """Yield `run.dependency_map(text)`, (t, t), a column more each time.

    Raises:
        UsageError: as `read`, and fewer than 2 tokens.
    """
    ids = read(run, text).ids
    require(ids.shape[1] >= 2, "text", repr(text), "must be at least 2 tokens: one alone has none after it")
    found = np.zeros((ids.shape[1], ids.shape[1]), np.float32)
    for column, moved in enumerate(dependency_columns(run.model, ids)):
        found[:, column] = moved.numpy()
        yield found


def hidden(run: Run, text: str, layer: int) -> Iterator[Square]:
    """Yield the (t, units) hidden state h of a layer after each token of a text, from an empty state.

    Raises:
        UsageError: as `read`; the model has no hidden state, or no such layer.
    """
    ids = read(run, text).ids
    kind = type(run.model).__name__
    require(has_recurrent_state(run.model), "layer", layer, f"{kind} has no hidden state that it passes on")
    state: RecurrentStateLike = run.model.new_state(1)  # type: ignore[assignment]
    require(layer < len(state.layers), "layer", layer, f"must be below {len(state.layers)}")
    rows = []
    for token in ids.split(1, dim=1):
        with evaluating(run.model):
            run.model(token, state=state)
        rows.append(state.layers[layer][0][0].float().cpu().numpy())
    yield np.stack(rows)
