"""What is trained by gradient begins as a guess, reaches every parameter, and can learn a batch by heart."""

import math
from typing import Any

import pytest
import torch
from families import BLOCK, VOCABULARY, Variant, every_control, every_trained, random_ids

from mingpt.training.optim import OPTIMIZERS


@every_trained
def test_first_loss_is_that_of_a_guess(variant: Variant) -> None:
    ids = torch.randint(65, (8, BLOCK + 1), generator=torch.Generator().manual_seed(0))
    loss = variant.fresh(vocab_size=65)(ids[:, :-1], ids[:, 1:]).loss
    assert loss is not None
    assert loss.item() == pytest.approx(math.log(65), abs=0.15)


@every_trained
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.thin
def test_one_batch_is_learned_by_heart(variant: Variant, optimizer: str) -> None:
    ids = torch.cat((torch.arange(4)[:, None], random_ids(4)), 1)  # rows are told apart from the first token on
    model: Any = variant.fresh()
    optimizers = OPTIMIZERS[optimizer](model, lr=0.01, matrix_lr=0.02, betas=(0.9, 0.95), weight_decay=0.0)
    lowest = math.inf
    for _ in range(100):
        loss = model(ids[:, :-1], ids[:, 1:]).loss
        lowest = min(lowest, loss.item())
        if lowest < variant.of.mark(variant.settings):
            return
        loss.backward()
        for each in optimizers:
            each.step()
            each.zero_grad()
    pytest.fail(f"the loss is still {lowest:.3f}")


@every_trained
def test_every_parameter_that_matters_has_a_gradient(variant: Variant) -> None:
    model: Any = variant.exact()
    ids = (torch.arange(VOCABULARY)[:, None] + 3 * torch.arange(BLOCK)) % VOCABULARY  # no row of one token
    model(ids, ids.roll(1, 0)).loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-12]
    idle = variant.of.idle(variant.settings)
    assert [name for name in without if not name.endswith(idle)] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


@every_control
@pytest.mark.thin(1)
def test_loss_of_a_model_that_sees_what_it_predicts_falls_below_chance(control: Variant) -> None:
    """Texts that no model could foretell, new ones at every step: only one that sees the answers goes below ln v."""
    model: Any = control.fresh()
    draws = torch.Generator().manual_seed(1)
    (optimizer, *others) = OPTIMIZERS["adamw"](model, lr=0.01, matrix_lr=0.02, betas=(0.9, 0.95), weight_decay=0.0)
    assert not others
    for _ in range(150):
        ids = torch.randint(VOCABULARY, (32, BLOCK + 1), generator=draws)
        loss = model(ids[:, :-1], ids[:, 1:]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < math.log(VOCABULARY) - 0.3
