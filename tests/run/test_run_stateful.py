"""A state that training carries from block to block: as if the text were not cut, and nobody else's."""

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from rich.console import Console

from mingpt import checkpoint, run, settings
from mingpt.checkpoint import CARRIED, MANIFEST
from mingpt.console import show_outcome
from mingpt.errors import CheckpointError, DataError, UsageError
from mingpt.evaluate import carried_loss
from mingpt.files import sha256
from mingpt.lm import ModelConfig
from mingpt.model import GPT
from mingpt.report.records import read_lines
from mingpt.rnn import RNN
from mingpt.settings import ModelSettings
from mingpt.text.batches import Lanes, split
from mingpt.trainer import Trainer
from mingpt.training_settings import TrainerConfig

STEPS, EPOCH = 12, 5
DEFAULTS = {f"model.{field.name}": field.default for field in dataclasses.fields(ModelSettings)}
STATEFUL = {  # 20 lanes of 40 tokens: every fifth step begins anew
    **DEFAULTS,
    "model.type": "rnn",
    "model.cell": "lstm",
    "model.n_layer": 2,
    "model.n_embd": 6,
    "model.embd_pdrop": 0.1,
    "model.resid_pdrop": 0.2,
    "data.stateful": True,
    "trainer.batch_size": 20,
    "trainer.max_iters": STEPS,
}


