"""`chargpt eval`: which text, after which context, and the log-probability of each token."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

import mingpt
from mingpt.runs.run import Run

BLOCK = 8  # of the tiny run


@pytest.fixture(scope="module")
def loaded(trained: Path) -> Run:
    return mingpt.load(trained)


@pytest.fixture(scope="module")
def recurrent(chargpt: Any, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recurrent") / "run"
    sizes = ("--model.type=rnn", "--model.n_layer=1", "--model.n_embd=8", "--data.block_size=8")
    few = ("--trainer.max_iters=2", "--sample.tokens=3", "--wandb.mode=disabled")
    ended = chargpt(*sizes, *few, f"--data.path={text_file}", f"--system.work_dir={folder}")
    assert (ended.code, ended.err) == (0, "")
    return folder


def test_stride_is_printed_with_the_context_that_it_gives(chargpt: Any, trained: Path, loaded: Run) -> None:
    ended, loss = chargpt("eval", f"--run={trained}", "--stride=3"), loaded.evaluate(stride=3)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"{loss.nats:.4f} nats per character, {loss.bits_per_byte:.4f} bits per byte, perplexity {loss.perplexity:.3f}",
        f"context: 6 to {BLOCK} tokens, fewer at the start of the text (stride=3)",
        f"over {loss.tokens:,} tokens of the validation set, {trained}",
    ]
    assert loss.tokens == loaded.evaluate().tokens
    assert chargpt("eval", f"--run={trained}", f"--stride={BLOCK}").out == chargpt("eval", f"--run={trained}").out


def test_carried_context_is_that_of_a_recurrent_model(chargpt: Any, recurrent: Path) -> None:
    ended, loss = chargpt("eval", f"--run={recurrent}", "--context=carried"), mingpt.load(recurrent).evaluate()
    assert (ended.code, ended.err) == (0, "")
    assert "\ncontext: all tokens before, by the state kept from block to block\n" in ended.out
    assert not ended.out.startswith(f"{loss.nats:.4f}")


def test_generation_context_prints_both_losses_and_their_difference(chargpt: Any, trained: Path, loaded: Run) -> None:
    ended, found = chargpt("eval", f"--run={trained}", "--context=generation"), loaded.past_block_loss()
    assert (ended.code, ended.err) == (0, "")
    half, exact, difference, over = ended.out.splitlines()
    assert (
        half
        == f"past_block=half: {found.nats['half']:.4f} nats per character, {BLOCK // 2} to {BLOCK} tokens of context"
    )
    assert exact.startswith(f"past_block=exact: {found.nats['exact']:.4f} nats per character, {BLOCK} tokens")
    assert difference.startswith(f"half - exact: {found.difference.mean:+.4f} nats (95 % CI ")
    assert over == f"over {found.tokens:,} tokens past block_size of the validation set, {trained}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--stride=9", "stride=9: must be 1 to 8, the model's block_size"),
        ("--stride=0", "stride=0: must be at least 1, or null"),
        ("--stride=4 --context=carried", "stride=4: has no effect with context=carried"),
        ("--stride=4 --context=generation", "stride=4: has no effect with context=generation"),
        ("--tokens=t --context=generation", "tokens=t: has no effect with context=generation"),
        ("--context=carried", "context=carried: GPT keeps no state past block_size; context=block with a stride"),
        ("--context=block-wise", "context=block-wise: must be one of block, carried, generation"),
        ("--split=train", "split=train: must be one of validation, test"),
        ("--split=test --text=t", "split=test: has no effect with text, all of which is scored"),
        ("--past_block=True", "--past_block: there is no such setting (did you mean 'context'?)"),
        ("--tokens=", "tokens='': must name a file or folder, or be null"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_settings_that_can_not_be_honoured_are_rejected(chargpt: Any, trained: Path, words: str, said: str) -> None:
    ended = chargpt("eval", f"--run={trained}", *words.split())
    assert ended.code == 2
    assert said in ended.refusal


@pytest.mark.parametrize("word", ["--stride=4", "--context=carried", "--tokens=t"])
@pytest.mark.usefixtures("untouched")
def test_model_that_infills_takes_no_context(chargpt: Any, runs: dict[str, Path], word: str) -> None:
    ended = chargpt("eval", f"--run={runs['masked']}", word)
    assert ended.code == 2
    assert ended.refusal.endswith("has no effect with a model that infills")


# ---- the log-probability of each token


@pytest.mark.parametrize("how", [[], ["--stride=3"]], ids=str)
def test_log_probabilities_have_the_printed_mean(chargpt: Any, trained: Path, tmp_path: Path, how: list[str]) -> None:
    path = tmp_path / "tokens.jsonl"
    ended = chargpt("eval", f"--run={trained}", f"--tokens={path}", *how)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == chargpt("eval", f"--run={trained}", *how).out
    header, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    log_probs = [line["log_prob"] for line in lines[1:]]
    assert header["tokens"] == len(log_probs)
    assert ended.out.startswith(f"{-sum(log_probs) / len(log_probs):.4f} nats per character")
    assert f" {-sum(log_probs) / math.log(2) / header['bytes']:.4f} bits per byte" in ended.out
    assert (header["run"], header["split"], header["stride"]) == (str(trained), "validation", 3 if how else None)
    assert os.listdir(tmp_path) == ["tokens.jsonl"]


def test_pandas_reads_the_log_probabilities(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "tokens.jsonl"
    ended = chargpt("eval", f"--run={trained}", f"--tokens={path}", "--stride=4")
    with open(path, encoding="utf-8") as file:
        header = json.loads(next(file))
        table = pandas.read_json(file, lines=True)
    assert [*table] == ["position", "token", "text", "log_prob"]
    assert ended.out.startswith(f"{-table.log_prob.mean():.4f} nats per character")
    assert -table.log_prob.mean() == pytest.approx(header["loss"], rel=1e-6)
    assert table.log_prob.count() == header["tokens"]


def test_audit_passes_the_log_probabilities(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    chargpt("eval", f"--run={trained}", f"--tokens={path}", "--stride=4")
    ended = chargpt("audit", str(path))
    assert (ended.code, "fail" in ended.out) == (0, False), ended.out
    changed = path.read_text().replace('"log_prob": -', '"log_prob": -1', 1)
    path.write_text(changed)
    assert chargpt("audit", str(path)).code == 1


@pytest.mark.parametrize("there", [True, False])
def test_failed_evaluation_leaves_the_file_as_it_was(chargpt: Any, trained: Path, tmp_path: Path, there: bool) -> None:
    path = tmp_path / "tokens.jsonl"
    if there:
        path.write_text("before")
    ended = chargpt("eval", f"--run={trained}", f"--tokens={path}", "--stride=100")
    assert ended.code == 2
    assert os.listdir(tmp_path) == (["tokens.jsonl"] if there else [])
    assert not there or path.read_text() == "before"


@pytest.mark.usefixtures("untouched")
def test_file_that_can_not_be_written_is_named(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    ended = chargpt("eval", f"--run={trained}", f"--tokens={tmp_path / 'nowhere' / 'tokens.jsonl'}")
    assert ended.code == 1
    assert str(tmp_path / "nowhere" / "tokens.jsonl") in ended.refusal
