"""`bench load`: what a fair share is, neighbours that come and go, and a row for each contestant."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from mingpt.benchmarks import BENCHMARKS, load, peers
from mingpt.core.config_cli import Flags


def parsed(*words: str) -> Any:
    return Flags("load", "", {"": BENCHMARKS["load"].options}).parse(words)[""]


@pytest.mark.parametrize(
    ("neighbours", "threads", "cores", "share"),
    [
        (0, 2, 2, 1.0),
        (2, 2, 2, 0.5),
        (4, 2, 2, 1 / 3),
        (1, 1, 2, 1.0),
        (2, 1, 2, 2 / 3),
        (2, 4, 2, 0.5),
        (1, 2, 8, 1.0),
    ],
)
def test_fair_share_divides_the_cores_by_the_threads_that_want_one(
    neighbours: int, threads: int, cores: int, share: float
) -> None:
    assert load.fair_share(neighbours, threads, cores) == pytest.approx(share)


def test_neighbours_are_busy_inside_and_gone_after(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(load.subprocess, "Popen", lambda *args: started.append(popen(*args)) or started[-1])
    with load.busy(2):
        assert [process.poll() for process in started] == [None, None]
    assert all(process.returncode for process in started)


def test_share_is_of_the_quiet_throughput_of_the_same_round(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Quiet 8 steps a second, beside k neighbours a fair share of them, but half of that for the decoder."""
    now, beside = [0.0], [0]

    class Worker:
        def __init__(self, kind: str, path: str, shape: Mapping[str, Any]) -> None:
            self.kind = kind
            assert kind in peers.KINDS

        def steps(self, count: int) -> list[float]:
            each = (1 / 8) / load.fair_share(beside[0], 2, 2)
            each *= 2 if self.kind == "ours-writing" and beside[0] else 1
            now[0] += count * each
            return count * [each]

        def close(self) -> None:
            pass

    class Busy:
        def __init__(self, count: int) -> None:
            self.count = count

        def __enter__(self) -> None:
            beside[0] = self.count

        def __exit__(self, *_: object) -> None:
            beside[0] = 0

    monkeypatch.setattr(load, "Worker", Worker)
    monkeypatch.setattr(load, "busy", Busy)
    monkeypatch.setattr(load.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(load.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    result = BENCHMARKS["load"].run(parsed("--rounds=2"))
    json.dumps(result)
    training, decoding = result["rows"]["training"], result["rows"]["decoding"]
    assert training.keys() == {"ours", "ours-openmp"}
    assert training["ours"]["quiet"]["median"] == pytest.approx(8, rel=0.01)
    assert {count: share["median"] for count, share in training["ours"]["share"].items()} == pytest.approx(
        {"1": 1, "2": 1, "4": 1}, rel=0.07
    )
    assert decoding["ours-writing"]["quiet"]["median"] == pytest.approx(8 * load.DECODING["tokens"], rel=0.01)
    assert decoding["ours-writing"]["share"]["2"]["median"] == pytest.approx(0.5, rel=0.07)
    assert any(line.startswith("ours-openmp") for line in caplog.messages)


@pytest.mark.parametrize("kind", ["ours-openmp", "ours-writing"])
def test_contestants_make_steps(kind: str) -> None:
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 32, "batch_size": 4}
    step = peers.KINDS[kind]({**sizes, **load.DECODING, "dropout": 0.0, "device": "cpu", "compile": False})
    step(), step()
