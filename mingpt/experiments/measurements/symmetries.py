"""The matrix of scores S = X W_q^T W_k X^T and its softmax A, head by head, before mask and positions, in float64."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from mingpt.core.safe_parsing import Number
from mingpt.experiments.base import Lab, Measurement, Row
from mingpt.experiments.measurements.summaries import groups
from mingpt.models.attention.layers import GroupedQueryAttention
from mingpt.models.base import ModelConfig
from mingpt.report.palette import Palette

T, E, H = 24, 32, 4
D = E // H
# (W_q, W_k), each (h, d, e) -> the (h, e, e) matrix between two inputs
PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "W_q, W_k free": lambda q, k: q.mT @ k,
    "W_q = W_k": lambda q, k: q.mT @ q,
    "W_q^T W_k symmetrised": lambda q, k: (q.mT @ k + k.mT @ q) / 2,
}


def _asymmetry(lab: Lab) -> list[Row]:
    """max |S - S^T| and max |A - A^T| of each head; and of free weights on inputs in whose span the antisymmetric part
    of the product vanishes."""
    rows = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        q, k = torch.randn(2, H, D, E, dtype=torch.float64, generator=generator)
        x = torch.randn(T, E, dtype=torch.float64, generator=generator)
        for name, product in PRODUCTS.items():
            rows += _rows(name, seed, x, product(q, k))
        free = PRODUCTS["W_q, W_k free"](q, k)
        line = x[:, :1] * torch.randn(E, dtype=torch.float64, generator=generator)  # all inputs on one line
        rows += _rows("free, inputs on one line", seed, line, free)
    return rows


def _rows(name: str, seed: int, x: Tensor, product: Tensor) -> list[Row]:
    scores = x @ product @ x.mT / D**0.5
    weights = scores.softmax(-1)
    of_scores, of_weights = ((m - m.mT).abs().amax((1, 2)).tolist() for m in (scores, weights))
    return [
        {"case": name, "seed": seed, "head": head, "scores": s, "weights": w}
        for head, (s, w) in enumerate(zip(of_scores, of_weights, strict=True))
    ]


def _draw(rows: list[Row], figure: Any, look: Palette) -> None:
    names = list(dict.fromkeys(row["case"] for row in rows))
    figure.set_figheight(2.6)
    figure.suptitle("How far attention scores S and weights A are from symmetric")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, label in zip(panels, OF, ("max |S - Sᵀ|", "max |A - Aᵀ|"), strict=True):
        for at, name in enumerate(names):
            values = [max(row[key], LEAST) for row in rows if row["case"] == name]
            axes.plot(values, [at] * len(values), **look.dots(name), ms=5, alpha=0.6)
        axes.set(xscale="log", xlabel=label)
    panels[0].set_yticks(range(len(names)), [name.replace(", ", ",\n").replace(" sym", "\nsym") for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)


@torch.no_grad()
def _equivariance(lab: Lab) -> list[Row]:
    """How far attention of permuted inputs is from permuted attention: nothing without positions and mask."""
    rows = []
    for mask, position in (("full", "none"), ("causal", "none"), ("full", "rope")):
        torch.manual_seed(0)
        config = ModelConfig(n_embd=E, n_query_head=H, mask=mask, position=position, block_size=T)
        layer = GroupedQueryAttention(config).double().eval()
        for parameter in layer.parameters():
            parameter.normal_(0, 0.5)
        x, order = torch.randn(1, T, E, dtype=torch.float64), torch.randperm(T)
        difference = (layer(x).output[:, order] - layer(x[:, order]).output).abs().max()
        rows.append({"mask": mask, "position": position, "largest_difference": float(difference)})
    return rows


def _table(rows: list[Row]) -> list[Row]:
    """The least and the largest asymmetry of all heads and seeds; below ROUNDING is none."""
    return [
        {
            "case": case,
            "heads": len(own),
            **{
                f"max {matrix}, {which} of heads": of(row[key] for row in own)
                for key, matrix in zip(OF, ("|S - Sᵀ|", "|A - Aᵀ|"), strict=True)
                for which, of in (("least", min), ("most", max))
            },
        }
        for (case,), own in groups(rows, "case").items()
    ]


def _equivariance_table(rows: list[Row]) -> list[Row]:
    """Return the largest |f(P x) - P f(x)| of each mask and position: 0 where f is permutation-equivariant."""
    name = "largest difference of reordered outputs"
    return [{"mask": row["mask"], "position": row["position"], name: row["largest_difference"]} for row in rows]


OF = ("scores", "weights")
LEAST = 1e-17  # is drawn for 0
ROUNDING = 1e-9  # float64, of scores up to some hundreds


class HeadsFields(TypedDict):
    case: str
    scores: Number
    weights: Number


class MasksFields(TypedDict):
    mask: str
    position: str
    largest_difference: Number


asymmetry = Measurement(
    "asymmetry",
    _asymmetry,
    _draw,
    _table,
    row=HeadsFields,
    caption="The largest difference between a matrix and its transpose, of attention scores S (left) and of their "
    "softmax A (right), by what the weights and inputs are. A dot for each head; below 1e-9 is rounding.",
    variant=lambda row: str(row["case"]),
)
equivariance = Measurement("equivariance", _equivariance, table=_equivariance_table, row=MasksFields)
