"""What tests of several folders share: tiny models whose every part matters, a test of counts, usual signals."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from mingpt.core.signals import SIGNALS
from mingpt.model import GPT
from mingpt.models.base import ModelConfig

pytest_plugins = ["tests.suites"]

SIZES: dict[str, Any] = {"n_layer": 2, "n_query_head": 6, "n_embd": 24, "block_size": 7, "vocab_size": 11}
PARTS: dict[str, Any] = {"norm": "layernorm", "mlp": "gelu", "init": "gpt2", "bias": True}  # whatever the defaults


@pytest.fixture(autouse=True, scope="session")
def signals_are_not_ignored() -> Iterator[None]:
    """Stopping can be tested also where the tests run in a script's background job, in which Ctrl-C is ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in [number for number, handler in before.items() if handler == signal.SIG_IGN]:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def fresh_gpt() -> Callable[..., GPT]:
    """make(**settings) -> a float32 GPT as training would start it: 6 heads of width 4, block 7, vocabulary 11."""

    def make(**settings: Any) -> GPT:
        torch.manual_seed(5)
        return GPT(ModelConfig(**SIZES | PARTS | settings))

    return make


@pytest.fixture
def gpt(fresh_gpt: Callable[..., GPT]) -> Callable[..., GPT]:
    """make(**settings) -> the same in float64, without dropout, all its parameters large: none hides behind a zero."""

    def make(**settings: Any) -> GPT:
        model = fresh_gpt(**settings).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.4)
        return model

    return make


@pytest.fixture
def chi_square_p() -> Callable[[Any, Any], float]:
    """p(counts, chances) -> how probable counts at least this far from the chances are, by Pearson's test."""

    def p(counts: Any, chances: Any) -> float:
        counts, chances = np.ravel(counts).astype(float), np.ravel(chances).astype(float)
        assert not counts[chances == 0].any(), "what is impossible was drawn"
        counts, expected = counts[chances > 0], chances[chances > 0] * counts.sum()
        assert expected.min() > 5, "too few draws for this test to mean anything"
        statistic = ((counts - expected) ** 2 / expected).sum()
        half = torch.tensor([(len(counts) - 1) / 2, statistic / 2], dtype=torch.float64)
        return float(torch.special.gammaincc(half[0], half[1]))

    return p


@pytest.fixture(scope="session")
def compiler_set_up() -> None:
    """For tests that replace `torch.compiler.is_compiling`: the compiler, on its first use, looks up that function."""
    torch.compile(lambda x: x + torch.compiler.is_compiling(), backend="eager")(torch.ones(1))
