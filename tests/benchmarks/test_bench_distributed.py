"""`bench processes`: what is asked of it that makes no sense, and one small turn of all it does."""

import json
from typing import Any

import pytest
import torch

from mingpt.benchmarks import BENCHMARKS, distributed
from mingpt.benchmarks.base import machine_of
from mingpt.core.config_cli import Flags
from mingpt.core.errors import UsageError


def parsed(*words: str) -> Any:
    return Flags("processes", "", {"": BENCHMARKS["processes"].options}).parse(words)[""]


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        ("--processes=1", "processes=1: must be at least 2"),
        ("--processes=5", "processes=5: must share a batch of 12 blocks evenly"),
        ("--steps=10", "steps=10: must be above 10"),
        ("--kills=-1", "kills=-1: must be 0 or more"),
        ("--threads=0", "threads=0: must be at least 1"),
    ],
)
def test_setting_that_makes_no_sense_is_rejected(word: str, refusal: str) -> None:
    with pytest.raises(UsageError, match=refusal):
        parsed(word)


@pytest.mark.slow
def test_processes_agree_and_a_kill_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    result = BENCHMARKS["processes"].run(parsed("--steps=13", "--kills=1", "--device=cpu"))
    json.dumps(result)
    ways = ["1 process", "1 process, 2 threads", "2 processes, ddp", "2 processes, fsdp"]
    assert list(result["rows"]) == ways
    assert [result["rows"][way]["ratio"]["median"] == 1 for way in ways] == [True, False, False, False]
    assert [result["rows"][way]["ratio_to_threads"]["median"] == 1 for way in ways] == [False, True, False, False]
    assert result.items() >= machine_of(torch.device("cpu")).items()
    assert max(apart for ways in result["apart"].values() for apart in ways.values()) < 1e-9
    assert [list(ways) for ways in result["apart"].values()] == [["ddp", "fsdp"]] * 2
    assert result["kills"] == {"ddp": {"killed": 1, "same": 1}, "fsdp": {"killed": 1, "same": 1}}
    assert len(caplog.messages) == 8


@pytest.mark.full
def test_process_that_fails_or_is_ended_leaves_a_reason() -> None:
    with pytest.raises(UsageError, match=r"processes=2: .*TypeError: dying\(\) missing 2 required"):
        distributed._launch([{"argv": [], "float64": False, "kill": ["no rank"]}], 2, 1)
    report = ["W: Error: a warning", "E: failed (exitcode: -15) local_rank: 0", "elastic.errors.ChildFailedError: "]
    assert "exitcode: -15" in distributed._last_words(report)
    assert distributed._last_words(["[rank1]: AssertionError", *report]) == "[rank1]: AssertionError"
    killed = ["[rank0]: PeerError: gone", "E: failed (exitcode: -9) local_rank: 1"]
    assert distributed._last_words([*killed, "ValueError: x", *report]) == "ValueError: x"
    assert "exitcode: -15" in distributed._last_words([*killed, *report])
    assert distributed._last_words(["Traceback", "no end after 300 s: "]) == "no end after 300 s: "
