"""One's own texts and tokenizers as a person types them: several files, a pipe, bytes, BPE, prepared folders."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mingpt.core.atomic_io import sha256
from mingpt.core.run_files.reading import read_lines
from mingpt.runs import run

SPEECH = (
    "ROMEO:\nZoë’s 🤗 and the cat, the dog; but soft!\n\nJULIET:\nWhat’s in a name? That which we call a rose\n" * 12
)
BPE = ("--data.tokenizer=bpe", "--data.vocab_size=300")


def weights(folder: Path) -> str:
    (newest,) = folder.glob("checkpoints/*/model.safetensors")
    return sha256(newest.read_bytes())


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "speech.txt"
    path.write_text(SPEECH, encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def learned(
    chargpt: Any, tiny: tuple[str, ...], speech: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A run of each tokenizer that knows every text; of BPE also one that fills gaps."""
    home, words = tmp_path_factory.mktemp("learned"), (*tiny, f"--data.path={speech}", "--data.block_size=16")
    masked = ("--model.type=birnn", "--model.objective=masked", "--model.n_layer=1", "--model.n_embd=16")
    asked = {
        "byte": (*words, "--data.tokenizer=byte"),
        "bpe": (*words, *BPE),
        "masked": (*[word for word in words if not word.startswith("--model.")], *masked, *BPE),
    }
    for name, each in asked.items():
        ended = chargpt(*each, f"--system.work_dir={home / name}")
        assert (ended.code, ended.err) == (0, "")
    return {name: home / name for name in asked}


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@pytest.mark.full
def test_commands_work_with_any_tokenizer(
    chargpt: Any, learned: dict[str, Path], speech: Path, tmp_path: Path, kind: str
) -> None:
    named = f"--run={learned[kind]}"
    pieces = chargpt("sample", named, "--prompt=Привет 🤗", "--max_new_tokens=40", "--seed=3")
    assert pieces.code == 0
    assert pieces.out.startswith("Привет 🤗")
    whole = chargpt("sample", named, "--prompt=Привет 🤗", "--max_new_tokens=40", "--seed=3", "--stream=False")
    assert whole.out == pieces.out
    for verb in ("attention", "causality"):
        ended = chargpt(verb, named, "--text=é🤗 a$b$", f"--out={tmp_path / 'a.png'}")
        assert (ended.code, ended.err) == (0, "")
    assert chargpt("causality", named, f"--out={tmp_path / 'a.png'}").code == 0  # of its own held-out text
    (tmp_path / "other.txt").write_text("Ещё один текст", encoding="utf-8")
    judged = chargpt("eval", named, f"--text={tmp_path / 'other.txt'}")
    assert judged.code == 0
    assert f"nats per {'byte' if kind == 'byte' else 'token'}, " in judged.out
    too_long = chargpt("attention", named, f"--text={'é' * 40}")
    assert (too_long.code, "must be 1 to 16 tokens, not 80" in too_long.err) == (2, True)
    half = chargpt("sample", named, "--prompt=a\udcff")
    assert (half.code, "prompt: halves of surrogate pairs" in half.err) == (2, True)


def test_losses_per_byte_are_of_the_same_text(learned: dict[str, Path], speech: Path) -> None:
    """All but the first token of one and the same held-out tenth, whatever its tokens are."""
    text = SPEECH[int(len(SPEECH) * 0.9) :]
    for kind in ("byte", "bpe"):
        done = run.load(learned[kind])
        first, *others = done.tokenizer.encode(text)
        judged = done.evaluate()
        assert judged.tokens == len(others)
        bytes_judged = len(text.encode()) - len(done.tokenizer.spelling[first])
        per_byte = judged.nats * judged.tokens / bytes_judged
        assert judged.bits_per_byte == pytest.approx(per_byte / 0.6931471805599453, rel=1e-12)
        assert read_lines(learned[kind] / "metrics.jsonl")[-1]["bits_per_byte"] == judged.bits_per_byte
        last = [
            line["prompt"] for line in read_lines(learned[kind] / "samples.jsonl") if line["step"] == done.progress.step
        ]
        assert last == done.prompts() != [""]


def test_gap_in_a_text_of_tokens_is_filled(chargpt: Any, learned: dict[str, Path]) -> None:
    ended = chargpt("sample", f"--run={learned['masked']}", "--fill=the _ and _og")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("the ")
    assert " and " in ended.out
    assert ended.out.endswith("og\n")


