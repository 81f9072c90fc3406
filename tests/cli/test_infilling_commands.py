"""What training, `eval` and `sample --fill` do with models that see what they predict."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from bidirectional import LEARNED, MASKED
from matplotlib.figure import Figure

import mingpt
from mingpt.core.errors import DataError
from mingpt.model import build
from mingpt.report import loss_plot
from mingpt.runs import config as settings

# ---- eval


@pytest.mark.full
def test_pseudo_likelihood_is_called_neither_loss_nor_perplexity(
    chargpt: Any, runs: dict[str, Path], text_file: Path
) -> None:
    pseudo = mingpt.load(runs["masked"]).pseudo_likelihood()
    for words, where in (((), "the validation set"), ((f"--text={text_file}",), str(text_file))):
        ended = chargpt("eval", f"--run={runs['masked']}", *words)
        assert ended.code == 0
        assert all(line.startswith("hiding each of ") for line in ended.err.splitlines())  # said where it takes long
        first, second, third = ended.out.splitlines()
        assert first.startswith("pseudo-likelihood: ")
        assert second.endswith(f"each hidden in turn from its block, of {where}, {runs['masked']}")
        assert third == "each guess saw the text on both sides: not comparable with a loss or a perplexity"
        if not words:
            assert f"{pseudo.pseudo_nats:.4f} pseudo-nats per token" in first
            assert f"over {pseudo.tokens:,} of {pseudo.of:,} tokens" in second
        assert "loss" not in first + second
        assert "perplexity" not in first + second


def test_masked_run_reports_its_pseudo_likelihood_and_no_loss(chargpt: Any, text_file: Path, tmp_path: Path) -> None:
    words = (*LEARNED, *MASKED, "--trainer.max_iters=2", "--trainer.eval_every=1", "--trainer.eval_tokens=64")
    ended = chargpt(*words, f"--data.path={text_file}", f"--system.work_dir={tmp_path / 'run'}")
    assert (ended.code, ended.err) == (0, "")
    first, last = (json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    run = mingpt.load(tmp_path / "run")
    assert last["pseudo_nats"] == run.pseudo_likelihood(at_most=64).pseudo_nats
    assert "pseudo_nats_part" in first
    assert "pseudo_nats" not in first
    assert f"pseudo-nats {first['pseudo_nats_part']:.3f}" in ended.out
    assert f"pseudo-likelihood: {last['pseudo_nats']:.3f} pseudo-nats per token hidden" in ended.out
    assert ended.out.count("this model predicts masked tokens from both sides") == 1
    assert "sees the tokens that it predicts" not in ended.out


def test_text_without_tokens_has_no_pseudo_likelihood(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mingpt.runs.scored_text.scored_ids", lambda *_: np.zeros(0, dtype=np.uint8))
    with pytest.raises(DataError, match="has no token to hide; at least 1 is needed"):
        mingpt.load(runs["masked"]).pseudo_likelihood()


@pytest.mark.parametrize("name", ["full", "masked"])
def test_run_of_a_model_that_sees_what_it_predicts_reports_no_validation_loss(
    chargpt: Any, runs: dict[str, Path], figures: list[Figure], name: str
) -> None:
    folder = runs[name]
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    states = [json.loads(path.read_text()) for path in folder.glob("checkpoints/*/state.json")]
    assert records
    assert states
    assert not any("val" in key or "bits" in key for record in records for key in record)
    assert [state["val_loss"] for state in states] == [None] * len(states)
    with pytest.raises(ValueError, match="has no validation loss or perplexity"):
        mingpt.load(folder).evaluate()
    loss_plot.draw(folder)
    (axes,) = figures[-1].axes
    assert axes.get_title() == "Training loss; there is no validation loss to compare with anything"
    assert len(axes.lines) == 1  # the training loss alone, no line of counting to beat
    if name == "full":
        ended = chargpt("eval", f"--run={folder}")
        assert (ended.code, "choose an autoregressive model" in ended.refusal) == (2, True)


@pytest.mark.usefixtures("leaky", "untouched")
def test_model_that_denies_that_it_leaks_is_not_trained(chargpt: Any, tiny: tuple[str, ...], text_file: Path) -> None:
    ended = chargpt(*tiny, f"--data.path={text_file}")
    assert ended.code == 2
    assert "error: GPT claims to be autoregressive, but its output at position 0" in ended.err
    assert "MFLOP" not in ended.out  # it is refused before anything is said of it


@pytest.mark.usefixtures("leaky", "cwd")
def test_model_whose_leak_shows_only_later_has_no_validation_loss(
    chargpt: Any, tiny: tuple[str, ...], text_file: Path
) -> None:
    with mock.patch("mingpt.runs.run.require_autoregressive"):
        ended = chargpt(*tiny, f"--data.path={text_file}", "--system.work_dir=run")
    assert ended.code == 2
    assert "error: GPT claims to be autoregressive" in ended.err
    assert not list(Path("run").glob("checkpoints/*"))
    assert "val_loss" not in Path("run/metrics.jsonl").read_text()


@pytest.mark.usefixtures("leaky")
def test_run_that_denies_that_it_leaks_is_not_evaluated(chargpt: Any, trained: Path) -> None:
    ended = chargpt("eval", f"--run={trained}")
    assert ended.code == 2
    assert "GPT claims to be autoregressive, but" in ended.refusal


# ---- fill


def test_gaps_are_filled_and_nothing_else_changes(chargpt: Any, runs: dict[str, Path]) -> None:
    ended = chargpt("sample", f"--run={runs['masked']}", "--fill=R_MEO:\nAy m_")
    assert (ended.code, ended.err) == (0, "")
    text = ended.out.removesuffix("\n")
    assert (text[0], text[2:-1]) == ("R", "MEO:\nAy m")
    assert "_" not in text
    loaded = mingpt.load(runs["masked"])
    assert text == loaded.fill("R_MEO:\nAy m_") == loaded.fill("R#MEO:\nAy m#", gap="#")
    assert chargpt("sample", f"--run={runs['masked']}", "--fill=R#MEO:\nAy m#", "--gap=#").out == ended.out


def test_text_that_was_learned_is_restored(runs: dict[str, Path], text_file: Path) -> None:
    text, loaded = text_file.read_text(encoding="utf-8")[:160], mingpt.load(runs["masked"])
    blocks = [text[start : start + 16] for start in range(0, 160, 16)]
    right = sum(loaded.fill(f"{block[:n]}_{block[n + 1 :]}") == block for block in blocks for n in range(16))
    assert right > 80  # a guess of the commonest character has some 25


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--fill=ROMEO"], "fill='ROMEO': has no masked token; mark one with '_'"),
        (["--fill=ROME__", "--gap=__"], "gap='__': must be one character"),
        (["--fill=ROME_", "--gap="], "gap='': must be one character"),
        (["--fill=" + "_" * 17], "must be at most 16 tokens, not 17"),
        (["--fill=é_"], "fill: unknown to this vocabulary of"),
        (["--fill=R_", "--seed=3"], "seed=3: has no effect with fill"),
        (["--fill=R_", "--prompt=R"], "prompt=R: has no effect with fill"),
        (["--gap=#"], "gap='#': needs fill"),
        (["--prompt=R"], "so it can't generate text; it infills masked tokens: --fill="),
    ],
)
def test_nonsense_is_not_filled(chargpt: Any, runs: dict[str, Path], words: list[str], refusal: str) -> None:
    ended = chargpt("sample", f"--run={runs['masked']}", *words)
    assert (ended.code, refusal in ended.refusal) == (2, True)


@pytest.mark.parametrize("name", ["causal", "full"])
def test_model_that_was_not_trained_to_infills_nothing(chargpt: Any, runs: dict[str, Path], name: str) -> None:
    ended = chargpt("sample", f"--run={runs[name]}", "--fill=R_")
    assert ended.code == 2
    begins, (asked, trains) = "GPT was not trained on masked tokens; ", ended.refusal.split("; ")
    assert ended.refusal.startswith(begins), asked
    words, _, rest = trains.partition(" trains ")
    assert rest == "one that is"
    config = settings.parse(words.split())
    assert build(replace(config.model, vocab_size=5)).infills  # what it names does what it says
    assert "fill" not in chargpt("sample", f"--run={runs['full']}", "--prompt=R").refusal


def test_surest_gap_is_filled_first_and_then_read(runs: dict[str, Path]) -> None:
    """A model that knows of the second gap more than of the first, and then the first from it."""
    run = mingpt.load(runs["masked"])
    seen: list[list[bool]] = []

    def fill(idx: Any, gaps: Any) -> Any:
        seen.append(gaps[0].tolist())
        logits = torch.zeros(*idx.shape, run.tokenizer.vocab_size)
        logits[0, 2, 5] = 9.0
        logits[0, 0, 7 if idx[0, 2] == 5 else 6] = 1.0
        return logits

    with mock.patch.object(run.model, "masked_logits", fill):
        text = run.fill("_R_")
    assert seen == [[True, False, True], [True, False, False]]
    assert run.tokenizer.encode(text).tolist()[::2] == [7, 5]
