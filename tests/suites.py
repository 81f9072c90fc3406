"""Which cases run: the quick suite, all of them (`--all`), and the campaigns (`-m slow`).

`python test_model.py` leaves out what has one of three marks:

    slow    campaigns of minutes: `python test_model.py -m slow`
    full    a test, a file (`pytestmark = pytest.mark.full`) or one case (`pytest.param(..., marks=pytest.mark.full)`)
            that costs more than a quick suite allows, or repeats for another value what another case shows
    thin    a product of parameters, of which the quick suite runs a covering part: of two parameters every value, of
            three and more every pair of values; `thin(3)`: of all cases three, from the first to the last; `thin(1)`:
            the first

What `full` and `thin` leave out is in `python test_model.py --all`. Plain `pytest` runs all but `slow`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import pytest

QUICK = "not slow and not full"
ALL = "not slow"
COMMANDS = {"full": "python test_model.py --all", "slow": "python test_model.py -m slow"}
KEY = pytest.StashKey[Counter[str]]()


def covering(rows: Sequence[Sequence[int]], strength: int) -> list[int]:
    """Return the numbers of rows that together have every combination of `strength` columns' values that any row has.

    Greedy and deterministic: the row with the most combinations that are still missing is taken first (AETG, Cohen et
    al. 1997), the earlier of two equals.

    Args:
        rows: one case each; its value in each column, as a number.
        strength: how many columns are combined: 1 for every value, 2 for every pair.
    """
    columns = list(combinations(range(len(rows[0])), strength))
    has = [{(at, *(row[i] for i in at)) for at in columns} for row in rows]
    missing, taken = set().union(*has), []
    while missing:
        best = max(range(len(rows)), key=lambda i: len(has[i] & missing))
        taken.append(best)
        missing -= has[best]
    return sorted(taken)


def covered(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the numbers of rows that have every value of two columns, or every pair of values of three and more."""
    return covering(rows, 2 if len(rows[0]) > 2 else 1)


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` numbers from 0 on, evenly spread: from the first to the last; one: the first."""
    return sorted({round(i * (count - 1) / max(most - 1, 1)) for i in range(most)})


def axes(cases: Sequence[pytest.Function]) -> list[tuple[int, ...]]:
    """Return each case's place on the axes of its test's product: one axis per `parametrize` mark or fixture."""
    marked = [mark.args[0] for mark in cases[0].iter_markers("parametrize")]
    groups = [name.replace(" ", "").split(",") if isinstance(name, str) else list(name) for name in marked]
    named = {name for group in groups for name in group}
    groups += [[name] for name in cases[0].callspec.params if name not in named]
    numbers: list[dict[Any, int]] = [{} for _ in groups]
    rows = []
    for case in cases:
        values = (tuple(id(case.callspec.params[name]) for name in group) for group in groups)
        rows.append(tuple(number.setdefault(value, len(number)) for number, value in zip(numbers, values, strict=True)))
    return rows


def thinned(items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield the cases of tests marked `thin` that the quick suite leaves out."""
    products: dict[str, list[Any]] = {}
    for item in items:
        if item.get_closest_marker("thin"):
            products.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in products.values():
        most = next(iter(cases[0].get_closest_marker("thin").args), None)
        kept = set(spread(len(cases), most) if most else covered(axes(cases)))
        yield from (case for number, case in enumerate(cases) if number not in kept)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as `full` what a covering part of a product leaves out, before marks are selected by."""
    for item in thinned(items):
        item.add_marker("full")
    config.stash[KEY] = Counter()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count what the suite leaves out, by mark; not what `-k` does, where items have none of its marks."""
    left_out = [mark for mark in ("slow", "full") if f"not {mark}" in items[0].config.option.markexpr]
    marks = [next((mark for mark in left_out if item.get_closest_marker(mark)), None) for item in items]
    if all(marks):
        items[0].config.stash[KEY].update(filter(None, marks))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the counts of a worker of xdist to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash.get(KEY, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take a worker's counts; every worker collects, and leaves out, the same."""
    node.config.stash[KEY] = Counter(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what was left out, and the command that runs it."""
    for mark, count in sorted(config.stash.get(KEY, Counter()).items()):
        terminalreporter.write_line(f"left out: {count:,} cases marked {mark}; run them with `{COMMANDS[mark]}`")
