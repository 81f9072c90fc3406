"""Does every kernel compute what attention is defined to be, on this machine?  A table of worst errors, and a verdict.

The exactness contract: each kernel that serves a layer agrees with the reference, computed in the most exact type that
the device has, on outputs, gradients, and step-by-step use of the cache, for every score, mask, window, grouping of
heads and position code.  Dropout is left out, as two kernels don't draw the same.
"""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mingpt.core.errors import UsageError
from mingpt.models.attention.kernels import KERNELS, Reference
from mingpt.models.attention.kernels.flex import TUNED_WIDTH
from mingpt.models.attention.layers import AttentionConfig, GroupedQueryAttention
from mingpt.models.attention.masks import MASKS
from mingpt.models.attention.positions import POSITIONS
from mingpt.models.attention.scores import SCORES
from mingpt.utils import training_type

logger = logging.getLogger(__name__)

LENGTH, LONG = 41, 1000  # a multiple of nothing; and one that kernels for windows take in several parts
WINDOWS, LONG_WINDOWS = (1, 5, 2 * LENGTH), (100, 3, 501)
HEADS, WIDTH = 6, 96  # heads of width 16, the least that compiled kernels take
GROUPS = (6, 2, 1)
CHUNKS = {  # how a cache is filled: tokens at once, and what is left of a longer text at the end
    "prefill": (LENGTH,),
    "chunked": (7, 1, 20, 13),
    "decode": (2, 1, 1, 1, 1, 1, 30, 1, 1, 1, 1),
}
PHASES = ("forward", "backward", *CHUNKS)
# Largest error over largest entry; the type itself resolves 1e-16, 1e-7 and 4e-3.
TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 6e-2}
# In a short type rounding alone can cost more, where a softmax is all but a choice: then so many times what it costs
# the definition itself in that type.
SHORT, TIMES, MOST = frozenset((torch.bfloat16,)), 3, 0.5  # but never more than MOST, the definition included


@dataclass
class Row:
    """One kernel in one type.

    Attributes:
        served, refused: layers that it computed, and that it said it can't.
        worst: phase -> the error over the largest entry that came nearest to what is allowed, or went farthest past
            it: its share of that, the error, and the layer where.
        broken: what it raised, and the layer where.
    """

    kernel: str
    dtype: torch.dtype
    served: int = 0
    refused: int = 0
    worst: dict[str, tuple[float, float, str]] = field(default_factory=dict)
    broken: str | None = None

    @property
    def passes(self) -> bool:
        return self.broken is None and all(share <= 1 for share, _, _ in self.worst.values())


def cases() -> Iterator[AttentionConfig]:
    """A layer of every combination that makes sense, and a few long ones."""
    rules: list[dict[str, str | int]] = [{"mask": mask} for mask in MASKS]
    rules += [{"window": window} for window in WINDOWS]
    for score, rule, groups, position in itertools.product(SCORES, rules, GROUPS, POSITIONS):
        yield _layer(LENGTH, score=score, n_kv_head=groups, position=position, **rule)
    for groups, window, width in itertools.product(GROUPS, LONG_WINDOWS, (None, TUNED_WIDTH)):
        yield _layer(LONG, n_kv_head=groups, window=window, head_dim=width, rope=True)


def _layer(length: int, **settings: str | int | bool | None) -> AttentionConfig:
    return AttentionConfig(n_embd=WIDTH, n_query_head=HEADS, block_size=length, **settings)  # type: ignore[arg-type]


def run(device: torch.device, *, layers: Sequence[AttentionConfig], kernel: str | None = None) -> bool:
    """Check kernels on `device`: in the most exact type there, in float32, and in the type that training uses.

    Args:
        layers: those to look at, of `cases` or others.
        kernel: the only one to check; None: all.

    Returns:
        Whether all agree with the definition.

    Raises:
        UsageError: an unknown kernel.
    """
    if kernel is not None:
        KERNELS[kernel]
    exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    kinds = dict.fromkeys((exact, torch.float32, training_type(device)))  # generation and judging are in float32
    rows = [Row(name, dtype) for dtype in kinds for name in KERNELS if kernel in (None, name)]
    for config in layers:
        for dtype in kinds:
            truth, layer = _pair(config, device, exact, dtype)
            expected = _whole(truth, config, device, exact)
            allowed = _allowed(layer, expected, config, device, dtype)
            for row in rows:
                if row.dtype == dtype:
                    layer.kernel = row.kernel
                    _judge(row, layer, expected, allowed, config, device)
    return _report(rows, device)


def _pair(
    config: AttentionConfig, device: torch.device, exact: torch.dtype, dtype: torch.dtype
) -> tuple[GroupedQueryAttention, GroupedQueryAttention]:
    """The same layer twice, its weights rounded to `dtype`: in `exact` by the reference, and in `dtype`."""
    torch.manual_seed(0)
    layer = GroupedQueryAttention(config).to(device, dtype).eval()
    truth = GroupedQueryAttention(config).to(device, exact).eval()
    truth.load_state_dict(layer.state_dict())
    truth.kernel = Reference.name
    return truth, layer


