"""Every family and variant of this project passes; controls, which see what they predict, are found."""

from typing import Any

import pytest
import torch

from mingpt.interop.audit.auditing import audit
from mingpt.interop.audit.results import FAIL, NOT_APPLICABLE, PASS
from mingpt.models.base import LanguageModel
from tests.laws.families import CONTROLS, VARIANTS, Variant

SEEDS = 20


def made(variant: Variant, seed: int = 0, **settings: Any) -> LanguageModel:
    """A model of other random weights for each seed, all large where the family stands it."""
    model = variant.exact(block_size=19, **settings)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters() if variant.of.large else ():
            parameter.normal_(0, variant.of.large)
    return model


@pytest.mark.parametrize("name", [name for number, name in enumerate(VARIANTS) if number % 6 == 0])
def test_variant_passes(name: str) -> None:
    report = audit(made(VARIANTS[name]))
    assert report.passed, report
    assert [check for check, result in report.results.items() if result.outcome == PASS][:2] == [
        *("look_ahead", "normalisation")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_no_variant_fails_for_any_seed(name: str) -> None:
    for seed in range(SEEDS):
        report = audit(made(VARIANTS[name], seed))
        assert report.passed, (seed, report)


@pytest.mark.parametrize("name", CONTROLS)
def test_control_that_says_so_has_no_look_ahead_to_check(name: str) -> None:
    found = audit(Variant(*CONTROLS[name]).exact()).results["look_ahead"]
    assert found.outcome == NOT_APPLICABLE
    assert found.summary == "the model says itself that it sees the tokens that it predicts"


@pytest.mark.parametrize("name", CONTROLS)
def test_control_that_denies_it_fails(name: str) -> None:
    model = Variant(*CONTROLS[name]).exact()
    found = audit(lambda ids: model(ids).logits, vocab_size=11, block_size=7).results["look_ahead"]
    assert found.outcome == FAIL
    assert (found.evidence["i"], found.evidence["j"]) == (0, 1)


def test_model_that_fills_in_tokens_hides_them() -> None:
    found = audit(Variant("birnn", {"objective": "masked", "n_embd": 8}).exact()).results["look_ahead"]
    assert found.outcome == PASS
    assert "none of 7, masked, moves its own prediction" in found.summary
