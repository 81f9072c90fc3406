"""Faults in mingpt/report/ and mingpt/core/run_files/: comparisons, significance, tables."""

from tests.mutants.fault import Fault

SIGNIFICANCE = "mingpt/report/significance.py"
COMPARE = "mingpt/report/compare.py"
VARIANTS = "mingpt/report/variants.py"
COLUMNS = "mingpt/report/columns.py"

FAULTS = [
    Fault(
        SIGNIFICANCE,
        'significant = "better" if found.mean < 0 else "worse"',
        'significant = "worse" if found.mean < 0 else "better"',
        "better and worse swapped",
    ),
    Fault(
        SIGNIFICANCE,
        "difference(losses[variant], losses[baseline])",
        "difference(losses[baseline], losses[variant])",
        "difference is baseline minus variant",
    ),
    Fault(
        SIGNIFICANCE,
        "level = LEVEL / max(sum(tested), 1)",
        "level = LEVEL",
        "detectable effect at the level of one test",
    ),
    Fault(SIGNIFICANCE, "len(each.seeds) >= FEWEST and not", "not", "two seeds are tested"),
    Fault(SIGNIFICANCE, "corrected = iter(holm([", "corrected = iter(list([", "p-values are not corrected"),
    Fault(
        VARIANTS,
        'run.environment.get("text_sha256") != first.environment.get("text_sha256")',
        "False",
        "runs of different texts are compared",
    ),
    Fault(VARIANTS, "if run.seed in seen:", "if False:", "a repeated run counts as another seed"),
    Fault(
        VARIANTS,
        "**defaults[run.settings.get(FAMILY)], **run.settings}",
        "**run.settings}",
        "older runs lack newer settings' defaults",
    ),
    Fault(
        COMPARE,
        "return min(run.compute(run.last)",
        "return max(run.compute(run.last)",
        "equal seconds are those of the slowest",
    ),
    Fault(
        COMPARE,
        "shared = {*variant.seeds} & {*baseline.seeds}",
        "shared = {*variant.seeds} | {*baseline.seeds}",
        "curves of different seeds are compared",
    ),
    Fault(
        COLUMNS,
        "return float(np.mean(values)) if values else None",
        "return float(values[0]) if values else None",
        "a column shows the first seed",
    ),
    Fault(COLUMNS, "if test.baseline == result.baseline}", "}", "tests against another variant are shown"),
]
