"""Attention score functions compared: cost, what they can't represent, and which of them are equal."""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import TypedDict

from mingpt.core.safe_parsing import Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row, Sizes
from mingpt.experiments.measurements.summaries import groups
from mingpt.experiments.measurements.timing import SpreadFields, spread
from mingpt.model import GPT
from mingpt.models.attention.attention_maps import attention_weights
from mingpt.models.attention.layers import GroupedQueryAttention
from mingpt.models.attention.scores import SCORES, Multiplicative, Score
from mingpt.models.config import GPTConfig
from mingpt.report.palette import INK, QUIET, Palette
from mingpt.training.profiling import measure, peak_bytes
from mingpt.utils import pick_device

D, H = 16, 4  # head width, heads
BASELINE = "scaled_dot"  # the score that the others' costs are compared with
ROUNDING = 1e-12  # of float64
LENGTH, STEPS = Sizes(quick=64, full=256), Sizes(quick=300, full=2000)


def _layer(score: str, length: int = 64) -> GroupedQueryAttention:
    torch.manual_seed(0)
    return GroupedQueryAttention(
        GPTConfig(n_embd=D * H, n_query_head=H, score=score, position="none", block_size=length)
    )


def _costs(lab: Lab) -> list[Row]:
    """Forward and backward of one layer, its parameters and operations."""
    device, length = pick_device("auto"), lab.pick(LENGTH)
    x = torch.randn(8, length, D * H, generator=torch.Generator().manual_seed(0)).to(device)
    layers = {score: _layer(score, length).to(device) for score in SCORES}
    calls = {score: partial(_both_ways, layer, x) for score, layer in layers.items()}
    seconds = measure(calls, device, rounds=15)
    return [
        {
            "score": score,
            "length": length,
            "ms": spread(seconds[score], 1e-3),
            "peak_bytes": peak_bytes(calls[score], device),
            "parameters": sum(p.numel() for p in layer.parameters()),
            "flops_per_token": layer.flops_per_token(length),
        }
        for score, layer in layers.items()
    ]


def _both_ways(layer: nn.Module, x: Tensor) -> None:
    layer(x).output.sum().backward()


def _draw_costs(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    middle = [row["ms"]["median"] for row in rows]
    spans = [
        [row["ms"]["median"] - row["ms"]["q1"] for row in rows],
        [row["ms"]["q3"] - m for row, m in zip(rows, middle, strict=True)],
    ]
    names = [row["score"] for row in rows]
    axes.barh(names, middle, xerr=spans, capsize=3, ecolor=INK, color=[look.colour(name) for name in names])
    axes.invert_yaxis()
    axes.set(
        xlabel="forward and backward of a layer, ms",
        title=f"Time of each score function, {rows[0]['length']} positions",
    )


def _blindness(lab: Lab) -> list[Row]:
    """By how much the weights of two queries on the keys that both see differ, up to normalisation: 0, if no query
    decides them."""
    rows = []
    for score in SCORES:
        torch.manual_seed(0)
        config = GPTConfig(n_layer=1, n_embd=D * H, n_query_head=H, score=score, position="none", block_size=32)
        model = GPT(config).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.5)
        weights = attention_weights(model, torch.arange(32)[None])[0][0]  # (h, t, t)
        last = weights[:, -1]
        shared = torch.stack([last.where(torch.arange(32) <= i, 0.0) for i in range(32)], dim=1)
        expected = shared / shared.sum(-1, keepdim=True)
        rows.append({"score": score, "largest_difference": float((weights - expected).abs().max())})
    return rows


