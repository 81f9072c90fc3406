"""Who sees whom with a window, layer by layer; what the banded kernel computes of it; how far layers reach."""

from typing import Any

import torch
from torch import Tensor

from mingpt.inference.causality import dependency_map
from mingpt.model import GPT
from mingpt.models.attention.kernels.banded import _runs
from mingpt.models.attention.layers import mask_of
from mingpt.models.attention.masks import Mask, sliding_window
from mingpt.models.base import ModelConfig

from .sheet import BLUE, GREEN, INK, ORANGE, PALE, SOFT, Sheet, shade

T, CELL, WINDOW = 12, 0.105, 4
LENGTH, BAND, SIDE = 128, 33, 2.5  # of the kernel's picture: positions, window, inches


def draw() -> Sheet:
    sheet = Sheet(8, 5.45)
    _masks(sheet)
    _blocks(sheet, 0.5, 2.6)
    _reach(sheet, 4.35, 2.72)
    return sheet


def _masks(sheet: Sheet) -> None:
    config = ModelConfig(n_layer=3, window=WINDOW, window_pattern="wwf", n_embd=8)
    rules = [("no window", mask_of(ModelConfig(n_embd=8))), (f"window={WINDOW}", sliding_window(WINDOW))]
    rules += [(f"layer {n}", mask_of(config.of_layer(n))) for n in range(3)]
    for number, (name, mask) in enumerate(rules):
        x = 0.32 + number * 1.45 + (0.3 if number > 1 else 0)
        sheet.text(x + T * CELL / 2, 0.46, name, size=9.5)
        _mask(sheet, x, 0.62, mask)
        sheet.axes(x, 0.62, T * CELL, "key", "query", distance=0.09)
    sheet.title(0.32, 0.2, "query (row) attends to key (blue)", ha="left")
    sheet.title(3.49, 0.2, "window_pattern=wwf: every third layer sees all", ha="left")


def _mask(sheet: Sheet, x: float, y: float, mask: Mask) -> None:
    at = torch.arange(T)
    seen = mask.sees(at[:, None], at)
    colours = [[BLUE if seen[i, j] else PALE for j in range(T)] for i in range(T)]
    sheet.cells(x, y, colours, CELL)


def _blocks(sheet: Sheet, x: float, y: float) -> None:
    sheet.title(x - 0.18, y - 0.22, "what the banded kernel computes", ha="left")
    unit, n, w = SIDE / LENGTH, LENGTH, BAND
    sheet.area([(x, y), (x + SIDE, y), (x + SIDE, y + SIDE), (x, y + SIDE)], "#f6f7f8", SOFT, 0.7)
    band = [(0, 0), (1, 0), (n, n - 1), (n, n), (n - w, n), (0, w)]
    sheet.area([(x + j * unit, y + i * unit) for j, i in band], shade(0.42))
    computed = 0
    for run in _runs(n, w):
        for block in range(run.blocks):
            first, size = run.start + block * run.size, run.size
            low, computed = first + size - run.keys, computed + size * run.keys
            corners = [(low, first), (first + size, first), (first + size, first + size), (low, first + size)]
            sheet.area([(x + j * unit, y + i * unit) for j, i in corners], "none", ORANGE, 1.3)
    sheet.text(x + SIDE / 2, y + SIDE + 0.16, f"{n} keys", size=8.5, colour=SOFT)
    sheet.text(x - 0.16, y + SIDE / 2, f"{n} queries", size=8.5, colour=SOFT, rotation=90)
    pairs = ((SOFT, n * n, "all"), (BLUE, sliding_window(w).pairs(n), "in the band"), (ORANGE, computed, "computed"))
    for row, (colour, count, name) in enumerate(pairs):
        sheet.text(x + SIDE - 0.06, y + 0.18 + row * 0.2, f"{count:,} {name}", size=8.5, colour=colour, ha="right")


def _reach(sheet: Sheet, x: float, y: float) -> None:
    sheet.title(x, y - 0.34, "what the last output can feel", ha="left")
    sheet.text(
        x,
        y - 0.1,
        f"window={WINDOW} in every layer; green: what the last token feels",
        size=8.5,
        colour=SOFT,
        ha="left",
    )
    size = 0.262
    for layers in (1, 2, 3):
        felt = _felt(layers)
        top = y + 0.32 + (layers - 1) * 0.68
        colours = [[(GREEN if j == T - 1 else shade(0.65, GREEN)) if felt[j] else PALE for j in range(T)]]
        label = "1 layer" if layers == 1 else f"{layers} layers"
        sheet.text(x, top - 0.12, f"{label}: {int(felt.sum())} tokens", size=9, colour=INK, ha="left")
        sheet.cells(x, top, colours, size)
    sheet.text(x, y + 2.2, "layers add up: 1 + layers × (w − 1)", size=9, colour=GREEN, ha="left")


def _felt(layers: int) -> Tensor:
    """(T,) whether the last output moves with each input."""
    torch.manual_seed(4)
    settings: dict[str, Any] = {
        "n_layer": layers,
        "n_embd": 16,
        "n_query_head": 1,
        "vocab_size": 11,
        "block_size": T,
        "rope": True,
    }
    model = GPT(ModelConfig(**settings, window=WINDOW, kernel="reference")).double()
    return dependency_map(model, torch.arange(T) % 11)[-1] > 0