@pytest.fixture(scope="module", params=["lstm", "elman"])
def stations(request: Any, tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A finished run, and beside it its folder as it stood after each step."""
    home = tmp_path_factory.mktemp(request.param)

    def keep(trainer: Any, record: dict[str, Any]) -> None:
        assert trainer.batches.epoch == EPOCH
        shutil.copytree(home / "whole", home / str(record["step"]))

    run.train(tiny(home / "whole", STATEFUL | {"model.cell": request.param, "trainer.save_every": 1}), events=[keep])
    return home


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A run with checkpoints of steps 2 and 4, in the middle of its first epoch."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    run.train(tiny(folder, STATEFUL | FOUR))
    return folder


FOUR = {"trainer.max_iters": 4, "trainer.save_every": 2, "trainer.schedule": "constant"}


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.fixture
def newest(copy: Path) -> Path:
    return copy / "checkpoints" / "step_000004"


def on(folder: Path, **trainer: Any) -> Any:
    """The configuration that `folder` was made with, to be resumed there with other `trainer` settings."""
    config = settings.read(folder / "config.yaml")
    return dataclasses.replace(
        config,
        system=dataclasses.replace(config.system, work_dir=str(folder)),
        trainer=dataclasses.replace(config.trainer, **{"resume": True, **trainer}),
    )


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """make(block_size=5, parts=1): a Trainer in float64 that learns next to nothing, on 4 lanes of 31 tokens."""

    def trainer(block_size: int = 5, *, parts: int = 1, rate: float = 1e-30, carry: bool = True) -> Trainer:
        torch.manual_seed(7)
        model = RNN(ModelConfig(type="rnn", cell="lstm", n_layer=2, n_embd=6, vocab_size=11, block_size=8)).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.7)
        ids = np.random.default_rng(3).integers(11, size=4 * 31 + 1).astype(np.uint16)
        lanes = Lanes(ids, block_size=block_size, batch_size=4, seed=1)
        how = {"optimizer": "adamw", "matrix_learning_rate": TrainerConfig().matrix_learning_rate}
        config = TrainerConfig(
            batch_size=4, accumulation=parts, learning_rate=rate, grad_norm_clip=0.0, compile="never", **how
        )
        return Trainer(config, model, lanes, fresh=lanes.fresh if carry else None)

    return trainer


# ---- what is learned


def test_two_halves_lose_something_that_the_whole_has(make: Callable[..., Trainer]) -> None:
    halves, whole, cut = make(5), make(10), make(5, carry=False)
    for step in range(3):
        x, y = whole.batches(step)
        parts = [halves.batches(2 * step + half) for half in range(2)]
        assert torch.equal(torch.cat([part[0] for part in parts], 1), x)  # one text, cut twice as often
        assert torch.equal(torch.cat([part[1] for part in parts], 1), y)
        expected = whole.step()["train_loss"]
        assert sum(halves.step()["train_loss"] for _ in range(2)) / 2 == pytest.approx(expected, rel=1e-12)
        assert sum(cut.step()["train_loss"] for _ in range(2)) / 2 != pytest.approx(expected, rel=1e-3)


def test_memory_outlives_its_epoch(make: Callable[..., Trainer]) -> None:
    """6 blocks a lane: the seventh step's loss is that of a model that has read nothing."""
    trainer = make()
    losses = [trainer.step()["train_loss"] for _ in range(14)]
    alone = [trainer.model(*trainer.batches(step)).loss.item() for step in range(14)]
    equal = [abs(loss - without) < 1e-12 for loss, without in zip(losses, alone, strict=True)]
    assert equal == [step % 6 == 0 for step in range(14)]


def test_gradients_pass_a_blocks_edge(make: Callable[..., Trainer]) -> None:
    trainer, model = make(), make().model
    state = model.new_state(4)
    for step in range(3):
        model.zero_grad()
        model(*trainer.batches(step), state=state).loss.backward()
        state.layers = [tuple(torch.tensor(h.tolist(), dtype=h.dtype) for h in hidden) for hidden in state.layers]
        norm = torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt().item()
        assert trainer.step()["grad_norm"] == pytest.approx(norm, rel=1e-12)


def test_parts_of_a_step_share_a_memory(make: Callable[..., Trainer]) -> None:
    runs = {parts: make(parts=parts, rate=1e-2) for parts in (1, 2, 4)}
    for _ in range(13):
        losses = [trainer.step()["train_loss"] for trainer in runs.values()]
        assert losses == pytest.approx([losses[0]] * 3, rel=1e-9)


def test_looking_on_changes_what_is_learned(tmp_path: Path, tiny: Any, trace: Any) -> None:
    """Judging and sampling have states of their own."""
    often = {"trainer.eval_every": 1, "trainer.sample_every": 1, "trainer.save_every": 1}
    run.train(tiny(tmp_path / "rarely", STATEFUL))
    run.train(tiny(tmp_path / "often", STATEFUL | often))
    assert trace(tmp_path / "often") == trace(tmp_path / "rarely")


def test_memory_of_training_helps_to_judge_or_write(stations: Path) -> None:
    """What the run itself said of its last step is what a model says that has read nothing."""
    loaded = run.load(stations / "whole", device="cpu")
    assert loaded.evaluate().nats == loaded.last_record()["val_loss"]
    drawn = read_lines(stations / "whole" / "samples.jsonl")
    for sample in drawn:
        names = ("temperature", "top_k", "top_p", "seed")
        assert loaded.generate(sample["prompt"], 5, **{name: sample[name] for name in names}) == sample["text"]
    assert drawn


# ---- going on


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_resumed_run_takes_another_path(stations: Path, tmp_path: Path, trace: Any, step: int) -> None:
    folder, whole = Path(shutil.copytree(stations / str(step), tmp_path / "run")), stations / "whole"
    resumed = run.train(on(folder, save_every=0))
    assert trace(folder) == trace(whole)
    assert [record["step"] for record in trace(folder)["records"]] == list(range(1, STEPS + 1))
    last = f"checkpoints/step_{STEPS:06d}/{CARRIED}"
    assert (folder / last).read_bytes() == (whole / last).read_bytes()
    assert resumed.last_record()["val_loss"] == read_lines(whole / "metrics.jsonl")[-1]["val_loss"]


def test_state_is_saved_where_none_is_carried(tmp_path: Path, tiny: Any, stations: Path) -> None:
    folder = run.train(tiny(tmp_path / "run", STATEFUL | {"data.stateful": False})).folder
    assert {path.name for path in (folder / f"checkpoints/step_{STEPS:06d}").iterdir()} == {*checkpoint.FILES, MANIFEST}
    files = {path.name for path in (stations / "whole" / f"checkpoints/step_{STEPS:06d}").iterdir()}
    assert files == {*checkpoint.FILES, CARRIED, MANIFEST}


def test_saved_state_is_that_of_all_parts(stations: Path) -> None:
    carried = checkpoint.read(stations / "whole" / "checkpoints" / f"step_{STEPS:06d}").carried
    memories = {"h", "c"} if stations.name.startswith("lstm") else {"h"}
    assert len(carried) == 2 * (1 + 2 * len(memories))  # of two parts the length, and two layers
    assert {int(carried[f"{part}/length"]) for part in range(2)} == {STEPS % EPOCH * 8}
    assert {tuple(value.shape) for name, value in carried.items() if "length" not in name} == {(10, 6)}


# ---- damage


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "a link":
        shutil.move(path, path.parent.parent / "elsewhere")
        path.symlink_to(path.parent.parent / "elsewhere")
    elif how == "cut":
        os.truncate(path, len(content) // 2)
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 16]))


