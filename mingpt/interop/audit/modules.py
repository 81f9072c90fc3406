"""A module or a function as what is audited: a copy in float64 where that computes the same function."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mingpt.core.errors import in_one_line
from mingpt.inference.causality import largest_differences
from mingpt.interop.audit.calling import TargetError, calling_of
from mingpt.interop.audit.target import LONGEST, PROBE, Target

LOAD = "from mingpt.interop.audit.loading import target_of\n\ntarget = target_of(model)  # the model that was audited"
OFFSET = 4  # by which a model may take fewer tokens than its config says
LARGE = 50_000_000  # parameters above which a model stays in its own precision


def target_of_model(
    model: Any,
    *,
    name: str | None = None,
    load: str = LOAD,
    vocab_size: int | None = None,
    block_size: int | None = None,
    **known: Any,
) -> Target:
    """Return an nn.Module or a callable, from (b, t) ids to (b, t, v) logits, as a target.

    A module is copied, in float64 where it computes in it, unless a copy would use parts of the original.

    Args:
        vocab_size, block_size: None: an attribute of the model or of its `config`
        known: further attributes of the target

    Raises:
        TargetError: sizes are missing, or the model doesn't return logits.
    """
    if not callable(model):
        raise TargetError(f"{type(model).__name__}: must be an nn.Module, or a callable from (b, t) ids to logits")
    name = name or str(getattr(model, "__name__", type(model).__name__))
    words = vocab_size or _size(model, "vocab_size")
    length = block_size or _size(model, "block_size", "max_position_embeddings", "n_positions", "n_ctx")
    if words is None:
        raise TargetError(f"{name}: vocab_size is no attribute of it or of its config: give it as vocab_size")
    known |= {"calling": calling_of(model), "vocab_size": words, "block_size": length}
    target = Target(name=name, load=f"import torch\n{load}", model=model, **known)
    if len(target.drawable) < 2:
        raise TargetError(f"{name}: has a vocabulary of {len(target.drawable)} tokens; at least 2 are needed")
    return _with_positions(_with_length(_precise(target)))


def _with_positions(target: Target) -> Target:
    """Return the target, without position_ids if these count otherwise than from 0, as those of Roberta do."""
    if not (target.calling.mask and target.calling.positions):
        return target
    ids = target.ids(1, target.tokens_within(PROBE))
    steady = target.repeating() or target
    before, after = steady.logits(ids), steady.logits(ids, torch.ones_like(ids))
    if float(largest_differences(before, after).max()) <= target.rounding.tolerance(before, same_shape=False):
        return target
    return replace(target, calling=replace(target.calling, positions=False))


def _with_length(target: Target) -> Target:
    """Return the target with the trained length that it takes: some count their padding id, and more, as positions."""
    size = target.block_size
    if size is None or size > LONGEST:
        return target
    for length in range(size, max(size - OFFSET, 0), -1):
        try:
            target.logits(target.ids(1, length))
        except Exception as error:  # any code of others
            if length == max(size - OFFSET, 0) + 1:
                raise TargetError(
                    f"{target.name}: fails for {size} tokens, its block_size: {in_one_line(error)}"
                ) from error
        else:
            return replace(target, block_size=length)
    return target


def _precise(target: Target) -> Target:
    """Return the target with a copy of its model, in float64 where that computes finite logits."""
    if target.module is None:
        target.logits(target.ids(1, 2))
        return target
    if not _copyable(target.module):
        target.logits(target.ids(1, 2))
        return target
    there = {each.device.type for each in (*target.module.parameters(), *target.module.buffers())}
    original = copy.deepcopy(target.module).cpu() if there - {"cpu"} else target.module
    if sum(parameter.numel() for parameter in original.parameters()) <= LARGE:
        exact = replace(target, model=copy.deepcopy(original).double(), original=original)
        try:
            if exact.logits(exact.ids(1, 2)).isfinite().any():
                return exact
        except Exception:  # code that builds float32 tensors of its own
            pass
    own = replace(target, model=copy.deepcopy(original), original=original)
    own.logits(own.ids(1, 2))
    return own


def _copyable(model: nn.Module) -> bool:
    """Return False if a copy would still use parts of the original, as by a function that has one in its closure."""
    functions = (value for each in model.modules() for value in vars(each).values() if hasattr(value, "__closure__"))
    cells = (cell for function in functions for cell in function.__closure__ or ())
    return not any(isinstance(cell.cell_contents, nn.Module | Tensor) for cell in cells)


@contextmanager
def buffers_kept(model: Any) -> Iterator[None]:
    """Restore the buffers of a module after the passes inside, as running statistics."""
    before = {name: tensor.clone() for name, tensor in model.named_buffers()} if isinstance(model, nn.Module) else {}
    try:
        yield
    finally:
        for name, tensor in model.named_buffers() if before else ():
            if tensor.shape == before[name].shape:
                tensor.copy_(before[name])


def _size(model: Any, *names: str) -> int | None:
    """Return the first of some attributes of a model or of its config that is a positive integer."""
    config = getattr(model, "config", None)
    for holder, name in ((holder, name) for name in names for holder in (model, config)):
        value = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
