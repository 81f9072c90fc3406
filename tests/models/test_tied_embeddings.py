"""model.tie_embeddings: one parameter embeds tokens and reads them out, whoever trains, saves or loads it."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from mingpt.core.errors import CheckpointError
from mingpt.model import GPT
from mingpt.models.init import hidden_matrices
from mingpt.runs import checkpoint, compatibility
from mingpt.runs.checkpoint import Checkpoint
from mingpt.training.optim import OPTIMIZERS, Muon

MakeGPT = Callable[..., GPT]
IDX = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def saved(folder: Path, model: GPT) -> Checkpoint:
    state = {"step": 1, "val_loss": None, "model": compatibility.described(model.config)}
    return checkpoint.read(checkpoint.save(folder, model=model.state_dict(), optimizer={}, state=state, tokenizer="{}"))


@pytest.mark.parametrize("change", [lambda m: m, lambda m: m.double(), deepcopy], ids=["made", "cast", "copied"])
def test_table_is_one_parameter(fresh_gpt: MakeGPT, change: Callable[[GPT], GPT]) -> None:
    model = change(fresh_gpt(tie_embeddings=True))
    assert model.head.weight is model.embedding.weight
    assert model.parameter_count == fresh_gpt().parameter_count - 11 * 24
    assert model.flops_per_token() == fresh_gpt().flops_per_token()


def test_gradient_has_both_uses(gpt: MakeGPT) -> None:
    tied, untied = gpt(tie_embeddings=True), gpt()
    untied.load_state_dict(tied.state_dict())
    for model in (tied, untied):
        model(IDX, IDX.roll(1, 1)).loss.backward()
    uses = untied.embedding.weight.grad, untied.head.weight.grad
    assert all(use.abs().max() > 0.01 for use in uses)
    torch.testing.assert_close(tied.embedding.weight.grad, sum(uses), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_table_is_updated_once_by_adamw(fresh_gpt: MakeGPT, name: str) -> None:
    model = fresh_gpt(tie_embeddings=True)
    optimizers = OPTIMIZERS[name](model, lr=0.01, matrix_lr=0.02, betas=(0.9, 0.95), weight_decay=0.1)
    owners = [(p, o) for o in optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(id(p) for p, _ in owners) == sorted(map(id, model.parameters()))
    assert not [o for p, o in owners if p is model.embedding.weight and isinstance(o, Muon)]
    assert not [key for key, p in hidden_matrices(model).items() if p is model.embedding.weight]


@pytest.mark.parametrize("init", ["gpt2", "waves", "zero_residual"])
def test_table_starts_as_an_embedding(fresh_gpt: MakeGPT, init: str) -> None:
    table = fresh_gpt(tie_embeddings=True, init=init, vocab_size=89, n_embd=96).embedding.weight
    assert table.std().item() == pytest.approx(0.02, rel=0.06)


def test_checkpoint_holds_the_table_once_and_keeps_it_tied(gpt: MakeGPT, fresh_gpt: MakeGPT, tmp_path: Path) -> None:
    model, again = gpt(tie_embeddings=True), fresh_gpt(tie_embeddings=True).double()
    read = saved(tmp_path, model)
    assert read.model.keys() == model.state_dict().keys() - {"head.weight"}
    checkpoint.load_weights(again, read.model, tmp_path)
    assert again.head.weight is again.embedding.weight
    assert torch.equal(again(IDX).logits, model(IDX).logits)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_weights_do_not_fit_each_other(gpt: MakeGPT, tmp_path: Path, tied: bool) -> None:
    other = saved(tmp_path, gpt(tie_embeddings=not tied))
    with pytest.raises(CheckpointError, match=f"model.tie_embeddings is {not tied} there and {tied} here"):
        compatibility.require_same_model(gpt(tie_embeddings=tied).config, other)
