"""One seed, one result: whatever looks at a run while it goes changes nothing of what is learned."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mingpt.runs import run


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny: Any, trace: Any) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("reference")
    run.train(tiny(folder))
    return trace(folder)


def test_second_run_of_one_seed_is_the_same(tmp_path: Path, tiny: Any, trace: Any, reference: dict[str, Any]) -> None:
    torch.manual_seed(99)
    run.train(tiny(tmp_path))
    assert trace(tmp_path) == reference
    assert len(reference["records"]) == 12


@pytest.mark.parametrize("changed", [{"system.seed": 12}, {"model.attn_pdrop": 0.0}])
def test_seed_and_dropout_change_a_run(
    tmp_path: Path, tiny: Any, trace: Any, reference: dict[str, Any], changed: dict[str, Any]
) -> None:
    """Else the comparisons of this file would hold of runs that depend on nothing."""
    run.train(tiny(tmp_path, changed))
    assert trace(tmp_path)["weights"] != reference["weights"]


def test_each_seed_draws_its_own_batches(tmp_path: Path, tiny: Any) -> None:
    drawn: list[torch.Tensor] = []
    for seed in (11, 12):
        settings = tiny(tmp_path / str(seed), {"system.seed": seed, "trainer.max_iters": 1})
        run.train(settings, callbacks=[lambda trainer, record: drawn.append(trainer.batches(0)[0])])
    assert not torch.equal(*drawn)


@pytest.mark.parametrize(
    "cadence",
    [
        {"trainer.eval_every": 1},
        {"trainer.eval_every": 5, "trainer.eval_tokens": 1},
        {"trainer.sample_every": 1},
        {"trainer.save_every": 1},
        {"trainer.eval_every": 2, "trainer.sample_every": 3, "trainer.save_every": 5},
    ],
    ids=str,
)
@pytest.mark.thin(2)
def test_evaluating_changes_nothing_of_what_is_learned(
    tmp_path: Path, tiny: Any, trace: Any, reference: dict[str, Any], cadence: dict[str, int]
) -> None:
    run.train(tiny(tmp_path, cadence))
    assert trace(tmp_path) == reference


def test_callback_that_draws_numbers_changes_nothing_of_what_is_learned(
    tmp_path: Path, tiny: Any, trace: Any, reference: dict[str, Any]
) -> None:
    def draw(trainer: Any, record: dict[str, Any]) -> None:
        torch.rand(7), np.random.rand(7), random.random()
        trainer.model.eval()
        trainer.model.train()

    run.train(tiny(tmp_path), callbacks=[draw])
    assert trace(tmp_path) == reference
