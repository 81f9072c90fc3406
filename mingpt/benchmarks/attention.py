"""Ways to compute a causal window, forward and backward: seconds, memory, and the ratio to full causal attention."""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from statistics import linear_regression
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mingpt.benchmarks.base import machine_of, ranking, rounded, summary, table, versus
from mingpt.benchmarks.options.attention import PACKAGES, SHORTEST, Options
from mingpt.benchmarks.options.base import device_beside, parse_peers
from mingpt.benchmarks.worker_process import Worker
from mingpt.distributed.threads import cpu_threads
from mingpt.models.attention.kernels import KERNELS, Need
from mingpt.models.attention.masks import sliding_window
from mingpt.models.attention.scores import ScaledDot
from mingpt.training.profiling import Spread, measure, peak_bytes
from mingpt.utils import multiplies_bfloat16, pick_device, training_type

logger = logging.getLogger(__name__)

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q, k, v (1, h, N, d) -> (1, h, N, d)
TURN = {"cuda": 0.1}  # seconds of each way at a time where a step doesn't wait for one call; elsewhere one call
# Positions beyond which a way takes too long or too much to be timed; the others have no such end.
LIMITS = {"reference": 4096, "sdpa": 4096, "loop": 1024}
SLOPE_LIMITS = {"full": 8192, "full-flash": 8192}


def ways(length: int, window: int, width: int, device: torch.device, dtype: torch.dtype) -> dict[str, Attend]:
    """Every way that can be timed at this length: full causal attention; the window by hand, and by each kernel."""
    score = ScaledDot(SimpleNamespace(n_query_head=1, head_width=width))
    need = Need(sliding_window(window), score, length, length, width, device, dtype)
    all_ways: dict[str, Attend] = {
        "full": partial(F.scaled_dot_product_attention, is_causal=True),
        **({"full-flash": _flash} if multiplies_bfloat16(device) else {}),
        "loop": partial(_loop, window=window),
        "unfold": partial(_unfolded, window=window),
        **{name: partial(_by_kernel, name=name, need=need) for name in KERNELS if not KERNELS[name].unsupported(need)},
    }
    return {name: way for name, way in all_ways.items() if length <= LIMITS.get(name, length)}


