"""What a run shows of itself in Python: one line, a table, its records as columns, its curve as a figure."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mingpt
from mingpt.core.errors import CheckpointError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.inference.evaluate import PseudoLikelihood, ValidationLoss
from mingpt.runs.run import load, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Any:
    folder = tmp_path_factory.mktemp("runs") / "a <b> run"
    train(tiny(folder, {"trainer.eval_every": 5}))
    return load(folder)


def test_history_has_every_number_of_every_step(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    found, lines = trained.history(), read_lines(trained.folder / "metrics.jsonl")
    assert set(found) == {name for line in lines for name in line}
    for name, column in found.items():
        there = [line.get(name, np.nan) for line in lines]
        np.testing.assert_array_equal(column, there)
    assert found["step"].dtype == np.int64
    assert np.isnan(found["val_loss_part"]).sum() == len(lines) - 2


def test_history_is_a_data_frame_where_pandas_is_installed(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = ModuleType("pandas")
    pandas.DataFrame = lambda columns: SimpleNamespace(columns=columns)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert list(trained.history().columns["step"]) == list(range(1, 13))


def test_plot_is_a_figure_of_the_curve_that_a_notebook_shows(trained: Any) -> None:
    figure = trained.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(figure.axes[0].lines[0].get_xdata()) == 12
    assert "matplotlib.pyplot" not in sys.modules


def test_attention_is_plotted_by_layer(trained: Any) -> None:
    assert [axes.get_ylabel() for axes in trained.plot_attention("abc").axes[:1]] == ["layer 0"]
    with pytest.raises(UsageError, match="layer=1: must be 0 to 0, or null"):
        trained.plot_attention("abc", layer=1)


def test_run_without_records_says_so(trained: Any, tmp_path: Path) -> None:
    gone = replace(trained, folder=tmp_path)
    for call in (gone.history, gone.plot):
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl: missing, or it holds no step"):
            call()
    assert "none here: imported" in repr(gone)


def test_representations_are_short_and_say_what_it_is(trained: Any) -> None:
    loss = trained.last_record()["val_loss"]
    assert repr(trained) == (
        f"<Run {str(trained.folder)!r}: GPT, {trained.model.parameter_count:,} parameters, 12 of 12 steps, "
        f"validation loss {loss:.3f} nats per token>"
    )
    shown = trained._repr_html_()
    assert "a &lt;b&gt; run" in shown
    assert "model.n_embd: 8" in shown
    assert "model.kernel" not in shown  # the default
    assert repr(mingpt.Config(model=mingpt.ModelSettings(n_layer=2))) == "Config(model.n_layer=2)"
    assert (
        repr(ValidationLoss(1.23456, 2.0, 1000)) == "<1.2346 nats per token, 2.0000 bits per byte, over 1,000 tokens>"
    )
    assert repr(PseudoLikelihood(1.23456, 2.0, 10, 1000)) == "<1.2346 pseudo-nats per token, over 10 of 1,000 tokens>"
