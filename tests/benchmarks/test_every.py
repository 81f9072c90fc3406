"""`bench all`: each in turn, what each knows of what is given, and a picture of the ratios."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mingpt.benchmarks import BENCHMARKS, every
from mingpt.benchmarks.base import Benchmark
from mingpt.errors import UsageError
from mingpt.flags import Flags
from mingpt.registry import Registry


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
        return lambda options, say: ran.append((name, options)) or {"rows": rows[name]}

    registry.add("all")(BENCHMARKS["all"])
    registry.add("plain")(Benchmark("plain", Threads, run("plain"), ratio="over one"))
    registry.add("nested")(Benchmark("nested", Peers, run("nested"), clones=("mine",), packages=("theirs",)))
    registry.add("long")(Benchmark("long", Peers, run("long"), clones=("mine",), lengthy=True))
    monkeypatch.setattr(every, "BENCHMARKS", registry)
    return ran


def parsed(*words: str) -> every.Options:
    options: every.Options = Flags("all", "", {"": every.Options}).parse(words)[""]
    return options


def test_peers_or_threads_reach_who_does_not_know_them(few: list[tuple[str, Any]], tmp_path: Path) -> None:
    said: list[str] = []
    result = every.run(parsed(f"--peers=theirs,mine={tmp_path}", "--threads=3"), said.append)
    assert few == [("plain", Threads(threads=3)), ("nested", Peers(threads=3, peers=f"theirs,mine={tmp_path}"))]
    assert list(json.loads(json.dumps(result))["results"]) == ["plain", "nested"]
    assert result["left_out"] == ["long"]
    assert "long: left out" in said[-1]


def test_lengthy_one_is_left_out_though_asked_for(few: list[tuple[str, Any]], tmp_path: Path) -> None:
    result = every.run(parsed("--speedrun=True", f"--peers=theirs,mine={tmp_path}"), lambda line: None)
    assert few[-1] == ("long", Peers(threads=2, peers=f"mine={tmp_path}"))
    assert (list(result["results"]), result["left_out"]) == (["plain", "nested", "long"], [])


def test_figure_lacks_a_bar(few: list[tuple[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "bench.svg"
    every.run(parsed(f"--figure={path}"), lambda line: None)
    drawn = path.read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    for words in ("plain, one: 1", "plain, two: 3", "nested, batch 1, one: 0.25", "plain: over one"):
        assert words in drawn.lower()
    assert "batch 2" not in drawn


def test_ratio_of_a_row_in_a_row_is_lost() -> None:
    rows = {"a": {"ratio": ratio(1), "ms": ratio(7)}, "b": {"c": {"ratio": ratio(2), "token_ratio": ratio(8)}}}
    assert list(every.ratios(rows)) == [("a", ratio(1)), ("b, c", ratio(2))]


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        ("--peers=yours", "peers=yours: must be of mine, theirs"),
        ("--threads=0", "threads=0: must be at least 1"),
        ("--figure=bench.png", "figure=bench.png: must end in .svg"),
        ("--figure=nowhere/bench.svg", "figure=nowhere/bench.svg: must lie in a folder"),
    ],
)
def test_setting_that_makes_no_sense_is_found_late(few: list[tuple[str, Any]], word: str, refusal: str) -> None:
    with pytest.raises(UsageError, match="must") as refused:
        parsed(word)
    assert refusal in str(refused.value)


def test_every_benchmark_says_what_its_ratio_is() -> None:
    assert [name for name in BENCHMARKS if name != "all" and BENCHMARKS[name].ratio == "ratio"] == []
    assert [name for name in BENCHMARKS if BENCHMARKS[name].lengthy] == ["speedrun"]
