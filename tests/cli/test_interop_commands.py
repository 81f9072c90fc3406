"""`chargpt export` and `chargpt import`: what a person sees, and with which exit code they end."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.mark.full
def test_default_runs_export_is_the_same_model(chargpt: Any, trained: Path, text_file: Path, tmp_path: Path) -> None:
    """A run of the default architecture goes out, comes back, and both write and judge alike."""
    pytest.importorskip("transformers")
    out, back = tmp_path / "theirs", tmp_path / "back"
    ended = chargpt("export", f"--run={trained}", f"--out={out}")
    assert (ended.code, ended.err) == (0, "")
    first, *lines = ended.out.splitlines()
    assert first == f"{trained} as GPT2LMHeadModel in {out}"
    assert "2 texts of 8 random tokens, no window" in lines[0]
    differences = [line.split() for line in lines[1:3]]
    assert [name for name, _ in differences] == ["float32", "float64"]
    assert [float(value) < mark for (_, value), mark in zip(differences, (1e-5, 1e-10), strict=True)] == [True, True]
    assert lines[3] == "  greedy text: the same 7 tokens"
    assert lines[4].startswith("  tokenizer: the same ids for ")
    ended = chargpt("import", str(out), "--out", str(back))
    assert (ended.code, ended.err) == (0, "")
    assert f"chargpt sample --run={back}" in ended.out or "sample --run=" in ended.out
    written = [chargpt("sample", f"--run={run}", "--prompt=ROMEO:", "--temperature=0").out for run in (trained, back)]
    judged = [chargpt("eval", f"--run={run}", f"--text={text_file}").out.splitlines()[0] for run in (trained, back)]
    assert written[0] == written[1]
    assert judged[0] == judged[1]
    assert chargpt("attention", f"--run={back}", "--text=ROMEO:", f"--out={tmp_path / 'a.svg'}").code == 0
    for verb in ("attention", "eval"):
        ended, told = chargpt(verb, f"--run={back}"), f"{back}: imported, so it has no text of its own; name one with"
        assert (ended.code, ended.refusal) == (3, f"{told} --text")


def test_missing_transformers_is_one_line_and_keeps_the_folder(
    chargpt: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    ended = chargpt("export", f"--run={trained}", f"--out={tmp_path / 'theirs'}")
    assert ended.code == 0
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == FILES
    said = "not compared: transformers is not installed; `pip install transformers` and export again\n"
    assert ended.err == said


def test_model_that_no_class_computes_is_rejected(chargpt: Any, runs: dict[str, Path], tmp_path: Path) -> None:
    for name, setting in (("full", "model.mask=full: "), ("masked", "model.type=birnn: ")):
        ended = chargpt("export", f"--run={runs[name]}", f"--out={tmp_path / 'theirs'}")
        assert ended.code == 2
        assert ended.refusal.startswith(setting)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "refusal"),
    [
        (["export"], 2, "out='': must name a folder to write, as --out=FOLDER"),
        (["export", "--out=x", "--dtype=int8"], 2, "dtype=int8: must be one of float32, bfloat16, float16"),
        (["export", "--out=x", "--run="], 2, "run='': must name a file or folder, or be null"),
        (["import"], 2, "0 folders: one is needed, as `chargpt import FOLDER`"),
        (["import", "a", "b"], 2, "2 folders: one is needed, as `chargpt import FOLDER`"),
        (["import", "a", "--block_size=0"], 2, "block_size=0: must be at least 1, or null"),
        (["import", "a", "--blok_size=1"], 2, "--blok_size: there is no such setting (did you mean 'block_size'?)"),
        (["import", "nowhere"], 4, "nowhere/config.json: No such file or directory"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("untouched")
def test_wrong_words_are_rejected(chargpt: Any, trained: Path, words: list[str], code: int, refusal: str) -> None:
    given = [*words, f"--run={trained}"] if words[0] == "export" and "--run=" not in words else words
    ended = chargpt(*given)
    assert (ended.code, ended.refusal) == (code, refusal)
