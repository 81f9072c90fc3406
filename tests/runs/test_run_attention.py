"""What a run records, refuses and shows of its attention: kernels, maps, windows, and models that see the future."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mingpt
from mingpt.core.errors import UsageError
from mingpt.core.log_output import messages
from mingpt.core.run_files.reading import read_lines
from mingpt.inference.generate import Sampling
from mingpt.runs import run, run_dir
from mingpt.runs.config import Config

Tiny = Callable[..., Config]
WINDOWED = {"model.n_layer": 3, "model.window": 3, "model.window_pattern": "wf", "model.n_kv_head": 1}


@pytest.fixture(scope="module")
def windowed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> run.Run:
    folder = tmp_path_factory.mktemp("windowed") / "run"
    return run.train(tiny(folder, {**WINDOWED, "trainer.max_iters": 2}))


def test_environment_names_the_kernel_that_each_layer_takes(windowed: run.Run) -> None:
    environment = json.loads((windowed.folder / "environment.json").read_text())
    assert [(entry["layers"], entry["chosen"]) for entry in environment["attention"]] == [
        ([0, 2], "reference"),  # dropout on a CPU
        ([1], "reference"),
    ]
    windows, full = environment["attention"]
    assert windows["banded"] == "one masked product is as fast at this size"
    assert "band 3, 8 x 8, dropout on cpu in float32" in windows["for"]
    assert "window" in full["banded"]
    assert full["sdpa"] == "on the CPU it has no fused dropout"


def test_kernel_that_cannot_serve_leaves_no_folder(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match=r"model\.kernel=banded: doesn't support ScaledDot, band inf"):
        run.train(tiny(tmp_path / "run", {"model.kernel": "banded"}))
    assert not (tmp_path / "run").exists()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "it takes causal masks with a model.window"),
        (
            {"model.window": 3, "model.window_pattern": "wf", "model.n_layer": 2},
            "it takes causal masks with a model.window",
        ),
        ({"model.window": 3, "model.attn_pdrop": 0.1}, "it has no dropout"),
        ({"model.window": 3, "model.score": "additive"}, "it takes scores that are a dot product"),
        ({"model.window": 3, "model.position": "alibi"}, "it has no position bias"),
    ],
    ids=str,
)
def test_kernel_that_cannot_serve_is_rejected_before_a_text_is_read(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(run_dir, "opened", None)
    config = tiny(
        tmp_path / "run", {"model.attn_pdrop": 0.0, **changes, "model.kernel": "chunked_sdpa", "data.path": "none"}
    )
    with pytest.raises(
        UsageError, match=rf"model\.kernel=chunked_sdpa: doesn't support .* on cpu in float32: {reason}"
    ):
        run.train(config)


def test_weights_fit_whatever_the_kernel(tiny: Tiny, tmp_path: Path, windowed: run.Run) -> None:
    changes = {**WINDOWED, "model.kernel": "reference", "model.pretrained_folder": str(windowed.folder)}
    again = run.train(tiny(tmp_path / "run", {**changes, "trainer.max_iters": 1}))
    assert [block.attention.kernel for block in again.model.blocks] == ["reference"] * 3  # type: ignore[union-attr]


def test_windows_cost_less_than_all_keys(windowed: run.Run) -> None:
    model, size = windowed.model, 8
    products = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    seen = [sum(0 <= i - j < w for i in range(size) for j in range(size)) for w in (3, size, 3)]
    assert model.flops_per_token() == 2 * products + sum(2 * 2 * 8 * pairs / size for pairs in seen)


# ---- maps


def test_maps_are_the_weights_of_the_definition(windowed: run.Run) -> None:
    maps = windowed.attention("abcdefg")
    assert [tuple(weights.shape) for weights in maps] == [(1, 2, 7, 7)] * 3
    i, j = torch.arange(7)[:, None], torch.arange(7)
    for number, weights in enumerate(maps):
        seen = (i >= j) & ((i - j < 3) | (number == 1))
        assert (weights[0] > 0).equal(seen.expand(2, 7, 7))
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 7))


def test_maps_do_not_depend_on_the_kernel_nor_change_the_model(windowed: run.Run) -> None:
    model, text = windowed.model, "abc fed"
    model.train()
    model.blocks[1].eval()  # type: ignore[operator]
    modes = [module.training for module in model.modules()]
    first = windowed.attention(text)
    for kernel in ("sdpa", "reference"):
        for block in model.blocks:  # type: ignore[union-attr]
            block.attention.kernel = kernel
        torch.testing.assert_close(windowed.attention(text), first, rtol=0, atol=0)
        assert {block.attention.kernel for block in model.blocks} == {kernel}  # type: ignore[union-attr]
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    for block in model.blocks:  # type: ignore[union-attr]
        block.attention.kernel = "auto"
    model.eval()


def test_failing_pass_leaves_the_model_as_it_was(windowed: run.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: Any) -> Any:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(windowed.model.head, "forward", fail)  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="in the middle"):
        windowed.attention("abc")
    assert {block.attention.kernel for block in windowed.model.blocks} == {"auto"}  # type: ignore[union-attr]
    assert not any(module._forward_hooks for module in windowed.model.modules())


@pytest.mark.parametrize(
    ("text", "reason"), [("", "must be 1 to 8 tokens, not 0"), ("abcdefgha", "not 9"), ("Z", r"U\+005A")]
)
def test_text_that_has_no_map_gets_one(windowed: run.Run, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        windowed.attention(text)


# ---- a model that sees what it predicts


@pytest.fixture(scope="module")
def seeing(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[run.Run, list[str]]:
    said: list[str] = []
    folder = tmp_path_factory.mktemp("seeing") / "run"
    changes = {"model.mask": "full", "trainer.eval_every": 1, "trainer.sample_every": 1, "trainer.save_every": 1}
    with messages(said.append):
        return run.train(tiny(folder, {**changes, "trainer.max_iters": 3})), said


def test_model_that_sees_what_it_predicts_has_no_loss_and_no_samples(seeing: tuple[run.Run, list[str]]) -> None:
    trained, said = seeing
    assert sum("sees the tokens that it predicts" in line for line in said) == 1
    records = read_lines(trained.folder / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3]
    assert not any("val" in name or "bits" in name for record in records for name in record)
    assert (trained.folder / "samples.jsonl").read_text() == ""
    loaded = mingpt.load(trained.folder)
    for refused in (lambda: loaded.generate("a", 3), loaded.evaluate):
        with pytest.raises(UsageError):
            refused()
    assert (loaded.attention("abcd")[0] > 0).all()


def test_run_of_a_model_that_sees_what_it_predicts_resumes(seeing: tuple[run.Run, list[str]], tiny: Tiny) -> None:
    trained, _ = seeing
    changes = {"model.mask": "full", "trainer.max_iters": 4, "trainer.resume": True, "trainer.resume_changed": True}
    assert run.train(tiny(trained.folder, changes)).progress.step == 4


# ---- the cache


@pytest.mark.parametrize("changes", [{}, {"model.window": 3, "model.position": "none"}, WINDOWED], ids=str)
@pytest.mark.parametrize("prompt", ["a", "abcdefgh, abc"])
@pytest.mark.thin(2)
def test_text_does_not_depend_on_the_cache(tiny: Tiny, tmp_path: Path, changes: dict[str, Any], prompt: str) -> None:
    trained = run.train(tiny(tmp_path / "run", {**changes, "trainer.max_iters": 1}))
    with_cache, without = (
        "".join(trained.stream(prompt, 30, Sampling(seed=2, past_block="exact"), cache=cache))
        for cache in (True, False)
    )
    assert with_cache == without
    assert len(without) == 30


def test_without_cache_nothing_is_kept(windowed: run.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    forward = windowed.model.forward
    monkeypatch.setattr(windowed.model, "forward", lambda idx, **k: read.append(idx.shape[1]) or forward(idx, **k))
    for cache in (True, False):
        list(windowed.stream("ab", 5, Sampling(), cache=cache))
    assert read == [2, 1, 1, 1, 1, 2, 3, 4, 5, 6]
