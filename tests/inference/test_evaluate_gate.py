"""Who is judged: a model that sees what it predicts is found out, whatever it says of itself."""

import ast
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from letters import LETTERS, random_ids

from mingpt.inference import evaluate
from mingpt.inference.causality import (
    dependency_map,
    future_dependencies,
    largest_differences,
    leaking_position,
)
from mingpt.inference.evaluate import require_autoregressive, validation_loss
from mingpt.model import GPT
from mingpt.models.base import LanguageModel, LMOutput, ModelConfig

MakeGPT = Callable[..., GPT]

# ---- who is judged


def test_a_model_that_sees_the_future_is_rejected_with_reason_and_remedy(
    gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GPT, "autoregressive", False)
    with pytest.raises(ValueError, match=r"GPT sees the tokens that it predicts.*choose an autoregressive model"):
        validation_loss(gpt(), random_ids(9), LETTERS)


class Peeping(LanguageModel):
    """Says that it is autoregressive; some of its outputs also see one later token, as in `edges`, by a little."""

    def __init__(self, edges: dict[int, int], block: int = 7, by: float = 1.0) -> None:
        super().__init__()
        self.config = ModelConfig(n_embd=4, n_query_head=2, block_size=block, vocab_size=11)
        self.edges, self.by = edges, by
        self.register_buffer("table", torch.randn(11, 11, generator=torch.Generator().manual_seed(0)).double())

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None, *, state: Any = None) -> LMOutput:
        logits = self.table[idx].clone()
        for output, inputs in self.edges.items():
            if inputs < idx.shape[1]:
                logits[:, output, 3] += self.by * self.table[idx[:, inputs], 0]
        return LMOutput(logits, None if targets is None else torch.zeros(()))  # says that it knows everything

    def flops_per_token(self) -> float:
        return 1.0

    def new_state(self, batch: int) -> Any:
        return None


@pytest.mark.parametrize("edges", [{0: 1}, {1: 2}, {2: 3}, {4: 5}, {5: 6}, {0: 6}, {3: 6}, {1: 4}, {0: 2}], ids=str)
def test_a_model_that_denies_that_it_sees_the_future_is_rejected(edges: dict[int, int]) -> None:
    """Next to each other at the start, in the middle, at the end, or far apart."""
    model = Peeping(edges, by=1e-9)
    assert future_dependencies(dependency_map(model, torch.arange(7))) == list(edges.items())
    assert validation_loss(Peeping({}), random_ids(30), LETTERS).nats > 1  # whatever it says itself
    found = leaking_position(model)
    assert found == next(iter(edges))
    with pytest.raises(ValueError, match=f"Peeping claims to be autoregressive, but its output at position {found} of"):
        validation_loss(model, random_ids(30), LETTERS)


@pytest.mark.parametrize("block", [7, 67, 128])
def test_leak_at_one_cut_alone_is_found(block: int) -> None:
    """At each cut of the block in turn: in the middle of a chunk, at its edges, and in the last, which is short."""
    for at in range(block - 1):
        assert leaking_position(Peeping({at: at + 1}, block, by=1e-9)) == at


def test_long_block_and_large_model_are_checked_where_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leaking_position(Peeping({126: 127}, 1000)) == 126
    assert leaking_position(Peeping({3: 999}, 1000)) == 3  # by any cut of the whole block
    monkeypatch.setattr(Peeping, "flops_per_token", lambda model: 1e12)
    assert leaking_position(Peeping({14: 15}, 128)) == 14
    assert leaking_position(Peeping({3: 127}, 128)) == 3


