"""Recall and copying: the share of symbols that small models of an experiment's kinds repeat, by distance."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, NotRequired

from mingpt.core.safe_parsing import Whole
from mingpt.experiments.base import Lab, Measurement, Row
from mingpt.experiments.measurements.memory_tasks import COPYING, RECALL, Task
from mingpt.experiments.measurements.memory_training import FRESH, PROGRESS, RECIPES, TaskRow, rows_of
from mingpt.experiments.measurements.summaries import groups, mean
from mingpt.report.formatting import NONE
from mingpt.report.palette import INK, Palette
from mingpt.report.panels import grid

REACHED = 0.9  # share of symbols from which on a distance is reached
NO_LIMIT, NOT_TRIED = "all", "not tried"


class RowFields(TaskRow):
    """What is used of a row; without `limit`, one of a record from before it was written."""

    model: str
    seed: Whole
    limit: NotRequired[Whole | None]


def memory_tasks(
    models: Mapping[str, Mapping[str, Any]], limits: Mapping[str, int] | None = None
) -> tuple[Measurement, ...]:
    """Return the measurements recall and copying of an experiment.

    Args:
        models: settings of each model by its name, of one size.
        limits: the receptive fields, in tokens, of the models that don't see all.
    """
    return tuple(_measurement(task, models, limits or {}) for task in (RECALL, COPYING))


def _measurement(task: Task, models: Mapping[str, Mapping[str, Any]], limits: Mapping[str, int]) -> Measurement:
    return Measurement(
        task.name,
        partial(_take, task, models, limits),
        partial(_draw, task),
        _table,
        smaller=f"{RECIPES.quick.steps} steps, {len(RECIPES.quick.seeds)} seeds",
        row=RowFields,
        caption=" ".join([ABOUT[task.name], CAPTION, *([LIMITED] if limits else [])]),
        variant=lambda row: str(row["model"]),
    )


def _take(task: Task, models: Mapping[str, Mapping[str, Any]], limits: Mapping[str, int], lab: Lab) -> list[Row]:
    """Return a row for each model, distance and seed; of each model up to the first distance at which no seed made any
    progress."""
    recipe = lab.pick(RECIPES)
    rows: list[Row] = []
    for name, settings in models.items():
        for distance in recipe.distances:
            found = rows_of(task, dict(settings), recipe, distance, lab.tasks)
            rows += [{"model": name, "limit": limits.get(name), **row} for row in found]
            if all(row["ended"] == PROGRESS for row in found):
                break
    return rows


def _draw(task: Task, rows: list[Row], figure: Any, look: Palette) -> None:
    """Draw a panel for each model with a bar for each seed at each distance; to its right, where it was measured, what
    the same models get right at twice the distance."""
    keys = [key for key in PANELS if all(key in row for row in rows)]
    names, distances = list(dict.fromkeys(row["model"] for row in rows)), sorted({row["distance"] for row in rows})
    panels = grid(
        figure,
        [name for name in names for _ in keys],
        look,
        x_label="distance of training, places back",
        y_label="share of symbols right",
        columns=len(keys),
    )
    for place, axes in enumerate(panels):
        name, key = names[place // len(keys)], keys[place % len(keys)]
        axes.set_title(PANELS[key].format(name=axes.get_title()))
        by_distance = [[row for row in rows if (row["model"], row["distance"]) == (name, each)] for each in distances]
        _bars(axes, [[row[key] for row in own] for own in by_distance], look.colour(name))
        axes.axhline(rows[0]["chance"], color=INK, lw=1, ls=":")
        axes.set(ylim=(0, 1.05), yticks=(0, 0.5, 1))
        axes.set_xticks(range(len(distances)), distances)
    figure.suptitle(f"{task.name.capitalize()}; dotted: chance, 1 in {round(1 / rows[0]['chance'])}")
    figure.set_figheight(REST + ROW * len(names))


def _bars(axes: Any, shares: Sequence[Sequence[float]], colour: str) -> None:
    """Draw a group of bars, side by side, for each distance; a dash where there are none."""
    for place, group in enumerate(shares):
        width = 0.8 / max(len(group), 1)
        at = [place + (number - (len(group) - 1) / 2) * width for number in range(len(group))]
        axes.bar(at, group, 0.8 * width, color=colour)
        if not group:
            axes.annotate(NONE, (place, 0.2), color=INK, ha="center", va="center")


def _table(rows: list[Row]) -> list[Row]:
    """Return a row for each model: its receptive field, how far it reached, and what was found at each distance."""
    limited = any(row.get("limit") for row in rows)
    doubled = all("at_twice" in row for row in rows)
    distances = sorted({row["distance"] for row in rows})
    table = []
    for (name,), own in groups(rows, "model").items():
        at = {distance: [row for row in own if row["distance"] == distance] for distance in distances}
        middle = {distance: median(row["accuracy"] for row in each) for distance, each in at.items() if each}
        line: Row = {"variant": name}
        if limited:
            line["receptive field"] = own[0].get("limit") or NO_LIMIT
        line[f"{REACHED:.0%} right in most seeds up to"] = reach(middle)
        line |= {f"{distance} back": cell(each) for distance, each in at.items()}
        if doubled:
            line |= {
                f"{distance}, tested at {2 * distance}": f"{mean(each, 'at_twice'):.0%}" if each else NOT_TRIED
                for distance, each in at.items()
            }
        table.append(line)
    return table


def cell(rows: Sequence[Row]) -> str:
    """Return `100%, 5 of 5 in 140 steps`: mean accuracy, how many seeds reached REACHED, and their median steps."""
    if not rows:
        return NOT_TRIED
    steps = [row["steps"] for row in rows if row["accuracy"] >= REACHED]
    needed = f" in {median(steps):,.0f} steps" if steps and max(steps) > 1 else ""
    return f"{mean(rows, 'accuracy'):.0%}, {len(steps)} of {len(rows)}{needed}"


def reach(accuracies: Mapping[int, float]) -> int:
    """Return the largest distance up to which accuracy is at least REACHED at all that were tried; 0: at none."""
    far = 0
    for distance in sorted(accuracies):
        if accuracies[distance] < REACHED:
            break
        far = distance
    return far


PANELS = {"accuracy": "{name}", "at_twice": "at twice the distance"}  # key of a row, title
REST, ROW = 0.9, 0.92  # inches: of title and axis, of a row of panels
ABOUT = {
    RECALL.name: "How often a model repeats the first symbol of a text, read so many places before; what lies in "
    "between are symbols of other kinds, which it need not remember.",
    COPYING.name: f"Share of {COPYING.length} symbols that a model repeats in their order, each so many places after "
    "it was read, with blanks in between.",
}
_R = RECIPES.full
CAPTION = (
    "A model is trained at each distance for itself, with the best of three learning rates, until it knows the answers "
    f"(training loss below {_R.learned:g}), for {_R.steps:,} steps at most (quick form: the best of two rates, "
    f"{RECIPES.quick.steps} steps). From step {_R.patience:,} on "
    f"training ends, too, where the mean loss of {_R.patience_of} steps is not {_R.progress:g} nats below that of "
    "guessing; where this ends the training of every seed, no larger distance is tried. Tested on "
    f"{FRESH:,} new texts. Left: at the distance of training; right: at twice as much. A bar for each seed; {NONE}: "
    f"not tried. In the table: the mean share, how many seeds got {REACHED:.0%} right, and the median of their steps."
)
LIMITED = "Receptive field, in tokens, computed: L (w - 1) + 1 of L layers with a window w, n - 1 of an n-gram model."
