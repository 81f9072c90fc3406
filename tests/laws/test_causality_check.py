"""What `influence` says of every variant: the same as the laws, and the gate of the held-out loss believes it."""

import numpy as np
import pytest
import torch
from families import ALL, BLOCK, VOCABULARY, Variant, every_control, every_variant, random_ids

from mingpt.data.tokenizers import CharTokenizer
from mingpt.inference.causality import (
    CausalityResult,
    causality_result,
    dependency_map,
    future_dependencies,
    leaking_position,
)
from mingpt.inference.evaluate import validation_loss

LETTERS = CharTokenizer("abcdefghijk")
IDS = np.arange(20) % VOCABULARY


@every_variant
def test_dependency_map_of_a_variant_is_what_it_reads_and_no_more(variant: Variant) -> None:
    model = variant.exact()
    idx = random_ids(1)
    moved = dependency_map(model, idx)
    surely, at_most = (min(each, ALL) for each in (variant.of.surely(model), variant.of.at_most(model)))
    back = torch.arange(BLOCK)[:, None] - torch.arange(BLOCK)
    assert (moved[(back >= 0) & (back <= surely)] > 0).all()
    assert not moved[back > at_most].any()
    assert future_dependencies(moved) == []
    assert causality_result(model, idx, moved) == CausalityResult("no output moves with a later input")
    assert leaking_position(model) is None


@every_variant
def test_no_variant_leaks_in_the_numbers_of_training(variant: Variant) -> None:
    """In float32 at a length at which other kernels may serve."""
    model = variant.fresh(block_size=67)
    assert leaking_position(model) is None
    assert validation_loss(model, IDS, LETTERS).tokens == 19


@every_control
def test_control_is_found_to_leak_and_has_no_validation_loss(control: Variant) -> None:
    model = control.exact()
    idx = random_ids(1)
    moved = dependency_map(model, idx)
    assert future_dependencies(moved) == [(i, j) for i in range(BLOCK) for j in range(i + 1, BLOCK)]
    said = "6 of 6 later inputs move an earlier output: this model sees what it predicts"
    assert causality_result(model, idx, moved) == CausalityResult(said)
    assert leaking_position(model) == 0
    with pytest.raises(ValueError, match="sees the tokens that it predicts"):
        validation_loss(model, IDS, LETTERS)


@every_control
def test_control_that_denies_it_has_no_validation_loss(control: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    model = control.fresh(block_size=67)
    monkeypatch.setattr(type(model), "autoregressive", True)
    with pytest.raises(ValueError, match=r"claims to be autoregressive, but its output at position 0 .* sees what it"):
        validation_loss(model, IDS, LETTERS)
