"""Every family and variant of this project passes; controls, which see what they predict, are found."""

import pytest

from mingpt.interop.audit.auditing import audit
from mingpt.interop.audit.results import FAIL, NOT_APPLICABLE, PASS
from tests.interop.audit.own_families import made, main
from tests.laws.families import CONTROLS, VARIANTS, Variant


@pytest.mark.thin(6)
@pytest.mark.parametrize("name", VARIANTS)
def test_variant_passes(name: str) -> None:
    report = audit(made(VARIANTS[name]))
    assert report.passed, report
    reads_nothing = name == "ngram-order=1"
    assert report.results["look_ahead"].outcome == (NOT_APPLICABLE if reads_nothing else PASS)


@pytest.mark.slow
def test_no_variant_fails_for_any_seed() -> None:
    assert main() == 0


@pytest.mark.thin(3)
@pytest.mark.parametrize("name", CONTROLS)
def test_control_that_says_so_has_no_look_ahead_to_check(name: str) -> None:
    found = audit(Variant(*CONTROLS[name]).exact()).results["look_ahead"]
    assert found.outcome == NOT_APPLICABLE
    assert found.summary == "the model says itself that it sees the tokens that it predicts"


@pytest.mark.thin(3)
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
