"""What a run is expected to take, as it is announced before the first step."""

import re
from typing import Any

import pytest

from mingpt.runs import run, summary


def test_tiny_steps_are_not_expected_to_take_no_time(
    tiny: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Python and the starts of operations bound a step from below, however fast a machine multiplies."""
    monkeypatch.setattr(summary, "peak_matmul_flops", lambda device: 1e30)

    def stop(trainer: Any, record: Any) -> None:
        trainer.stop("enough")

    run.train(tiny(tmp_path, {"trainer.max_iters": 240_000, "model.n_layer": 3}), callbacks=[stop])
    (line,) = [line for line in caplog.messages if "240,000 steps" in line]
    assert re.search(r": about 40 min (0 s )?and ", line), line
