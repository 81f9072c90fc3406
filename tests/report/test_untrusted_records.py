"""Records that somebody else wrote, or that a disk cut: one line names file and fault, and no memory is spent."""

import contextlib
import json
import math
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from mingpt.core.errors import CheckpointError, DataError, UsageError
from mingpt.core.run_files.reading import last_line, read_json, read_lines, read_losses, read_settings
from mingpt.core.run_files.records import Sample, Step, TrainedStep, read_run
from mingpt.core.safe_parsing import LINES_VALUES, MOST, Finite, Many, Named, Number, Whole, fault, read_objects
from mingpt.report import loss_plot, page
from mingpt.report.experiment_files import read_record, read_rows
from mingpt.report.publish import publish, unfinished
from mingpt.runs.metrics_log import JsonLines

Damage = Callable[[Path], Any]
RUN = "cells/rope/seed-1/stage-2"
READERS: dict[str, Callable[[Path], Any]] = {
    "record.json": read_record,
    "measurements.jsonl": read_rows,
    f"{RUN}/environment.json": lambda folder: read_run(folder / RUN),
    f"{RUN}/metrics.jsonl": lambda folder: read_run(folder / RUN),
    f"{RUN}/samples.jsonl": lambda folder: read_run(folder / RUN),
    f"{RUN}/baselines.json": lambda folder: read_run(folder / RUN),
    f"{RUN}/config.yaml": lambda folder: read_run(folder / RUN),
}


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


ODD: dict[str, tuple[Damage, str]] = {
    "binary": (lambda path: path.write_bytes(b"\x93\x00\xff\n" * 9), "not JSON|not UTF-8"),
    "of a list": (lambda path: path.write_text("[1]\n"), "must be a valid dictionary, is a list"),
    "of a number": (lambda path: path.write_text("7\n"), "must be a valid dictionary, is 7"),
    "deep": (lambda path: path.write_text("[" * 100_000 + "\n\n"), "not JSON|not YAML"),
    "endless": (piped, "no ordinary file"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", READERS)
@pytest.mark.thin(5)
def test_odd_file_is_rejected_with_its_name(experiment_folder: Path, name: str, odd: str) -> None:
    damage, reason = ODD[odd]
    damage(experiment_folder / name)
    said = rf"{name}: can't be read: .*({reason})"
    if (name, odd) == (f"{RUN}/config.yaml", "endless"):  # by which a run is known: there is none, then
        said = "stage-2: no run here"
    with pytest.raises((CheckpointError, UsageError), match=said) as refused:
        READERS[name](experiment_folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", READERS)
def test_huge_file_costs_no_memory(experiment_folder: Path, name: str) -> None:
    with open(experiment_folder / name, "r+b") as file:
        file.truncate(1 << 40)  # a hole: no disk has to hold it
    by_line = name.endswith("metrics.jsonl")  # of which any number of lines is read, one at a time
    size = "line 31: 1,048,577" if by_line else "1,099,511,627,776"
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=rf"{name}: can't be read: {size} bytes; at most .* are"):
            READERS[name](experiment_folder)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith(".json")])
