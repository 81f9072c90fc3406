"""A sweep's words: what is parted at commas, what is refused before anything runs, and where the runs go."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mingpt.cli import main
from mingpt.core.errors import UsageError
from mingpt.core.log_output import messages
from mingpt.experiments import commands, runner, sweep_command
from mingpt.experiments.catalogue import EXPERIMENTS
from mingpt.experiments.executor import Outcome
from mingpt.experiments.sweep import experiment_of, split, swept


def variants(*words: str) -> dict[str, Any]:
    return {name: stages[0] for name, stages in experiment_of(words).variants.items()}


def test_grid_has_every_combination_and_type() -> None:
    made = variants("--model.window=16,null", "--model.rope", "True,false", "--trainer.max_iters=7")
    assert list(made) == [
        "model.window=16,model.rope=True", "model.window=16,model.rope=false",
        "model.window=null,model.rope=True", "model.window=null,model.rope=false",
    ]  # fmt: skip
    assert [(each["model.window"], each["model.rope"]) for each in made.values()] == [
        (16, True), (16, False), (None, True), (None, False),
    ]  # fmt: skip
    assert {each["trainer.max_iters"] for each in made.values()} == {7}


@pytest.mark.parametrize(
    ("value", "whole", "parts"),
    [
        ("16,64", False, ["16", "64"]),
        ("0.9,0.95", True, ["0.9,0.95"]),
        ("[0.9,0.95],[0.8, 0.99]", True, ["[0.9,0.95]", "[0.8, 0.99]"]),
        ("[0.9,0.95]", True, ["[0.9,0.95]"]),
        ("gelu, swiglu", False, ["gelu", "swiglu"]),
    ],
)
def test_values_are_parted_and_lists_are_not(value: str, whole: bool, parts: list[str]) -> None:
    assert split(value, whole=whole) == parts


def test_betas_are_not_parted() -> None:
    made = variants("--trainer.betas=0.9,0.95", "--model.rope=True,False")
    assert [each["trainer.betas"] for each in made.values()] == [[0.9, 0.95]] * 2
    made = variants("--trainer.betas=[0.9,0.95],[0.8,0.99]")
    assert [each["trainer.betas"] for each in made.values()] == [[0.9, 0.95], [0.8, 0.99]]


def test_prompt_with_a_comma_is_one_prompt() -> None:
    for prompts, texts in {"O, Romeo": ["O, Romeo"], '["O, Romeo", "Ay"]': ["O, Romeo", "Ay"]}.items():
        made = variants(f"--sample.prompts={prompts}", "--model.rope=True,False")
        assert [each["sample.prompts"] for each in made.values()] == [texts] * 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--model.n_embd=32,33"], r"model.n_embd=33: must be .* \(in the combination --model.n_embd=33\)"),
        (
            ["--model.n_kv_head=1,3", "--model.rope=True,False"],
            r"n_kv_head.*\(in the combination --model.n_kv_head=3 --model.rope=True\)",
        ),
        (["--model.window=16,a"], "model.window=a: must be a whole number or null"),
        (["--model.windw=16,32"], "no such setting.*model.window"),
        (["--model.rope=True,true"], "are the same settings"),
        (["--model.window=16,16"], "has 16 twice"),
        (["--model.window=16,,32"], "empty value"),
        (["--model.window=16"], "nothing to compare"),
        ([], "nothing to compare"),
        (["--system.seed=1,2"], "--seeds=N"),
        (["--system.work_dir=a"], "--folder=DIR"),
        (["--trainer.resume=True", "--model.rope=True,False"], "resumes"),
        (["window=16,32"], "settings are given as"),
        (["--model.window"], "needs a value"),
    ],
)
def test_wrong_grid_is_rejected(words: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        experiment_of(words)


def test_last_of_a_setting_given_twice_wins() -> None:
    values, shared = swept(["--model.window=1,2", "--model.window=3", "--model.rope=True,False"])
    assert list(values) == ["model.rope"]
    assert shared == ["--model.window=3"]


@pytest.fixture
def sweep(here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`sweep(words)` -> (exit code, what was said, variants and seeds that were summarized from)."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Any:
        said: list[str] = []
        summarized: list[tuple[str, int]] = []
        with (
            mock.patch.object(runner, "in_process_of_its_own", lambda *args, **how: here(*args)),
            messages(said.append, "mingpt.experiments"),
        ):
            code = sweep_command.command(
                words, "chargpt", lambda e, f, trials: summarized.extend((c.variant, c.seed) for c in trials)
            )
        return code, said, summarized

    return call


def test_sweep_has_every_run_and_overwrites_none(sweep: Any, tiny_flags: list[str], here: Any) -> None:
    code, said, summarized = sweep("--model.rope=True,False", *tiny_flags, "--seeds", "2")
    assert code == 0
    assert said[0] == "2 combinations x 2 seeds = 4 runs"
    assert sorted(summarized) == [(f"model.rope={rope}", seed) for rope in ("False", "True") for seed in (1, 2)]
    assert {config.model.rope for config in here.trained} == {True, False}
    again, _, _ = sweep("--model.rope=True,False", *tiny_flags, "--seeds=1")
    assert again == 0
    assert sorted(path.name for path in Path("out/sweeps").iterdir()) == ["1", "2"]
    assert json.loads(Path("out/sweeps/1/record.json").read_bytes())["seeds"] == 2


@pytest.mark.full
def test_sweep_with_its_folder_goes_on(sweep: Any, tiny_flags: list[str], here: Any) -> None:
    sweep("--model.rope=True,False", *tiny_flags, "--seeds=1", "--folder=mine")
    here.trained.clear()
    sweep("--model.rope=True,False", *tiny_flags, "--seeds=2", "--folder=mine")
    assert len(here.trained) == 2
    with pytest.raises(UsageError, match=r"model.n_embd was 8, is 16"):
        sweep("--model.rope=True,False", *tiny_flags, "--model.n_embd=16", "--folder=mine")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["experiment", "run", "rope-gaq"], "experiment=rope-gaq: must be one of .* (did you mean 'rope-gqa'?)"),
        (["experiment", "shw"], "'shw': must be one of list, run, show, publish (did you mean 'show'?)"),
        (["experiment", "run", "--quick"], "name an experiment first"),
        (["experiment", "show"], "experiment show: must name an experiment first"),
        (
            ["experiment", "gqa"],
            "'gqa': must be one of list, run, show, publish; .* experiment show gqa` shows that one",
        ),
        (["experiment", "list", "more"], "takes nothing more"),
        (["experiment", "run", "gqa", "--seeds=0"], "seeds=0: must be at least 1"),
        (["experiment", "run", "gqa", "--jobs=0"], "jobs=0: must be at least 1"),
        (["experiment", "run", "gqa", "--sedes=2"], "did you mean 'seeds'?"),
        (["experiment", "run", "gqa", "--data="], "data='': must name a text file"),
        (["sweep", "--model.rope=True,False", "--seeds=0"], "seeds=0: must be at least 1"),
        (["sweep", "--model.rope=True,False", "--jobs=x"], "jobs=x: must be a whole number"),
    ],
)
def test_wrong_words_are_rejected_with_an_explanation(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(words) == 2
    shown = capsys.readouterr()
    pieces = complaint.split(" .* ")
    assert all(piece in shown.err for piece in pieces), shown.err
    assert len(shown.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_list_and_help_have_every_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["experiment", "list"], ["experiment"], ["experiment", "--help"], ["experiment", "run", "--help"]):
        assert main.main(words) == 0
        listed = capsys.readouterr().out
        assert all(name in listed for name in EXPERIMENTS)
    assert main.main(["sweep", "--help"]) == 0
    assert "--seeds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "words", "again"),
    [
        ("experiment", ["run", "rope", "--fresh=true"], "experiment run rope"),
        (
            "experiment",
            ["run", "rope", "--quick", "--fresh", "--jobs", "2"],
            "experiment run rope --quick=True --jobs=2",
        ),
        (
            "sweep",
            ["--model.rope=True,False", "--data.path=my experiment a.txt", "--seeds", "2"],
            "sweep --model.rope=True,False '--data.path=my experiment a.txt' --seeds=2 --folder=out/sweeps/1",
        ),
        ("sweep", ["--folder", "mine", "--model.rope=True,False"], "sweep --model.rope=True,False --folder=mine"),
    ],
)
def test_command_that_goes_on_is_given(
    verb: str, words: list[str], again: str, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    call = sweep_command.command if verb == "sweep" else partial(commands.experiment, compared=print)
    with (
        mock.patch.object(commands, "carry_out", return_value=Outcome(stopped="SIGINT")),
        mock.patch.object(sweep_command, "carry_out", return_value=Outcome(stopped="SIGINT")),
    ):
        call(words, "chargpt", lambda *told: None)
    assert caplog.messages[-1] == f"stopped by SIGINT; resume with: chargpt {again}"


def test_experiment_names_its_own_flag_for_a_missing_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["experiment", "run", "gqa", "--quick", "--data=nope"]) == 3
    assert capsys.readouterr().err.startswith("error: data: there is no file 'nope'")


def test_piped_text_goes_on_from_where_it_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    stopped = Outcome(stopped="SIGINT")
    with (
        mock.patch.object(commands, "carry_out", return_value=stopped),
        mock.patch.object(sweep_command, "carry_out", return_value=stopped),
    ):
        sweep_command.command(["--model.rope=True,False", "--data.path=-"], "chargpt", lambda *told: None)
        assert caplog.messages[-1].endswith(
            "sweep --model.rope=True,False --folder=out/sweeps/1 --data.path=out/sweeps/1/text.txt"
        )
        words = ["run", "rope", "--data=-"]
        commands.experiment(words, "chargpt", lambda *told: None, print)
        assert caplog.messages[-1].endswith("experiment run rope --data=out/experiments/rope/text.txt")
