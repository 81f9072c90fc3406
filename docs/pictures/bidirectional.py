"""A bidirectional network: what one output has read, and which inputs change which outputs."""

from typing import Any

import torch
from torch import Tensor

from mingpt.inference.causality import dependency_map
from mingpt.models.base import ModelConfig, evaluating
from mingpt.models.rnn import BidirectionalRNN

from .sheet import BLUE, GREEN, INK, ORANGE, PALE, PAPER, SOFT, Sheet, shade

TEXT = "ROMEO"
STEP, SIZE = 0.47, 0.24


def draw() -> Sheet:
    sheet = Sheet(8, 4.45)
    titles = ("full: it sees the answer", "prefix: run again for each", "masked: infilling")
    for number, (title, moved) in enumerate(zip(titles, (_full(), _prefix(), _masked()), strict=True)):
        left = 0.3 + number * 2.6
        sheet.title(left + 1.1, 0.22, title)
        _chains(sheet, left, moved, at=2 if number == 2 else 1, gap=number == 2)
        _map(sheet, left + 0.62, 2.62, moved)
    for x, colour, text in (
        (1.3, BLUE, "read onwards; an earlier input"),
        (4.3, ORANGE, "read backwards; a later input"),
    ):
        sheet.disc(x, 4.22, 0.08, fill=colour, edge=colour)
        sheet.text(x + 0.18, 4.22, text, size=9, ha="left")
    return sheet


def _model(**settings: Any) -> BidirectionalRNN:
    torch.manual_seed(3)
    config = ModelConfig(type="birnn", cell="gru", n_layer=1, n_embd=8, vocab_size=7, block_size=len(TEXT), **settings)
    return BidirectionalRNN(config).double()


def _ids() -> Tensor:
    return torch.tensor([[0, 1, 2, 3, 1]])


def _full() -> Tensor:
    return dependency_map(_model(reading="full"), _ids()) > 0


def _prefix() -> Tensor:
    return dependency_map(_model(reading="prefix"), _ids()) > 0


def _masked() -> Tensor:
    """(i, j): whether what fills a gap at i moves with the token at j."""
    model, t = _model(objective="masked"), len(TEXT)
    moved = torch.zeros(t, t, dtype=torch.bool)
    with evaluating(model):
        for i in range(t):
            gaps = torch.arange(t)[None] == i
            before = model.masked_logits(_ids(), gaps)[0, i]
            for j in range(t):
                other = _ids()
                other[0, j] += 3
                moved[i, j] = bool((model.masked_logits(other, gaps)[0, i] != before).any())
    return moved


def _chains(sheet: Sheet, left: float, moved: Tensor, at: int, gap: bool) -> None:
    """The two directions, and the output at position `at` that joins them."""
    read = [bool(seen) or (gap and j == at) for j, seen in enumerate(moved[at])]
    xs = [left + 0.16 + STEP * j for j in range(len(TEXT))]
    for j, (x, letter) in enumerate(zip(xs, TEXT, strict=True)):
        there = read[j]
        answer = j == at + 1 and there and not gap
        shown = "?" if gap and j == at else letter
        looks: dict[str, Any] = {
            "w": 0.32,
            "h": 0.3,
            "size": 10,
            "ink": INK if there else "#b5bdc5",
            "edge": SOFT if there else PALE,
        }
        sheet.box(x, 2.2, shown, **looks | {"fill": shade(0.3, ORANGE) if answer else PAPER})
        for y, colour, step in ((1.62, BLUE, 1), (1.14, ORANGE, -1)):
            used = there and (j <= at if step > 0 else j >= at)
            ink = colour if used else shade(0.35, colour) if there else PALE
            sheet.disc(x, y, 0.1, fill=shade(0.35, colour) if used else PAPER, edge=ink)
            if 0 <= j - step < len(TEXT) and read[j - step] and there:
                sheet.arrow((xs[j - step] + 0.1 * step, y), (x - 0.1 * step, y), ink, lw=1.8 if used else 1)
        if there:
            sheet.line([(x, 2.05), (x, 1.72)], PALE)
    x = xs[at]
    sheet.box(x, 0.62, "$y$", w=0.32, h=0.3, fill=shade(0.3, GREEN), edge=GREEN)
    sheet.arrow((x, 1.04), (x, 0.77), ORANGE)
    sheet.arrow((x - 0.09, 1.57), (x - 0.1, 0.77), BLUE, bend=-0.35)
    says = f"what is hidden: {TEXT[at]}" if gap else f"what follows RO: {TEXT[at + 1]}"
    sheet.text(x + 0.24, 0.62, says, size=8.5, colour=GREEN, ha="left")


def _map(sheet: Sheet, x: float, y: float, moved: Tensor) -> None:
    """Rows are outputs, columns inputs."""
    t = len(TEXT)
    colours: list[list[str | None]] = [
        [(ORANGE if j > i else BLUE) if moved[i, j] else PALE for j in range(t)] for i in range(t)
    ]
    sheet.cells(x, y, colours, SIZE)
    sheet.along(x, y, TEXT, SIZE)
    sheet.along(x, y, TEXT, SIZE, down=True)
    sheet.text(x + t * SIZE / 2, y + t * SIZE + 0.14, "input", size=8.5, colour=SOFT)
    sheet.text(x - 0.32, y + t * SIZE / 2, "output", size=8.5, colour=SOFT, rotation=90)