def test_file_that_was_cut_short_is_rejected(experiment_folder: Path, name: str) -> None:
    path = experiment_folder / name
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CheckpointError, match=f"{name}: can't be read: not JSON"):
        READERS[name](experiment_folder)


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("record.json", "seeds", "3", "seeds must be a valid integer, is '3'"),
        ("record.json", "seeds", 1 << 63, "seeds must be less than 9223372036854775808, is 9223372036854775808"),
        ("record.json", "seeds", True, "seeds must be a valid integer, is True"),
        (
            "record.json",
            "arms",
            {"a": [{"trainer.max_iters": "9"}]},
            r"arms.a.0.trainer.max_iters must be a valid int",
        ),
        ("record.json", "arms", {"a": 3}, "arms.a must be a valid list, is 3"),
        ("record.json", "arms", {"a\nb\x1b": 3}, "arms.a b\x1b must be a valid list, is 3"),
        ("record.json", "chosen_learning_rates", {"a": {}}, "chosen_learning_rates.a.chosen is missing"),
        ("record.json", "hopeless", ["a"], "hopeless must be a valid dictionary, is a list"),
        ("record.json", "measurements", [["far"]], "measurements.0 must be a valid string, is a list"),
        ("record.json", "tables", {"far": [1]}, "tables.far.0 must be a valid dictionary, is 1"),
        ("record.json", "answer", ["a"], "answer must be a valid string, is a list"),
        (f"{RUN}/environment.json", "text_sha256", [], "text_sha256 must be a valid string, is a list"),
        (f"{RUN}/environment.json", "model", {"parameters": "many"}, "model.parameters must be a valid int"),
        (f"{RUN}/baselines.json", "1-gram", None, "1-gram must be a valid number, is null"),
    ],
)
def test_value_of_another_type_is_rejected(experiment_folder: Path, name: str, key: str, value: Any, said: str) -> None:
    path = experiment_folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CheckpointError, match=rf"{name}: can't be read: {said}"):
        READERS[name](experiment_folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("system:\n  seed: many\n", "system.seed must be a valid integer, is 'many'"),
        ("trainer:\n  max_iters: 2020-09-09\n", r"trainer.max_iters must be a valid integer, is datetime.date"),
        ("model: gpt\n", "model must be a valid dictionary, is 'gpt'"),
        ("- 1\n", "it must be a valid dictionary, is a list"),
    ],
)
def test_settings_of_another_type_are_rejected(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=rf"config.yaml: can't be read: {said}"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"a": 1}\n{"a": \n{"a": 3}\n', "line 2: not JSON"),
        ('{"a": 1}\n[]\n', "line 2: it must be a valid dictionary"),
        ('{"a": 1}\n\n1', "line 3: it must be a valid dictionary"),
        ('{"a": 1}\n{"a": \n\n', "line 2: not JSON"),
        ('{"a": {}}\n', "line 1: a must be .*, is an object"),
        ('{"a": "' + "x" * (1 << 20) + '"}\n', "line 1: .* at most 1,048,576 are read"),
    ],
)
def test_line_that_is_no_record_is_rejected(tmp_path: Path, lines: str, said: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines)
    with pytest.raises(CheckpointError, match=rf"metrics.jsonl: can't be read: {said}"):
        read_lines(path)


def test_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": "\xe2\x82')
    assert read_lines(tmp_path / "a.jsonl") == [{"a": 1}]
    assert read_lines(tmp_path / "none.jsonl") == []
    assert last_line(tmp_path / "none.jsonl") is None
    assert read_losses(tmp_path / "none.json") == {}


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"a": 1}\n \t\r\n\n{"a": 2}\n\n\n')
    assert read_lines(path) == [{"a": 1}, {"a": 2}]
    assert last_line(path) == {"a": 2}


