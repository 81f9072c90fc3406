"""How a model is called: mask, positions, cache and loss, read off the signature of its forward pass.

Known conventions are those of this project, of minGPT and nanoGPT, and of Hugging Face's transformers.
Shapes: b batch, t positions, v vocabulary size.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mingpt.core.errors import MingptError

Decoder = Callable[[Tensor], Tensor]  # (b, k) next ids to their (b, k, v) logits; keeps its state between calls

CACHES = {  # argument of transformers' forward passes that takes a cache, and attribute of the output that returns it
    "past_key_values": "past_key_values",
    "cache_params": "cache_params",
    "past_buckets_states": "past_buckets_states",
    "mems": "mems",
    "state": "state",
}
IGNORED = -100  # label of a token that has no loss, in PyTorch and transformers


class TargetError(MingptError):
    """A target that can't be audited: it can't be loaded or called, or returns something else than logits."""

    exit_code = 2  # 1 is for a check that fails


@dataclass(frozen=True)
class Calling:
    """The arguments that a forward pass takes.

    Attributes:
        mask: `attention_mask`, (b, t), 0 where a token is padding
        positions: `position_ids`, (b, t)
        cache: a key of CACHES; None: no cache of transformers
        caches: `use_cache`
        stateful: `state`, which `new_state(batch)` makes
        loss: `labels`, which are the ids, or `targets`, which are the next ids; None: no loss
    """

    mask: bool = False
    positions: bool = False
    cache: str | None = None
    caches: bool = False
    stateful: bool = False
    loss: str | None = None

    def logits(self, model: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (b, t, v) logits of (b, t) ids, of which those where `mask` is 0 are padding."""
        given = {"use_cache": False} if self.caches else {}
        return logits_of(model(ids, **given, **self._masked(mask)), ids)

    def _masked(self, mask: Tensor | None) -> dict[str, Tensor]:
        """Return the arguments that say what is padding; positions count the others, as transformers' generate does."""
        if mask is None:
            return {}
        counted = (mask.cumsum(-1) - 1).clamp_min(0)
        return {"attention_mask": mask} | ({"position_ids": counted} if self.positions else {})

    def reported_loss(self, model: Any, ids: Tensor, mask: Tensor | None = None) -> float:
        """Return the loss that the model itself reports for (b, t) ids: of each token but the first of a row."""
        if self.loss == "targets":
            out = model(ids[:, :-1].contiguous(), targets=ids[:, 1:].contiguous())
        else:
            labels = ids if mask is None else ids.masked_fill(mask == 0, IGNORED)
            out = model(ids, labels=labels, **self._masked(mask), **({"use_cache": False} if self.caches else {}))
        return _loss_of(out)

    def decoder(self, model: Any, batch: int) -> Decoder | None:
        """Return a decoder with an empty state for `batch` rows; None if the model has none."""
        if self.stateful:
            return _of_state(model, batch)
        return _of_cache(model, self.cache) if self.cache and self.caches else None


def calling_of(model: Any) -> Calling:
    """Read the calling convention off a model's signature."""
    names = _parameters(getattr(model, "forward", model))
    stateful = "state" in names and callable(getattr(model, "new_state", None))
    return Calling(
        mask="attention_mask" in names,
        positions="position_ids" in names,
        cache=None if stateful else next((name for name in CACHES if name in names), None),
        caches="use_cache" in names,
        stateful=stateful,
        loss=next((name for name in ("labels", "targets") if name in names), None),
    )


def _parameters(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # a built-in function has none
        return {}


def logits_of(out: Any, ids: Tensor) -> Tensor:
    """Return the (b, t, v) logits in what a model returned for (b, t) ids: itself, `.logits`, or the first of a tuple.

    Raises:
        TargetError: it holds no such tensor.
    """
    if isinstance(out, Mapping):
        found = out.get("logits")
    elif isinstance(out, Tensor) or hasattr(out, "logits"):
        found = getattr(out, "logits", out)
    else:
        found = out[0] if isinstance(out, tuple | list) and out else None
    if not isinstance(found, Tensor):
        raise TargetError(f"returns {type(out).__name__}: must be (b, t, v) logits, or hold them as .logits")
    if found.ndim == 3 and found.shape[:2] == (len(ids), 1) != ids.shape:
        raise TargetError(
            "returns the logits of the last position alone, and all are needed: wrap the model, "
            "as in `lambda ids: model(ids, ids)[0]`"
        )
    if found.ndim != 3 or found.shape[:2] != ids.shape:
        raise TargetError(f"returns logits of shape {tuple(found.shape)} for ids {tuple(ids.shape)}: must be (b, t, v)")
    return found.detach() if not found.requires_grad else found


def _loss_of(out: Any) -> float:
    """Return the loss in what a model returned: `.loss`, or the second of a tuple."""
    found = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    if found is None and isinstance(out, tuple) and len(out) > 1:
        found = next((part for part in out if isinstance(part, Tensor) and part.ndim == 0), None)
    if not isinstance(found, Tensor) or found.numel() != 1:
        raise TargetError("returns no loss: must be a scalar .loss, or the second of a tuple")
    return float(found)


def _of_state(model: Any, batch: int) -> Decoder:
    state = model.new_state(batch)
    return lambda ids: logits_of(model(ids, state=state), ids)


def _of_cache(model: Any, name: str) -> Decoder:
    past: Any = None

    def decode(ids: Tensor) -> Tensor:
        nonlocal past
        out = model(ids, use_cache=True, **({} if past is None else {name: past}))
        past = getattr(out, CACHES[name], None)
        if past is None:
            raise NotImplementedError("returns no cache")
        return logits_of(out, ids)

    return decode


@contextmanager
def mode(model: Any, training: bool) -> Iterator[None]:
    """Put a module into training or evaluation mode inside, and every submodule back into its own after."""
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    before = [each.training for each in modules]
    if modules:
        model.train(training)
    try:
        yield
    finally:
        for each, was in zip(modules, before, strict=True):
            each.training = was
