"""`train`, `sample` and `eval` on a tiny run: what is written, what is refused, and with which exit code."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import mingpt
from mingpt.inference.evaluate import ValidationLoss
from mingpt.runs.run import Run

BLOCK = 8  # of the tiny run
RULE = "-" * 40  # between two samples


@pytest.fixture(scope="module")
def loaded(trained: Path) -> Run:
    return mingpt.load(trained)


@pytest.fixture
def sample(chargpt: Any, trained: Path) -> Any:
    """`sample("--top_k=3")`: how `chargpt sample` ends with the tiny run, prompt "ROMEO:" and 12 new tokens."""

    def call(*words: str) -> Any:
        return chargpt("sample", f"--run={trained}", "--prompt=ROMEO:", "--max_new_tokens=12", *words)

    return call


@pytest.fixture
def written(sample: Any) -> Any:
    """What it writes, when nothing is wrong."""

    def call(*words: str) -> str:
        ended = sample(*words)
        assert (ended.code, ended.err) == (0, "")
        text: str = ended.out
        return text

    return call


# ---- sample


@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK])
@pytest.mark.thin(2)
def test_prompt_is_printed_complete_however_long(written: Any, loaded: Run, text_file: Path, length: int) -> None:
    prompt = text_file.read_text(encoding="utf-8")[:length]
    text = written(f"--prompt={prompt}", "--seed=4")
    assert text.startswith(prompt)
    assert len(text) == length + 12 + 1
    assert text == loaded.generate(prompt, 12, seed=4) + "\n"
    if length > BLOCK:  # what lies further back than a block is not seen
        assert text.removeprefix(prompt) == written(f"--prompt={prompt[-BLOCK:]}", "--seed=4").removeprefix(
            prompt[-BLOCK:]
        )


def test_empty_prompt_starts_after_a_line_end(written: Any) -> None:
    assert "\n" + written("--prompt=") == written("--prompt=\n")


def test_unknown_characters_are_listed_before_anything_is_printed(sample: Any) -> None:
    ended = sample("--prompt=Привет 🤗")
    assert ended.code == 2
    for character in "Привет🤗":
        assert f"{character!r} (U+{ord(character):04X})" in ended.refusal
    assert ended.refusal.startswith("prompt: unknown to this vocabulary of ")
    assert "U+0020" not in ended.refusal


def test_backslash_n_in_a_prompt_is_answered_with_how_a_line_break_is_typed(sample: Any) -> None:
    ended = sample(r"--prompt=ROMEO:\nTo")
    assert ended.code == 2
    assert ended.refusal.endswith(r"'\\' (U+005C); a line break is typed $'\n' in bash and zsh")
    assert "line break" not in sample("--prompt=Привет").refusal


def test_no_new_tokens_adds_none(written: Any) -> None:
    assert written("--max_new_tokens=0") == "ROMEO:\n"


def test_negative_number_of_tokens_is_rejected(sample: Any) -> None:
    ended = sample("--max_new_tokens=-1")
    assert ended.code == 2
    assert ended.refusal == "max_new_tokens=-1: must be 0 or more"


def test_absent_device_is_named_by_its_own_setting(sample: Any) -> None:
    ended = sample("--device=gpu")
    assert ended.code == 2
    assert ended.refusal.startswith("device=gpu: must be one of auto")


@pytest.mark.parametrize(
    "filters", [(), ("--top_k=1",), ("--top_k=5",), ("--top_p=0.5",), ("--top_k=9", "--top_p=0.9")]
)
@pytest.mark.thin(2)
def test_temperature_0_is_greedy(written: Any, filters: tuple[str, ...]) -> None:
    texts = {written("--temperature=0", f"--seed={seed}", *filters) for seed in (0, 1)}
    assert texts == {written("--temperature=1.7", "--top_k=1")}


def test_top_k_of_the_vocabulary_and_top_p_of_1_leave_nothing_out(written: Any, loaded: Run) -> None:
    v = loaded.tokenizer.vocab_size
    every = written("--temperature=1.2")
    for words in (["--top_k=0"], [f"--top_k={v}"], [f"--top_k={v + 1}"], ["--top_p=1"], ["--top_k=0", "--top_p=1.0"]):
        assert written("--temperature=1.2", *words) == every
    assert written("--temperature=1.2", "--top_k=2") != every


def test_second_sample_has_a_seed_of_its_own(written: Any) -> None:
    one_by_one = [written(f"--seed={seed}") for seed in (5, 6, 7)]
    assert len({*one_by_one}) == 3
    assert written("--seed=5", "--num_samples=3") == f"\n{RULE}\n".join(one_by_one)


def test_same_seed_writes_the_same_text_streamed_or_not(written: Any) -> None:
    assert written("--seed=9") == written("--seed=9", "--stream=False") == written("--seed=9", "--stream=True")
    assert written("--seed=9") != written("--seed=10")


# ---- which run


@pytest.fixture
def two_runs(cwd: Path, trained: Path) -> Path:
    """A folder with runs out/a and out/b, of which b was started last."""
    for age, name in enumerate(("b", "a")):
        shutil.copytree(trained, cwd / "out" / name)
        os.utime(cwd / "out" / name / "config.yaml", (1e9 - age, 1e9 - age))
    return cwd


def test_newest_run_is_taken(chargpt: Any, two_runs: Path) -> None:
    assert chargpt("eval").out.endswith(f"{Path('out') / 'b'}\n")
    os.utime(two_runs / "out" / "a" / "config.yaml", (2e9, 2e9))
    assert chargpt("eval").out.endswith(f"{Path('out') / 'a'}\n")
    assert chargpt("sample", "--max_new_tokens=0", "--prompt=R").out == "R\n"


@pytest.mark.parametrize("words", ["sample", "eval", "sample --run=nowhere", "eval --run=.", "--trainer.resume=True"])
@pytest.mark.usefixtures("untouched")
def test_no_run_there_is_one_line_and_code_4(chargpt: Any, words: str) -> None:
    ended = chargpt(*words.split())
    assert ended.code == 4
    named = words.partition("--run=")[2]
    assert (f"{named}: no run here" if named else "no run under out/: train one") in ended.refusal


@pytest.mark.usefixtures("untouched")
def test_run_is_not_written_over(chargpt: Any, text_file: Path, trained: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    ended = chargpt(f"--data.path={text_file}", f"--system.work_dir={trained}")
    assert ended.code == 2
    assert ended.refusal.startswith(f"system.work_dir={trained}: already holds a run")
    assert "--trainer.resume=True" in ended.refusal
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


# ---- eval


def figures(loss: ValidationLoss) -> str:
    nats, bits = f"{loss.nats:.4f} nats per character", f"{loss.bits_per_byte:.4f} bits per byte"
    return f"{nats}, {bits}, perplexity {loss.perplexity:.3f}\ncontext: 1 to {BLOCK} tokens\n"


def test_eval_prints_the_figures_that_training_wrote_down(chargpt: Any, trained: Path, loaded: Run) -> None:
    ended, loss = chargpt("eval", f"--run={trained}"), loaded.evaluate()
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == figures(loss) + f"over {loss.tokens:,} tokens of the validation set, {trained}\n"
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert (loss.nats, loss.bits_per_byte) == pytest.approx((last["val_loss"], last["bits_per_byte"]), rel=1e-6)


def test_sample_takes_both_ways_past_the_block(written: Any, loaded: Run) -> None:
    for way in ("half", "exact"):
        text = written("--prompt=a", "--seed=4", f"--past_block={way}", f"--max_new_tokens={4 * BLOCK}")
        assert text == loaded.generate("a", 4 * BLOCK, seed=4, past_block=way) + "\n"


def test_own_file_is_scored_complete_as_the_validation_set_is(
    chargpt: Any, trained: Path, loaded: Run, text_file: Path, tmp_path: Path
) -> None:
    text = text_file.read_text(encoding="utf-8")
    own = tmp_path / "own text.txt"
    own.write_text(text[int(len(text) * 0.9) :], encoding="utf-8", newline="")
    ended = chargpt("eval", f"--run={trained}", f"--text={own}")
    assert ended.out.startswith(figures(loaded.evaluate()))
    assert f"tokens of {own}, {trained}" in ended.out
    own.write_text(text, encoding="utf-8", newline="")
    assert f"over {len(text) - 1:,} tokens of" in chargpt("eval", f"--run={trained}", f"--text={own}").out


def test_unknown_characters_of_an_own_file_are_listed(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("Ay me 🤗Ω", encoding="utf-8")
    ended = chargpt("eval", f"--run={trained}", f"--text={tmp_path / 't'}")
    assert ended.code == 3
    assert ended.refusal.startswith(str(tmp_path / "t"))
    assert "'🤗' (U+1F917)" in ended.refusal
    assert "'Ω' (U+03A9)" in ended.refusal


@pytest.mark.parametrize(
    ("nats", "said"), [(3.2, "24.533"), (710.0, "inf"), (float("inf"), "inf"), (float("nan"), "nan")]
)
def test_perplexity_of_a_diverged_model_is_inf(
    chargpt: Any, trained: Path, monkeypatch: pytest.MonkeyPatch, nats: float, said: str
) -> None:
    monkeypatch.setattr(Run, "evaluate", lambda *args, **kwargs: ValidationLoss(nats, nats, 9))
    ended = chargpt("eval", f"--run={trained}")
    assert (ended.code, ended.err) == (0, "")
    assert f"perplexity {said}\n" in ended.out


@pytest.mark.usefixtures("untouched")
def test_eval_names_its_own_flag(chargpt: Any, trained: Path) -> None:
    ended = chargpt("eval", f"--run={trained}", "--text=nope")
    assert ended.code == 3
    assert ended.refusal == "text: there is no file 'nope'"


# ---- the text


# What the file holds (None: there is no file); what the refusal says.
WRONG_TEXTS = {
    "missing": (None, "there is no file"),
    "empty": (b"", "is empty"),
    "mark_alone": (b"\xef\xbb\xbf", "is empty"),
    "latin1": (b"caf\xe9 noir and more", "is not UTF-8: byte 0xe9 at offset 3"),
    "utf16": ("Hello there".encode("utf-16"), "the start looks like UTF-16"),
}


@pytest.mark.parametrize("name", WRONG_TEXTS)
@pytest.mark.parametrize("verb", ["train", "eval"])
@pytest.mark.usefixtures("untouched")
@pytest.mark.thin(4)
def test_wrong_text_leaves_nothing_and_ends_in_code_3(
    chargpt: Any, trained: Path, tmp_path: Path, verb: str, name: str
) -> None:
    content, said = WRONG_TEXTS[name]
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    ended = chargpt(f"--data.path={path}") if verb == "train" else chargpt("eval", f"--run={trained}", f"--text={path}")
    assert ended.code == 3
    assert str(path) in ended.refusal
    assert said in ended.refusal


@pytest.mark.parametrize(("block", "length", "needed"), [(8, 8, 9), (8, 1, 9), (128, 128, 129), (1, 3, 4)])
@pytest.mark.usefixtures("untouched")
def test_short_text_says_what_is_needed_and_found(
    chargpt: Any, tmp_path: Path, block: int, length: int, needed: int
) -> None:
    (tmp_path / "t").write_text("x" * length)
    ended = chargpt(f"--data.path={tmp_path / 't'}", f"--data.block_size={block}")
    assert ended.code == 3
    assert f"data.block_size={block} needs {needed} tokens, found {length}" in ended.refusal


def test_text_of_one_character_is_too_short_to_score(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("R")
    ended = chargpt("eval", f"--run={trained}", f"--text={tmp_path / 't'}")
    assert ended.code == 3
    assert "at least 2" in ended.refusal


def test_shortest_text_and_one_of_a_single_character_train(chargpt: Any, cwd: Path, tiny: tuple[str, ...]) -> None:
    (cwd / "short").write_text("abcdefghi")  # block_size + 1
    (cwd / "same").write_text("a" * 50)
    for text, folder in (("short", "out/chargpt"), ("same", "out/chargpt-2")):
        ended = chargpt(*tiny, f"--data.path={text}")
        assert (ended.code, ended.err) == (0, "")
        assert f"run folder: {folder}\n" in ended.out
        assert (cwd / folder / "loss.png").is_file()
    assert "0.000 nats per character" in ended.out  # nothing is left to learn of one character


def test_ctrl_c_ends_a_command_in_one_line_and_code_130(chargpt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*given: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mingpt.runs.run.load_newest", pressed)
    ended = chargpt("sample", "--prompt=x")
    assert (ended.code, ended.refusal) == (130, "interrupted")