def test_loss_without_verification_trusts_the_declared_property(gpt: MakeGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run does between its first and its last step; it verifies at both."""
    leaky = Peeping({0: 6})
    assert validation_loss(leaky, random_ids(30), LETTERS, verify=False).nats > 1
    with pytest.raises(ValueError, match="Peeping claims to be autoregressive"):
        validation_loss(leaky, random_ids(30), LETTERS, at_most=7)
    monkeypatch.setattr(GPT, "autoregressive", False)
    with pytest.raises(ValueError, match="choose an autoregressive model"):
        validation_loss(gpt(), random_ids(9), LETTERS, verify=False)


def test_difference_is_of_the_largest_logit_and_nan_differs_from_numbers_alone() -> None:
    before = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [math.nan, math.inf], [math.inf, 0.0]]])
    after = torch.tensor([[[0.0, 1e-7], [math.nan, 0.0], [math.nan, math.inf], [-math.inf, 0.0]]])
    found = largest_differences(before, after)
    assert found.tolist() == [[pytest.approx(1e-7), math.inf, 0.0, math.inf]]


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_short_blocks_or_one_token_leave_nothing_to_look_at(block: int) -> None:
    assert leaking_position(Peeping({}, block)) is None
    if block > 1:
        assert leaking_position(Peeping({block - 2: block - 1}, block)) == block - 2
    one = GPT(ModelConfig(n_layer=1, n_embd=4, n_query_head=2, block_size=3, vocab_size=1))
    assert leaking_position(one) is None
    assert not dependency_map(one, torch.zeros(3, dtype=torch.long)).any()


def test_dependency_is_total_variation_and_not_lost_in_rounding() -> None:
    model = Peeping({1: 4})
    ids = torch.tensor([3, 1, 4, 1, 5, 9, 2])
    found = dependency_map(model, ids, replacements=10)
    chances = model.table.softmax(-1)
    for i in (0, 2, 3, 4, 5, 6):  # output 1 has a part of another input's as well
        distances = [((chances[ids[i]] - chances[other]).abs().sum() / 2).item() for other in range(11)]
        assert found[i, i].item() == pytest.approx(max(distances), rel=1e-12)
    assert 0 < found[1, 4] < 1
    assert (found > 0).sum() == 8
    assert torch.equal(dependency_map(model, ids[None], replacements=99), found)  # there are no others
    model.table[:] = torch.arange(11)[:, None]  # moves all logits of a row alike: bits without a probability
    assert (dependency_map(model, ids).diagonal() > 0).all()
    model.table[:] = 0
    assert not dependency_map(model, ids).any()


@pytest.mark.parametrize("training", [True, False])
def test_causality_check_changes_nothing(gpt: MakeGPT, training: bool) -> None:
    model = gpt(embd_pdrop=0.5, resid_pdrop=0.5).train(training)
    model.head.train(not training)
    before = torch.get_rng_state()
    require_autoregressive(model)
    assert future_dependencies(dependency_map(model, torch.arange(7))) == []
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training == training
    assert model.head.training != training


def test_weights_that_are_no_number_are_no_leak(gpt: MakeGPT) -> None:
    model = gpt()
    with torch.no_grad():
        model.head.weight[2] = math.nan
    require_autoregressive(model)


def test_validation_loss_is_made_in_one_place() -> None:
    """One gate: only `validation_loss` makes one, and only the callback Evaluate adds one to a record, from there."""
    makers, writers = set(), set()
    for path in Path(evaluate.__file__).parents[1].rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for scope in ast.walk(tree):
            if not isinstance(scope, ast.FunctionDef):
                continue
            place = f"{path.stem}.{scope.name}"
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ValidationLoss"):
                    makers.add(place)
                stored = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
                if stored and "val_loss" in ast.unparse(node.slice):
                    writers.add(place)
                if isinstance(node, ast.Dict) and any(key and "val_loss" in ast.unparse(key) for key in node.keys):
                    writers.add(place)
    assert makers == {"evaluate.validation_loss"}
    # The outcome's is `Run.evaluate`'s, the checkpoint's and the catalogue's are those of the record.
    assert writers == {"callbacks._evaluate", "callbacks._save", "catalogue.progress", "results.show_outcome"}
