"""With two processes as with one: one seed, one result, bit by bit, however often it is looked at or stopped."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_group import FAMILIES, Ended, losses

from mingpt.core.atomic_io import sha256
from mingpt.core.run_files.reading import read_lines
from mingpt.runs import checkpoint

pytestmark = pytest.mark.slow
Together = Callable[..., Ended]
LEARNED = ("step", "tokens", "train_loss", "lr", "grad_norm")  # of a record: what no clock and no cadence decides
DROPPING = {**FAMILIES["gpt"], "model.resid_pdrop": 0.2, "model.attn_pdrop": 0.1, "model.embd_pdrop": 0.1}
DROPPING |= {"trainer.schedule": "linear", "trainer.weight_decay": 0.1}
STRATEGIES = ("ddp", "fsdp")


def trace(folder: Path) -> dict[str, Any]:
    """What a run has learned, bit by bit."""
    newest = folder / "checkpoints" / f"step_{checkpoint.steps(folder)[0]:06d}"
    return {
        "records": [{name: record[name] for name in LEARNED} for record in read_lines(folder / "metrics.jsonl")],
        **{name: sha256((newest / f"{name}.safetensors").read_bytes()) for name in ("model", "optimizer")},
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evaluation_changes_nothing_of_what_two_learn(
    together: Together, flags: Any, tmp_path: Path, strategy: str
) -> None:
    looks = ({}, {}, {"eval_every": 1}, {"sample_every": 2}, {"save_every": 3}, {"eval_every": 2, "sample_every": 3})
    short = {**DROPPING, "trainer.max_iters": 12, "dist.strategy": strategy}
    changes = [{f"trainer.{name}": every for name, every in look.items()} for look in looks]
    runs = [{"argv": flags(tmp_path / str(n), short | change)} for n, change in enumerate(changes)]
    other = {"argv": flags(tmp_path / "other", short | {"model.attn_pdrop": 0.0})}
    ended = together([*runs, other])
    assert ended.codes == [[0] * (len(runs) + 1)] * 2, ended.said
    traces = [trace(tmp_path / str(n)) for n in range(len(runs))]
    assert all(each == traces[0] for each in traces)
    assert trace(tmp_path / "other")["model"] != traces[0]["model"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_resumed_run_of_two_takes_the_same_path(together: Together, flags: Any, tmp_path: Path, strategy: str) -> None:
    """From each of 19 steps of a run of 60, with dropout, a batch in parts and a schedule."""
    long = {**DROPPING, "trainer.max_iters": 60, "trainer.save_every": 3, "dist.strategy": strategy}
    kept = {"argv": flags(tmp_path / "whole", long), "fault": ["keep", 0, 3]}
    assert together([kept]).codes == [[0], [0]]
    steps = range(3, 60, 3)
    again = [{"argv": flags(tmp_path / f"whole-{n}", long | {"trainer.resume": True})} for n in steps]
    ended = together(again)
    assert ended.codes == [[0] * len(steps)] * 2, ended.said
    whole = trace(tmp_path / "whole")
    for n in steps:
        assert trace(tmp_path / f"whole-{n}") == whole, f"resumed at step {n}"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_signal_at_any_time_costs_no_finished_step(
    together: Together, flags: Any, tmp_path: Path, strategy: str
) -> None:
    """Twenty times, to either process; the run then goes on as if nothing had been."""
    draw, codes = random.Random(strategy), {"SIGTERM": 143, "SIGINT": 130}
    turns = [
        (draw.choice(sorted(codes)), draw.randrange(2), draw.randrange(1, 20), draw.random() / 30) for _ in range(20)
    ]
    short = {**DROPPING, "trainer.max_iters": 60, "trainer.save_every": 7, "dist.strategy": strategy}
    runs = [{"argv": flags(tmp_path / str(n), short), "fault": turn} for n, turn in enumerate(turns)]
    ended = together(runs)
    assert ended.codes == [[codes[kind] for kind, *_ in turns]] * 2, ended.said
    for n in range(len(turns)):
        stopped = checkpoint.newest(tmp_path / str(n)).state["step"]
        assert stopped == len(losses(tmp_path / str(n)))
    again = [{"argv": flags(tmp_path / str(n), short | {"trainer.resume": True})} for n in range(len(turns))]
    ended = together([*again, {"argv": flags(tmp_path / "whole", short)}])
    assert ended.codes == [[0] * (len(turns) + 1)] * 2, ended.said
    whole = trace(tmp_path / "whole")
    for n in range(len(turns)):
        assert trace(tmp_path / str(n)) == whole, turns[n]
        shutil.rmtree(tmp_path / str(n))
