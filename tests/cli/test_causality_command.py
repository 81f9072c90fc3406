"""`causality`: what it says of a model, what it draws, and what it refuses to read."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

import mingpt
from mingpt.models.rnn import BidirectionalRNN
from mingpt.report import heatmaps
from mingpt.runs.trained_run import Run


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("causal", "no output moves with a later input; GPT is declared autoregressive"),
        (
            "full",
            "4 of 4 later inputs move an earlier output: this model sees what it predicts; "
            "GPT is declared not autoregressive",
        ),
        (
            "masked",
            "4 of 4 later inputs move an earlier output, as is meant: this model predicts hidden tokens from both "
            "sides, and none of 5, hidden, moves its own prediction; "
            "BidirectionalRNN is declared not autoregressive",
        ),
    ],
)
@pytest.mark.full
def test_finding_is_what_the_model_does(
    chargpt: Any, runs: dict[str, Path], tmp_path: Path, name: str, finding: str
) -> None:
    picture = runs[name] / "causality.png"
    for words, path in (([], picture), ([f"--out={tmp_path / 'a.png'}"], tmp_path / "a.png")):
        ended = chargpt("causality", f"--run={runs[name]}", "--text=ROMEO", *words)
        assert (ended.code, ended.err, ended.out) == (0, "", f"{finding}; {path}\n")
        assert imread(path).shape[:2] == (816, 912)
        path.unlink()


@pytest.mark.usefixtures("leaky")
def test_model_that_claims_to_be_autoregressive_and_leaks_ends_in_an_error(chargpt: Any, trained: Path) -> None:
    ended = chargpt("causality", f"--run={trained}", "--text=ROMEO:\nA")
    assert ended.code == 1
    assert ended.out.startswith("7 of 7 later inputs move an earlier output")
    assert ended.err == (
        "error: GPT claims to be autoregressive, and is not: 7 of 7 later inputs move an earlier output: this model "
        "sees what it predicts\n"
    )
    assert (trained / "causality.png").is_file()


def test_hidden_token_that_shows_is_found(
    chargpt: Any, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filler that is told what it should guess, at the third position alone."""
    right = BidirectionalRNN.masked_logits

    def fill(model: Any, idx: Any, gaps: Any) -> Any:
        return right(model, idx, gaps & (torch.arange(idx.shape[1]) != 2))

    monkeypatch.setattr(BidirectionalRNN, "masked_logits", fill)
    ended = chargpt("causality", f"--run={runs['masked']}", "--text=ROMEO", f"--out={tmp_path / 'a.png'}")
    assert ended.code == 1
    assert ended.err == (
        "error: BidirectionalRNN claims to hide what it fills, and does not: "
        "1 of 5 hidden tokens move their own prediction: this model sees what it predicts\n"
    )


def test_default_text_is_the_beginning_of_the_validation_set(
    chargpt: Any, runs: dict[str, Path], text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(Run, "dependency_map", lambda run, text: read.append(text) or torch.eye(len(text)))
    assert chargpt("causality", f"--run={runs['causal']}").code == 0
    text = text_file.read_text(encoding="utf-8")
    assert read == [text[int(len(text) * 0.9) :][:8]]
    assert len(mingpt.load(runs["masked"]).excerpt(100)) == 16
    assert len(mingpt.load(runs["masked"]).excerpt(3)) == 3


@pytest.mark.parametrize(
    ("words", "code", "refusal"),
    [
        (["--text=ROMEO: what"], 2, "must be 1 to 8 tokens, not 11"),
        (["--text="], 2, "must be 1 to 8 tokens, not 0"),
        (["--text=R"], 2, "text='R': must be at least 2 tokens: one alone has none after it"),
        (["--text=é"], 2, "text: unknown to this vocabulary of"),
        (["--out=a.doc"], 2, "out=a.doc: must end in .png, .svg, .pdf"),
        (["--out=nowhere/a.png"], 2, "must lie in a folder that there is"),
        (["--out="], 2, "out='': must name a file or folder"),
        (["--device=abacus"], 2, "device=abacus"),
        (["--run=nowhere"], 4, "nowhere"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_no_picture_is_drawn_of_nonsense(
    chargpt: Any, trained: Path, words: list[str], code: int, refusal: str
) -> None:
    ended = chargpt("causality", f"--run={trained}", *words)
    assert (ended.code, refusal in ended.refusal) == (code, True)


def test_text_that_is_gone_is_one_line(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"text": str(tmp_path / "gone")}))
    assert "name one with --text" in chargpt("causality", f"--run={run}").refusal
    assert chargpt("causality", f"--run={run}", "--text=RO").code == 0


def test_map_shows_later_half_diagonal_and_finding(figures: list[Figure], tmp_path: Path) -> None:
    moved = np.tril(np.full((5, 5), 0.5))
    moved[4, 0] = 0  # an input that is too far back
    for leak in (0.0, np.finfo(float).tiny):
        moved[1, 3] = leak
        heatmaps.draw_influence(moved, "ab\nde", "what was found", tmp_path / "a.png")
    for figure, red in zip(figures, (0, 1), strict=True):
        axes = figure.axes[0]
        half, earlier, later = (image.get_array() for image in axes.images)
        assert (~half.mask == np.triu(np.ones((5, 5), dtype=bool), 1)).all()
        assert (~earlier.mask).sum() == 14
        assert earlier.mask[4, 0]
        assert (~later.mask).sum() == red
        assert len(figure.axes) == 2 + red  # colour bars
        assert [[float(x) for x in corner] for corner in axes.lines[0].get_xydata()[[0, -1]]] == [[-0.5] * 2, [4.5] * 2]
        assert axes.get_title() == "what was found"
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "\\n", "d", "e"]
    image = figures[1].axes[0].images[2]
    assert image.cmap(image.norm(image.get_array()))[1, 3, 1] < 0.9  # seen on pink, however small


@pytest.mark.full
def test_old_name_still_works_and_is_deprecated_in_one_line(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    ended = chargpt("leaks", f"--run={trained}", "--text=ROMEO", f"--out={tmp_path / 'a.png'}")
    assert ended.code == 0
    assert ended.err == "warning: `leaks` is deprecated; use `causality`\n"
