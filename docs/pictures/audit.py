"""Dependency maps of a sound model and of three that see what they predict, as the audit's first check finds it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mingpt.interop.audit.checks.look_ahead import look_ahead
from mingpt.interop.audit.effort import Effort
from mingpt.interop.audit.modules import target_of_model
from mingpt.interop.audit.results import FAIL

from .sheet import BLUE, ORANGE, PALE, Sheet

T, VOCABULARY, WIDTH, CELL = 9, 7, 8, 0.19


class Model(nn.Module):
    """One layer of attention over `seen`, (t, t), after a mean over all positions if it is `mixed`."""

    vocab_size, block_size = VOCABULARY, T

    def __init__(self, seen: Tensor, mixed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.seen, self.mixed = seen, mixed
        self.embedding, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(T, WIDTH)
        self.mix, self.head = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        t = ids.shape[1]
        x = self.embedding(ids) + self.position(torch.arange(t))
        x = x - x.mean(1, keepdim=True) if self.mixed else x
        q, k, v = self.mix(x).chunk(3, dim=-1)
        return self.head(F.scaled_dot_product_attention(q, k, v, self.seen[:t, :t]))


def draw() -> Sheet:
    sheet = Sheet(8, 2.95)
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    late = causal.clone()
    late[2, 6] = True
    models = [
        ("sound", Model(causal)),
        ("mask off by one", Model(causal.roll(-1, 0) | causal)),
        ("one pair is wrong", Model(late)),
        ("mean over time", Model(causal, mixed=True)),
    ]
    for number, (name, model) in enumerate(models):
        x = 0.42 + 1.93 * number
        sheet.title(x + T * CELL / 2, 0.2, name)
        moved = _moved(model)
        colours: list[list[str | None]] = [
            [(ORANGE if j > i else BLUE) if moved[i, j] else PALE for j in range(T)] for i in range(T)
        ]
        sheet.cells(x, 0.4, colours, CELL)
        sheet.axes(x, 0.4, T * CELL, "token j", "prediction i")
        sheet.text(x + T * CELL / 2, 2.42, _said(model), size=8.5)
    sheet.colours(0.42, 2.78, [(BLUE, "moves with an earlier token, or its own"), (ORANGE, "moves with a later token")])
    sheet.colours(5.6, 2.78, [(PALE, "does not move")])
    return sheet


def _moved(model: Model) -> Tensor:
    """Return (t, t), True where prediction i moves when token j is replaced."""
    target = target_of_model(model)
    ids = target.ids(1, T)
    before, moved = target.logits(ids), torch.zeros(T, T, dtype=torch.bool)
    for j in range(T):
        other = ids.clone()
        other[0, j] = target.others(ids)[0, j]
        moved[:, j] = (target.logits(other) != before).any(-1)[0]
    return moved


def _said(model: Model) -> str:
    """Return the earliest pair that the check finds."""
    result = look_ahead(target_of_model(model), Effort(float("inf")))
    if result.outcome != FAIL:
        return "look_ahead passes"
    return f"fails: i={result.evidence['i']}, j={result.evidence['j']}"