def test_checkpoint_of_bpe_holds_a_tokenizer_of_the_library(
    chargpt: Any, learned: dict[str, Path], speech: Path, cwd: Path, tiny: tuple[str, ...]
) -> None:
    """And a ready-made one, as any: it begins another run, on another text."""
    (saved,) = learned["bpe"].glob("checkpoints/*/tokenizer.json")
    assert json.loads(saved.read_bytes())["model"]["type"] == "BPE"
    Path("other.txt").write_text("Another text altogether.\n" * 30, encoding="utf-8")
    ended = chargpt(
        *tiny, "--data.path=other.txt", f"--data.tokenizer={saved}", f"--model.pretrained_folder={learned['bpe']}"
    )
    assert (ended.code, ended.err) == (0, "")
    assert "weights from " in ended.out
    ended = chargpt(*tiny, "--data.path=other.txt", f"--data.tokenizer={saved}")
    assert (ended.code, ended.err) == (0, "")
    assert run.load("out/chargpt-2").tokenizer.to_json() == saved.read_text(encoding="utf-8")
    wrong = chargpt(*tiny, f"--data.path={speech}", f"--data.tokenizer={speech.with_suffix('.json')}")
    assert (wrong.code, "cannot be read: No such file" in wrong.refusal) == (3, True)
    Path("x.json").write_text("{}")
    wrong = chargpt(*tiny, f"--data.path={speech}", "--data.tokenizer=x.json")
    assert (wrong.code, "data.tokenizer=x.json: tokenizer.json: holds no tokenizer" in wrong.refusal) == (3, True)


@pytest.mark.parametrize("words", [(), BPE, ("--data.tokenizer=byte", "--data.val_fraction=0.2")], ids=str)
@pytest.mark.thin(1)
def test_prepared_text_trains_the_same_model(
    chargpt: Any, cwd: Path, speech: Path, tiny: tuple[str, ...], words: tuple[str, ...]
) -> None:
    made = chargpt("prepare", f"--data.path={speech}", "--out", "ids", *words)
    assert (made.code, made.err) == (0, "")
    assert made.out.endswith("--data.path=ids\n")
    for path, more in (("ids", ()), (speech, words)):
        ended = chargpt(*tiny, f"--data.path={path}", *more)
        assert (ended.code, ended.err) == (0, "")
    one, other = Path("out/chargpt"), Path("out/chargpt-2")
    assert weights(one) == weights(other)
    assert (one / "baselines.json").read_bytes() == (other / "baselines.json").read_bytes()
    assert run.load(one).evaluate() == run.load(other).evaluate()
    told = [json.loads((each / "environment.json").read_bytes()) for each in (one, other)]
    assert told[0]["text_sha256"] == told[1]["text_sha256"] == sha256(speech.read_bytes())
    again = chargpt(f"--config={one / 'config.yaml'}", "--system.work_dir=again")
    assert (again.code, weights(Path("again"))) == (0, weights(one))
    assert chargpt("causality", "--run=again").code in (0, 1)


def test_prepared_folder_with_other_settings_is_rejected(chargpt: Any, cwd: Path, speech: Path) -> None:
    assert chargpt("prepare", f"--data.path={speech}", "--out=ids", *BPE).code == 0
    wrong = chargpt("--data.path=ids", "--data.tokenizer=char")
    assert (wrong.code, wrong.refusal) == (2, "data.tokenizer=char: ids was prepared with data.tokenizer=bpe")
    wrong = chargpt("--data.path=ids", "--data.vocab_size=301")
    assert (wrong.code, wrong.refusal) == (2, "data.vocab_size=301: ids was prepared with data.vocab_size=300")
    wrong = chargpt("prepare", f"--data.path={speech}", "--out=ids")
    assert (wrong.code, wrong.refusal) == (2, "out=ids: is there already; name a new folder")
    wrong = chargpt("prepare", f"--data.path={speech}")
    assert (wrong.code, wrong.refusal) == (2, "out=null: must name the folder to make, as --out=FOLDER")
    assert chargpt("--data.path=ids", "--data.val_fraction=0.2").code == 2
    wrong = chargpt("prepare", "--data.path=nowhere.txt", "--out=b")
    assert (wrong.code, "there is no file 'nowhere.txt'" in wrong.refusal) == (3, True)
    wrong = chargpt("prepare", f"--data.path={speech}", "--out=b", "--data.block_size=3")
    assert (wrong.code, "there is no such setting" in wrong.refusal) == (2, True)
    content = bytearray(Path("ids/train.bin").read_bytes())
    content[7] ^= 1
    Path("ids/train.bin").write_bytes(content)
    wrong = chargpt("--data.path=ids")
    assert (wrong.code, "train.bin is not what was written (sha256 differs)" in wrong.refusal) == (3, True)
    Path("ids/prepared.json").write_text("[]")
    wrong = chargpt("--data.path=ids")
    assert (wrong.code, "not a whole prepared folder" in wrong.refusal) == (3, True)
    wrong = chargpt("sweep", "--data.path=ids", "--model.rope=True,False", "--seeds=1")
    assert wrong.code == 3
    assert sorted(path.name for path in cwd.iterdir()) == ["ids"]


