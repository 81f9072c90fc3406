"""`leaks`, and what `eval` and `sample --fill` do with models that see what they predict."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.image import imread

import mingpt
from mingpt.attention.kernels import Sdpa
from mingpt.errors import DataError
from mingpt.report import curve, heatmaps
from mingpt.trained import Run

FULL = ("--model.mask=full",)
MASKED = ("--model.type=birnn", "--model.objective=masked")
LEARNED = ("--data.block_size=16", "--trainer.max_iters=150", "--trainer.eval_every=0", "--wandb.mode=disabled")


@pytest.fixture(scope="module")
def runs(
    chargpt: Any, tiny: tuple[str, ...], trained: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A run of a GPT, of one that reads the whole block, and of a network that fills gaps."""
    home = tmp_path_factory.mktemp("leaking")
    for name, words in {"full": (*tiny, *FULL), "masked": (*LEARNED, *MASKED, "--model.n_layer=1")}.items():
        ended = chargpt(*words, f"--data.path={text_file}", f"--system.work_dir={home / name}")
        assert (ended.code, ended.err) == (0, "")
    return {"causal": trained, "full": home / "full", "masked": home / "masked"}


@pytest.fixture
def leaky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention that sees the future, in a model that says otherwise."""

    def attend(kernel: Sdpa, q: Any, k: Any, v: Any, need: Any) -> tuple[Any, None]:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True), None

    monkeypatch.setattr(Sdpa, "attend", attend)


# ---- leaks


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("causal", "no output moves with a later input; GPT says that it is autoregressive"),
        (
            "full",
            "4 of 4 later inputs move an earlier output: this model sees what it predicts; "
            "GPT says that it is not autoregressive",
        ),
    ],
)
def test_finding_is_not_what_the_model_does(
    chargpt: Any, runs: dict[str, Path], tmp_path: Path, name: str, finding: str
) -> None:
    picture = runs[name] / "leaks.png"
    for words, path in (([], picture), ([f"--out={tmp_path / 'a.png'}"], tmp_path / "a.png")):
        ended = chargpt("leaks", f"--run={runs[name]}", "--text=ROMEO", *words)
        assert (ended.code, ended.err, ended.out) == (0, "", f"{finding}; {path}\n")
        assert imread(path).shape[:2] == (816, 912)
        path.unlink()


@pytest.mark.usefixtures("leaky")
def test_model_that_claims_to_be_autoregressive_and_leaks_ends_in_0(chargpt: Any, trained: Path) -> None:
    ended = chargpt("leaks", f"--run={trained}", "--text=ROMEO:\nA")
    assert ended.code == 1
    assert ended.out.startswith("7 of 7 later inputs move an earlier output")
    assert ended.err == (
        "error: GPT claims to be autoregressive, and is not: 7 of 7 later inputs move an earlier output: this model "
        "sees what it predicts\n"
    )
    assert (trained / "leaks.png").is_file()


def test_own_text_is_not_the_beginning_of_what_was_held_out(
    chargpt: Any, runs: dict[str, Path], text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(Run, "influence", lambda run, text: read.append(text) or torch.eye(len(text)))
    assert chargpt("leaks", f"--run={runs['causal']}").code == 0
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
        (["--text=é"], 2, "U+00E9"),
        (["--out=a.doc"], 2, "out=a.doc: must end in .png, .svg, .pdf"),
        (["--out=nowhere/a.png"], 2, "must lie in a folder that there is"),
        (["--out="], 2, "out='': must name a file or folder"),
        (["--device=abacus"], 2, "device=abacus"),
        (["--run=nowhere"], 4, "nowhere"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_picture_is_drawn_of_nonsense(chargpt: Any, trained: Path, words: list[str], code: int, refusal: str) -> None:
    ended = chargpt("leaks", f"--run={trained}", *words)
    assert (ended.code, refusal in ended.refusal) == (code, True)


def test_text_that_is_gone_is_read(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"text": str(tmp_path / "gone")}))
    assert "name one with --text" in chargpt("leaks", f"--run={run}").refusal
    assert chargpt("leaks", f"--run={run}", "--text=RO").code == 0


# ---- the picture


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: drawn.append(self))
    return drawn  # type: ignore[return-value]


def test_later_half_diagonal_or_finding_does_not_show(figures: list[Figure], tmp_path: Path) -> None:
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


# ---- eval


def test_pseudo_likelihood_is_called_a_loss_or_a_perplexity(
    chargpt: Any, runs: dict[str, Path], text_file: Path
) -> None:
    pseudo = mingpt.load(runs["masked"]).pseudo_likelihood()
    for words, where in (((), "the held-out text"), ((f"--text={text_file}",), str(text_file))):
        ended = chargpt("eval", f"--run={runs['masked']}", *words)
        assert (ended.code, ended.err) == (0, "")
        first, second, third = ended.out.splitlines()
        assert first.startswith("pseudo-likelihood: ")
        assert second.endswith(f"each hidden in turn from its block, of {where}, {runs['masked']}")
        assert third == "each guess saw the text on both sides: not comparable with a loss or a perplexity"
        if not words:
            assert f"{pseudo.pseudo_nats:.4f} pseudo-nats per token" in first
            assert f"over {pseudo.tokens:,} of {pseudo.of:,} tokens" in second
        assert "loss" not in first + second
        assert "perplexity" not in first + second


def test_run_that_fills_gaps_has_no_signal_or_is_told_something_false(
    chargpt: Any, text_file: Path, tmp_path: Path
) -> None:
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
    assert ended.out.count("this model tells hidden tokens from those on both sides") == 2
    assert "sees the tokens that it predicts" not in ended.out


def test_text_without_tokens_has_a_pseudo_likelihood(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "_judged_on", lambda run, path, say: np.zeros(0, dtype=np.uint8))
    with pytest.raises(DataError, match="has no token to hide; at least 1 is needed"):
        mingpt.load(runs["masked"]).pseudo_likelihood()


@pytest.mark.parametrize("name", ["full", "masked"])
def test_run_of_a_model_that_sees_what_it_predicts_reports_a_held_out_loss(
    chargpt: Any, runs: dict[str, Path], figures: list[Figure], name: str
) -> None:
    folder = runs[name]
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    states = [json.loads(path.read_text()) for path in folder.glob("checkpoints/*/state.json")]
    assert records
    assert states
    assert not any("val" in key or "bits" in key for record in records for key in record)
    assert [state["val_loss"] for state in states] == [None] * len(states)
    with pytest.raises(ValueError, match="has no held-out loss or perplexity"):
        mingpt.load(folder).evaluate()
    curve.draw(folder)
    (axes,) = figures[-1].axes
    assert axes.get_title() == "Training loss; there is no held-out loss to compare with anything"
    assert len(axes.lines) == 1  # the training loss alone, no line of counting to beat
    if name == "full":
        ended = chargpt("eval", f"--run={folder}")
        assert (ended.code, "choose an autoregressive model" in ended.refusal) == (2, True)


@pytest.mark.usefixtures("leaky", "untouched")
def test_model_that_denies_that_it_leaks_is_trained(chargpt: Any, tiny: tuple[str, ...], text_file: Path) -> None:
    ended = chargpt(*tiny, f"--data.path={text_file}")
    assert ended.code == 2
    assert "error: GPT claims to be autoregressive, but its output at position 0" in ended.err
    assert "MFLOP" not in ended.out  # it is refused before anything is said of it


@pytest.mark.usefixtures("leaky", "cwd")
def test_model_whose_leak_shows_only_later_is_judged(chargpt: Any, tiny: tuple[str, ...], text_file: Path) -> None:
    with mock.patch("mingpt.run.require_autoregressive"):
        ended = chargpt(*tiny, f"--data.path={text_file}", "--system.work_dir=run")
    assert ended.code == 2
    assert "error: GPT claims to be autoregressive" in ended.err
    assert not list(Path("run").glob("checkpoints/*"))
    assert "val_loss" not in Path("run/metrics.jsonl").read_text()


@pytest.mark.usefixtures("leaky")
def test_run_that_denies_that_it_leaks_is_judged(chargpt: Any, trained: Path) -> None:
    ended = chargpt("eval", f"--run={trained}")
    assert ended.code == 2
    assert "GPT claims to be autoregressive, but" in ended.refusal


# ---- fill


def test_gaps_are_not_filled_or_something_else_changes(chargpt: Any, runs: dict[str, Path]) -> None:
    ended = chargpt("sample", f"--run={runs['masked']}", "--fill=R_MEO:\nAy m_")
    assert (ended.code, ended.err) == (0, "")
    text = ended.out.removesuffix("\n")
    assert (text[0], text[2:-1]) == ("R", "MEO:\nAy m")
    assert "_" not in text
    loaded = mingpt.load(runs["masked"])
    assert text == loaded.fill("R_MEO:\nAy m_") == loaded.fill("R#MEO:\nAy m#", gap="#")
    assert chargpt("sample", f"--run={runs['masked']}", "--fill=R#MEO:\nAy m#", "--gap=#").out == ended.out


def test_text_that_was_learned_is_not_restored(runs: dict[str, Path], text_file: Path) -> None:
    text, loaded = text_file.read_text(encoding="utf-8")[:160], mingpt.load(runs["masked"])
    blocks = [text[start : start + 16] for start in range(0, 160, 16)]
    right = sum(loaded.fill(f"{block[:n]}_{block[n + 1 :]}") == block for block in blocks for n in range(16))
    assert right > 80  # a guess of the commonest character has some 25


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--fill=ROMEO"], "fill='ROMEO': has no gap, as '_' marks one"),
        (["--fill=ROME__", "--gap=__"], "gap='__': must be one character"),
        (["--fill=ROME_", "--gap="], "gap='': must be one character"),
        (["--fill=" + "_" * 17], "must be at most 16 tokens, not 17"),
        (["--fill=é_"], "U+00E9"),
        (["--fill=R_", "--seed=3"], "seed=3: is not read together with fill"),
        (["--fill=R_", "--prompt=R"], "prompt=R: is not read together with fill"),
        (["--gap=#"], "gap='#': needs fill"),
        (["--prompt=R"], "so it can't write any; it fills gaps: --fill="),
    ],
)
def test_nonsense_is_filled(chargpt: Any, runs: dict[str, Path], words: list[str], refusal: str) -> None:
    ended = chargpt("sample", f"--run={runs['masked']}", *words)
    assert (ended.code, refusal in ended.refusal) == (2, True)


@pytest.mark.parametrize("name", ["causal", "full"])
def test_model_that_was_not_trained_to_fills_gaps(chargpt: Any, runs: dict[str, Path], name: str) -> None:
    ended = chargpt("sample", f"--run={runs[name]}", "--fill=R_")
    assert (ended.code, ended.refusal) == (2, "GPT was not trained to fill gaps")
    assert "fill" not in chargpt("sample", f"--run={runs['full']}", "--prompt=R").refusal


def test_surest_gap_is_not_filled_first_or_what_it_got_is_not_read(runs: dict[str, Path]) -> None:
    """A model that knows of the second gap more than of the first, and then the first from it."""
    run = mingpt.load(runs["masked"])
    seen: list[list[bool]] = []

    def fill(idx: Any, gaps: Any) -> Any:
        seen.append(gaps[0].tolist())
        logits = torch.zeros(*idx.shape, run.tokenizer.vocab_size)
        logits[0, 2, 5] = 9.0
        logits[0, 0, 7 if idx[0, 2] == 5 else 6] = 1.0
        return logits

    with mock.patch.object(run.model, "fill", fill):
        text = run.fill("_R_")
    assert seen == [[True, False, True], [True, False, False]]
    assert run.tokenizer.encode(text).tolist()[::2] == [7, 5]
