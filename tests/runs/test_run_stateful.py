"""A state that training carries from block to block: as if the text were not cut, and nobody else's."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stateful import EPOCH, STATEFUL, STEPS, on

from mingpt.core.errors import DataError, UsageError
from mingpt.core.run_files.reading import read_lines
from mingpt.data.batches import ContiguousStreams
from mingpt.model import GPT
from mingpt.models.base import ModelConfig
from mingpt.models.rnn import RNN
from mingpt.runs import checkpoint, run
from mingpt.runs.checkpoint import CARRIED, MANIFEST
from mingpt.trainer import Trainer
from mingpt.training.trainer_config import TrainerConfig


@pytest.fixture(scope="module", params=["lstm", "elman"])
def stations(request: Any, tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A finished run, and beside it its folder as it stood after each step."""
    home = tmp_path_factory.mktemp(request.param)

    def keep(trainer: Any, record: dict[str, Any]) -> None:
        assert trainer.batches.epoch == EPOCH
        shutil.copytree(home / "whole", home / str(record["step"]))

    run.train(tiny(home / "whole", STATEFUL | {"model.cell": request.param, "trainer.save_every": 1}), callbacks=[keep])
    return home


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
        lanes = ContiguousStreams(ids, block_size=block_size, batch_size=4, seed=1)
        how = {"optimizer": "adamw", "matrix_learning_rate": TrainerConfig().matrix_learning_rate}
        config = TrainerConfig(
            batch_size=4, accumulation=parts, learning_rate=rate, grad_norm_clip=0.0, compile="never", **how
        )
        return Trainer(config, model, lanes, fresh=lanes.fresh if carry else None)

    return trainer


# ---- what is learned


def test_two_halves_have_what_the_whole_has(make: Callable[..., Trainer]) -> None:
    halves, whole, cut = make(5), make(10), make(5, carry=False)
    for step in range(3):
        x, y = whole.batches(step)
        parts = [halves.batches(2 * step + half) for half in range(2)]
        assert torch.equal(torch.cat([part[0] for part in parts], 1), x)  # one text, cut twice as often
        assert torch.equal(torch.cat([part[1] for part in parts], 1), y)
        expected = whole.step()["train_loss"]
        assert sum(halves.step()["train_loss"] for _ in range(2)) / 2 == pytest.approx(expected, rel=1e-12)
        assert sum(cut.step()["train_loss"] for _ in range(2)) / 2 != pytest.approx(expected, rel=1e-3)


def test_state_ends_with_its_epoch(make: Callable[..., Trainer]) -> None:
    """6 blocks a lane: the seventh step's loss is that of a model that has read nothing."""
    trainer = make()
    losses = [trainer.step()["train_loss"] for _ in range(14)]
    alone = [trainer.model(*trainer.batches(step)).loss.item() for step in range(14)]
    equal = [abs(loss - without) < 1e-12 for loss, without in zip(losses, alone, strict=True)]
    assert equal == [step % 6 == 0 for step in range(14)]


def test_gradients_stop_at_a_blocks_edge(make: Callable[..., Trainer]) -> None:
    trainer, model = make(), make().model
    state = model.new_state(4)
    for step in range(3):
        model.zero_grad()
        model(*trainer.batches(step), state=state).loss.backward()
        state.layers = [tuple(torch.tensor(h.tolist(), dtype=h.dtype) for h in hidden) for hidden in state.layers]
        norm = torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt().item()
        assert trainer.step()["grad_norm"] == pytest.approx(norm, rel=1e-12)


def test_micro_batches_have_states_of_their_own(make: Callable[..., Trainer]) -> None:
    runs = {parts: make(parts=parts, rate=1e-2) for parts in (1, 2, 4)}
    for _ in range(13):
        losses = [trainer.step()["train_loss"] for trainer in runs.values()]
        assert losses == pytest.approx([losses[0]] * 3, rel=1e-9)


def test_evaluation_of_a_kept_state_changes_nothing_of_what_is_learned(tmp_path: Path, tiny: Any, trace: Any) -> None:
    """Judging and sampling have states of their own."""
    often = {"trainer.eval_every": 1, "trainer.sample_every": 1, "trainer.save_every": 1}
    run.train(tiny(tmp_path / "rarely", STATEFUL))
    run.train(tiny(tmp_path / "often", STATEFUL | often))
    assert trace(tmp_path / "often") == trace(tmp_path / "rarely")


def test_state_of_training_does_not_reach_evaluation_or_samples(stations: Path) -> None:
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
@pytest.mark.thin(2)
def test_resumed_run_takes_the_same_path(stations: Path, tmp_path: Path, trace: Any, step: int) -> None:
    folder, whole = Path(shutil.copytree(stations / str(step), tmp_path / "run")), stations / "whole"
    resumed = run.train(on(folder, save_every=0))
    assert trace(folder) == trace(whole)
    assert [record["step"] for record in trace(folder)["records"]] == list(range(1, STEPS + 1))
    last = f"checkpoints/step_{STEPS:06d}/{CARRIED}"
    assert (folder / last).read_bytes() == (whole / last).read_bytes()
    assert resumed.last_record()["val_loss"] == read_lines(whole / "metrics.jsonl")[-1]["val_loss"]


def test_no_state_is_saved_where_none_is_kept(tmp_path: Path, tiny: Any, stations: Path) -> None:
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


# ---- refusals

NOWHERE = {"data.path": "no/such/file.txt"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.type": "birnn"}, r"data\.stateful=True: needs a model with a recurrent state"),
        (
            {"model.type": "birnn", "model.reading": "prefix"},
            r"data\.stateful=True: needs a model with a recurrent state, which model\.type=birnn has not",
        ),
        ({"trainer.compile": "always"}, r"trainer\.compile=always: can't be with data\.stateful=True"),
    ],
)
def test_state_is_rejected_where_it_cant_be_kept(
    tmp_path: Path, tiny: Any, changes: dict[str, Any], message: str
) -> None:
    """Before any text is looked for."""
    with pytest.raises(UsageError, match=message) as refused:
        run.train(tiny(tmp_path / "run", STATEFUL | NOWHERE | changes))
    assert refused.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_trainer_rejects_models_without_a_state(make: Callable[..., Trainer], fresh_gpt: Callable[..., GPT]) -> None:
    with pytest.raises(
        UsageError, match=r"data\.stateful=True: needs a model with a recurrent state, which model\.type=gpt"
    ):
        Trainer(make().config, fresh_gpt(), make().batches, fresh=lambda step: True)


def test_text_too_short_for_its_streams_leaves_no_folder(tmp_path: Path, tiny: Any) -> None:
    with pytest.raises(DataError, match=r"batch_size=102 and data\.block_size=8 needs 817 tokens to train on, found"):
        run.train(tiny(tmp_path / "run", STATEFUL | {"trainer.batch_size": 102}))
    assert list(tmp_path.iterdir()) == []