@pytest.mark.parametrize("line", ['{"train_loss": 1.0}', '{"step": 1.5, "train_loss": 1.0}'])
def test_step_that_is_none_is_reported(experiment_folder: Path, line: str) -> None:
    with open(experiment_folder / RUN / "metrics.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(CheckpointError, match=r"metrics.jsonl: can't be read: line 31: step"):
        read_run(experiment_folder / RUN)


def test_many_short_lines_cost_what_their_size_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n" * 10)
    monkeypatch.setattr("mingpt.core.safe_parsing.LINES_VALUES", 12)
    with pytest.raises(ValueError, match=r"^more than 12 values"):
        read_objects(path, dict)
    assert LINES_VALUES > 10 * 2_000_000  # numbers of two million steps


def test_values_below_the_limit_cost_no_more_than_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, values = tmp_path / "metrics.jsonl", 30_000
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(values // 3)))  # the dearest: few values a line
    monkeypatch.setattr("mingpt.core.safe_parsing.LINES_VALUES", values)
    tracemalloc.start()
    try:
        assert len(read_objects(path, Named[Number], Step)) == values // 3
        assert tracemalloc.get_traced_memory()[1] / values * LINES_VALUES < 2.1e9  # as SECURITY.md has it
    finally:
        tracemalloc.stop()


def test_long_run_is_resumed_and_drawn(make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are for strangers' files; one's own run ends, and goes on, however many steps it has."""
    folder = make_run("a")
    for limit in ("LINES_VALUES", "LINES_BYTES"):
        monkeypatch.setattr(f"mingpt.core.safe_parsing.{limit}", 9)
    assert loss_plot.draw(folder).is_file()
    JsonLines(folder / "metrics.jsonl", until=20, kind=TrainedStep).close()
    last = last_line(folder / "metrics.jsonl")
    assert last is not None
    assert last["step"] == 20
    with pytest.raises(CheckpointError, match=r"line 1: prompt is missing"):
        JsonLines(folder / "metrics.jsonl", until=20, kind=Sample)


class Odd(TypedDict):
    """Of the test below."""

    a: Many[Whole | None]
    b: NotRequired[Number]
    c: NotRequired[Finite]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": [1, None], "b": 2.5, "c": 1, "d": "e"}, None),
        ({"a": [], "b": math.nan}, None),
        ({"b": 2}, "a is missing"),
        ({"a": [1, 2.0]}, "a.1 must be a valid integer, is 2.0"),
        ({"a": [], "b": True}, "b must be a valid integer or a valid number, is True"),
        ({"a": [], "b": "x\ny"}, r"b must be a valid integer or a valid number, is 'x\ny'"),
        ({"a": [], "c": math.nan}, "c must be a finite number, is nan"),
        ({"a": [1 << 63]}, "a.0 must be less than 9223372036854775808, is 9223372036854775808"),
        ({"a": [None] * (MOST + 1)}, f"a: List should have at most {MOST} items"),
        (3, "it must be a valid dictionary, is 3"),
    ],
)
def test_value_of_another_kind_has_a_reason_of_one_line(value: Any, reason: str | None) -> None:
    found = fault(value, Odd)
    assert found == reason or (found or "").startswith(reason or "-")


def test_many_wrong_values_are_counted_and_not_listed() -> None:
    wrong = fault([{str(n): [] for n in range(MOST // 10)} for _ in range(12)], list[Named[Whole]])
    assert wrong == "120,000 values are of another type"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "name",
    "arms",
    "seeds",
    "quick",
    "hopeless",
    "chosen_learning_rates",
    "measurements",
    "tables",
    "answer",
    "hypothesis_outcome",
    "step",
)


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*READERS]), more=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3))
@example(name="record.json", more={"seeds": -1})
@example(name=f"{RUN}/metrics.jsonl", more={"step": 1, "val_loss": float("nan")})
@example(name=f"{RUN}/metrics.jsonl", more={"step": -1, "seconds": -(10**300)})
@example(name=f"{RUN}/environment.json", more={"model": {}, "threads": None})
def test_untrusted_record_ends_a_page_in_one_line(experiment_folder: Path, name: str, more: dict[str, Any]) -> None:
    path = experiment_folder / name
    before = path.read_bytes()
    try:
        if path.suffix == ".yaml":
            path.write_text(json.dumps({**more, "system": more}))
        elif path.suffix == ".jsonl":
            path.write_bytes(before + json.dumps(more).encode() + b"\n" + before)
        else:
            path.write_text(json.dumps({**json.loads(before), **more}))
        for work in (
            lambda: page.write([experiment_folder], experiment_folder / "page.html"),
            lambda: unfinished(experiment_folder),
            lambda: publish(experiment_folder, experiment_folder.parent / "results" / "positions-quick"),
        ):
            with contextlib.suppress(CheckpointError, DataError, UsageError):
                work()
    finally:
        path.write_bytes(before)
        shutil.rmtree(experiment_folder.parent / "results", ignore_errors=True)


def test_json_of_another_shape_is_rejected(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") == {}
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}
    with pytest.raises(CheckpointError, match=r"a.json: can't be read: step is missing"):
        read_json(tmp_path / "a.json", Step)
