"""Selftest of all attention kernels on this machine: a table of largest errors, and pass or fail.

Each kernel must agree with the reference kernel in the most exact type of the device, in outputs, gradients and
decoding with the KV cache, for every score, mask, window, number of key/value heads and positional encoding.  Dropout
is off, since kernels draw different masks.
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
from mingpt.utils import pick_device, training_type

logger = logging.getLogger(__name__)

LENGTH, LONG = 41, 1000  # a prime; and a length that kernels for windows compute in several chunks
WINDOWS, LONG_WINDOWS = (1, 5, 2 * LENGTH), (100, 3, 501)
HEADS, WIDTH = 6, 96  # heads of width 16, the smallest that compiled kernels support
GROUPS = (6, 2, 1)
CHUNKS = {  # tokens per call with a KV cache; the rest of a longer text is one call at the end
    "prefill": (LENGTH,),
    "chunked": (7, 1, 20, 13),
    "decode": (2, 1, 1, 1, 1, 1, 30, 1, 1, 1, 1),
}
PHASES = ("forward", "backward", *CHUNKS)
# Largest error over largest entry; the types' own precision is 1e-16, 1e-7 and 4e-3.
TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 6e-2}
# In half precision rounding alone can exceed that, where a softmax is nearly one-hot: allow TIMES the error of the
# reference kernel in that type, but at most MOST.
SHORT, TIMES, MOST = frozenset((torch.bfloat16,)), 3, 0.5


@dataclass
class Row:
    """Result of one kernel in one type.

    Attributes:
        kernel: name of the kernel
        dtype: type of its inputs
        served, rejected: numbers of layers that it computed and that it rejected
        worst: phase -> the largest error: relative to the tolerance, relative to the largest entry, and the layer
        broken: an exception and its layer, if there was one
    """

    kernel: str
    dtype: torch.dtype
    served: int = 0
    rejected: int = 0
    worst: dict[str, tuple[float, float, str]] = field(default_factory=dict)
    broken: str | None = None

    @property
    def passes(self) -> bool:
        """True if all errors are within tolerance and there was no exception."""
        return self.broken is None and all(share <= 1 for share, _, _ in self.worst.values())


def cases() -> Iterator[AttentionConfig]:
    """Yield the settings of a layer of every valid combination, and of a few long ones."""
    rules: list[dict[str, str | int]] = [{"mask": mask} for mask in MASKS]
    rules += [{"window": window} for window in WINDOWS]
    for score, rule, groups, position in itertools.product(SCORES, rules, GROUPS, POSITIONS):
        yield _layer(LENGTH, score=score, n_kv_head=groups, position=position, **rule)
    for groups, window, width in itertools.product(GROUPS, LONG_WINDOWS, (None, TUNED_WIDTH)):
        yield _layer(LONG, n_kv_head=groups, window=window, head_dim=width, rope=True)


def _layer(length: int, **settings: str | int | bool | None) -> AttentionConfig:
    return AttentionConfig(n_embd=WIDTH, n_query_head=HEADS, block_size=length, **settings)  # type: ignore[arg-type]


def check_all(device: str, *, every: int = 1, kernel: str | None = None) -> bool:
    """Check kernels in one layer in so many of `cases`, on the device of that name; see `run`.

    Raises:
        UsageError: the device or the kernel is unknown or not available.
    """
    return run(pick_device(device, "device"), layers=[*cases()][::every], kernel=kernel)


def run(device: torch.device, *, layers: Sequence[AttentionConfig], kernel: str | None = None) -> bool:
    """Check kernels on `device` in its most exact type, in float32 and in the type of training.

    Args:
        device: device to compute on
        layers: settings of layers to check, from `cases` or others
        kernel: the only kernel to check; None: all

    Returns:
        True if all agree with the reference.

    Raises:
        UsageError: the kernel is unknown.
    """
    if kernel is not None:
        KERNELS[kernel]
    exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    kinds = dict.fromkeys((exact, torch.float32, training_type(device)))  # float32: generation and evaluation
    rows = [Row(name, dtype) for dtype in kinds for name in KERNELS if kernel in (None, name)]
    for config in layers:
        for dtype in kinds:
            exact_layer, layer = _pair(config, device, exact, dtype)
            expected = _full_sequence(exact_layer, config, device, exact)
            allowed = _allowed(layer, expected, config, device, dtype)
            for row in rows:
                if row.dtype == dtype:
                    layer.kernel = row.kernel
                    _check(row, layer, expected, allowed, config, device)
    return _report(rows, device)


def _pair(
    config: AttentionConfig, device: torch.device, exact: torch.dtype, dtype: torch.dtype
) -> tuple[GroupedQueryAttention, GroupedQueryAttention]:
    """Return the same layer in `exact`, with the reference kernel, and in `dtype`, to which its weights are rounded."""
    torch.manual_seed(0)
    layer = GroupedQueryAttention(config).to(device, dtype).eval()
    truth = GroupedQueryAttention(config).to(device, exact).eval()
    truth.load_state_dict(layer.state_dict())
    truth.kernel = Reference.name
    return truth, layer


def _inputs(length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return (2, t, e) inputs and gradients of the outputs; the same numbers in every type."""
    generator = torch.Generator().manual_seed(length)
    x, grad = torch.randn(2, 2, length, WIDTH, generator=generator).bfloat16().to(device, dtype)
    return x, grad


