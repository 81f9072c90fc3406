"""`bench all`: each in turn, what each knows of what is given, and a picture of the ratios."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mingpt.benchmarks import BENCHMARKS, run_all
from mingpt.benchmarks.benchmark import Benchmark
from mingpt.benchmarks.options import run_all as offered
from mingpt.core.config_cli import Flags
from mingpt.core.errors import UsageError
from mingpt.core.registry import Registry
from mingpt.report.drawing import Drawing


@dataclass(frozen=True, kw_only=True)
class Threads:
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Peers(Threads):
    peers: str | None = None


def ratio(median: float) -> dict[str, float]:
    return {"median": median, "q1": median / 2, "q3": median * 2}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What was run with which options; three benchmarks and the one under test."""
    ran: list[tuple[str, Any]] = []
    registry: Registry[Benchmark] = Registry("bench")
    rows = {
        "plain": {"one": {"ratio": ratio(1.0)}, "two": {"ratio": ratio(3.0)}},
        "nested": {"batch 1": {"one": {"ratio": ratio(0.25)}}, "batch 2": {"none": {"ratio": None}}},
        "long": {"peer": {"ratio": ratio(12.0)}},
    }

    def run(name: str) -> Any:
        return lambda options: ran.append((name, options)) or {"rows": rows[name]}

    registry.add("all")(BENCHMARKS["all"])
    registry.add("plain")(Benchmark("plain", Threads, run("plain"), ratio="over one"))
    registry.add("nested")(Benchmark("nested", Peers, run("nested"), clones=("mine",), packages=("theirs",)))
    registry.add("long")(Benchmark("long", Peers, run("long"), clones=("mine",), lengthy="a week"))
    monkeypatch.setattr(offered, "BENCHMARKS", registry)
    return ran


def parsed(*words: str) -> offered.Options:
    options: offered.Options = Flags("all", "", {"": offered.Options}).parse(words)[""]
    return options


def test_peers_and_threads_reach_those_that_have_them(
    few: list[tuple[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = run_all.run(parsed(f"--peers=theirs,mine={tmp_path}", "--threads=3"))
    assert few == [("plain", Threads(threads=3)), ("nested", Peers(threads=3, peers=f"theirs,mine={tmp_path}"))]
    assert list(json.loads(json.dumps(result))["results"]) == ["plain", "nested"]
    assert result["left_out"] == ["long"]
    assert "long: left out, as it takes a week" in caplog.messages[-1]


def test_lengthy_one_runs_where_asked_for(few: list[tuple[str, Any]], tmp_path: Path) -> None:
    result = run_all.run(parsed("--speedrun=True", f"--peers=theirs,mine={tmp_path}"))
    assert few[-1] == ("long", Peers(threads=2, peers=f"mine={tmp_path}"))
    assert (list(result["results"]), result["left_out"]) == (["plain", "nested", "long"], [])


def test_figure_has_every_bar(few: list[tuple[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "bench.svg"
    run_all.run(parsed(f"--figure={path}"))
    drawn = path.read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    assert "batch 2" not in drawn


def bars(figure: Any) -> list[list[tuple[str, float, bool]]]:
    """Of every panel: what each bar is called, where it ends, and whether it is full."""
    panels = []
    for axes in figure.axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        ends = [(bar.get_x() + bar.get_width(), bar.get_fill()) for bar in axes.patches]
        panels.append([(name, round(end, 6), fill) for name, (end, fill) in zip(names, ends, strict=True)])
    return panels


def test_bars_show_ratios_and_which_are_not_significant(
    few: list[tuple[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []

    real = run_all.measured

    def kept(*rows: Any, **words: Any) -> Drawing:
        drawing = real(*rows, **words)
        figures.append(drawing.figure)
        return drawing

    monkeypatch.setattr(run_all, "measured", kept)
    plain = {"one": {"ratio": ratio(1.0), "apart": False}, "two": {"ratio": ratio(4.0), "apart": True}}
    missed = {"peer": {"ratio": {"median": 0.0, "q1": 0.0, "q3": 8.0}}}
    results = {"plain": {"rows": plain}, "nested": {"failed": "no such peer"}, "long": {"rows": missed}}
    run_all.draw(results, tmp_path / "bench.svg")
    first, last = bars(figures[0])
    assert first == [("one", 1.0, False), ("two", 4.0, True)]
    assert last[0][1] < 1
    registry = offered.BENCHMARKS
    taking: Registry[Benchmark] = Registry("bench")
    taking.add("plain")(replace(registry["plain"], takes=True))
    monkeypatch.setattr(offered, "BENCHMARKS", taking)
    run_all.draw({"plain": {"rows": plain}}, tmp_path / "bench.svg")
    assert bars(figures[1])[0] == [("one", 1.0, False), ("two", 0.25, True)]


def test_one_that_fails_leaves_the_others(
    few: list[tuple[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(options: Any) -> dict[str, Any]:
        raise UsageError("peers=theirs=: does not start: no such package")

    registry: Registry[Benchmark] = Registry("bench")
    registry.add("nested")(replace(offered.BENCHMARKS["nested"], run=fails))
    for name in ("plain", "long"):
        registry.add(name)(offered.BENCHMARKS[name])
    monkeypatch.setattr(offered, "BENCHMARKS", registry)
    result = run_all.run(parsed(f"--figure={tmp_path / 'bench.svg'}"))
    assert result["failed"] == ["nested"]
    assert result["results"]["nested"] == {"failed": "peers=theirs=: does not start: no such package"}
    assert result["results"]["plain"]["rows"]
    assert (tmp_path / "bench.svg").is_file()
    assert any("nested failed: peers=theirs" in line for line in caplog.messages)


def test_ratio_of_a_row_in_a_row_is_kept() -> None:
    rows = {"a": {"ratio": ratio(1), "ms": ratio(7)}, "b": {"c": {"ratio": ratio(2), "token_ratio": ratio(8)}}}
    assert list(run_all.ratios(rows)) == [("a", ratio(1) | {"apart": True}), ("b, c", ratio(2) | {"apart": True})]


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        ("--peers=yours", "peers=yours: must be of mine, theirs"),
        ("--threads=0", "threads=0: must be at least 1"),
        ("--figure=bench.doc", "figure=bench.doc: must end in .svg, .png, .pdf"),
        ("--figure=nowhere/bench.svg", "figure=nowhere/bench.svg: must lie in a folder"),
    ],
)
def test_setting_that_makes_no_sense_is_found_first(few: list[tuple[str, Any]], word: str, refusal: str) -> None:
    with pytest.raises(UsageError, match="must") as refused:
        parsed(word)
    assert refusal in str(refused.value)


def test_every_benchmark_says_what_its_ratio_is() -> None:
    assert [name for name in BENCHMARKS if name != "all" and BENCHMARKS[name].ratio == "ratio"] == []
    assert [name for name in BENCHMARKS if BENCHMARKS[name].lengthy] == ["processes", "load", "play", "speedrun"]
