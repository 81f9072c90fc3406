"""The text of a sweep: one for all variants, whatever form it comes in; what could not be compared is found first."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from mingpt.cli import main
from mingpt.core.errors import CheckpointError, DataError, MingptError, UsageError
from mingpt.core.log_output import messages
from mingpt.core.run_files.records import read_run
from mingpt.experiments import runner, sweep_command
from mingpt.experiments.sweep import experiment_of
from mingpt.report.experiment_files import read_record


@pytest.fixture
def sweep(here: Any, tiny_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`sweep(words)` of two variants in `S`: how it ended, and what was said; nothing in a process of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, vary: str = "--model.rope=True,False") -> tuple[int, list[str]]:
        said: list[str] = []
        flags = [*tiny_flags, "--seeds=1", "--folder=S", *words, vary]
        with (
            mock.patch.object(runner, "in_process_of_its_own", lambda *args, **how: here(*args)),
            messages(said.append, "mingpt.experiments"),
        ):
            return sweep_command.command(flags, "chargpt", lambda *told: None), said

    return call


def text_of(*words: str) -> str:
    return sweep_command.data_of(experiment_of(["--model.rope=True,False", *words]))


def test_comma_list_of_texts_is_rejected_with_both_spellings(sweep: Any, here: Any) -> None:
    with pytest.raises(UsageError, match=r"all variants need the same text.*--data.path=\[a.txt,b.txt\] is one text"):
        sweep("--data.path=a.txt,b.txt")
    with pytest.raises(UsageError, match="all variants need the same text"):
        sweep("--data.path=[a.txt,b.txt],[c.txt]")
    assert here.trained == []


def test_bracketed_texts_are_one_text_for_every_variant(sweep: Any, here: Any, text_file: Path) -> None:
    for name, part in zip("ab", (slice(0, 300), slice(300, 600)), strict=True):
        Path(f"{name}.txt").write_text(text_file.read_text()[part])
    code, _ = sweep("--data.path=[a.txt,b.txt]")
    assert code == 0
    assert {config.data.path for config in here.trained} == {"a.txt,b.txt"}
    assert read_record(Path("S"))["text"]["characters"] == 600


def test_file_with_a_comma_in_its_name_is_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a,b.txt").write_text("a")
    assert text_of("--data.path=a,b.txt") == "a,b.txt"
    assert text_of("--data.path=[ab]*.txt") == "[ab]*.txt"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--data.val_fraction=0.1,0.2", "all variants need the same validation set"),
        ("--wandb.mode=offline,disabled", "changes no result"),
        ("--wandb.name=a,b", "changes no result"),
        ("--dist.strategy=ddp,fsdp", "has no effect here"),
        ("--model.n_kv_head=1,3", "must"),
        ("--data.block_size=8,700", r"needs 701 tokens.*in the combination data.block_size=700"),
        ("--data.tokenizer=char,gone.json", r"gone.json.*in the combination data.tokenizer=gone.json"),
        ("--model.pretrained_folder=gone,null", "gone: no valid checkpoint"),
        ("--model.kernel=auto,banded", r"model.kernel=banded.*in the combination model.kernel=banded"),
        ("--model.mask=full,full_twice", "model.mask=full_twice"),
    ],
)
@pytest.mark.thin(5)
def test_what_could_not_be_trained_or_compared_is_found_before_the_first_trial(
    sweep: Any, here: Any, words: str, complaint: str
) -> None:
    with pytest.raises(MingptError, match=complaint):
        sweep(vary=words)
    assert here.trained == []
    assert not Path("S/record.json").exists()


@pytest.mark.full
def test_variants_without_a_validation_loss_are_named_first(sweep: Any, here: Any) -> None:
    code, said = sweep(vary="--model.mask=causal,full")
    assert code == 0
    assert "model.mask=full will have no validation loss, so no significance test is made of it" in said
    here.trained.clear()
    with pytest.raises(UsageError, match="nothing could be compared"):
        sweep("--model.mask=full", "--folder=T")
    assert here.trained == []


@pytest.mark.full
def test_window_wider_than_the_block_is_reported_once_and_trained(sweep: Any, here: Any) -> None:
    code, said = sweep(vary="--model.window=4,200,null")
    assert code == 0
    (line,) = [line for line in said if line.startswith("model.window=200: ")]
    assert line.startswith("model.window=200: model.window=200 covers all of the block (data.block_size=8)")
    assert len(here.trained) == 3


def test_few_seeds_are_reported_before_the_first_trial(sweep: Any) -> None:
    _, said = sweep()
    assert said[1] == "1 seed: losses are shown, but a significance test needs --seeds=3 or more"


@pytest.mark.full
def test_piped_text_is_read_once_for_all_trials(
    sweep: Any, here: Any, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text_file.read_bytes()), isatty=lambda: False))
    code, _ = sweep("--data.path=-")
    assert code == 0
    assert {config.data.path for config in here.trained} == {"S/text.txt"}
    assert Path("S/text.txt").read_bytes() == text_file.read_bytes()
    here.trained.clear()
    code, _ = sweep("--data.path=S/text.txt", "--seeds=2")
    assert (code, len(here.trained)) == (0, 2)


@pytest.mark.full
def test_prepared_folder_is_taken_as_in_training(sweep: Any, here: Any, text_file: Path, tmp_path: Path) -> None:
    assert (
        main.main(["prepare", f"--data.path={text_file}", "--data.val_fraction=0.25", f"--out={tmp_path / 'P'}"]) == 0
    )
    with pytest.raises(UsageError, match=r"data\.val_fraction=0\.1"):
        sweep("--data.path=P")
    code, _ = sweep("--data.path=P", "--data.val_fraction=0.25")
    assert code == 0
    assert {config.data.path for config in here.trained} == {"P"}
    with pytest.raises(UsageError, match=r"data.tokenizer=bpe.*in the combination data.tokenizer=bpe"):
        sweep("--data.path=P", "--data.val_fraction=0.25", "--folder=T", vary="--data.tokenizer=char,bpe")


@pytest.mark.full
def test_wandb_mode_is_honoured_and_disabled_by_default(sweep: Any, here: Any) -> None:
    with mock.patch("mingpt.runs.callbacks.WandbLogger"):
        sweep()
        assert {(config.wandb.mode, config.wandb.name) for config in here.trained} == {("disabled", None)}
        here.trained.clear()
        sweep("--wandb.mode=offline", "--folder=T", "--wandb.name=mine")
    assert {(config.wandb.mode, config.wandb.name) for config in here.trained} == {
        ("offline", f"mine model.rope={rope} seed 1") for rope in (True, False)
    }


def test_text_that_changes_between_trials_is_not_trained_on(sweep: Any, here: Any, text_file: Path) -> None:
    Path("own.txt").write_bytes(text_file.read_bytes())
    here.before = lambda config: Path("own.txt").write_text(text_file.read_text() + "a") and None
    code, said = sweep("--data.path=own.txt")
    assert code == 1
    assert any("the text in own.txt changed since the first trial was planned" in line for line in said)
    assert len(here.trained) == 1


# ---- what a trial is


@pytest.mark.full
def test_other_weights_are_another_sweep(sweep: Any, here: Any, tiny_flags: list[str], tmp_path: Path) -> None:
    for seed in (1, 2):
        assert (
            main.main([*tiny_flags, "--wandb.mode=disabled", f"--system.seed={seed}", f"--system.work_dir=P{seed}"])
            == 0
        )
    vary = "--trainer.learning_rate=1e-3,1e-4"
    code, _ = sweep("--model.pretrained_folder=P1", vary=vary)
    assert code == 0
    before = read_run(Path("S/cells/trainer.learning_rate=1e-3/seed-1")).last["val_loss"]
    here.trained.clear()
    with pytest.raises(
        UsageError, match=r"S: holds another experiment: .*sha256 of its weights was .*--folder=DIR names"
    ):
        sweep("--model.pretrained_folder=P2", vary=vary)
    assert here.trained == []
    Path("P1").rename("moved")  # the same weights elsewhere are the same trial
    assert sweep("--model.pretrained_folder=moved", vary=vary)[0] == 0
    assert here.trained == []
    assert read_run(Path("S/cells/trainer.learning_rate=1e-3/seed-1")).last["val_loss"] == before
    goes_on = ["--trainer.max_iters=3", "--trainer.resume=True", "--trainer.resume_changed=True"]
    assert (
        main.main([*tiny_flags, *goes_on, "--system.seed=1", "--wandb.mode=disabled", "--system.work_dir=moved"]) == 0
    )
    with pytest.raises(UsageError, match="sha256 of its weights was"):
        sweep("--model.pretrained_folder=moved", vary=vary)


@pytest.mark.full
def test_record_names_trials_by_settings_and_content(sweep: Any, text_file: Path) -> None:
    sweep()
    first = read_record(Path("S"))
    assert first["trials"].keys() == {f"cells/model.rope={rope}/seed-1" for rope in (True, False)}
    Path("copy.txt").write_bytes(text_file.read_bytes())
    sweep("--folder=T", "--data.path=copy.txt", "--wandb.project=other", vary="--model.rope=False,True")
    second = read_record(Path("T"))
    assert second["trials"] == first["trials"]
    sweep("--folder=U", "--trainer.weight_decay=0.5", "--seeds=2")
    third = read_record(Path("U"))["trials"]
    assert len({*first["trials"].values(), *third.values()}) == 2 + 4


@pytest.mark.full
def test_record_of_an_earlier_version_goes_on(sweep: Any, here: Any) -> None:
    sweep()
    path = Path("S/record.json")
    old = {
        key: value
        for key, value in json.loads(path.read_bytes()).items()
        if key not in ("inputs", "trials", "versions")
    }
    path.write_text(json.dumps(old))
    here.trained.clear()
    assert sweep()[0] == 0
    assert here.trained == []


@pytest.mark.full
def test_other_versions_are_reported_and_kept(sweep: Any) -> None:
    sweep()
    with mock.patch("mingpt.experiments.identity.VERSION", "9.9"):
        _, said = sweep()
    assert any(line.startswith("begun with mingpt ") and "trained with mingpt 9.9" in line for line in said)
    assert len(read_record(Path("S"))["versions"]) == 2


@pytest.mark.parametrize("wrong", [DataError, CheckpointError])
def test_error_keeps_its_kind_when_the_combination_is_named(sweep: Any, wrong: type[MingptError]) -> None:
    with (
        mock.patch("mingpt.experiments.validate.prepare", side_effect=wrong("no")),
        pytest.raises(wrong, match=r"no \(in the combination model.rope=True\)"),
    ):
        sweep()
