"""How far back a trained model looks: replace the token so many places back, and see how far its prediction moves.

It needs nothing but predictions, so that n-gram models are measured as networks are.
"""

from typing import Any

from torch import Tensor

from mingpt.core.safe_parsing import Number, Whole
from mingpt.experiments.base import Lab, Measurement, Row, VariantFields
from mingpt.experiments.measurements.context_length import last_runs, validation_blocks
from mingpt.experiments.measurements.summaries import bands, by_variant, groups, mean
from mingpt.models.base import LanguageModel, evaluating
from mingpt.report.figure_layout import log_ticks
from mingpt.report.palette import Palette
from mingpt.report.panels import draw_bands, fit_height, name_baseline

PLACES = 64  # of the validation set, a prediction each
ROUNDING = 1e-7  # of float32: what is below has no meaning
IN_TABLE = (1, 4, 16, 64)
DISTANCES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # 1: the last token that was read


def predicted(model: LanguageModel, idx: Tensor) -> Tensor:
    """(b, v) probabilities of what follows (b, t) idx, float64, on the CPU."""
    with evaluating(model):
        return model(idx).logits[:, -1].cpu().double().softmax(-1)


def moved(model: LanguageModel, idx: Tensor, distance: int, before: Tensor) -> Tensor:
    """(b,) total variation distances, 0 to 1, float64, between the predictions of what follows (b, t) idx before and
    after the token `distance` places before that is replaced: by the next row's at that place, or the next token of the
    vocabulary where that is the same.  Exactly 0 where nothing changed.

    Args:
        idx: two rows or more.
        distance: 1 to t.
        before: what was `predicted` for idx.
    """
    other, at = idx.clone(), idx.shape[1] - distance
    other[:, at] = idx[:, at].roll(1)
    other[:, at] += other[:, at] == idx[:, at]
    other[:, at] %= model.config.vocab_size
    return (before - predicted(model, other)).abs().sum(-1) / 2


def _take(lab: Lab) -> list[Row]:
    rows = []
    for trial, trained, corpus in last_runs(lab):
        idx = validation_blocks(trained, corpus, PLACES)[:, :-1]
        before = predicted(trained.model, idx)
        for distance in (each for each in DISTANCES if each <= idx.shape[1]):
            distances = moved(trained.model, idx, distance, before)
            found = {"moved": distances.mean().item(), "largest": distances.max().item()}
            rows.append(trial.row(distance=distance, places=len(idx), **found))
    return rows


def _draw(rows: list[Row], figure: Any, look: Palette) -> None:
    found = bands(rows, "distance", "moved", log=True)
    figure.suptitle("How much replacing a token changes the prediction")
    label = "total variation distance"
    axes = draw_bands(figure, found, look, x_label="places back; 1: the last token", y_label=label)
    fit_height(figure, axes)
    farthest = max(row["distance"] for row in rows)
    for each in axes:
        each.set(yscale="log")
        each.set_ylim(ROUNDING, 1.5)
        log_ticks(each.xaxis, [at for at in (1, 4, 16, 64, 256) if at <= farthest])
        each.yaxis.set_ticks([], minor=True)
    name_baseline(figure, [*found])


def _table(rows: list[Row]) -> list[Row]:
    """Mean total variation distance at some distances."""
    return [
        {
            "variant": variant,
            **{f"{at} back": mean(each, "moved") for (at,), each in groups(own, "distance").items() if at in IN_TABLE},
        }
        for variant, own in by_variant(rows).items()
    ]


class RowFields(VariantFields):
    distance: Whole
    moved: Number


CAPTION = (
    "How much the prediction changes when the token so many places back is replaced: total variation distance, 0 to 1, "
    "mean over places of the validation text. Line: geometric mean over seeds; shaded: 95 % t-interval of the mean "
    "logarithm. Grey in each panel: the baseline. A line that ends is exactly 0 in some seed from there on, or below "
    f"{ROUNDING:.0e}, which is rounding."
)
sensitivity = Measurement(
    "sensitivity-by-distance",
    _take,
    _draw,
    _table,
    of_runs=True,
    of_model=True,
    row=RowFields,
    caption=CAPTION,
)
