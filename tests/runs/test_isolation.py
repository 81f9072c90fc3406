"""Used from Python, mingpt leaves the caller's process as it was: random states, threads, environment, settings."""

import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mingpt
from mingpt import utils
from mingpt.model import build
from mingpt.models.base import ModelConfig
from mingpt.runs.run import train
from mingpt.trainer import Trainer
from mingpt.training.trainer_config import TrainerConfig

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
WATCH = """
import json, logging, os, random, signal, sys, threading, warnings
import matplotlib, numpy, torch

mine = warnings.catch_warnings()
mine.__enter__()
warnings.filterwarnings("error")
warnings.filterwarnings("ignore", message="the caller's own")
signal.signal(signal.SIGTERM, lambda number, frame: None)
logging.basicConfig(level=logging.ERROR)
torch.set_num_threads(1)
torch.set_grad_enabled(False)
for draw in (random.seed, numpy.random.seed, torch.manual_seed):
    draw(5)


def state():
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(numpy.random.get_state()),
        "python": repr(random.getstate()),
        "threads of PyTorch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "default type": str(torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "environment": dict(os.environ),
        "warnings": repr(warnings.filters),
        "signals": {number: repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)},
        "logging": [(each.level, repr(each.handlers)) for each in map(logging.getLogger, (None, "mingpt"))],
        "rcParams": repr(dict.items(matplotlib.rcParams)),
        "folder": os.getcwd(),
        "umask": (old := os.umask(0o22), os.umask(old))[0],
        "streams": [id(sys.stdout), id(sys.stderr), id(sys.excepthook), id(sys.displayhook)],
        "paths": list(sys.path),
        "recursion": sys.getrecursionlimit(),
    }
"""
CALLS = """
import mingpt
from pathlib import Path

here = Path(sys.argv[1])
text = here / "text.txt"
text.write_text("Tomorrow, and tomorrow, and tomorrow,\\nCreeps in this petty pace\\n" * 20)


def config(name, threads=0):
    return mingpt.Config(
        system=mingpt.SystemConfig(work_dir=str(here / name), threads=threads),
        data=mingpt.DataConfig(path=str(text), block_size=8),
        model=mingpt.ModelSettings(n_layer=1, n_embd=8, attn_pdrop=0.1, resid_pdrop=0.1, embd_pdrop=0.1),
        trainer=mingpt.TrainerConfig(max_iters=3, batch_size=2, eval_every=2, device="cpu"),
    )


calls = {
    "train": lambda: mingpt.train(config("run", threads=2)),
    "load": lambda: mingpt.load(here / "run"),
    "generate": lambda: mingpt.load(here / "run").generate("T", 5, temperature=0.9),
    "evaluate": lambda: mingpt.load(here / "run").evaluate(),
    "attention": lambda: mingpt.load(here / "run").attention("To"),
    "export": lambda: mingpt.export(mingpt.load(here / "run"), here / "exported"),
    "import": lambda: mingpt.import_folder(here / "exported", here / "imported"),
    "second": lambda: mingpt.train(config("second")),
    "compare": lambda: mingpt.compare({"one": here / "run", "other": here / "second"}).to_csv(),
    "history": lambda: mingpt.load(here / "run").history(),
    "plot": lambda: mingpt.load(here / "run").plot(),
    "sweep": lambda: mingpt.sweep(
        {"model.n_layer": [1, 2]},
        base={"data.path": str(text), "data.block_size": 8, "model.n_embd": 8, "trainer.max_iters": 2},
        seeds=1,
        folder=here / "swept",
    ),
}
changed = {}
for name, call in calls.items():
    before = state()
    call()
    after = state()
    different = [key for key in before if before[key] != after[key]]
    changed[name] = {key: [str(before[key])[:300], str(after[key])[:300]] for key in different}
print("changed:", json.dumps(changed))
"""


@pytest.mark.full
def test_callers_state_survives_every_call(tmp_path: Path) -> None:
    """In a process of its own, whose settings are none of the defaults; it is mirrored, to a wandb that is quick."""
    paths = os.pathsep.join((str(ROOT / "tests" / "fakes"), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": paths, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", WATCH + CALLS, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stderr
    changed = json.loads(ended.stdout.rpartition("changed: ")[2])
    assert set(changed) >= {"train", "load", "generate", "evaluate"}
    assert not any(changed.values()), changed


def test_two_trainings_at_once_learn_as_one_after_the_other(tmp_path: Path, tiny: Any, trace: Any) -> None:
    changes = [{"system.seed": 1}, {"system.seed": 2, "model.kernel": "sdpa"}]
    before = torch.get_rng_state()
    for number, change in enumerate(changes):
        train(tiny(tmp_path / f"alone {number}", change))
    threads = [
        threading.Thread(target=train, args=(tiny(tmp_path / f"together {number}", change),))
        for number, change in enumerate(changes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        assert trace(tmp_path / f"alone {number}") == trace(tmp_path / f"together {number}")
    assert torch.equal(torch.get_rng_state(), before)


def test_global_draws_are_seeded_and_put_back() -> None:
    before = torch.get_rng_state()
    with utils.seeded_globally(3, CPU):
        first = torch.rand(4)
        with utils.seeded_globally(4, CPU):
            torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.rand(4, generator=torch.Generator().manual_seed(3)))


def test_last_of_several_threads_puts_the_callers_state_back() -> None:
    before, entered, leave = torch.get_rng_state(), threading.Event(), threading.Event()

    def hold() -> None:
        with utils.seeded_globally(1, CPU):
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    with utils.seeded_globally(2, CPU):
        other.start()
        entered.wait(10)
    leave.set()
    other.join()
    assert torch.equal(torch.get_rng_state(), before)


def test_building_by_a_seed_is_building_after_seeding() -> None:
    config = ModelConfig(n_layer=1, n_embd=8, vocab_size=5)
    torch.manual_seed(7)
    seeded = build(config).state_dict()
    before = torch.get_rng_state()
    own = build(config, seed=7).state_dict()
    assert all(torch.equal(seeded[name], own[name]) for name in seeded)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_an_import_sets_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SET_BY_AN_IMPORT", raising=False)
    filters = [*warnings.filters]
    with utils.process_kept():
        os.environ["SET_BY_AN_IMPORT"] = "1"
        warnings.simplefilter("ignore")
    assert "SET_BY_AN_IMPORT" not in os.environ
    assert warnings.filters == filters


class Foreign(mingpt.GPT):
    """A model of somebody's own, which draws from PyTorch's global generator."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        return output._replace(loss=output.loss * torch.rand(()))


def _steps(make: Callable[..., Any]) -> list[float]:
    config = ModelConfig(n_layer=1, n_embd=8, block_size=4, vocab_size=5, resid_pdrop=0.5)
    ids = torch.arange(10).view(2, 5) % 5
    trainer = Trainer(TrainerConfig(batch_size=2), _model(make, config), lambda step: (ids[:, :-1], ids[:, 1:]), seed=3)
    trainer.model.train()
    return [trainer.step()["train_loss"] for _ in range(2)]


def _model(make: Callable[..., Any], config: ModelConfig) -> Any:
    with utils.seeded_globally(1, CPU):
        return make(config)


@pytest.mark.parametrize("make", [mingpt.GPT, Foreign])
def test_step_depends_on_its_seed_and_not_on_the_callers_draws(make: Callable[..., Any]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _steps(make)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert _steps(make) == first
