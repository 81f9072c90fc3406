"""A step that is compiled by two processes: both train with it, or neither does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_group import FAMILIES, Ended, alone, apart

Together = Callable[..., Ended]
FAILED = "torch.compile failed"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_process_whose_compiler_fails_does_not_leave_the_other_waiting(
    together: Together, flags: Any, tmp_path: Path, strategy: str, rank: int
) -> None:
    short = {**FAMILIES["gpt"], "trainer.max_iters": 4}
    compiled = {**short, "dist.strategy": strategy, "trainer.compile": "always"}
    ended = together([{"argv": flags(tmp_path / "run", compiled), "fault": ["compiler", rank]}])
    assert ended.codes == [[0], [0]], ended.said
    assert ended.said.count(FAILED) == 1, ended.said
    alone(flags(tmp_path / "one", short))
    assert apart(tmp_path / "run", tmp_path / "one") < 1e-9


@pytest.mark.slow
def test_compiled_step_of_two_is_that_of_one(together: Together, flags: Any, tmp_path: Path) -> None:
    short = {**FAMILIES["gpt"], "trainer.max_iters": 4}
    ways = ("ddp", "fsdp")
    asked = [
        {"argv": flags(tmp_path / way, short | {"dist.strategy": way, "trainer.compile": "always"})} for way in ways
    ]
    ended = together(asked)
    assert ended.codes == [[0, 0]] * 2, ended.said
    assert FAILED not in ended.said, ended.said
    alone(flags(tmp_path / "one", short))
    for way in ways:
        assert apart(tmp_path / way, tmp_path / "one") < 1e-9, way
