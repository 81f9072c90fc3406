"""Shares of the machine's own rates: the arithmetic and the bytes are counted, not guessed."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from mingpt.benchmarks import BENCHMARKS, decode, train_step
from mingpt.benchmarks.options.base import gpt2
from mingpt.core.config_cli import Flags
from mingpt.model import GPT
from mingpt.training import profiling
from mingpt.training.profiling import Spread


def parsed(name: str, *words: str) -> Any:
    return Flags(name, "", {"": BENCHMARKS[name].options}).parse(words)[""]


def test_memory_is_read_in_the_bytes_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "READ_BYTES", 4096)
    assert profiling.memory_reader(torch.device("cpu"))().item() == 1024  # type: ignore[attr-defined]


def test_step_has_the_flops_stated() -> None:
    layers, width, length, tokens, vocabulary = 4, 128, 64, 12 * 64, 65
    products = 2 * (layers * 12 * width**2 + width * vocabulary)
    scores = layers * 4 * width * (length + 1) / 2  # a query sees half of the keys, and its own
    assert train_step.step_flops("B") == pytest.approx(3 * tokens * (products + scores))


@pytest.mark.parametrize("tied", [True, False])
def test_decoding_reads_the_bytes_stated(tied: bool) -> None:
    layers, width, batch, prompt, tokens = 2, 12, 3, 5, 4
    model = GPT(replace(gpt2(n_layer=layers, n_head=3, n_embd=width, block_size=16), tie_embeddings=tied))
    weights = layers * (12 * width**2 + 13 * width) + 2 * width + 65 * width  # no row of the two tables
    lengths = [prompt + step for step in range(1, tokens)]  # keys that each token after the first sees
    cache = 2 * layers * width * sum(lengths) / len(lengths)
    found = decode.least_bytes(model, batch, prompt, tokens)
    assert found == pytest.approx(4 * (weights + batch * cache))


def test_share_of_peak_flops_is_that_rounds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Worker:
        def __init__(self, *words: Any) -> None:
            self.rounds = iter([1.0, 1.0, 2.0, 4.0])

        def steps(self, count: int) -> list[float]:
            return [next(self.rounds)]

        def close(self) -> None:
            pass

    rates = iter([8e9, 4e9, 2e9])  # as the machine slows, so do the steps
    monkeypatch.setattr(train_step, "Worker", Worker)
    monkeypatch.setattr(train_step, "peak_matmul_flops", lambda device: next(rates))
    monkeypatch.setattr(train_step, "step_flops", lambda shape: 4e9)
    result = train_step.run(parsed("train", "--rounds=3"))
    json.dumps(result)
    assert result["rows"]["ours"]["matrix_share"] == {"median": 0.5, "q1": 0.5, "q3": 0.5}
    assert (result["matrix_rate"]["median"], result["flops_per_step"]) == (4e9, 4e9)
    assert "50.0%" in caplog.messages[1]


def test_share_of_memory_rate_is_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    reading = (1 / 2e9, 1 / 1e9)  # seconds of a byte in each of two rounds: as the memory slows, so does the writing
    each = {"cache 1": (1.0, 1.0), "cache 4": (4.0, 7.0), "no cache 1": (1.0, 1.0), "no cache 4": (4.0, 7.0)}

    def measured(writers: dict[str, Any], device: torch.device, **how: Any) -> dict[str, Spread]:
        assert set(writers) == {"", *each}
        return {
            "": Spread(tuple(decode.READ_BYTES * value for value in reading)),
            **{k: Spread(v) for k, v in each.items()},
        }

    monkeypatch.setattr(decode, "measure", measured)
    monkeypatch.setattr(decode, "BATCHES", (2,))
    sizes = ("--layers=1", "--heads=2", "--width=8", "--block_size=8", "--prompt=3", "--tokens=4", "--threads=1")
    result = decode.run(parsed("decode", *sizes, "--rounds=2"))
    row, least = result["rows"]["batch 2"]["cache"], result["bytes_per_step"]["batch 2"]
    assert row["ms"]["median"] == 1500
    assert row["memory_share"]["median"] == pytest.approx(least / 2e9, rel=1e-3)  # 1 s at 2e9, 2 s at 1e9
    assert result["memory_rate"]["batch 2"]["median"] == 1.5e9
    assert f"{row['memory_share']['median']:.1%}" in next(line for line in caplog.messages if line.startswith("cache"))


@pytest.mark.parametrize("first", [0.0, 0.25, 60.0], ids=["free", "as the others", "slow"])
def test_turn_is_as_many_calls_as_make_it_long_enough(monkeypatch: pytest.MonkeyPatch, first: float) -> None:
    now, said = [0.0], ""

    def call() -> None:
        nonlocal said
        now[0] += 0.25 if said else first
        said += "c"

    def waited(device: torch.device) -> None:
        nonlocal said
        said += "|"

    monkeypatch.setattr(profiling.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(profiling, "synchronise", waited)
    assert profiling.measure({"": call}, torch.device("cpu"), rounds=1, warmup=0, least=1.1)[""].values == (0.25,)
    assert said == "c|c||cc||cccc|"  # the first is not timed
