"""Every planted fault is found by the checks that it breaks and by no other, and is shown by the code that is given."""

import contextlib
import io
import re
from typing import Any

import pytest
import torch
from planted import PLANTED
from sound import BLOCK, Sound
from torch import Tensor, nn

from mingpt.interop.audit.auditing import audit
from mingpt.interop.audit.checks import CHECKS, in_order
from mingpt.interop.audit.results import FAIL, PASS


def shown(code: str, model: nn.Module) -> str:
    """What a reproduction prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {"model": model})
    return out.getvalue()


def test_sound_model_passes_every_check() -> None:
    report = audit(Sound())
    assert {name: result.outcome for name, result in report.results.items()} == dict.fromkeys(in_order(), PASS)
    assert report.passed
    assert report.verdict == "7 checks pass"


def test_every_check_has_planted_faults() -> None:
    assert len(PLANTED) >= 25
    assert set.union(*(expected for _, expected in PLANTED.values())) == {*CHECKS}


@pytest.mark.thin(12)
@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found_by_its_checks_alone(name: str) -> None:
    planted, expected = PLANTED[name]
    report = audit(planted())
    assert {*report.failing} == expected, report
    for check in report.failing:
        code = report.results[check].reproduce
        assert len(code.splitlines()) <= 16
        assert_shows(check, shown(code, planted()))


def assert_shows(check: str, printed: str) -> None:
    """A difference that must be 0 isn't, a sum that must be 1 isn't, or two losses that must be equal aren't."""
    numbers = [float(word) for word in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?|nan|inf", printed)]
    assert numbers
    if check in ("look_ahead", "cache", "batch", "determinism"):
        assert not abs(numbers[0]) <= 1e-9
    elif check == "score":
        assert numbers[0] != pytest.approx(numbers[1], rel=1e-6)


def test_earliest_prediction_and_nearest_token_are_named() -> None:
    evidence = audit(PLANTED["far_future_seen"][0]()).results["look_ahead"].evidence
    assert (evidence["i"], evidence["j"], evidence["length"], evidence["training"]) == (3, 14, BLOCK, False)
    evidence = audit(PLANTED["mask_off_by_one"][0]()).results["look_ahead"].evidence
    assert (evidence["i"], evidence["j"], evidence["length"]) == (0, 1, 9)
    assert audit(PLANTED["batch_norm_over_time"][0]()).results["look_ahead"].evidence["training"]


@pytest.mark.full
def test_mistake_of_a_loss_is_named() -> None:
    said = {name: audit(PLANTED[name][0]()).results["score"].evidence["mistake"] for name in NAMED}
    assert said == NAMED


NAMED = {
    "missing_shift": "no shift, each token is scored as its own prediction",
    "double_shift": "a double shift, the token after the next is scored",
    "sum_of_tokens": "the sum over tokens, not their mean",
    "last_target_never_counted": "the last target is never counted",
    "first_target_counted_twice": "the first target is counted twice",
    "padding_is_counted": "padding is counted",
    "mean_of_rows": "the mean of the rows' means, not of all tokens",
    "loss_in_bits": "bits, not nats",
}


class Rounding(Sound):
    """A causal convolution by a Fourier transform, whose rounding reaches earlier positions."""

    single = False

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(BLOCK * 3, 12) / 10)

    def after(self, x: Tensor) -> Tensor:
        t = x.shape[1]
        narrow = x.float() if self.single else x
        spectrum = torch.fft.rfft(narrow, 2 * t, dim=1) * torch.fft.rfft(self.kernel[:t].to(narrow.dtype), 2 * t, dim=0)
        return x + torch.fft.irfft(spectrum, 2 * t, dim=1)[:, :t].to(x.dtype)


class SingleRounding(Rounding):
    single = True


@pytest.mark.parametrize("model", [Rounding, SingleRounding])
def test_rounding_that_reaches_earlier_positions_is_no_look_ahead(model: type[Rounding]) -> None:
    found = audit(model()).results["look_ahead"]
    assert found.outcome == PASS, found
    assert 0 < found.evidence["rounding"] < 1e-5


def test_audited_model_stays_as_it_is() -> None:
    model = PLANTED["batch_norm_over_time"][0]().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    audit(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())


def test_model_whose_predictions_are_constant_does_not_pass() -> None:
    model = Sound()
    nn.init.zeros_(model.head.weight)
    result = audit(model).results["look_ahead"]
    assert result.outcome not in (PASS, FAIL)
    assert "the weights that would show it are zero" in result.summary


class OwnFunction(Sound):
    """A function in an attribute holds a part of the model, as in minGPT: a copy would use the original's dropout."""

    def __init__(self) -> None:
        super().__init__()
        dropout, mlp = nn.Dropout(0.5), self.mlp
        self.dropped = dropout
        self.apart = lambda x: dropout(mlp(x))

    def after(self, x: Tensor) -> Tensor:
        return x + self.apart(x)


def test_model_that_can_not_be_copied_is_audited_as_it_is() -> None:
    model = OwnFunction().train()
    report = audit(model)
    assert report.passed, report
    assert all(module.training for module in model.modules())


class WrongInFloat64(Sound):
    """Right in the precision that it is meant for, as where a mask overflows in another."""

    def attention(self, x: Tensor, mask: Tensor | None, state: Any) -> Tensor:
        out = super().attention(x, mask, state)
        return out / 0 if out.dtype == torch.float64 else out


def test_failure_in_float64_alone_is_no_failure() -> None:
    report = audit(WrongInFloat64())
    assert report.passed, report
