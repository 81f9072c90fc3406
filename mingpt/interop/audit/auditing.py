"""Run all checks on a target: `mingpt.audit(model)`, and what `chargpt audit` calls."""

import time
from collections.abc import Callable
from typing import Any

from mingpt.core.errors import in_one_line
from mingpt.interop.audit.calling import TargetError
from mingpt.interop.audit.checks import CHECKS, in_order
from mingpt.interop.audit.effort import Effort, shares
from mingpt.interop.audit.loading import target_of
from mingpt.interop.audit.modules import buffers_kept
from mingpt.interop.audit.results import FAIL, Report, Result
from mingpt.interop.audit.target import PROBE, Target

SECONDS, THOROUGH = 45.0, 600.0  # of all checks; a pass that is under way when they are spent is waited for

Progress = Callable[[str, Result | None], None]  # check, and its result; None when it begins


def audit(
    model: Any,
    *,
    vocab_size: int | None = None,
    block_size: int | None = None,
    thorough: bool = False,
    seconds: float | None = None,
    trust: bool = False,
    text: str | None = None,
    progress: Progress = lambda name, result: None,
) -> Report:
    """Run every check of a language model, on the CPU; the model stays as it is.

    Args:
        model: an nn.Module or a callable, from (b, t) ids to (b, t, v) logits or to an object with `.logits`; a Run; or
            what `chargpt audit` takes: a run folder, a Hugging Face folder, a file of log-probabilities, or
            "package.module:factory", whose code is run
        vocab_size, block_size: of a model that has neither attribute, nor a config with them
        thorough: try every length and position that there is time for
        seconds: time for all checks; None: 45, or 600 for a thorough audit
        trust: run code and load pickles of a Hugging Face folder
        text: a text that its tokenizer must give back, or that a file of log-probabilities must be of
        progress: called when a check begins, with None, and when it ends, with its result

    Raises:
        MingptError: there is no such target, or it can't be loaded or called.
    """
    target = target_of(model, vocab_size=vocab_size, block_size=block_size, trust=trust, text=text)
    with buffers_kept(target.model):
        return run_checks(target, thorough=thorough, seconds=seconds, progress=progress)


def run_checks(
    target: Target,
    *,
    thorough: bool = False,
    seconds: float | None = None,
    progress: Progress = lambda name, result: None,
) -> Report:
    """Run every check on `target`.

    Args:
        thorough: try every length and position that there is time for
        seconds: time for all checks; None: 45, or 600 for a thorough audit
        progress: called when a check begins and when it ends
    """
    clock, results = time.monotonic, dict[str, Result]()
    began = clock()
    limit = seconds if seconds is not None else THOROUGH if thorough else SECONDS
    efforts = shares(limit, [CHECKS[name].weight for name in in_order()], clock, thorough)
    for name, effort in zip(in_order(), efforts, strict=True):
        progress(name, None)
        try:
            results[name] = answered(name, target, effort)
        except Exception as error:  # any code of others
            said = f"{type(error).__name__}: {in_one_line(error)[:200]}"
            raise TargetError(f"{target.name}: raises in the check {name}: {said}") from error
        progress(name, results[name])
    return Report(target.name, facts(target), results, clock() - began)


def answered(name: str, target: Target, effort: Effort) -> Result:
    """Run one check; a failure in float64 must be one in the model's own precision too, unless rounding hides it there.

    A model that was never meant to compute in float64 may be wrong in it alone, as one whose mask then overflows.
    """
    result = CHECKS[name].run(target, effort)
    own = target.in_own_precision()
    if result.outcome != FAIL or own is None:
        return result
    size = result.evidence.get("size", 0.0)
    ids = own.ids(1, own.tokens_within(PROBE))
    if size <= own.rounding.tolerance(own.logits(ids), same_shape=False):
        return result
    again = CHECKS[name].run(own, effort)
    return result if again.outcome == FAIL else again


def facts(target: Target) -> dict[str, Any]:
    """Return what is known of a target, as JSON values."""
    if target.model is None:
        return {"tokens": len(target.scores.positions) if target.scores else 0}
    parameters = sum(p.numel() for p in target.module.parameters()) if target.module is not None else None
    return {
        "parameters": parameters,
        "vocab_size": target.vocab_size,
        "block_size": target.block_size,
        "dtype": str(target.rounding.dtype).removeprefix("torch."),
        "noise": target.rounding.noise,
    }
