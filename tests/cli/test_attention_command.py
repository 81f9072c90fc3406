"""`attention`, `selftest`, `bench NAME` and `sample --cache` as a person types them."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from matplotlib.image import imread

from mingpt.benchmarks import BENCHMARKS, selftest
from mingpt.core.atomic_io import save_picture
from mingpt.report import heatmaps


@pytest.mark.full
def test_picture_is_where_it_was_asked_for(chargpt: Any, trained: Path, tmp_path: Path) -> None:
    for words, path in (([], trained / "attention.png"), ([f"--out={tmp_path / 'a.png'}"], tmp_path / "a.png")):
        ended = chargpt("attention", f"--run={trained}", "--text=ROMEO:\nA", *words)
        assert (ended.code, ended.err, ended.out) == (0, "", f"{path}\n")
        height, width, _ = imread(path).shape
        assert 150 < height < 3100
        assert 150 < width < 3100
        path.unlink()


def test_attention_without_a_text_draws_the_run_s_own(chargpt: Any, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    """Whose characters need not be Shakespeare's."""
    (tmp_path / "t.txt").write_text("0123456789\n" * 40, encoding="utf-8")
    assert chargpt(*tiny, f"--data.path={tmp_path}/t.txt", f"--system.work_dir={tmp_path}/run").code == 0
    ended = chargpt("attention", f"--run={tmp_path}/run")
    assert (ended.code, ended.err, ended.out) == (0, "", f"{tmp_path}/run/attention.png\n")
    assert (tmp_path / "run" / "attention.png").is_file()


@pytest.mark.parametrize(
    ("words", "code", "refusal"),
    [
        (["--text=ROMEO: what"], 2, "must be 1 to 8 tokens, not 11"),
        (["--text="], 2, "must be 1 to 8 tokens, not 0"),
        (["--text=é"], 2, "text: unknown to this vocabulary of"),
        (["--layer=1"], 2, "layer=1: must be 0 to 0, or null"),
        (["--out=a.doc"], 2, "out=a.doc: must end in .png, .svg, .pdf"),
        (["--out=nowhere/a.png"], 2, "must lie in a folder that there is"),
        (["--out="], 2, "out='': must name a file or folder"),
        (["--device=abacus"], 2, "device=abacus"),
        (["--run=nowhere"], 4, "nowhere"),
    ],
)
def test_no_picture_is_drawn_of_nonsense(
    chargpt: Any, trained: Path, untouched: Path, words: list[str], code: int, refusal: str
) -> None:
    ended = chargpt("attention", f"--run={trained}", *words)
    assert (ended.code, refusal in ended.refusal) == (code, True)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """drawn(heads, key_heads, window, size) -> the figure of two layers of made-up maps, the second with the window."""
    import numpy as np
    from matplotlib.figure import Figure

    figures: list[Figure] = []

    def draw(heads: int, key_heads: int, window: int | None, size: int) -> Any:
        i, j = np.arange(size)[:, None], np.arange(size)
        maps = [np.repeat(((i >= j) & (i - j < w))[None] / 2, heads, 0) for w in (size, window or size)]
        tokens = [chr(97 + n % 26) for n in range(size - 1)] + ["\n"]
        save_picture(heatmaps.figure(maps, tokens, key_heads, [None, window]), tmp_path / "a.png")
        return figures[-1]

    monkeypatch.setattr(Figure, "savefig", lambda self, path, **how: figures.append(self))
    return draw


def test_shared_keys_show(drawn: Any) -> None:
    axes = drawn(4, 2, None, 5).axes
    assert [each.get_title() for each in axes[:4]] == [f"head {n} (keys {n // 2})" for n in range(4)]
    left, right = zip(*(each.get_position().intervalx for each in axes[:4]), strict=True)
    gaps = [left[n + 1] - right[n] for n in range(3)]
    assert gaps[1] > 2 * max(gaps[0], gaps[2])
    assert drawn(4, 4, None, 5).axes[3].get_title() == "head 3"


def test_window_shows(drawn: Any) -> None:
    first, second = (drawn(1, 1, 3, 7).axes[row] for row in (0, 1))
    assert (len(first.lines), len(second.lines)) == (0, 1)
    corners = second.lines[0].get_xydata()  # between the keys that row 3 and row 6, the last, see and miss
    assert [[float(x) for x in corners[n]] for n in (0, -1)] == [[-0.5, 2.5], [3.5, 6.5]]
    assert second.images[0].get_array().mask.sum() == 7 * 7 - (1 + 2 + 5 * 3)
    assert second.get_ylabel() == "layer 1"


