"""Cost of a recurrence, forward and backward, against PyTorch's.

All of them make (b, t, e) hidden vectors of as many inputs, and the gradients of inputs and weights.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mingpt.benchmarks.base import machine_of, ranking, table, versus
from mingpt.benchmarks.options.rnn import Options
from mingpt.distributed.threads import cpu_threads
from mingpt.models.recurrent.activations import SLIDE, slide
from mingpt.models.recurrent.elman_scan import scan
from mingpt.training.profiling import measure
from mingpt.utils import pick_device

logger = logging.getLogger(__name__)

BASELINE = "nn.RNN relu"


def run(options: Options) -> dict[str, Any]:
    """Time every way, alternating.

    Returns:
        What the last line of `chargpt bench rnn` prints, a row per way, each with its time over nn.RNN's, by round.
    """
    device = pick_device(options.device, "device")
    with cpu_threads(options.threads):
        rows = _rows(options, device)
        machine = {**machine_of(device), "threads": torch.get_num_threads()}
    return {"bench": "rnn", **asdict(options), **machine, "rows": rows}


def _rows(options: Options, device: torch.device) -> dict[str, Any]:
    torch.manual_seed(0)
    x = torch.randn(options.batch, options.length, options.width, device=device, requires_grad=True)
    contestants = {name: partial(_both_ways, way, x) for name, way in ways(options.width, device).items()}
    seconds = measure(contestants, device, rounds=options.rounds)
    rows = table(seconds, BASELINE)
    logger.info(f"{'':>16} {'both ways, ms':>14}   takes of {BASELINE} (quartiles)")
    for name, row in rows.items():
        compared = "" if name == BASELINE else versus(row["ratio"], row["apart"])
        logger.info(f"{name:>16} {row['ms']['median']:14.4g}   {compared}")
    logger.info(f"{ranking(seconds)}   (~: quartiles overlap, so neither is faster)")
    return rows


def ways(width: int, device: torch.device) -> dict[str, Callable[[Tensor], Tensor]]:
    """Name -> (b, t, e) inputs to (b, t, e) hidden vectors; scan and loop compute the same, with the same weights."""
    relu = nn.RNN(width, width, nonlinearity="relu", batch_first=True).to(device)
    gated = {"nn.GRU": nn.GRU(width, width, batch_first=True), "nn.LSTM": nn.LSTM(width, width, batch_first=True)}
    w_input, w_hidden, bias, _ = relu.parameters()
    weights = (w_input, bias, w_hidden)
    return {
        "scan slide": partial(_scanned, weights),
        BASELINE: lambda x: relu(x)[0],
        "loop slide": partial(_looped, weights),
        **{name: partial(_first, layer.to(device)) for name, layer in gated.items()},
    }


def _scanned(weights: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    w_input, bias, w_hidden = weights
    return scan(x, x.new_zeros(len(x), len(w_hidden)), w_input, bias, w_hidden, SLIDE)


def _looped(weights: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    """As one writes it down."""
    w_input, bias, w_hidden = weights
    h, steps = x.new_zeros(len(x), len(w_hidden)), []
    for x_t in x.unbind(1):
        h = slide(x_t @ w_input.T + bias + h @ w_hidden.T)
        steps.append(h)
    return torch.stack(steps, 1)


def _first(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)[0]


def _both_ways(way: Callable[[Tensor], Tensor], x: Tensor) -> None:
    way(x).sum().backward()