def _unfolded(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Queries in blocks of w, each with its 2w keys copied next to it, all of them the batch of one product."""
    batch, length, blocks = len(q), q.shape[-2], math.ceil(q.shape[-2] / window)
    end = blocks * window - length
    queries = F.pad(q, (0, 0, 0, end)).unflatten(2, (blocks, window))
    keys, values = (F.pad(x, (0, 0, window, end)).unfold(2, 2 * window, window).mT for x in (k, v))
    i = torch.arange(window, 2 * window, device=q.device)[:, None]
    j = torch.arange(2 * window, device=q.device)
    first = (torch.arange(blocks, device=q.device) == 0)[:, None, None]
    seen = sliding_window(window).sees(i, j) & ~(first & (j < window))
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (queries, keys[:, :, :blocks], values[:, :, :blocks]))
    output = F.scaled_dot_product_attention(q, k, v, attn_mask=seen.repeat(batch, 1, 1)[:, None])
    return output.unflatten(0, (batch, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :length]


def _loop(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """The textbook's: one query after the other."""
    rows = []
    for i in range(q.shape[-2]):
        seen = slice(max(i - window + 1, 0), i + 1)
        weights = (q[:, :, i : i + 1] @ k[:, :, seen].mT / math.sqrt(q.shape[-1])).softmax(-1)
        rows.append(weights @ v[:, :, seen])
    return torch.cat(rows, dim=2)


def _flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Full causal by PyTorch's own flash kernel, where `full` is by what PyTorch takes: cuDNN on a Hopper GPU."""
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _by_kernel(q: Tensor, k: Tensor, v: Tensor, name: str, need: Need) -> Tensor:
    """One of the project's own, as `model.kernel` names them."""
    return KERNELS[name].attend(q, k, v, need)[0]


def calls(options: Options, length: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """Each way, forward and backward on the same random numbers."""
    generator = torch.Generator().manual_seed(0)
    shape = (4, 1, options.heads, length, options.width)
    q, k, v, grad = torch.randn(shape, generator=generator).to(device, training_type(device))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    window = min(options.window, length)

    def both_ways(attend: Attend) -> object:
        return torch.autograd.grad(attend(*inputs), inputs, grad)

    return {name: partial(both_ways, way) for name, way in ways(length, window, options.width, device, q.dtype).items()}


def run(options: Options) -> dict[str, Any]:
    """Time every way at one length, or with `slopes` how each grows.

    Returns:
        What the last line of `chargpt bench attention` prints.
    """
    device = pick_device(device_beside(options.peers, options.device), "device")
    with cpu_threads(options.threads):
        rows = _slopes(options, device) if options.slopes else _one_length(options, device)
    machine = {**machine_of(device), "threads": options.threads or torch.get_num_threads()}
    return {"bench": "attention", **asdict(options), **machine, "rows": rows}


def _one_length(options: Options, device: torch.device) -> dict[str, Any]:
    made = calls(options, options.length, device)
    shape = {name: getattr(options, name) for name in ("length", "window", "heads", "width")}
    with ExitStack() as stack:
        contestants = dict(made)
        for kind, path in parse_peers(options.peers, (), PACKAGES).items():
            worker = Worker(kind, path, shape | {"threads": torch.get_num_threads()})
            stack.callback(worker.close)
            contestants[kind] = partial(worker.steps, 1)
        seconds = measure(contestants, device, rounds=options.rounds, warmup=1, least=TURN.get(device.type, 0.0))
    rows = table(seconds, "full", faster=True)
    logger.info(f"{'':15} {'ms':>10} {'quartiles':>21} {'MB':>9}   times faster than full (quartiles)")
    for name, row in rows.items():
        ms, peak = row["ms"], _live_bytes(made[name], options, options.length, device) if name in made else None
        row["peak_bytes"] = peak
        compared = "" if name == "full" else versus(row["ratio"], row["apart"])
        between = f"{ms['q1']:.4g} to {ms['q3']:.4g}"
        memory = "?" if peak is None else f"{peak / 1e6:.1f}"
        logger.info(f"{name:15} {ms['median']:10.4g} {between:>21} {memory:>9}   {compared}")
    logger.info(f"{ranking(seconds)}   (~: quartiles overlap, so neither is faster)")
    for kind in seconds.keys() - made.keys():
        rows[kind]["over_banded"] = ratio = summary(seconds[kind].over(seconds["banded"]))
        logger.info(f"{kind} takes {ratio['median']:.4g}x of banded's time ({ratio['q1']:.4g} to {ratio['q3']:.4g})")
    return rows


def _live_bytes(call: Callable[[], object], options: Options, length: int, device: torch.device) -> int | None:
    """High-water mark, with q, k, v and the output's gradient, which were there before; None: unknown."""
    made = peak_bytes(call, device)
    return None if made is None else made + 4 * training_type(device).itemsize * options.heads * length * options.width


def _slopes(options: Options, device: torch.device) -> dict[str, Any]:
    """Exponents of N by least squares on logarithms, for the ways that reach far enough."""
    points: dict[str, list[tuple[int, Spread, int | None]]] = {}
    length = SHORTEST
    while length <= options.length:
        made = calls(options, length, device)
        made = {name: call for name, call in made.items() if length <= SLOPE_LIMITS.get(name, length)}
        made = {name: call for name, call in made.items() if name not in LIMITS}
        for name, spread in measure(
            made, device, rounds=options.rounds, warmup=1, least=TURN.get(device.type, 0.0)
        ).items():
            points.setdefault(name, []).append((length, spread, _live_bytes(made[name], options, length, device)))
        length *= 2
    rows: dict[str, Any] = {}
    for name, found in points.items():
        lengths, peaks = [length for length, _, _ in found], [peak for _, _, peak in found if peak is not None]
        time = slope(lengths, [spread.median for _, spread, _ in found])
        memory = slope(lengths, peaks) if len(peaks) == len(lengths) else None
        rows[name] = {
            "length": lengths,
            "ms": [summary(spread, 1e-3) for _, spread, _ in found],
            "peak_bytes": peaks or None,
            "time_slope": rounded(time),
            "memory_slope": memory and rounded(memory),
        }
        logger.info(f"{name}: N^{time:.3f} in time, " + (f"N^{memory:.3f} in memory" if memory else "memory unknown"))
        for length, spread, peak in found:
            logger.info(
                f"  {length:6}  {1e3 * spread.median:9.4g} ms  {'?' if peak is None else f'{peak / 1e6:9.1f} MB'}"
            )
    return rows


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the least-squares line through the logarithms: the exponent p of y ~ x^p."""
    return linear_regression([math.log(value) for value in x], [math.log(value) for value in y]).slope
