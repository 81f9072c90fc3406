"""Pieces of a batch at the same time: the same sums, the same draws whatever runs first, one thread in each."""

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mingpt.data.batches import ContiguousStreams
from mingpt.distributed import threads as workers
from mingpt.distributed.threads import add_gradients, cpu_threads, even_pieces, parallel_map, usable_threads
from mingpt.inference.evaluate import validation_loss
from mingpt.model import build
from mingpt.models.base import LanguageModel, ModelConfig
from mingpt.trainer import Trainer
from mingpt.training.trainer_config import TrainerConfig
from tests.inference.letters import LETTERS

SIZES: dict[str, Any] = {"n_layer": 2, "n_embd": 12, "block_size": 7, "vocab_size": 11}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt": {"type": "gpt", "n_query_head": 3},
    "window": {"type": "gpt", "n_query_head": 3, "window": 3, "score": "additive"},
    "elman": {"type": "rnn", "cell": "elman"},
    "lstm": {"type": "rnn", "cell": "lstm"},
    "birnn": {"type": "birnn", "objective": "masked"},
}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Whatever the machine has."""
    with cpu_threads(2):
        yield


def batches(step: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(step))
    return ids[:, :-1], ids[:, 1:]


def trainer(threads: int, accumulation: int = 1, optimizer: str = "adamw", **model: Any) -> Trainer:
    with cpu_threads(threads):
        made = build(
            ModelConfig(**{**SIZES, **(model if "type" in model else {**FAMILIES["gpt"], **model})}), seed=3
        ).double()
        how = TrainerConfig(batch_size=4, accumulation=accumulation, optimizer=optimizer, max_iters=9, compile="never")
        return Trainer(how, made.train(), batches, seed=5)


def weights(trainer: Trainer) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in trainer.model.parameters()]


def test_results_come_in_order_each_computed_by_one_thread_in_the_callers_grad_mode() -> None:
    both = threading.Barrier(2, timeout=30)

    def call(number: int) -> tuple[int, int, bool]:
        both.wait()  # passed only if two calls run at the same time
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    with torch.no_grad():
        assert parallel_map(call, [7, 5, 3, 1]) == [(number, 1, False) for number in (7, 5, 3, 1)]
    assert parallel_map(call, [2, 4]) == [(2, 1, True), (4, 1, True)]
    assert torch.get_num_threads() == 2


def test_threads_stay_as_long_as_they_are_kept_and_no_longer() -> None:
    def names() -> set[str]:
        return set(parallel_map(lambda _: threading.current_thread().name, [1, 2, 3, 4]))

    before = threading.active_count()
    with workers.keep_threads():
        with workers.keep_threads():
            first = names()
        assert names() <= {"mingpt_0", "mingpt_1"} >= first
        assert threading.active_count() > before
    assert threading.active_count() == before
    names()
    assert threading.active_count() == before


def test_an_exception_of_a_call_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda number: 1 / number, [1, 0])
    assert torch.get_num_threads() == 2


def test_rows_are_cut_into_equal_pieces_one_per_thread_at_most() -> None:
    with cpu_threads(4):
        assert [even_pieces(rows) for rows in (1, 2, 3, 4, 5, 6, 8, 9)] == [1, 2, 3, 4, 1, 3, 4, 3]


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "birnn"])  # draws for each piece what it hides
@pytest.mark.parametrize("accumulation", [1, 2])
def test_pieces_at_once_have_the_gradient_of_the_whole_batch(family: str, accumulation: int) -> None:
    whole, pieces = trainer(1, accumulation, **FAMILIES[family]), trainer(2, accumulation, **FAMILIES[family])
    assert (whole.pieces, pieces.pieces) == (1, 2)
    losses = [
        math.fsum(
            loss.item()
            for micro_batch in each._micro_batches(0, *batches(0))
            for loss in each._forward_backward(0, micro_batch)
        )
        for each in (whole, pieces)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-13)
    expected, found = ([p.grad for p in each.model.parameters()] for each in (whole, pieces))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    assert pieces.step()["grad_norm"] > 0


def test_parameters_that_share_a_gradient_each_get_the_sum_of_all_passes() -> None:
    a, b, unused = (torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    passes = [torch.autograd.grad(n * (a + b).sum(), (a, b, unused), allow_unused=True) for n in (2, 3, 5)]
    assert passes[0][0] is passes[0][1]  # as autograd returns it
    for taken in (passes[:1], passes[1:]):
        add_gradients((a, b, unused), taken)
    assert [p.grad.tolist() for p in (a, b) if p.grad is not None] == [[10, 10, 10]] * 2
    assert unused.grad is None


def test_threads_of_a_call_outlast_those_who_kept_them() -> None:
    """Another training ends while a call of this one, which keeps no threads, is under way."""
    keeper = workers.keep_threads()
    keeper.__enter__()

    def call(number: int) -> int:
        if number == 1:
            keeper.__exit__(None, None, None)
        return number

    assert parallel_map(call, [1, 2, 3, 4, 5]) == [1, 2, 3, 4, 5]
    assert not workers._pools


def test_a_masked_model_learns_from_pieces_at_once() -> None:
    made = trainer(2, **FAMILIES["birnn"])
    assert made.pieces == 2
    assert len({made.step()["train_loss"] for _ in range(3)}) == 3


@pytest.mark.parametrize("dropout", [{"resid_pdrop": 0.3}, {"attn_pdrop": 0.3}, {"attn_pdrop": 0.3, "kernel": "sdpa"}])
def test_draws_of_a_piece_do_not_depend_on_which_runs_first(dropout: dict[str, Any]) -> None:
    first, second, other = trainer(2, **dropout), trainer(2, **dropout), trainer(2)
    for _ in range(4):
        assert first.step()["train_loss"] == second.step()["train_loss"] != other.step()["train_loss"]
    assert all(map(torch.equal, weights(first), weights(second)))


def test_pieces_draw_different_dropout_masks() -> None:
    """Equal rows in both pieces would else have equal losses, and equal gradients."""
    seen: list[Tensor] = []
    made = trainer(2, resid_pdrop=0.5)
    made.batches = lambda step: tuple(ids[:1].expand(4, -1) for ids in batches(step))  # type: ignore[assignment,return-value]
    made.model.blocks[-1].register_forward_hook(lambda module, x, y: seen.append(y.detach()))  # type: ignore[index,union-attr,operator]
    made.step()
    assert len(seen) == 2
    assert not torch.equal(*seen)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_divided_optimizers_update_as_one_does(optimizer: str) -> None:
    one, two = trainer(1, optimizer=optimizer), trainer(2, optimizer=optimizer)
    assert len(two.optimizers) == 2 * len(one.optimizers)
    for _ in range(2):
        one.step(), two.step()
    torch.testing.assert_close(weights(two), weights(one), rtol=0, atol=1e-4)  # Muon iterates in float32
    assert one.optimizer_tensors().keys() == two.optimizer_tensors().keys()


@pytest.mark.parametrize(("saved_by", "resumed_by"), [(1, 2), (2, 1), (2, 2)])
def test_a_recurrent_state_goes_on_with_another_number_of_threads(saved_by: int, resumed_by: int) -> None:
    def stateful(threads: int) -> Trainer:
        with cpu_threads(threads):
            model = build(ModelConfig(**{**SIZES, **FAMILIES["lstm"]}), seed=3).double()
            ids = np.random.default_rng(3).integers(11, size=4 * 31 + 1).astype(np.uint16)
            lanes = ContiguousStreams(ids, block_size=5, batch_size=4, seed=1)
            how = TrainerConfig(batch_size=4, optimizer="adamw", max_iters=9, compile="never")
            return Trainer(how, model.train(), lanes, fresh=lanes.fresh)

    unbroken, begun, resumed = stateful(1), stateful(saved_by), stateful(resumed_by)
    for _ in range(3):
        unbroken.step(), begun.step()
    resumed.model.load_state_dict(begun.model.state_dict())
    resumed.restore(begun.optimizer_tensors(), begun.recurrent_states.tensors(), begun.progress)
    assert resumed.step()["train_loss"] == pytest.approx(unbroken.step()["train_loss"], rel=1e-10)


def test_validation_loss_is_the_same_with_any_number_of_threads(fresh_gpt: Callable[..., LanguageModel]) -> None:
    ids, model = np.random.default_rng(1).integers(11, size=20_000).astype(np.uint8), fresh_gpt()
    loss = validation_loss(model, ids, LETTERS).nats
    with cpu_threads(1):
        assert validation_loss(model, ids, LETTERS).nats == pytest.approx(loss, rel=1e-6)


def test_a_step_leaves_no_operation_to_be_divided() -> None:
    seen: set[int] = set()
    made = trainer(2)
    for module in made.model.modules():
        module.register_forward_hook(lambda module, x, y: seen.add(torch.get_num_threads()))
    made.step()
    assert seen == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.max": "nonsense"}, 8),
        ({}, 8),
    ],
    ids=str,
)
def test_a_container_keeps_no_more_threads_than_cores_it_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(workers, "CGROUP", tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with cpu_threads(8):
        assert usable_threads() == cores
        monkeypatch.setenv("OMP_NUM_THREADS", "8")
        assert usable_threads() == 8
    assert math.isinf(workers._quota()) == (cores == 8)
