"""One head at work on six letters: scores, weights, values; and what five scores make of the same q and k."""

from typing import NamedTuple

import torch
from torch import Tensor

from mingpt.models.attention.kernels import KERNELS, Need
from mingpt.models.attention.layers import AttentionConfig, GroupedQueryAttention
from mingpt.models.attention.masks import FULL
from mingpt.models.attention.scores import SCORES

from .sheet import BLUE, GREEN, ORANGE, PALE, SOFT, Sheet

TEXT = "ROMEO:"
D, CELL, SMALL = 3, 0.305, 0.205


class Head(NamedTuple):
    """What the only head of a random layer has and makes: t queries, t keys, width D."""

    q: Tensor
    k: Tensor
    v: Tensor
    scores: Tensor
    weights: Tensor
    output: Tensor
    seen: Tensor


def draw() -> Sheet:
    sheet, head, t = Sheet(8, 5.3), _head(), len(TEXT)
    top, side = 0.72, t * CELL
    lefts = (0.36, 0.36 + side + 0.52, 0.36 + 2 * side + 1.15, 0.36 + 2 * side + D * CELL + 1.85)
    titles = ("scores  $q·k/√d$", "weights  softmax by row", "values  $v$", "output  $y$")
    widths = (side, side, D * CELL, D * CELL)
    for left, width, title in zip(lefts, widths, titles, strict=True):
        sheet.title(left + width / 2, 0.32, title)
    sheet.matrix(lefts[0], top, head.scores, CELL, most=float(head.scores.abs().max()), digits=1)
    sheet.matrix(lefts[1], top, head.weights, CELL, digits=2, shown=head.seen, font=7)
    largest = float(head.v.abs().max())
    sheet.matrix(lefts[2], top, head.v, CELL, most=largest, digits=1, colour=GREEN)
    sheet.matrix(lefts[3], top, head.output, CELL, most=largest, digits=1, colour=GREEN)
    for left in lefts[:2]:
        sheet.along(left, top, TEXT, CELL)
        sheet.along(left, top, TEXT, CELL, down=True)
    for left in lefts[2:]:
        sheet.along(left, top, TEXT, CELL, down=True)
    middle = top + side / 2
    sheet.arrow((lefts[0] + side + 0.06, middle), (lefts[1] - 0.22, middle), ORANGE, lw=2)
    sheet.text(lefts[1] + side + 0.24, middle, "×", size=13, colour=ORANGE)
    sheet.text(lefts[2] + D * CELL + 0.3, middle, "=", size=13, colour=ORANGE)
    for left in lefts[:2]:
        sheet.text(left + side / 2, top + side + 0.13, "key", size=8.5, colour=SOFT)
    sheet.text(0.1, middle, "query", size=8.5, colour=SOFT, rotation=90)
    _five(sheet, head, 3.6)
    label = [(BLUE, "above 0"), (GREEN, "v, y above 0"), (ORANGE, "below 0"), (PALE, "masked out")]
    sheet.colours(0.3, 5.15, label)
    return sheet


def _head() -> Head:
    torch.manual_seed(8)
    layer = GroupedQueryAttention(AttentionConfig(n_embd=D, n_query_head=1, position="none", bias=False)).double()
    for each in (layer.q_proj, layer.k_proj, layer.v_proj):
        torch.nn.init.normal_(each.weight, 0, 0.62)
    table = torch.randn(len(set(TEXT)), D, dtype=torch.float64)
    x = table[[sorted(set(TEXT)).index(letter) for letter in TEXT]][None]
    q, k, v = (each(x)[:, None].detach() for each in (layer.q_proj, layer.k_proj, layer.v_proj))
    need = layer.need(q, len(TEXT))
    output, weights = KERNELS["reference"].attend(q, k, v, need)
    assert weights is not None
    scores = layer.score.logits(q, k)
    return Head(q, k, v[0, 0], scores[0, 0], weights[0, 0], output[0, 0], need.mask.sees(*need.positions()))


def _five(sheet: Sheet, head: Head, top: float) -> None:
    """Without a mask, so that it shows which of them look at the query at all."""
    sheet.text(0.25, top - 0.52, "what each score makes of these q and k, without a mask", size=10.5, ha="left")
    for number, name in enumerate(("scaled_dot", "dot", "multiplicative", "additive", "linear_concat")):
        x = 0.3 + number * 1.54
        sheet.text(x + len(TEXT) * SMALL / 2, top - 0.2, name, size=9.5)
        sheet.matrix(x, top, _weights(name, head), SMALL)
        if number == 0:
            sheet.along(x, top, TEXT, SMALL, down=True, size=7.5)
    bottom = top + len(TEXT) * SMALL + 0.15
    sheet.text(7.7, bottom, "every row the same: it can't see the query", size=9, colour=ORANGE, ha="right")


def _weights(name: str, head: Head) -> Tensor:
    """(t, t), the score's own weights random."""
    torch.manual_seed(5)
    score, t = SCORES[name](AttentionConfig(n_embd=D, n_query_head=1)).double(), len(TEXT)
    for parameter in score.parameters():
        torch.nn.init.normal_(parameter, 0, 0.8)
    need = Need(FULL, score, t, t, D, torch.device("cpu"), torch.float64)
    with torch.no_grad():
        weights = KERNELS["reference"].attend(score.prepare(head.q), head.k, head.v[None, None], need)[1]
    assert weights is not None
    return weights[0, 0]