def _full_sequence(
    layer: GroupedQueryAttention, config: AttentionConfig, device: torch.device, dtype: torch.dtype
) -> dict[str, list[Tensor]]:
    """Return the outputs for a full sequence, and the gradients of inputs and parameters."""
    x, grad = _inputs(config.block_size, device, dtype)
    inputs = [x.requires_grad_(), *layer.parameters()]
    output = layer(x).output
    gradients = torch.autograd.grad(output, inputs, grad, allow_unused=True)
    backward = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, gradients, strict=True)]
    return {"forward": [output.detach()], "backward": backward}


@torch.no_grad()
def _with_cache(layer: GroupedQueryAttention, sizes: Sequence[int], x: Tensor) -> list[Tensor]:
    """Return the outputs for a sequence in chunks of `sizes`, with a KV cache."""
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
    """Return the tolerances, forward (also for decoding) and backward."""
    if dtype not in SHORT:
        return dict.fromkeys(expected, TOLERANCES[dtype])
    layer.kernel = Reference.name
    own = _full_sequence(layer, config, device, dtype)
    rounding = {phase: TIMES * _error(own[phase], expected[phase]) for phase in expected}
    return {phase: max(TOLERANCES[dtype], min(off, MOST)) for phase, off in rounding.items()}


def _check(
    row: Row,
    layer: GroupedQueryAttention,
    expected: dict[str, list[Tensor]],
    allowed: dict[str, float],
    config: AttentionConfig,
    device: torch.device,
) -> None:
    """Add one layer's errors to `row`; a kernel may reject a layer."""
    try:
        found = _full_sequence(layer, config, device, row.dtype)
        row.served += 1
        for phase, sizes in CHUNKS.items() if layer.mask.causal and KERNELS[row.kernel].serves_cache else ():
            found[phase] = _with_cache(layer, sizes, _inputs(config.block_size, device, row.dtype)[0])
    except UsageError:
        row.rejected += 1
        return
    except Exception as error:  # a compiler or a driver may fail in any way
        row.broken = row.broken or f"{type(error).__name__}: {str(error).splitlines()[:1]} at {_named(config)}"
        return
    for phase, tensors in found.items():
        kind = "backward" if phase == "backward" else "forward"
        off = _error(tensors, expected[kind])
        row.worst[phase] = max(row.worst.get(phase, (-1.0, 0.0, "")), (off / allowed[kind], off, _named(config)))


def _error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference relative to a tensor's largest entry, or 1 % of the largest of all; inf: NaN."""
    floor = max(float(tensor.abs().max()) for tensor in expected) / 100
    errors = [
        float((a.to(b.dtype) - b).abs().max()) / max(float(b.abs().max()), floor)
        for a, b in zip(found, expected, strict=True)
    ]
    return max(errors) if all(map(math.isfinite, errors)) else math.inf


def _named(config: AttentionConfig) -> str:
    rule = config.mask if config.window is None else f"window {config.window}"
    encoding, tokens = config.positional_encoding, config.block_size
    return f"{config.score}, {rule}, {config.key_heads} key heads, {encoding}, {tokens} tokens"


def _report(rows: list[Row], device: torch.device) -> bool:
    """Write the table and pass or fail; return True for pass."""
    phases = " ".join(f"{phase:>9}" for phase in PHASES)
    logger.info(f"{'kernel':10} {'type':9} {'served':>7} {'rejected':>8} {phases}")
    for row in rows:
        errors = (f"{row.worst[phase][1]:9.1e}" if phase in row.worst else f"{'-':>9}" for phase in PHASES)
        logger.info(f"{row.kernel:10} {_type(row.dtype):9} {row.served:7} {row.rejected:8} {' '.join(errors)}")
    for row in rows:
        for phase, (share, error, where) in row.worst.items():
            if share > 1:
                logger.info(f"{row.kernel}, {_type(row.dtype)}, {phase}: off by {error:.1e} at {where}")
        if row.broken:
            logger.info(f"{row.kernel}, {_type(row.dtype)}: {row.broken}")
    passes = all(row.passes for row in rows)
    allowed = ", ".join(f"{TOLERANCES[dtype]:g} in {_type(dtype)}" for dtype in dict.fromkeys(r.dtype for r in rows))
    allowed += f", or {TIMES} times the reference's own rounding error" if SHORT & {r.dtype for r in rows} else ""
    logger.info(
        f"{'PASS' if passes else 'FAIL'}: errors over the largest entry, from the reference, on {device}: {allowed}"
    )
    return passes


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
