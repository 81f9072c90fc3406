"""The columns of a comparison: one list, from which terminal, Markdown, HTML, JSON, CSV and data frames are made.

A column is a metric: what it takes from a row of the comparison, and how that is shown.  A row is a variant, or the
test of a pair of variants.
"""

import csv
import io
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mingpt.core.statistics import Estimate
from mingpt.report.compare import Comparison, Variant
from mingpt.report.formatting import NONE, chance, change, counted, estimate, flops, integer, losses, number, seconds
from mingpt.report.significance import NOT_TESTED, SignificanceTest
from mingpt.report.table import Table

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant in its comparison.

    Attributes:
        test, test_at_seconds, test_at_flops: test of the variant against the baseline, at equal steps, seconds and
            FLOPs; None for the baseline.
    """

    result: Comparison
    variant: Variant
    test: SignificanceTest | None
    test_at_seconds: SignificanceTest | None = None
    test_at_flops: SignificanceTest | None = None

    @property
    def difference(self) -> Estimate | None:
        """The variant's loss minus the baseline's; without an interval where no seed changes either."""
        found = self.test.difference if self.test else None
        if found is None:
            return None
        exact = self.test is not None and self.test.outcome == NOT_TESTED and found.spread == 0
        low, high = (None, None) if exact else (found.low, found.high)
        return Estimate(mean=found.mean, low=low, high=high, n=len(found.seeds))

    @property
    def mde(self) -> float | None:
        """Minimum detectable effect; None where it is not tested."""
        tested = self.test is not None and self.test.outcome != NOT_TESTED
        return self.test.difference.mde if tested and self.test and self.test.difference else None

    def mean(self, key: str) -> float | None:
        """The mean over the seeds of what the last line of their metrics.jsonl says of `key`; None of nothing."""
        values = [line[key] for line in self.variant.last if line.get(key) is not None]
        return float(np.mean(values)) if values else None

    @property
    def below_4_gram(self) -> bool | None:
        """Whether the mean loss is below the 4-gram model's on the same text; None where either is not known."""
        line = self.result.baselines.get(FOUR_GRAM)
        return None if line is None or self.variant.loss is None else self.variant.loss.mean < line

    @property
    def n(self) -> int:
        """How many seeds have a validation loss; all, where none has."""
        return self.variant.loss.n if self.variant.loss else len(self.variant.seeds)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric of a comparison.

    Attributes:
        name: key in JSON, CSV and data frames; `name_low` and `name_high` are the 95 % interval of an `interval`.
        title: heading of the tables that people read; may hold {unit}, {at} and {flops}; empty: in none of these.
        value: row -> its value, a number, text or an Estimate; None: the row has none.
        text: value -> the text that tables show.
        interval: True if the value is an Estimate.
        compute: what training took, or a loss at equal compute: in a page's second table.
    """

    name: str
    title: str
    value: Callable[[Row], Any]
    text: Callable[[Any], str] = str
    interval: bool = False
    compute: bool = False

    def record(self, row: Row) -> Record:
        """The plain values of a row."""
        value = self.value(row)
        if not self.interval:
            return {self.name: value}
        mean, low, high = (value.mean, value.low, value.high) if value else (None, None, None)
        return {self.name: mean, f"{self.name}_low": low, f"{self.name}_high": high}


def _outcome(test: SignificanceTest | None) -> str | None:
    return test.outcome if test else None


FOUR_GRAM = "4-gram"  # n-gram model whose loss a trained model is measured by
MDE = "minimum_detectable_effect"
COLUMNS = (
    Column(name="variant", title="variant", value=lambda row: row.variant.name),
    Column(name="seeds", title="n", value=lambda row: row.n),
    Column(
        name="val_loss",
        title="validation loss\n{unit} ± 95 % CI",
        value=lambda row: row.variant.loss,
        text=estimate,
        interval=True,
    ),
    Column(name="unit", title="", value=lambda row: row.result.unit),
    Column(
        name="difference",
        title="difference\n± 95 % CI",
        value=lambda row: row.difference,
        text=change,
        interval=True,
    ),
    Column(name="p_holm", title="p (Holm)", value=lambda row: row.test.p if row.test else None, text=chance),
    Column(name="outcome", title="outcome", value=lambda row: _outcome(row.test)),
    Column(name=MDE, title="MDE", value=lambda row: row.mde, text=number),
    Column(
        name="below_4_gram",
        title="below\n4-gram",
        value=lambda row: row.below_4_gram,
        text=lambda below: "yes" if below else "no",
    ),
    Column(
        name="loss_at_seconds",
        title="loss\nat {at}",
        value=lambda row: row.variant.loss_at_seconds,
        text=estimate,
        interval=True,
        compute=True,
    ),
    Column(
        name="outcome_at_seconds",
        title="outcome\nat {at}",
        value=lambda row: _outcome(row.test_at_seconds),
        compute=True,
    ),
    Column(
        name="loss_at_flops",
        title="loss\nat {flops}",
        value=lambda row: row.variant.loss_at_flops,
        text=estimate,
        interval=True,
        compute=True,
    ),
    Column(
        name="outcome_at_flops",
        title="outcome\nat {flops}",
        value=lambda row: _outcome(row.test_at_flops) if row.variant.loss_at_flops else None,
        compute=True,
    ),
    Column(
        name="steps_to_baseline",
        title="steps to the\nbaseline's loss",
        value=lambda row: row.variant.steps_to_baseline,
        text=integer,
        compute=True,
    ),
    Column(
        name="pseudo_nats",
        title="pseudo-nats per\nmasked token",
        value=lambda row: row.mean("pseudo_nats"),
        text=number,
    ),
    Column(name="bits_per_byte", title="bits\nper byte", value=lambda row: row.mean("bits_per_byte"), text=number),
    Column(name="parameters", title="parameters", value=lambda row: row.variant.parameters, text=integer),
    Column(
        name="flops_per_token",
        title="MFLOP\nper token",
        value=lambda row: row.variant.flops_per_token,
        text=lambda value: f"{value / 1e6:,.2f}",
        compute=True,
    ),
    Column(
        name="training_flops",
        title="training\nFLOPs",
        value=lambda row: row.variant.training_flops,
        text=flops,
        compute=True,
    ),
    Column(name="steps", title="steps", value=lambda row: row.mean("step"), text=integer, compute=True),
    Column(name="tokens", title="tokens", value=lambda row: row.mean("tokens"), text=integer, compute=True),
    Column(
        name="cpu_seconds", title="CPU\ntime", value=lambda row: row.mean("cpu_seconds"), text=seconds, compute=True
    ),
    Column(
        name="seconds",
        title="wall\ntime",
        value=lambda row: row.variant.seconds.mean,
        text=seconds,
        compute=True,
    ),
)
VALIDATION = "Validation loss: mean over the validation set, the last part of the text."
TESTED = (
    "Difference: variant minus baseline, which is {baseline}, paired by seed, with its own 95 % t-interval over seeds. "
    "p: paired t-test, after Holm's correction over {pairs}. Outcome: better or worse where "
    "p is below 0.05; else equivalent where the interval lies inside ±{margin:g}; else inconclusive. MDE: minimum "
    "detectable effect (power 0.8, level 0.05 / {tests})."
)
BASELINES = "N-gram baselines (Kneser-Ney): {losses}."
COMPUTE = (
    "Times are those inside training steps; other work on the machine lengthens wall time, and CPU time far less. "
    "MFLOP: of a forward pass; training FLOPs: three times these, times tokens."
)
AT_EQUAL_COMPUTE = (
    "At equal time or FLOPs, a run that needs more is scored before its learning rate has fallen, which puts it at a "
    "disadvantage, and on part of the validation set."
)


def rows_of(result: Comparison) -> list[Row]:
    """A row for each variant."""
    tests, at_seconds, at_flops = (
        {test.variant: test for test in each if test.baseline == result.baseline}
        for each in (result.tests, result.tests_at_seconds, result.tests_at_flops)
    )
    return [
        Row(
            result=result,
            variant=each,
            test=tests.get(each.name),
            test_at_seconds=at_seconds.get(each.name),
            test_at_flops=at_flops.get(each.name),
        )
        for each in result.variants
    ]


def _tested(result: Comparison, tests: int) -> str:
    pairs = counted(tests, "tested pair")
    return TESTED.format(baseline=result.baseline, tests=tests, pairs=pairs, margin=result.margin)


def records_of(result: Comparison) -> list[Record]:
    """Plain values of every column for each variant; None of what there is not."""
    return [{key: value for column in COLUMNS for key, value in column.record(row).items()} for row in rows_of(result)]


def names() -> list[str]:
    """The keys of a record."""
    return [
        name
        for column in COLUMNS
        for name in ([column.name, f"{column.name}_low", f"{column.name}_high"] if column.interval else [column.name])
    ]


def to_csv(records: Iterable[Record]) -> str:
    """The records with a line of names above them; a field is empty of what there is not."""
    written = io.StringIO()
    writer = csv.DictWriter(written, names(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return written.getvalue()


def table_of(result: Comparison) -> Table:
    """The table that people read: a row for each variant, the columns of which any has a value."""
    return _of_columns(result, COLUMNS, "the variants")


def outcomes_of(result: Comparison) -> Table:
    """Losses, differences and their tests: the columns that are not `compute`."""
    return _of_columns(result, [column for column in COLUMNS if not column.compute], "the variants")


def compute_of(result: Comparison) -> Table:
    """What training took, and losses at equal compute."""
    return _of_columns(result, [COLUMNS[0], *(column for column in COLUMNS if column.compute)], "compute")


def _of_columns(result: Comparison, columns: Iterable[Column], title: str) -> Table:
    rows = rows_of(result)
    shown = [column for column in columns if column.title and any(column.value(row) is not None for row in rows)]
    return _table(shown, rows, title, note=_note(result, {column.name for column in shown}))


def _note(result: Comparison, shown: Collection[str]) -> str:
    """What explains the columns of these names."""
    tested = sum(test.outcome != NOT_TESTED for test in result.tests)
    sentences = {
        VALIDATION: "val_loss" in shown,
        _tested(result, tested): tested and "p_holm" in shown,
        BASELINES.format(losses=losses(result.baselines)): result.baselines and "val_loss" in shown,
        COMPUTE: "seconds" in shown,
        AT_EQUAL_COMPUTE: len(result.variants) > 1 and {"loss_at_seconds", "loss_at_flops"} & {*shown},
    }
    return " ".join(sentence for sentence, says in sentences.items() if says)


def pairs_of(result: Comparison) -> Table | None:
    """The differences of pairs without the baseline, as a table; None where there are none."""
    variants = {each.name: each for each in result.variants}
    rows = [
        Row(result=result, variant=variants[test.variant], test=test)
        for test in result.tests
        if result.baseline not in (test.baseline, test.variant) and test.difference
    ]
    other = Column(name="baseline", title="baseline", value=lambda row: row.test and row.test.baseline)
    shown = [column for column in COLUMNS if column.name in ("difference", "p_holm", "outcome", MDE)]
    return _table([COLUMNS[0], other, *shown], rows, "other pairs of variants", names=2) if rows else None


def _table(columns: Sequence[Column], rows: Sequence[Row], title: str, names: int = 1, note: str = "") -> Table:
    unit = "nats per token" if rows[0].result.unit == "nats" else rows[0].result.unit
    result = rows[0].result
    at = "" if result.seconds is None else seconds(result.seconds, result.clock)
    spent = "" if result.flops is None else flops(result.flops)
    heads = [column.title.format(unit=unit, at=at, flops=spent) for column in columns]
    cells = [[_shown(column, row) for column in columns] for row in rows]
    return Table(heads=heads, rows=cells, title=title, names=names, note=note)


def _shown(column: Column, row: Row) -> str:
    value = column.value(row)
    return NONE if value is None else column.text(value)
