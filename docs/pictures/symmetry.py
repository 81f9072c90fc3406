"""When the scores are symmetric, and that their softmax is not even then."""

import torch
from torch import Tensor

from mingpt.models.attention.layers import AttentionConfig, GroupedQueryAttention
from mingpt.models.attention.masks import FULL

from .sheet import BLUE, GREEN, ORANGE, SOFT, Sheet

T, E, CELL = 6, 6, 0.26


def draw() -> Sheet:
    sheet = Sheet(8, 3.2)
    for number, tied in enumerate((False, True)):
        left = 0.3 + number * 3.95
        scores, weights = _both(tied)
        sheet.title(left + 1.72, 0.24, "$W_q = W_k$" if tied else "$W_q$ and $W_k$ free")
        for x, name, values, colour in ((left, "S", scores, BLUE), (left + 1.9, "A", weights, GREEN)):
            sheet.matrix(x, 0.78, values, CELL, most=float(values.abs().max()), colour=colour)
            off = float((values - values.mT).abs().max())
            label = "symmetric" if off < 1e-12 else "not symmetric"
            of = "scores $S$" if name == "S" else "weights $A$ = softmax($S$)"
            sheet.text(x + T * CELL / 2, 0.6, of, size=9.5)
            sheet.axes(x, 0.78, T * CELL, "key", "query")
            sheet.text(x + T * CELL / 2, 2.68, label, size=9.5, colour=GREEN if off < 1e-12 else ORANGE)
            sheet.line([(x, 0.78), (x + T * CELL, 0.78 + T * CELL)], SOFT, 0.7)
    label = [(BLUE, "score above 0"), (ORANGE, "below 0"), (GREEN, "weight; the darkest is the largest of its square")]
    sheet.colours(0.3, 2.98, label)
    return sheet


def _both(tied: bool) -> tuple[Tensor, Tensor]:
    """Scores and weights of one head on random inputs, without a mask and without positions."""
    torch.manual_seed(2)
    config = AttentionConfig(n_embd=E, n_query_head=1, position="none", mask="full", bias=False, kernel="reference")
    layer = GroupedQueryAttention(config).double()
    for each in (layer.q_proj, layer.k_proj):
        torch.nn.init.normal_(each.weight, 0, 0.55)
    if tied:
        layer.k_proj.load_state_dict(layer.q_proj.state_dict())
    x = torch.randn(1, T, E, dtype=torch.float64)
    with torch.no_grad():
        scores = layer.score.logits(layer.q_proj(x)[:, None], layer.k_proj(x)[:, None])[0, 0]
        weights = layer(x).weights
    assert weights is not None
    assert layer.mask is FULL
    return scores, weights[0, 0]