@pytest.mark.full
def test_run_fed_by_standard_input_goes_on_with_its_text_alone(
    chargpt: Any, cwd: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*tiny, "--data.path=-", "--trainer.schedule=constant")
    pipe(monkeypatch, SPEECH)
    assert chargpt(*words).code == 0
    more = ("--trainer.resume=True", "--trainer.max_iters=5")
    pipe(monkeypatch, SPEECH)
    ended = chargpt(*more)
    assert (ended.code, ended.err) == (0, "")
    assert run.load("out/chargpt").progress.step == 5
    pipe(monkeypatch, SPEECH[:-5])
    other = chargpt(*more[:1], "--trainer.max_iters=6")
    assert other.code == 4
    assert "standard input is no longer the text that it began with (sha256 differs)" in other.refusal
    pipe(monkeypatch, "")
    nothing = chargpt(*more[:1], "--trainer.max_iters=6")
    assert (nothing.code, "and the same one again to resume a run" in nothing.refusal) == (3, True)
    judged = chargpt("eval")
    assert judged.code == 3
    assert "its text came from standard input and is kept nowhere; name one with --text" in judged.err
    pipe(monkeypatch, SPEECH)
    assert chargpt("eval", "--text=-").code == 0


def test_standard_input_is_prepared_as_a_file_is(
    chargpt: Any, cwd: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chargpt("prepare", f"--data.path={speech}", "--out=a", *BPE).code == 0
    pipe(monkeypatch, SPEECH)
    assert chargpt("prepare", "--data.path=-", "--out=b", *BPE).code == 0
    for path in Path("a").iterdir():
        if path.suffix == ".bin" or path.name == "tokenizer.json":
            assert path.read_bytes() == (Path("b") / path.name).read_bytes()
    assert sorted(path.name for path in cwd.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a.jsonl", "a.jsonl: read as plain text, its brackets and quotes included"),
        ("b.CSV", "b.CSV: read as plain text, its commas and quotes included"),
        ("a.jsonl,c.txt", "a.jsonl: read as plain text, its brackets and quotes included"),
        (".", "a.jsonl and 1 other file: read as plain text, their brackets and quotes, commas and quotes included"),
        ("c.txt", None),
    ],
)
@pytest.mark.thin(2)
def test_table_or_json_read_as_text_is_reported(
    chargpt: Any, cwd: Path, tiny: tuple[str, ...], path: str, said: str | None
) -> None:
    for name in ("a.jsonl", "b.CSV", "c.txt"):
        Path(name).write_text(SPEECH, encoding="utf-8")
    made = chargpt("prepare", f"--data.path={path}", "--out=ids")
    assert (made.code, made.err.splitlines()) == (0, [said] if said else [])
    Path("ids").rename(cwd.parent / f"{cwd.name}-ids")  # else a part of what `.` names
    ended = chargpt(*tiny, f"--data.path={path}")
    assert ended.code == 0
    lines = [line for line in " ".join(ended.out.split("run folder: ")[0].split()).split("; ") if "plain" in line]
    assert lines == ([said] if said else [])
    gone = chargpt("prepare", "--data.path=gone.json", "--out=b")
    assert (gone.code, "plain text" in gone.err) == (3, False)


@pytest.mark.full
def test_text_of_several_files_is_there_when_it_is_evaluated_again(
    chargpt: Any, cwd: Path, tiny: tuple[str, ...]
) -> None:
    Path("texts").mkdir()
    for name in "ab":
        Path(f"texts/{name}.txt").write_text(SPEECH + name, encoding="utf-8")
    for path in ("texts", "texts/*.txt", "texts/a.txt,texts/b.txt"):
        assert chargpt(*tiny, f"--data.path={path}").code == 0
    folders = ("out/chargpt", "out/chargpt-2", "out/chargpt-3")
    assert len({weights(Path(folder)) for folder in folders}) == 1
    assert [chargpt("eval", f"--run={folder}").code for folder in folders] == [0, 0, 0]
    Path("texts/a.txt").write_text(SPEECH, encoding="utf-8")
    changed = chargpt("eval", "--run=out/chargpt")
    assert (changed.code, "no longer the text that out/chargpt began with" in changed.err) == (3, True)
    Path("texts/a.txt").unlink()
    Path("texts/b.txt").unlink()
    for folder in folders:
        gone = chargpt("eval", f"--run={folder}")
        assert (gone.code, "its text is no longer at " in gone.err) == (3, True)
