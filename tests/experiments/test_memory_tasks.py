"""Recall and copying: what a text asks, when training ends, and that what was found is kept and found again."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from matplotlib.figure import Figure

from mingpt.core.errors import CheckpointError
from mingpt.experiments import rnn, rope, window
from mingpt.experiments.base import Lab, Sizes
from mingpt.experiments.base_config import model_config
from mingpt.experiments.measurements import memory, memory_training
from mingpt.experiments.measurements.memory_tasks import COPYING, NOT_SCORED, RECALL, SYMBOLS, Task
from mingpt.experiments.measurements.memory_training import DIVERGED, LEARNED, PROGRESS, STEPS, EarlyStop, Recipe
from mingpt.inference.causality import dependency_map
from mingpt.model import build
from mingpt.report.palette import Palette

TASKS = pytest.mark.parametrize("task", [RECALL, COPYING], ids=lambda task: task.name)
GRU = {"type": "rnn", "cell": "gru", "n_layer": 1, "n_embd": 16}
TRIGRAM = {"type": "ngram", "order": 3}


@TASKS
def test_every_symbol_is_asked_for_at_its_distance(task: Task) -> None:
    idx, targets = task.texts(50, 7, seed=1)
    scored = (targets != NOT_SCORED).nonzero()
    assert len(scored) == 50 * task.length
    assert all(targets[row, at] == idx[row, at - 6] for row, at in scored)  # 7 back, the place itself being 1 back
    assert (idx[:, 6] == task.vocabulary - 1).all()  # the sign; from there on all is scored
    between = idx[:, task.length : 6]
    assert ((between >= SYMBOLS) & (between < SYMBOLS + task.fillers)).all()
    assert (idx[:, : task.length] < SYMBOLS).all()


@TASKS
def test_each_step_has_texts_of_its_own(task: Task) -> None:
    recipe = Recipe((5,), 9, (1,))
    first, again, next_ = (memory_training.batch(task, recipe, 5, 1, step)[0] for step in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, next_)


def test_nearest_distance_has_no_filler() -> None:
    idx, targets = COPYING.texts(2, COPYING.nearest, seed=1)
    assert idx.shape == targets.shape == (2, 6)
    assert torch.equal(idx[:, :3], targets[:, 3:])


@pytest.mark.parametrize("models", [rnn.SMALL, window.SMALL], ids=["rnn", "window"])
@TASKS
def test_models_of_a_task_are_of_equal_sizes(task: Task, models: Any) -> None:
    sizes = {name: build(memory_training.config_of(task, own)).parameter_count for name, own in models.items()}
    sizes.pop("6-gram", None)
    first = next(iter(sizes.values()))
    assert len(sizes) >= 3
    assert all(abs(size / first - 1) < 0.03 for size in sizes.values()), sizes


def test_positions_alone_distinguish_the_models_of_rope() -> None:
    learned, rotary = ({**rope.SMALL[name], "rope": None} for name in ("learned", "RoPE"))
    assert learned == rotary


@pytest.mark.parametrize(("layers", "width"), [(1, 3), (2, 3), (3, 2), (2, 4)])
def test_a_windowed_model_sees_as_far_as_is_stated_and_no_place_farther(layers: int, width: int) -> None:
    config = model_config(n_layer=layers, n_embd=8, rope=True, window=width, block_size=12, vocab_size=5)
    torch.manual_seed(0)
    model = build(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    moved = dependency_map(model, torch.arange(11) % 5)[-1].flip(0)  # by the token 1 back, 2 back, ...
    farthest = window.farthest(layers, width)
    assert (moved[:farthest] > 0).all()
    assert (moved[farthest:] == 0).all()


def ended(losses: list[float], recipe: Recipe) -> tuple[int, str]:
    """The step after which training is ended, and why."""
    stop, trainer = EarlyStop(recipe), mock.Mock()
    for step, loss in enumerate(losses, start=1):
        stop(trainer, {"step": step, "train_loss": loss})
        if trainer.stop.called:
            stop(trainer, {"step": step + 1, "train_loss": 1.5})  # a trainer makes one more, which changes nothing
            return step, stop.why
    return len(losses), stop.why


def test_training_ends_when_the_answers_are_known_or_nothing_is_learned() -> None:
    recipe = Recipe((4,), 40, (1,), learned_of=2, patience=10, patience_of=4)
    guessing = math.log(SYMBOLS)
    assert ended([guessing, 0.04, 0.07, 0.04, 0.05, 1.0], recipe) == (5, LEARNED)
    assert ended([guessing] * 40, recipe) == (10, PROGRESS)
    learns = [guessing] * 7 + [1.9] * 3 + [1.5] * 30
    assert ended(learns, recipe) == (40, STEPS)
    assert ended(learns[:20] + [guessing + 0.1] * 20, recipe) == (24, PROGRESS)  # it has unlearned it


def test_near_symbol_is_learned_and_no_far_one_by_n_grams() -> None:
    recipe = Recipe((2,), 150, (1,), batch=16)
    model, steps, why = memory_training.train(RECALL, GRU, recipe, 2, 1, 1e-2)
    assert memory_training.accuracy(RECALL, model, 2, 1) == 1.0
    assert steps < 150
    assert why == LEARNED
    near, _, _ = memory_training.train(RECALL, TRIGRAM, recipe, 2, 1, 0.0)
    far, _, _ = memory_training.train(RECALL, TRIGRAM, recipe, 3, 1, 0.0)
    assert memory_training.accuracy(RECALL, near, 2, 1) == 1.0
    assert memory_training.accuracy(RECALL, far, 3, 1) < 0.25


def test_training_that_diverges_is_evaluated_as_it_is_and_says_so() -> None:
    recipe = Recipe((4,), 30, (1,), batch=2)
    model, steps, why = memory_training.train(RECALL, {"type": "gpt", "n_layer": 1, "n_embd": 8}, recipe, 4, 1, 1e20)
    assert why == DIVERGED
    assert steps < 30
    assert 0 <= memory_training.accuracy(RECALL, model, 4, 1) < 0.5


def test_copying_counts_symbols_and_n_grams_know_the_order_at_hand() -> None:
    """A 5-gram has the symbol in its context at the nearest distance, and a trigram has not."""
    recipe = Recipe((4,), 9, (1,), fitted=300)
    models = [memory_training.train(COPYING, {"type": "ngram", "order": n}, recipe, 4, 1, 0.0)[0] for n in (5, 3)]
    near, far = (memory_training.accuracy(COPYING, model, 4, 1) for model in models)
    assert near > 0.95
    assert far < 0.3


@pytest.fixture
def asked() -> Iterator[list[Any]]:
    """(distance, seed) of each accuracy that is asked for, of models that are not trained and know all."""
    found: list[Any] = []
    model = mock.Mock(**{"config.count_based": False, "parameter_count": 3})
    with (
        mock.patch.object(memory_training, "train", return_value=(model, 1, LEARNED)),
        mock.patch.object(
            memory_training, "accuracy", lambda task, model, distance, seed: found.append((distance, seed)) or 1.0
        ),
    ):
        yield found


def test_rate_is_not_chosen_on_the_texts_that_it_is_evaluated_on(asked: list[Any], tmp_path: Path) -> None:
    recipe = Recipe((2,), 1, (1, 2), (1e-3, 1e-2))
    memory_training.rows_of(RECALL, GRU, recipe, 2, tmp_path)
    assert [seed for distance, seed in asked if distance == 2] == [0, 0, 1, 2]


def test_each_seed_is_evaluated_on_texts_of_its_own() -> None:
    seen: list[int] = []
    task = mock.Mock(**{"texts.side_effect": lambda count, distance, seed: seen.append(seed)})
    for seed in (0, 1):
        with pytest.raises(TypeError):
            memory_training.accuracy(task, mock.Mock(), 2, seed)
    assert len({*seen}) == 2


def test_what_was_found_is_trained_once_for_all_experiments(asked: list[Any], tmp_path: Path) -> None:
    recipe = Recipe((2,), 1, (1,), (1e-3,))
    first = memory_training.rows_of(RECALL, rope.SMALL["RoPE"], recipe, 2, tmp_path)
    trained = len(asked)
    others = {**window.SMALL["no window"]}
    assert memory_training.rows_of(RECALL, others, replace(recipe, distances=(2, 3)), 2, tmp_path) == first
    assert len(asked) == trained
    others = [
        (COPYING, GRU, recipe, 4),
        (RECALL, GRU, recipe, 2),
        (RECALL, {**GRU, "n_embd": 8}, recipe, 2),
        (RECALL, GRU, recipe, 3),
        (RECALL, GRU, replace(recipe, steps=2), 2),
        (RECALL, GRU, replace(recipe, seeds=(2,)), 2),
        (RECALL, GRU, replace(recipe, patience=7), 2),
    ]
    assert len({memory_training.identity(*each) for each in others}) == len(others)
    assert len([*tmp_path.iterdir()]) == 1


def test_ids_of_kept_files_never_change() -> None:
    recipe = Recipe((4,), 3000, (1,))
    assert memory_training.identity(RECALL, GRU, recipe, 4) == "cfe79412751ce772"


def test_kept_results_are_those_of_todays_definitions() -> None:
    tasks = {task.name: task for task in (RECALL, COPYING)}
    for path in (Path(__file__).parents[2] / "results" / "tasks").glob("*.json"):
        found = json.loads(path.read_text())
        distance, recipe = found["rows"][0]["distance"], Recipe(**found["recipe"])
        assert memory_training.identity(tasks[found["task"]], found["model"], recipe, distance) == path.stem
        assert recipe == Recipe(**json.loads(json.dumps(asdict(memory_training.RECIPES.full))))


def test_damaged_file_is_one_line_with_its_name(asked: list[Any], tmp_path: Path) -> None:
    recipe = Recipe((2,), 1, (1,), (1e-3,))
    memory_training.rows_of(RECALL, GRU, recipe, 2, tmp_path)
    (path,) = tmp_path.iterdir()
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "rows": [{**content["rows"][0], "accuracy": "high"}]}))
    with pytest.raises(CheckpointError, match=rf"{path.name}: .*accuracy"):
        memory_training.rows_of(RECALL, GRU, recipe, 2, tmp_path)


def test_rate_is_the_best_and_of_equal_ones_the_one_of_fewest_steps() -> None:
    tried = [(1e-3, 0.9, 50), (3e-3, 1.0, 60), (1e-2, 1.0, 40)]
    rows = [{"learning_rate": rate, "accuracy": share, "steps": steps} for rate, share, steps in tried]
    assert memory_training.best(rows) == 1e-2


def test_reach_has_no_gap_in_it() -> None:
    assert memory.reach({3: 1.0, 5: 0.85, 8: 1.0}) == 3
    assert memory.reach({8: 0.9, 3: 1.0}) == 8
    assert memory.reach({3: 0.5, 5: 1.0}) == 0


def test_measurement_has_its_models_and_what_they_can_see(tmp_path: Path) -> None:
    tiny = Recipe((4, 5), 2, (1,), (1e-3,), batch=4, fitted=3)
    recall, copying = memory.memory_tasks({"GRU": GRU, "trigram": TRIGRAM}, {"trigram": 2})
    with (
        mock.patch.object(memory, "RECIPES", Sizes(quick=tiny, full=tiny)),
        mock.patch.object(memory_training, "FRESH", 16),
    ):
        rows = copying.take(Lab(tmp_path, (), "standard", tmp_path / "results"))
    assert len([*(tmp_path / "results" / "tasks").iterdir()]) == 4
    assert {(row["model"], row["limit"], row["distance"]) for row in rows} == {
        (*model, distance) for model in (("GRU", None), ("trigram", 2)) for distance in (4, 5)
    }
    assert [recall.name, copying.name] == ["recall", "copying"]
    figure = Figure()
    copying.draw(rows, figure, Palette())
    assert [axes.get_ylim() for axes in figure.axes] == [(0, 1.05)] * 4


def test_no_distance_beyond_the_first_without_progress_is_tried(tmp_path: Path) -> None:
    recipe, tried = Recipe((4, 6, 12), 1, (1, 2)), list[Any]()

    def found(task: Any, settings: Any, recipe: Any, distance: int, kept: Path) -> list[dict[str, Any]]:
        tried.append((settings["n_embd"], distance))
        ends = {(1, 4): (STEPS, PROGRESS), (1, 6): (PROGRESS, PROGRESS)}.get(tried[-1], (LEARNED, LEARNED))
        return [{"ended": why} for why in ends]

    with (
        mock.patch.object(memory, "RECIPES", Sizes(quick=recipe, full=recipe)),
        mock.patch.object(memory, "rows_of", found),
    ):
        memory.memory_tasks({"a": {"n_embd": 1}, "b": {"n_embd": 2}})[0].take(Lab(tmp_path, (), "full"))
    assert tried == [(1, 4), (1, 6), (2, 4), (2, 6), (2, 12)]


def row(model: str, distance: int, accuracy: float, steps: int, **more: Any) -> dict[str, Any]:
    return {"model": model, "distance": distance, "seed": 1, "accuracy": accuracy, "steps": steps, **more}


def test_table_has_share_seeds_and_steps_at_each_distance() -> None:
    more = {"limit": 7, "at_twice": 0.25}
    rows = [row("w", 6, accuracy, steps, **more) for accuracy, steps in ((1.0, 120), (0.95, 150), (0.45, 3000))]
    rows += [row("w", 4, 1.0, 90, **more), row("all", 4, 0.5, 3000, limit=None, at_twice=1.0)]
    windowed, free = memory.memory_tasks({})[0].table(rows)
    assert windowed == {
        "variant": "w",
        "receptive field": 7,
        "90% right in most seeds up to": 6,
        "4 back": "100%, 1 of 1 in 90 steps",
        "6 back": "80%, 2 of 3 in 135 steps",
        "4, tested at 8": "25%",
        "6, tested at 12": "25%",
    }
    assert free["6 back"] == free["6, tested at 12"] == "not tried"
    assert free["receptive field"] == "all"
    assert free["4 back"] == "50%, 0 of 1"


def test_rows_from_before_the_limits_have_a_figure_and_a_table() -> None:
    rows = [row("a", distance, 0.5, 3, chance=0.125) for distance in (2, 4)]
    recall = memory.memory_tasks({})[0]
    figure = Figure()
    recall.draw(rows, figure, Palette())
    (axes,) = figure.axes
    assert axes.get_title() == "a"
    assert figure.get_suptitle().endswith("chance, 1 in 8")
    assert recall.table(rows) == [
        {"variant": "a", "90% right in most seeds up to": 0, "2 back": "50%, 0 of 1", "4 back": "50%, 0 of 1"}
    ]


def test_figure_has_a_bar_for_each_seed_and_a_dash_where_nothing_was_tried() -> None:
    shares = {("a", 2): (1.0, 0.5), ("a", 4): (0.25, 0.0), ("b", 2): (0.125, 0.75)}
    rows = [
        row(model, distance, share, 3, chance=0.125, at_twice=share / 2)
        for (model, distance), each in shares.items()
        for share in each
    ]
    figure = Figure()
    memory.memory_tasks({})[0].draw(rows, figure, Palette())
    assert [axes.get_title() for axes in figure.axes] == ["a", "at twice the distance", "b", "at twice the distance"]
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [[1.0, 0.5, 0.25, 0.0], [0.5, 0.25, 0.125, 0.0], [0.125, 0.75], [0.0625, 0.375]]
    places = [round(bar.get_x() + bar.get_width() / 2, 6) for bar in figure.axes[0].patches]
    assert [round(place) for place in places] == [0, 0, 1, 1]
    assert len({*places}) == 4
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [[], [], ["–"], ["–"]]