def _folding(lab: Lab) -> list[Row]:
    """k^T W q as a scaled dot product of k and a q whose projection has W in it: the largest difference, float64."""
    layer = _layer("multiplicative").double()
    plain = _layer("scaled_dot").double()
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if not name.startswith("score.")})
    assert isinstance(layer.score, Multiplicative)
    with torch.no_grad():
        layer.score.weight.normal_(0, 0.5)
        for proj, bias in ((layer.q_proj.weight, False), (layer.q_proj.bias, True)):
            by_head = proj.view(H, D) if bias else proj.view(H, D, -1)
            folded = math.sqrt(D) * (
                torch.einsum("hij,hj->hi" if bias else "hij,hje->hie", layer.score.weight, by_head)
            )
            (plain.q_proj.bias if bias else plain.q_proj.weight).copy_(folded.reshape(proj.shape))
        x = torch.randn(2, 64, D * H, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        difference = (layer(x).output - plain(x).output).abs().max()
    return [{"largest_difference": float(difference), "dtype": "float64"}]


class _Settings:
    n_query_head, head_width = 1, D


def _angles(lab: Lab) -> list[Row]:
    """Return the share of the variance of cos(q, k) of fresh unit vectors that each score function explains, trained to
    predict it with no projection before it, for three seeds."""
    rows = []
    for name in SCORES:
        for seed in range(3):
            torch.manual_seed(seed)
            score, scale = SCORES[name](_Settings()), nn.Parameter(torch.tensor([1.0, 0.0]))
            optimizer = torch.optim.Adam([*score.parameters(), scale], lr=1e-2)
            for _ in range(lab.pick(STEPS)):
                loss = _miss(score, scale).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                q, k = _unit(256), _unit(256)
                target = q @ k.mT
                missed = (scale[0] * score.logits(score.prepare(q), k) + scale[1] - target).square().mean()
                rows.append({"score": name, "seed": seed, "explained": float(1 - missed / target.var())})
    return rows


def _miss(score: Score, scale: Tensor) -> Tensor:
    q, k = _unit(32), _unit(32)
    return scale[0] * score.logits(score.prepare(q), k) + scale[1] - q @ k.mT


def _unit(count: int) -> Tensor:
    return F.normalize(torch.randn(1, 1, count, D), dim=-1)


def _draw_angles(rows: list[Row], figure: Any, look: Palette) -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(row["score"] for row in rows))
    for at, name in enumerate(names):
        own = [row["explained"] for row in rows if row["score"] == name]
        axes.plot(own, [at] * len(own), **look.dots(name), ms=6, alpha=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xlabel="share of the variance of cos(q, k) explained", title="Can a score function learn an angle?")
    axes.axvline(0, color=QUIET, ls="-", lw=0.8)


def _cost_table(rows: list[Row]) -> list[Row]:
    base = next((row["ms"]["median"] for row in rows if row["score"] == BASELINE), None)
    return [
        {
            "score": row["score"],
            "positions": row["length"],
            "forward and backward, ms": row["ms"]["median"],
            f"times {BASELINE}": row["ms"]["median"] / base if base else None,
        }
        for row in rows
    ]


def _blindness_table(rows: list[Row]) -> list[Row]:
    """How differently two queries weigh the keys that both see."""
    return [{"score": row["score"], "largest difference": row["largest_difference"]} for row in rows]


def _folding_table(rows: list[Row]) -> list[Row]:
    compared = "multiplicative; scaled_dot with its matrix in the query projection"
    return [{"scores": compared, "type": row["dtype"], "largest difference": row["largest_difference"]} for row in rows]


def _angle_table(rows: list[Row]) -> list[Row]:
    return [
        {
            "score": name,
            "variance explained, lowest seed": min(row["explained"] for row in own),
            "highest": max(row["explained"] for row in own),
            "seeds": len({row["seed"] for row in own}),
        }
        for (name,), own in groups(rows, "score").items()
    ]


def _score(row: Row) -> str:
    return str(row["score"])


class CostsFields(TypedDict):
    score: str
    length: Whole
    ms: SpreadFields


class QueriesFields(TypedDict):
    score: str
    largest_difference: Number


class FoldingFields(TypedDict):
    largest_difference: Number
    dtype: str


class AnglesFields(TypedDict):
    score: str
    seed: Whole
    explained: Number


score_costs = Measurement(
    "score-costs",
    _costs,
    _draw_costs,
    _cost_table,
    smaller=f"{LENGTH.quick} positions",
    timed=True,
    row=CostsFields,
    caption="Time of one attention layer, forward and backward, by its score function. Bar: median; line: quartiles.",
    variant=_score,
)
query_blindness = Measurement("query-blindness", _blindness, table=_blindness_table, row=QueriesFields)
folding = Measurement("folding", _folding, table=_folding_table, row=FoldingFields)
angle = Measurement(
    "angle",
    _angles,
    _draw_angles,
    _angle_table,
    smaller=f"{STEPS.quick} steps of the score alone",
    row=AnglesFields,
    caption="How much of the cosine of two vectors each score function can learn, with no projection before it: 1 is "
    "all. A dot for each seed.",
    variant=_score,
)