def test_later_rows_are_as_dark_as_the_first(drawn: Any) -> None:
    """A query of 40 keys gives each 1/40."""
    figure = drawn(1, 1, None, 5)
    image = figure.axes[0].images[0]
    assert [float(image.norm(weight)) for weight in (0, 1)] == [0, 1]
    assert image.norm(1 / 40) > 0.15
    assert "square root" in figure.get_suptitle()


def test_letters_are_there_where_they_fit(drawn: Any) -> None:
    short, long = drawn(2, 2, None, 40).axes[0], drawn(2, 2, None, 41).axes[0]
    assert [label.get_text() for label in short.get_xticklabels()][-2:] == ["m", "\\n"]
    assert len(long.get_xticks()) < 20


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 48)])
@pytest.mark.full
def test_picture_has_a_size_that_is_readable(drawn: Any, layers: int, heads: int) -> None:
    width, height = drawn(heads, heads, None, 5).get_size_inches()
    assert 2 < width < 30
    assert 2 < height < 30


# ---- the rest


def test_model_that_sees_what_it_predicts_trains_and_neither_samples_nor_evaluates(
    chargpt: Any, tiny: tuple[str, ...], text_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    ended = chargpt(*tiny, f"--data.path={text_file}", f"--system.work_dir={folder}", "--model.mask=full")
    assert (ended.code, ended.err) == (0, "")
    assert "no validation loss and generates no samples: its training loss is all" in ended.out
    for verb, *words in (("sample", "--prompt=R"), ("eval", f"--text={text_file}")):
        refused = chargpt(verb, f"--run={folder}", *words)
        assert (refused.code, bool(refused.refusal)) == (2, True)


def test_cache_does_not_change_the_text(chargpt: Any, trained: Path) -> None:
    with_cache, without = (
        chargpt("sample", f"--run={trained}", "--prompt=RO", "--max_new_tokens=20", f"--cache={cache}").out
        for cache in (True, False)
    )
    assert with_cache == without
    assert len(without) == 23


@pytest.mark.parametrize(("passes", "code"), [(True, 0), (False, 1)])
def test_verdict_is_the_exit_code(chargpt: Any, passes: bool, code: int) -> None:
    with mock.patch.object(selftest, "run", return_value=passes):
        assert chargpt("selftest", "--device=cpu").code == code


def test_bench_ends_in_json(chargpt: Any) -> None:
    sizes = ("--length=16", "--window=4", "--heads=1", "--width=4", "--rounds=2", "--device=cpu")
    ended = chargpt("bench", "attention", *sizes)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out.splitlines()[-1])["length"] == 16


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("--rounds=3", "--help")])
def test_help_of_bench_lists_what_there_is_to_time(chargpt: Any, words: tuple[str, ...]) -> None:
    ended = chargpt("bench", *words)
    assert (ended.code, ended.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in ended.out.splitlines() if line.startswith("  "))
    assert lines == {name: BENCHMARKS[name].about for name in BENCHMARKS}
    assert len(lines) > 3
    assert "--shape" not in ended.out


def test_bench_is_of_the_training_step_unless_it_is_named(chargpt: Any) -> None:
    assert "--shape" in chargpt("bench", "train", "--help").out
    assert chargpt("bench", "--shape=Z").refusal.startswith("shape=Z: must be one of A, B, C")
    assert "--peers" in chargpt("bench", "decode", "--help").out
    names = "attention, decode, processes, grouped, load, play, rnn, all, growth, speedrun, train"
    assert chargpt("bench", "atention").refusal == f"bench=atention: must be one of {names} (did you mean 'attention'?)"


def test_help_counts_tokens(chargpt: Any) -> None:
    for words in (("--help",), ("attention", "--help"), ("train", "--help")):
        shown = " ".join(chargpt(*words).out.split())
        for wrong in ("character-level", "block_size characters", "which characters", "every character"):
            assert wrong not in shown


def test_help_lists_scores_masks_and_kernels(chargpt: Any) -> None:
    words = " ".join(chargpt("--help").out.split())
    assert "attention" in words
    shown = " ".join(chargpt("train", "--help").out.split())
    for name in ("linear_concat", "full", "banded", "auto, "):
        assert name in shown
