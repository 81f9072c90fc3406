"""`bench rnn`: every way makes what it is named after, and the table has them all."""

import json
from typing import Any

import pytest
import torch

from mingpt.benchmarks import BENCHMARKS, rnn
from mingpt.core.config_cli import Flags
from mingpt.core.errors import UsageError


def parsed(*words: str) -> Any:
    return Flags("rnn", "", {"": BENCHMARKS["rnn"].options}).parse(words)[""]


@pytest.mark.full
def test_scan_and_loop_compute_the_same_hidden_vectors_and_gradients() -> None:
    torch.manual_seed(3)
    x, results = torch.randn(2, 11, 5, requires_grad=True), {}
    ways = rnn.ways(5, torch.device("cpu"))
    for name in ("scan slide", "loop slide"):
        h = ways[name](x)
        results[name] = (h, *torch.autograd.grad(h.square().sum(), [x]))
    torch.testing.assert_close(results["scan slide"], results["loop slide"], rtol=0, atol=1e-5)
    assert all(way(x).shape == (2, 11, 5) for way in ways.values())


def test_every_way_is_timed_and_the_answer_is_json(caplog: pytest.LogCaptureFixture) -> None:
    before = torch.get_num_threads()
    sizes = ("--width=4", "--length=3", "--batch=2", "--rounds=2", "--threads=1", "--device=cpu")
    result = BENCHMARKS["rnn"].run(parsed(*sizes))
    json.dumps(result)
    assert list(result["rows"]) == ["scan slide", "nn.RNN relu", "loop slide", "nn.GRU", "nn.LSTM"]
    assert result["rows"]["nn.RNN relu"]["ratio"]["median"] == 1
    assert all(row["ms"]["median"] > 0 for row in result["rows"].values())
    assert len(caplog.messages) == 7
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        ("--width=0", "width=0: must be at least 1"),
        ("--rounds=1", "rounds=1: must be at least 2"),
        ("--device=abacus", "device=abacus: must be one of"),
    ],
)
def test_setting_that_makes_no_sense_is_rejected(word: str, refusal: str) -> None:
    with pytest.raises(UsageError, match="must be") as refused:
        parsed(word)
    assert refusal in str(refused.value)
