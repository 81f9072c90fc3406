"""The effect of an idea in several settings, and the interaction of two ideas: how far one's depends on the other.

An effect is the difference of two variants' validation losses, paired by seed.  An interaction takes four variants,
with neither idea, with one, with the other, and with both.  It is a difference of differences: what the first idea
changes where the second is there, minus what it changes where it is not (Montgomery, Design and Analysis of
Experiments, chapter 5: the 2^2 factorial design).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mingpt.core.run_files.records import read_run
from mingpt.core.safe_parsing import Count, Number
from mingpt.core.statistics import LEVEL, MARGIN, Difference, difference, inside_margin
from mingpt.experiments.base import Lab, Measurement, Row, VariantFields
from mingpt.experiments.measurements.summaries import by_variant
from mingpt.report.fonts import in_lines
from mingpt.report.formatting import chance, change, number
from mingpt.report.interval_plot import NAME, ROW, Interval, draw_intervals
from mingpt.report.palette import INK, Palette

EFFECT, INTERACTION = "effect", "interaction"
Idea = tuple[str, str]  # names of what stands without it, and with it
REST = 1.25  # inches: of axis and labels


def _take(lab: Lab) -> list[Row]:
    losses = [(trial, read_run(trial.folders[-1]).last.get("val_loss")) for trial in lab.trials]
    return [trial.row(loss=loss) for trial, loss in losses if loss is not None]


def _losses(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    return {name: {row["seed"]: row["loss"] for row in own} for name, own in by_variant(rows).items()}


def two_by_two(rows: Sequence[Row], first: Idea, second: Idea) -> dict[str, Difference | None]:
    """Return what either idea changes, without and with the other, and the interaction.

    None where fewer than two seeds have all the losses that an effect needs.

    Args:
        rows: a trial's loss each; variants are named `absolute+MHA`, after both ideas.
        first, second: the two ideas.
    """
    losses = _losses(rows)
    (off, on), (other_off, other_on) = first, second
    neither, only, other, both = (
        losses.get(f"{a}+{b}", {}) for a, b in ((off, other_off), (on, other_off), (off, other_on), (on, other_on))
    )
    return {
        f"{on} with {other_off}": difference(only, neither),
        f"{on} with {other_on}": difference(both, other),
        f"{other_on} with {off}": difference(other, neither),
        f"{other_on} with {on}": difference(both, only),
        INTERACTION: difference(_minus(both, other), _minus(only, neither)),
    }


def _minus(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    return {seed: first[seed] - second[seed] for seed in first.keys() & second.keys()}


def _interaction_table(rows: list[Row], *, ideas: tuple[Idea, Idea], margin: float) -> list[Row]:
    return [
        {
            **_row(name, found),
            **(_test(found, margin) if found and name == INTERACTION else {"p": None, "outcome": None, "MDE": None}),
        }
        for name, found in two_by_two(rows, *ideas).items()
    ]


def _row(name: str, found: Difference | None) -> Row:
    return {"effect": name, "difference ± 95 % CI": change(found) if found else None}


def _test(found: Difference, margin: float) -> Row:
    equivalent = f"none beyond ±{margin:g}" if inside_margin(found, margin) else "inconclusive"
    return {
        "p": chance(found.p),
        "outcome": "significant" if found.p < LEVEL else equivalent,
        "MDE": number(found.mde),
    }


def _draw_interaction(rows: list[Row], figure: Any, look: Palette, *, ideas: tuple[Idea, Idea], margin: float) -> None:
    _draw(two_by_two(rows, *ideas), figure, look, margin, "Each idea, and their interaction")


def _draw(effects: Mapping[str, Difference | None], figure: Any, palette: Palette, margin: float, title: str) -> None:
    """Draw a line for each effect: mean and interval, and the margin shaded; the interaction in a colour."""
    found = {name: each for name, each in effects.items() if each}
    figure.suptitle(title)
    figure.set_figheight(REST + ROW * len(found))
    intervals = [
        Interval(
            label=f"{in_lines(name, NAME)}\n{change(each)}",
            mean=each.mean,
            low=each.low,
            high=each.high,
            style=_style(name, palette),
        )
        for name, each in found.items()
    ]
    draw_intervals(figure.subplots(), intervals, margin, "change of the validation loss, nats per token")


def _style(name: str, palette: Palette) -> dict[str, Any]:
    special = name == INTERACTION
    return {
        "color": palette.colour(name) if special else INK,
        "marker": "D" if special else "o",
        "ls": "none",
        "mew": 0,
    }


class RowFields(VariantFields):
    seed: Count
    loss: Number


HOW = "Mean and 95 % t-interval, paired by seed. Shaded: ±{margin:g}, the margin of equivalence."


def interaction(first: Idea, second: Idea, margin: float = MARGIN) -> Measurement:
    """Return the measurement of an experiment whose variants are named after two ideas: `absolute+MHA`.

    Args:
        first, second: the two ideas.
        margin: half the width, in nats, of the range inside which an interaction counts as none.
    """
    draw = partial(_draw_interaction, ideas=(first, second), margin=margin)
    table = partial(_interaction_table, ideas=(first, second), margin=margin)
    caption = (
        "What either idea changes in the validation loss, without and with the other; and their interaction, the "
        f"second line minus the first, or the fourth minus the third, which is the same. {HOW.format(margin=margin)} "
        "p: paired t-test of the interaction, the one test of this table. MDE: minimum detectable effect (power 0.8)."
    )
    return Measurement(INTERACTION, _take, draw, table, of_runs=True, row=RowFields, caption=caption)


Pairs = Mapping[str, tuple[str, str]]


def _pairs(rows: Sequence[Row], pairs: Pairs) -> dict[str, Difference | None]:
    """Return the second variant's loss minus the first's of each pair that this form has."""
    losses = _losses(rows)
    there = {name: pair for name, pair in pairs.items() if losses.keys() >= {*pair}}
    return {name: difference(losses[variant], losses[baseline]) for name, (baseline, variant) in there.items()}


def _pairs_table(rows: list[Row], *, pairs: Pairs) -> list[Row]:
    return [_row(name, found) for name, found in _pairs(rows, pairs).items()]


def _draw_pairs(rows: list[Row], figure: Any, look: Palette, *, pairs: Pairs, idea: str, margin: float) -> None:
    _draw(_pairs(rows, pairs), figure, look, margin, idea)


def effect(idea: str, pairs: Pairs, margin: float = MARGIN) -> Measurement:
    """Return the measurement of one idea's effect in several settings.

    Args:
        idea: what is subtracted from what, as `RoPE minus learned positions`.
        pairs: (variant without, variant with the idea) by the setting's name.
        margin: half the width, in nats, of the range inside which an effect counts as none.
    """
    draw, table = partial(_draw_pairs, pairs=pairs, idea=idea, margin=margin), partial(_pairs_table, pairs=pairs)
    caption = (
        f"Validation loss, {idea}, by how both were trained. {HOW.format(margin=margin)} The tests of these pairs are "
        "in the first table and in that of the other pairs."
    )
    return Measurement(EFFECT, _take, draw, table, of_runs=True, row=RowFields, caption=caption)
