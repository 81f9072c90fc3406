"""Kneser-Ney's recursion on a text short enough to count by hand."""

import numpy as np
import torch
from torch import Tensor

from mingpt.models.base import ModelConfig
from mingpt.models.ngram import NGram
from mingpt.models.ngram_counts import BELOW, TOP

from .sheet import BLUE, INK, ORANGE, PALE, SOFT, Sheet, shade

TEXT = "the cat sat on the mat; that hat the rat at the other hat then"
CONTEXT, ORDER, SHOWN = "th", 3, 6


def draw() -> Sheet:
    letters = sorted(set(TEXT))
    levels, kept = _levels(letters)
    best = np.argsort(-levels[-1].numpy(), kind="stable")[:SHOWN]
    sheet = Sheet(8, 3.75)
    sheet.text(0.2, 0.22, "text counted:", size=9, colour=SOFT, ha="left")
    sheet.text(1.12, 0.22, f"“{TEXT}”", size=9, ha="left")
    for n, p in enumerate(levels):
        x = 0.5 + n * 1.98
        if n:
            sheet.arrow((x - 0.62, 1.9), (x - 0.26, 1.9), ORANGE, lw=2)
            sheet.text(x - 0.44, 1.68, f"× {kept[n]:.2f}", size=9, colour=ORANGE)
        _column(sheet, x, letters, best, p, kept[n] * levels[n - 1] if n else p)
        context = CONTEXT[len(CONTEXT) + 1 - n :] if n else ""
        label = f"$p_{n}$(x | {context})" if context else f"$p_{n}$(x)"
        sheet.title(x + 0.5, 0.62, label)
        under = (
            "1/v: nothing counted",
            "how many letters\ncome before x",
            "how many letters\ncome before hx",
            "how often thx",
        )
        sheet.text(x + 0.5, 3.0, under[n], size=8.5, colour=SOFT)
    sheet.area([(0.5, 3.42), (0.66, 3.42), (0.66, 3.56), (0.5, 3.56)], BLUE)
    sheet.text(0.74, 3.49, "from counts, less the discount", size=9, ha="left")
    sheet.text(7.8, 0.22, "a full bar is a probability of 1", size=9, colour=SOFT, ha="right")
    sheet.area([(3.2, 3.42), (3.36, 3.42), (3.36, 3.56), (3.2, 3.56)], shade(0.45, ORANGE))
    sheet.text(3.44, 3.49, "handed down: γ (on the arrow) times the column before", size=9, ha="left")
    return sheet


def _levels(letters: list[str]) -> tuple[list[Tensor], list[float]]:
    """p_0, ..., p_order after CONTEXT, as the model mixes them, and each order's gamma."""
    model = NGram(ModelConfig(type="ngram", order=ORDER, vocab_size=len(letters))).double()
    model.count(np.array([letters.index(letter) for letter in TEXT]))
    idx = torch.tensor([[letters.index(letter) for letter in CONTEXT]])
    places = model._places(idx, model.new_state(1), ORDER - 1)
    p = torch.full((1, len(letters)), 1 / len(letters), dtype=torch.float64)
    levels, kept = [p[0].clone()], [1.0]
    for n in range(1, ORDER + 1):
        row, context = torch.tensor([TOP if n == ORDER else BELOW]), places[n - 1][:, -1]
        kept.append(float(model._weights(n, row, context)))
        model._mix_in(p, n, row, context)
        levels.append(p[0].clone())
    assert torch.allclose(p[0].log(), model(idx).logits[0, -1])
    return levels, kept


def _column(sheet: Sheet, x: float, letters: list[str], best: np.ndarray, p: Tensor, handed: Tensor) -> None:
    for row, number in enumerate(best):
        y, chance, below = 0.92 + row * 0.32, float(p[number]), float(handed[number])
        name = {" ": "␣"}.get(letters[number], letters[number])
        sheet.text(x - 0.12, y + 0.11, name, size=10)
        sheet.area([(x, y), (x + 1, y), (x + 1, y + 0.22), (x, y + 0.22)], PALE)
        sheet.area([(x, y), (x + below, y), (x + below, y + 0.22), (x, y + 0.22)], shade(0.45, ORANGE))
        sheet.area([(x + below, y), (x + chance, y), (x + chance, y + 0.22), (x + below, y + 0.22)], BLUE)
        inside = chance > 0.7
        sheet.text(
            x + chance + (-0.04 if inside else 0.04),
            y + 0.115,
            f"{chance:.2f}",
            size=8,
            ha="right" if inside else "left",
            colour="#ffffff" if inside else INK,
        )