def _inputs(length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(2, t, e) twice: what goes in, and the gradient of what comes out; the same numbers in every type."""
    generator = torch.Generator().manual_seed(length)
    x, grad = torch.randn(2, 2, length, WIDTH, generator=generator).bfloat16().to(device, dtype)
    return x, grad


def _whole(
    layer: GroupedQueryAttention, config: AttentionConfig, device: torch.device, dtype: torch.dtype
) -> dict[str, list[Tensor]]:
    """The output for a whole text, and the gradients of the input and of every parameter."""
    x, grad = _inputs(config.block_size, device, dtype)
    inputs = [x.requires_grad_(), *layer.parameters()]
    output = layer(x).output
    gradients = torch.autograd.grad(output, inputs, grad, allow_unused=True)
    backward = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, gradients, strict=True)]
    return {"forward": [output.detach()], "backward": backward}


@torch.no_grad()
def _by_parts(layer: GroupedQueryAttention, sizes: Sequence[int], x: Tensor) -> list[Tensor]:
    """The output for a text that a cache takes in parts."""
    length, state = x.shape[1], layer.new_state(len(x), x.shape[1])
    rest = [length - sum(sizes)] * (length > sum(sizes))
    return [torch.cat([layer(part, state).output for part in x.split([*sizes, *rest], dim=1)], dim=1)]


def _allowed(
    layer: GroupedQueryAttention,
    expected: dict[str, list[Tensor]],
    config: AttentionConfig,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, float]:
    """How far a kernel may be off, forward (which holds step by step, too) and backward."""
    if dtype not in SHORT:
        return dict.fromkeys(expected, TOLERANCES[dtype])
    layer.kernel = Reference.name
    own = _whole(layer, config, device, dtype)
    rounding = {phase: TIMES * _error(own[phase], expected[phase]) for phase in expected}
    return {phase: max(TOLERANCES[dtype], min(off, MOST)) for phase, off in rounding.items()}


def _judge(
    row: Row,
    layer: GroupedQueryAttention,
    expected: dict[str, list[Tensor]],
    allowed: dict[str, float],
    config: AttentionConfig,
    device: torch.device,
) -> None:
    """Add one layer to `row`; a kernel that refuses it has said so and is right to."""
    try:
        found = _whole(layer, config, device, row.dtype)
        row.served += 1
        for phase, sizes in CHUNKS.items() if layer.mask.causal and KERNELS[row.kernel].serves_cache else ():
            found[phase] = _by_parts(layer, sizes, _inputs(config.block_size, device, row.dtype)[0])
    except UsageError:
        row.refused += 1
        return
    except Exception as error:  # a compiler or a driver may fail in any way, and this is where to learn of it
        row.broken = row.broken or f"{type(error).__name__}: {str(error).splitlines()[:1]} at {_named(config)}"
        return
    for phase, tensors in found.items():
        kind = "backward" if phase == "backward" else "forward"
        off = _error(tensors, expected[kind])
        row.worst[phase] = max(row.worst.get(phase, (-1.0, 0.0, "")), (off / allowed[kind], off, _named(config)))


def _error(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference over the tensor's largest entry, or over 1 % of the largest of all; inf: not finite."""
    floor = max(float(tensor.abs().max()) for tensor in expected) / 100
    errors = [
        float((a.to(b.dtype) - b).abs().max()) / max(float(b.abs().max()), floor)
        for a, b in zip(found, expected, strict=True)
    ]
    return max(errors) if all(map(math.isfinite, errors)) else math.inf


def _named(config: AttentionConfig) -> str:
    rule = config.mask if config.window is None else f"window {config.window}"
    return f"{config.score}, {rule}, {config.key_heads} key heads, {config.position_code}, {config.block_size} tokens"


def _report(rows: list[Row], device: torch.device) -> bool:
    """Print the table and the verdict, and return it."""
    logger.info(f"{'kernel':10} {'type':9} {'served':>7} {'refused':>7} " + " ".join(f"{phase:>9}" for phase in PHASES))
    for row in rows:
        errors = (f"{row.worst[phase][1]:9.1e}" if phase in row.worst else f"{'-':>9}" for phase in PHASES)
        logger.info(f"{row.kernel:10} {_type(row.dtype):9} {row.served:7} {row.refused:7} {' '.join(errors)}")
    for row in rows:
        for phase, (share, error, where) in row.worst.items():
            if share > 1:
                logger.info(f"{row.kernel}, {_type(row.dtype)}, {phase}: off by {error:.1e} at {where}")
        if row.broken:
            logger.info(f"{row.kernel}, {_type(row.dtype)}: {row.broken}")
    passes = all(row.passes for row in rows)
    allowed = ", ".join(f"{TOLERANCES[dtype]:g} in {_type(dtype)}" for dtype in dict.fromkeys(r.dtype for r in rows))
    allowed += f", or {TIMES} times what rounding costs the definition" if SHORT & {r.dtype for r in rows} else ""
    logger.info(
        f"{'PASS' if passes else 'FAIL'}: errors over the largest entry, against the definition, on {device}: {allowed}"
    )
    return passes


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
