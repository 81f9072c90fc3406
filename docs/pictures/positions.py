"""How a token knows where it stands: rows that are added, pairs that are turned, a penalty on distance."""

import torch
from torch import Tensor

from mingpt.models.attention.positions import POSITIONS, LearnedPositions, RotaryPositionalEmbeddings
from mingpt.models.base import ModelConfig
from mingpt.models.init import waves

from .sheet import BLUE, GREEN, INK, ORANGE, PALE, PAPER, SOFT, Sheet, shade

D, SHOWN, T, CELL = 8, 7, 12, 0.155


def draw() -> Sheet:
    sheet = Sheet(8, 5.2)
    _turning(sheet)
    side = T * CELL
    panels = (
        ("learned: rows of a table", "position", "column of the embedding", _learned(), 0.5, BLUE),
        ("rope: only i − j counts", "query", "key", _scores(), 1.0, GREEN),
        ("alibi: added to the score", "query", "key", _penalties(), 6.0, GREEN),
    )
    for number, (title, down, across, values, most, colour) in enumerate(panels):
        x, y = 0.62 + number * 2.6, 2.78
        sheet.title(x + side / 2 - 0.05, y - 0.2, title)
        sheet.matrix(x, y, values, CELL, most=most, colour=colour)
        sheet.axes(x, y, side, across, down)
    key = [
        (BLUE, "a number above 0"),
        (GREEN, "a score above 0"),
        (ORANGE, "below 0; the darker, the farther from 0"),
    ]
    sheet.colours(0.5, 5.03, key)
    return sheet


def _turning(sheet: Sheet) -> None:
    """Each pair (i, i + d/2) of the vector that is (1, 0) in all pairs, at m = 1, 2, ..."""
    sheet.title(0.25, 0.22, f"rope: pair (i, i + d/2) of token m turns by m · 10000^(-2i/d);  d = {D}", ha="left")
    vector = torch.cat((torch.ones(D // 2), torch.zeros(D // 2))).double()
    turned = RotaryPositionalEmbeddings(D)(vector.expand(1, 1, SHOWN, D))[0, 0]
    for i in range(D // 2):
        x, y, radius = 1.1 + i * 1.93, 1.28, 0.66
        sheet.disc(x, y, radius, fill=PAPER, edge=PALE, lw=1.5)
        sheet.line([(x, y), (x + radius, y)], PALE, 1.5)
        for m in reversed(range(SHOWN)):
            across, up = float(turned[m, i]), float(turned[m, i + D // 2])
            colour = shade(1 - 0.72 * m / (SHOWN - 1), ORANGE)
            sheet.arrow((x, y), (x + radius * across, y - radius * up), colour, lw=1.4)
            if i == 0:
                where = (x + (radius + 0.11) * across, y - (radius + 0.11) * up)
                sheet.text(*where, f"{m + 1}", size=8.5, colour=SOFT)
        sheet.text(x, y + radius + 0.26, f"i = {i}" + ", m = 1, 2, ..." * (i == 0), size=9, colour=INK)


def _learned() -> Tensor:
    """The table of `model.init=waves`, before any training."""
    code = LearnedPositions(ModelConfig(n_embd=T, n_query_head=1, block_size=T))
    waves(code, 1)
    return code.table.weight.detach()


def _scores() -> Tensor:
    """One query and one key, the same at every position, turned and multiplied."""
    turn = RotaryPositionalEmbeddings(D)
    q = k = torch.tensor([1, 1, 0, 0] * 2, dtype=torch.float64)  # the two fast pairs
    scores: Tensor = turn(q.expand(1, 1, T, D))[0, 0] @ turn(k.expand(1, 1, T, D))[0, 0].mT
    for offset in range(1 - T, T):
        assert torch.allclose(scores.diagonal(offset), scores.diagonal(offset)[:1])
    return scores / scores.abs().max()


def _penalties() -> Tensor:
    """Of the first of eight heads, where the mask is causal."""
    code = POSITIONS["alibi"](ModelConfig(n_query_head=8, n_embd=8))
    at = torch.arange(T)
    return code.bias(at[:, None], at)[0].tril()
