"""`bench`: every way computes the same window, slopes are exponents, and what can't be told apart is not ranked."""

import json
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mingpt.benchmarks import BENCHMARKS, attention, base, decode, our_steps, peers, train_step
from mingpt.benchmarks.options import attention as attention_options
from mingpt.benchmarks.worker_process import Worker
from mingpt.core.config_cli import Flags
from mingpt.core.errors import UsageError
from mingpt.core.torchrun_env import VARIABLES
from mingpt.distributed.ddp_fsdp import STRATEGIES
from mingpt.training import profiling
from mingpt.training.profiling import Spread

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short_profiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves out the profiler and the reading of much memory, which take most of a tiny benchmark."""
    monkeypatch.setattr(attention, "peak_bytes", lambda call, device: 1024)
    monkeypatch.setattr(profiling, "READ_BYTES", 4096)
    return


def parsed(name: str, *words: str) -> Any:
    return Flags(name, "", {"": BENCHMARKS[name].options}).parse(words)[""]


@pytest.mark.parametrize("window", [1, 3, 7, 23])
def test_every_way_computes_the_same_window(window: int) -> None:
    torch.manual_seed(3)
    inputs = [torch.randn(1, 2, 23, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    ways = attention.ways(23, window, 4, CPU, torch.float64)
    assert {"full", "unfold", "loop", "reference", "sdpa", "banded", "chunked_sdpa"} == ways.keys()
    results = {}
    for name, way in ways.items():
        output = way(*inputs)
        results[name] = (output, *torch.autograd.grad(output.square().sum(), inputs))
    for name in ways.keys() - {"full"}:
        torch.testing.assert_close(results[name], results["loop"], rtol=0, atol=1e-12)
    if window < 23:
        assert (results["full"][0] - results["loop"][0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("length", "left_out"), [(1024, set()), (1025, {"loop"}), (4097, {"loop", "reference", "sdpa"})]
)
def test_a_way_without_end_is_rejected(length: int, left_out: set[str]) -> None:
    short, long = (attention.ways(n, 8, 4, CPU, torch.float32) for n in (64, length))
    assert short.keys() - long.keys() == left_out


def test_overlapping_spreads_are_not_ranked() -> None:
    slow, slower, fast = (Spread(values) for values in ((2.0, 3.0, 4.0), (2.5, 3.5, 4.5), (0.9, 1.0, 1.1)))
    assert base.ranking({"slower": slower, "slow": slow, "fast": fast}) == "fast < slow ~ slower"


def test_slope_is_the_exponent() -> None:
    assert attention.slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def measured_alike(contestants: Any, device: Any, *, rounds: int, **_: Any) -> dict[str, Spread]:
    """As `measure`, one true call each, but all take the same."""
    for call in contestants.values():
        call()
    return {name: Spread((1.0, 2.0, 3.0)) for name in contestants}


def test_attention_prints_no_rank_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(attention, "measure", measured_alike)
    options = parsed("attention", "--length=32", "--window=5", "--heads=1", "--width=4", "--device=cpu")
    result = attention.run(options)
    json.dumps(result)
    assert not any(row["apart"] for row in result["rows"].values())
    assert " < " not in caplog.messages[-1]
    assert sum("no significant difference" in line for line in caplog.messages) == 6


def test_slopes_are_those_of_the_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attention, attention_options):
        monkeypatch.setattr(module, "SHORTEST", 16)
    monkeypatch.setattr(attention, "SLOPE_LIMITS", {"full": 32})
    options = parsed(
        "attention",
        "--slopes=True",
        "--length=64",
        "--window=4",
        "--heads=1",
        "--width=4",
        "--rounds=2",
        "--device=cpu",
    )
    rows = attention.run(options)["rows"]
    assert {name: row["length"] for name, row in rows.items()} == {
        "full": [16, 32],
        "unfold": [16, 32, 64],
        "banded": [16, 32, 64],
        "chunked_sdpa": [16, 32, 64],
    }
    inputs = [4 * 4 * 4 * length for length in (16, 32, 64)]  # q, k, v and the output's gradient, of float32
    assert rows["banded"]["peak_bytes"] == [1024 + size for size in inputs]
    assert rows["banded"]["memory_slope"] == pytest.approx(
        attention.slope([16, 32, 64], [1024 + x for x in inputs]), 1e-3
    )


def test_decode_times_every_writer(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(decode, "BATCHES", (1, 2))
    monkeypatch.setattr(decode, "TURN", 0.0)
    sizes = ("--layers=1", "--heads=2", "--width=8", "--block_size=8", "--prompt=3", "--tokens=4", "--threads=1")
    before = torch.get_num_threads()
    result = decode.run(parsed("decode", *sizes, "--rounds=2"))
    json.dumps(result)
    assert {name: list(rows) for name, rows in result["rows"].items()} == {
        "batch 1": ["cache", "no cache"],
        "batch 2": ["cache", "no cache"],
    }
    assert all(row["first_ms"]["median"] > 0 for rows in result["rows"].values() for row in rows.values())
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", ["attention", "decode"])
@pytest.mark.parametrize(("beside", "found"), [(True, "cpu"), (False, "auto")])
def test_ours_is_on_the_device_of_the_peers(
    name: str, beside: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PickedError(Exception):
        pass

    def picked(device: str, setting: str) -> torch.device:
        raise PickedError(device)

    module = {"attention": attention, "decode": decode}[name]
    monkeypatch.setattr(module, "pick_device", picked)
    given = {"attention": "--peers=local-attention", "decode": "--peers=transformers"}[name]
    options = parsed(name, "--device=auto", *([given] if beside else []))
    with pytest.raises(PickedError, match=f"^{found}$"):
        module.run(options)


def test_table_keeps_ratios_and_marks_what_overlaps() -> None:
    seconds = {"base": Spread((2.0, 2.1, 2.2)), "half": Spread((1.0, 1.05, 1.1)), "alike": Spread((2.1, 2.2, 2.3))}
    slow, fast = base.table(seconds, "base"), base.table(seconds, "base", faster=True)
    assert (slow["half"]["ratio"]["median"], fast["half"]["ratio"]["median"]) == (0.5, 2.0)
    assert [row["apart"] for row in slow.values()] == [False, True, False]
    assert slow["half"]["ms"]["median"] == 1050


def test_transformers_draws_from_all_tokens_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []

    class Model:
        def __init__(self, config: Any) -> None:
            pass

        def eval(self) -> "Model":
            return self

        def generate(self, prompt: Any, **settings: Any) -> None:
            said.append(settings)

    fake = SimpleNamespace(GPT2Config=SimpleNamespace, GPT2LMHeadModel=Model)
    monkeypatch.setitem(sys.modules, "transformers", fake)
    sizes = {"block_size": 8, "n_embd": 4, "n_layer": 1, "n_head": 1, "batch": 1, "prompt": 2, "tokens": 3}
    peers.transformers_writing(sizes)()
    assert (said[0]["top_k"], said[0]["do_sample"]) == (0, True)


@pytest.mark.full
def test_peer_that_stops_is_one_line(tmp_path: Any) -> None:
    (tmp_path / "model.py").write_text(
        "from types import SimpleNamespace as GPTConfig\n"
        "class GPT:\n"
        "    def __init__(self, config): pass\n"
        "    def eval(self): return self\n"
        "    def generate(self, *words, **settings): raise RuntimeError('no such thing')\n"
    )
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 4, "block_size": 8, "batch": 1, "prompt": 2, "tokens": 3}
    worker = Worker("nanogpt-writing", str(tmp_path), shape | {"threads": 1})
    try:
        with pytest.raises(UsageError, match=r"^peers=nanogpt-writing: stopped: RuntimeError: no such thing$"):
            worker.steps(1)
    finally:
        worker.close()


@pytest.mark.parametrize("strategy", [*STRATEGIES])
def test_step_is_timed_through_the_strategy_that_was_asked_for(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = train_step.contestants(parsed("train", f"--through={strategy}", "--compile=True"))
    assert [*kinds] == ["ours", f"ours-{strategy}", "ours-compiled", f"ours-{strategy}-compiled"]
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what the call sets is taken back
    monkeypatch.setattr(our_steps, "train", lambda shape, optimizer, processes: processes)
    with our_steps.STAYING:
        processes: Any = peers.KINDS[f"ours-{strategy}"]({"device": "cpu"})
        assert (type(processes), processes.size) == (STRATEGIES[strategy], 1)


@pytest.mark.parametrize("strategy", [*STRATEGIES])
@pytest.mark.full
def test_strategy_of_several_processes_makes_a_step_with_one(strategy: str) -> None:
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 4, "block_size": 8, "batch_size": 2, "dropout": 0.0}
    worker = Worker(f"ours-{strategy}", "", {**shape, "device": "cpu", "compile": False, "threads": 1})
    try:
        assert len(worker.steps(2)) == 2
    finally:
        worker.close()


@pytest.mark.full
def test_peer_that_decodes_is_timed_and_ended(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.py").write_text(
        "from types import SimpleNamespace as GPTConfig\n"
        "class GPT:\n"
        "    def __init__(self, config): self.config = config\n"
        "    def eval(self): return self\n"
        "    def generate(self, prompt, tokens, temperature): assert prompt.shape == (1, 3) and tokens in (1, 4)\n"
    )
    workers: list[Any] = []
    real: Callable[..., Any] = decode.Worker

    def kept(*words: Any) -> Any:
        workers.append(real(*words))
        return workers[-1]

    monkeypatch.setattr(decode, "Worker", kept)
    monkeypatch.setattr(decode, "BATCHES", (1,))
    monkeypatch.setattr(decode, "TURN", 0.0)
    sizes = ("--layers=1", "--heads=2", "--width=8", "--block_size=8", "--prompt=3", "--tokens=4", "--threads=0")
    result = decode.run(parsed("decode", *sizes, "--rounds=2", f"--peers=nanogpt={tmp_path}"))
    assert list(result["rows"]["batch 1"]) == ["cache", "no cache", "nanogpt"]
    assert [worker.process.poll() is None for worker in workers] == [False, False]


def test_fewer_key_heads_keep_less(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ("--heads=6", "--width=12", "--length=24", "--batch=3", "--rounds=2", "--device=cpu")
    rows = BENCHMARKS["grouped"].run(parsed("grouped", *sizes))["rows"]
    assert {g: row["cache_bytes"] for g, row in rows.items()} == {g: 2 * 3 * int(g) * 24 * 2 * 4 for g in "6321"}
    assert all(row["ratio"]["median"] > 0 and row["token_ratio"]["median"] > 0 for row in rows.values())


@pytest.mark.parametrize(
    ("name", "words", "refusal"),
    [
        ("attention", ["--window=0"], "window=0: must be at least 1"),
        ("attention", ["--length=8", "--window=9"], "window=9: must be at most length=8"),
        ("attention", ["--slopes=True", "--length=1024"], "length=1024: must be at least 2048, for a slope"),
        ("attention", ["--rounds=1"], "rounds=1: must be at least 2"),
        ("decode", ["--tokens=70"], "tokens=70: must be at most block_size=256 less prompt=192"),
        ("decode", ["--device=cuda", "--peers=nanogpt=."], "device=cuda: must be cpu"),
        ("attention", ["--device=cuda", "--peers=local-attention"], "device=cuda: must be cpu"),
        ("decode", ["--peers=mingpt=."], "peers=mingpt=.: must be of nanogpt, transformers"),
        ("decode", ["--peers=nanogpt"], "peers=nanogpt: must be KIND=FOLDER of a clone"),
        ("decode", ["--peers=transformers=."], "peers=transformers=.: must be transformers alone"),
        ("attention", ["--peers=local-attention", "--slopes=True"], "peers=local-attention: must be null with slopes"),
        ("grouped", ["--heads=8", "--width=24"], "width=24: must be a multiple of 2 x heads=8"),
        ("grouped", ["--length=20"], "length=20: must be above 20"),
        ("train", ["--shape=Z"], "shape=Z: must be one of A, B, C"),
        ("train", ["--through=ddp,dpp"], "through=dpp: must be of ddp, fsdp (did you mean 'ddp'?)"),
    ],
)
def test_setting_that_makes_no_sense_is_rejected(name: str, words: list[str], refusal: str) -> None:
    with pytest.raises(UsageError, match="must") as refused:
        parsed(name, *words)
    assert refusal in str(refused.value)


def test_measure_takes_turns() -> None:
    order: list[str] = []
    spreads = profiling.measure({n: (lambda n=n: order.append(n)) for n in "ab"}, CPU, rounds=3, warmup=1)  # type: ignore[misc]
    assert "".join(order) == "abababab"
    assert [len(spread.values) for spread in spreads.values()] == [3, 3]