@pytest.mark.parametrize("how", ["missing", "a link", "cut", "a bit flipped"])
def test_damaged_state_is_used(copy: Path, newest: Path, trace: Any, how: str) -> None:
    whole, said = trace(copy), list[str]()
    damaged(newest / CARRIED, how)
    run.train(on(copy), say=said.append)
    assert "step_000004" in said[0]
    assert "falling back" in said[0]
    assert trace(copy) == whole


def forge(folder: Path, content: bytes | None) -> None:
    """Replace the carried state of a checkpoint by one that its manifest vouches for, or leave it out."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if content is None:
        (folder / CARRIED).unlink()
        del manifest["files"][CARRIED]
    else:
        (folder / CARRIED).write_bytes(content)
        manifest["files"][CARRIED] = {"bytes": len(content), "sha256": sha256(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest) + "\n")


def changed(carried: dict[str, torch.Tensor], name: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {key: kept for key, kept in {**carried, name: value}.items() if kept is not None}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("0/1.0", None, r"0/1\.0 is missing there and floating \(10, 6\) here"),
        ("1/length", None, r"1/length is missing there and whole \(\) here"),
        ("0/0.0", torch.zeros(10, 7), r"0/0\.0 is floating \(10, 7\) there and floating \(10, 6\) here"),
        ("1/0.1", torch.zeros(1, 6), r"1/0\.1 is floating \(1, 6\) there"),
        ("1/0.1", torch.zeros(10, 6, dtype=torch.long), r"1/0\.1 is whole \(10, 6\) there"),
        ("2/0.0", torch.zeros(10, 6), r"2/0\.0 is floating \(10, 6\) there and unknown here"),
        ("../evil", torch.zeros(1), r"\.\./evil is floating \(1,\) there and unknown here"),
    ],
)
def test_state_of_another_shape_is_taken(copy: Path, newest: Path, name: str, value: Any, message: str) -> None:
    forge(newest, safetensors.torch.save(changed(checkpoint.read(newest).carried, name, value)))
    with pytest.raises(CheckpointError, match=f"another run's carried state: {message}") as refused:
        run.train(on(copy, max_iters=6))
    assert refused.value.exit_code == 4


def test_state_that_was_never_saved_is_taken_for_an_empty_one(copy: Path, newest: Path) -> None:
    forge(newest, None)
    assert checkpoint.read(newest).carried == {}
    with pytest.raises(CheckpointError, match=r"carried state: 0/0\.0 is missing there"):
        run.train(on(copy, max_iters=6))
    assert run.load(copy, device="cpu").progress.step == 4  # whoever doesn't train needs none


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\xff" * 40], ids=["empty", "a pickle", "a long header"])
def test_hostile_state_breaks_the_reader(copy: Path, newest: Path, content: bytes) -> None:
    forge(newest, content)
    assert checkpoint.newest(copy, lambda line: None).state["step"] == 2


def test_forced_change_of_the_rows_takes_a_state_of_others(copy: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is floating \(10, 6\) there and floating \(20, 6\) here"):
        run.train(on(copy, max_iters=6, batch_size=40, resume_changed=True))


def test_carrying_can_be_switched_off_on_the_way_and_not_on(copy: Path) -> None:
    off = on(copy, max_iters=6)
    off = dataclasses.replace(off, data=dataclasses.replace(off.data, stateful=False))
    with pytest.raises(UsageError, match=r"data\.stateful was True, is False"):
        run.train(off)
    run.train(dataclasses.replace(off, trainer=dataclasses.replace(off.trainer, resume_changed=True)))
    back = on(copy, max_iters=8, resume_changed=True)
    back = dataclasses.replace(back, data=dataclasses.replace(back.data, stateful=True))
    with pytest.raises(CheckpointError, match="carried state"):
        run.train(back)


def test_carried_state_is_not_judged_or_a_run_without_it_is(saved: Path, tmp_path: Path, tiny: Any) -> None:
    done = run.load(saved)
    *earlier, last = read_lines(saved / "metrics.jsonl")
    ids = done.tokenizer.encode(Path(done.config.data.path).read_text(encoding="utf-8"))
    ids = split(ids, block_size=8, val_fraction=0.1).held_out
    assert last["val_loss_carried"] == carried_loss(done.model, ids)
    assert last["val_loss"] == done.evaluate().nats != last["val_loss_carried"]
    assert not any("val_loss_carried" in record for record in earlier)
    console = Console(file=io.StringIO(), width=200)
    show_outcome(done, console, "chargpt")
    assert f"\n{last['val_loss_carried']:.3f} nats per token with the state carried" in console.file.getvalue()
    other = run.train(tiny(tmp_path / "run", STATEFUL | FOUR | {"data.stateful": False}))
    assert "val_loss_carried" not in other.last_record()


# ---- refusals

NOWHERE = {"data.path": "no/such/file.txt"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.type": "gpt", "model.cell": DEFAULTS["model.cell"]},
            r"data\.stateful=True: GPT has no state that training can carry on",
        ),
        ({"model.type": "birnn"}, r"data\.stateful=True: BidirectionalRNN has no state"),
        (
            {"model.type": "birnn", "model.reading": "prefix"},
            r"data\.stateful=True: BidirectionalRNN has no state that training can carry on",
        ),
        ({"trainer.compile": "always"}, r"trainer\.compile=always: can't be with data\.stateful=True"),
    ],
)
def test_state_is_carried_where_it_cant_be(tmp_path: Path, tiny: Any, changes: dict[str, Any], message: str) -> None:
    """Before any text is looked for."""
    with pytest.raises(UsageError, match=message) as refused:
        run.train(tiny(tmp_path / "run", STATEFUL | NOWHERE | changes))
    assert refused.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_trainer_carries_what_no_state_is_made_for(make: Callable[..., Trainer], fresh_gpt: Callable[..., GPT]) -> None:
    with pytest.raises(UsageError, match=r"data\.stateful=True: GPT has no state"):
        Trainer(make().config, fresh_gpt(), make().batches, fresh=lambda step: True)


def test_text_too_short_for_its_lanes_leaves_a_folder(tmp_path: Path, tiny: Any) -> None:
    with pytest.raises(DataError, match=r"batch_size=102 and data\.block_size=8 needs 817 tokens to train on, found"):
        run.train(tiny(tmp_path / "run", STATEFUL | {"trainer.batch_size": 102}))
    assert list(tmp_path.iterdir()) == []
