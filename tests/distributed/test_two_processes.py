"""Two processes learn what one learns, decide alike, and leave what one leaves.

One launch trains everything, as starting costs more than training does; each test looks at a part of what it left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from process_group import FAMILIES, Ended, alone, apart, losses

from mingpt.core.run_files.reading import read_lines
from mingpt.runs import checkpoint

GPT, ELMAN, FSDP = FAMILIES["gpt"], FAMILIES["elman"], {"dist.strategy": "fsdp"}
LSTM = {**ELMAN, "model.cell": "lstm", "data.stateful": True}
MUON = {**GPT, "trainer.optimizer": "muon", "trainer.max_iters": 4}
SAVING = {**GPT, "trainer.save_every": 2}
LEGS = (
    {"trainer.max_iters": 5},
    {"trainer.resume": True, "trainer.max_iters": 9},
    {"trainer.resume": True, "trainer.max_iters": 13},
)
SAME = {"gpt": GPT, "gpt-fsdp": GPT | FSDP, "elman": ELMAN, "elman-fsdp": ELMAN | FSDP}
CHAINS = {"chain": GPT, "chain-fsdp": GPT | FSDP, "carried": LSTM}
STOPPED = {"term": (GPT, ["SIGTERM", 1, 6], 143), "int": (GPT | FSDP, ["SIGINT", 0, 6], 130)}
FAILED = {
    "nan": (["nan", 1, 4], 5, "step 4: loss nan"),
    "disk": (["disk", 0, 4], 1, "No space left on device; what was saved before is whole"),
    "log": (["log", 0, 4], 1, "No space left on device; what was saved before is whole"),
}
REFUSED = {
    "uneven": (
        {"trainer.batch_size": 6},
        "trainer.batch_size=6: must be a multiple of 2 processes times 2 micro-batches",
    ),
    "unheard": ({"dist.strategy": "fsdq"}, "dist.strategy=fsdq: must be one of ddp, fsdp (did you mean 'fsdp'?)"),
}
SECOND = {"trainer.max_iters": 12}  # of the same processes in the folder of the first one, "gpt", with its settings


@dataclass(frozen=True)
class Trained:
    """What the launch left, and how each of its runs ended, by rank."""

    home: Path
    ended: Ended
    codes: dict[str, list[int]]

    def errors(self) -> list[str]:
        return [line for line in self.ended.said.splitlines() if "error: " in line]


@pytest.fixture(scope="module")
def trained(together: Callable[..., Ended], flags: Any, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    home = tmp_path_factory.mktemp("runs")
    for name, how in CHAINS.items():
        alone(flags(home / name, without_company(how) | LEGS[0]))
    runs = {
        **{name: {"argv": flags(home / name, changes | {"trainer.max_iters": 12})} for name, changes in SAME.items()},
        **{name: {"argv": flags(home / name, how | LEGS[1])} for name, how in CHAINS.items()},
        **{
            f"muon{name}": {"argv": flags(home / f"muon{name}", MUON | more)}
            for name, more in {"": {}, "2": FSDP}.items()
        },
        **{name: {"argv": flags(home / name, how), "fault": fault} for name, (how, fault, _) in STOPPED.items()},
        **{name: {"argv": flags(home / name, SAVING), "fault": fault} for name, (fault, _, _) in FAILED.items()},
        **{name: {"argv": flags(home / name, GPT | wrong)} for name, (wrong, _) in REFUSED.items()},
        "counted": {"argv": ["--model.type=ngram", f"--system.work_dir={home / 'counted'}", *flags(home)[:1]]},
        "sample": {"argv": ["sample", f"--run={home / 'gpt'}"]},
        "second": {"argv": flags(home / "gpt", GPT | SECOND)},
    }
    ended = together(list(runs.values()))
    assert [len(codes) for codes in ended.codes] == [len(runs)] * 2, ended.said
    return Trained(home, ended, dict(zip(runs, map(list, zip(*ended.codes, strict=True)), strict=True)))


def without_company(changes: dict[str, Any]) -> dict[str, Any]:
    """The same settings for one process alone."""
    return {key: value for key, value in changes.items() if key not in FSDP}


def saved(folder: Path) -> checkpoint.Checkpoint:
    return checkpoint.newest(folder)


def apart_when_saved(one: Path, other: Path) -> float:
    """The largest difference of any number that two checkpoints hold; the same names and shapes."""
    differences = []
    for kind in ("model", "optimizer", "carried"):
        first, second = getattr(saved(one), kind), getattr(saved(other), kind)
        assert {n: t.shape for n, t in first.items()} == {n: t.shape for n, t in second.items()}
        differences += [float((first[name] - second[name]).abs().max()) for name in first]
    return max(differences)


def require_same(ways: dict[str, Path], one: Path) -> None:
    """Losses, samples, and all that is saved, of a batch in parts, clipped, in float64."""
    for way, folder in ways.items():
        assert apart(folder, one) < 1e-9, way
        assert apart_when_saved(folder, one) < 1e-9, way
        assert read_lines(folder / "samples.jsonl") == read_lines(one / "samples.jsonl"), way


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.thin(1)
def test_two_learn_what_one_learns(trained: Trained, flags: Any, tmp_path: Path, family: str) -> None:
    ways = (family, f"{family}-fsdp")
    assert [trained.codes[way] for way in ways] == [[0, 0]] * 2, trained.ended.said
    alone(flags(tmp_path / "one", FAMILIES[family] | {"trainer.max_iters": 12}))
    require_same({way: trained.home / way for way in ways}, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_fifty_steps_of_two_lead_where_one_goes(
    together: Callable[..., Ended], flags: Any, tmp_path: Path, family: str
) -> None:
    ways = {way: flags(tmp_path / way, SAME[way]) for way in (family, f"{family}-fsdp")}
    assert together([{"argv": argv} for argv in ways.values()]).codes == [[0, 0]] * 2
    alone(flags(tmp_path / "one", FAMILIES[family]))
    require_same({way: tmp_path / way for way in ways}, tmp_path / "one")
    assert len(losses(tmp_path / "one")) == 50


def test_muon_of_shards_orthogonalises_shards(trained: Trained, flags: Any, tmp_path: Path) -> None:
    alone(flags(tmp_path / "one", MUON))
    for way in ("muon", "muon2"):
        assert trained.codes[way] == [0, 0]
        assert apart(trained.home / way, tmp_path / "one") < 1e-6  # its factors are float32


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.full
def test_run_of_one_goes_on_with_two_and_then_one(trained: Trained, flags: Any, tmp_path: Path, name: str) -> None:
    """One of them with a state that is carried from block to block, whose rows are shared out like a batch's."""
    assert trained.codes[name] == [0, 0], trained.ended.said
    family = without_company(CHAINS[name])
    alone(flags(trained.home / name, family | LEGS[2]))
    alone(flags(tmp_path / "one", family | {"trainer.max_iters": 13}))
    assert apart(trained.home / name, tmp_path / "one") < 1e-9
    assert apart_when_saved(trained.home / name, tmp_path / "one") < 1e-9


@pytest.mark.slow
def test_run_of_two_goes_on_with_one_and_then_two(together: Callable[..., Ended], flags: Any, tmp_path: Path) -> None:
    def by_two(leg: dict[str, Any]) -> None:
        ended = together([{"argv": flags(tmp_path / name, how | leg)} for name, how in CHAINS.items()])
        assert ended.codes == [[0] * len(CHAINS)] * 2, ended.said

    by_two(LEGS[0])
    for name, how in CHAINS.items():
        alone(flags(tmp_path / name, without_company(how) | LEGS[1]))
    by_two(LEGS[2])
    for name, how in CHAINS.items():
        one = tmp_path / f"{name}-one"
        alone(flags(one, without_company(how) | {"trainer.max_iters": 13}))
        assert apart(tmp_path / name, one) < 1e-9, name
        assert apart_when_saved(tmp_path / name, one) < 1e-9, name


@pytest.mark.parametrize("name", STOPPED)
def test_signal_to_one_stops_both(trained: Trained, name: str) -> None:
    assert trained.codes[name] == [STOPPED[name][2]] * 2
    assert saved(trained.home / name).state["step"] == len(losses(trained.home / name)) == 6


@pytest.mark.parametrize("name", FAILED)
def test_failure_of_one_ends_all_and_keeps_what_was_saved(trained: Trained, name: str) -> None:
    _, code, says = FAILED[name]
    assert trained.codes[name] == [code] * 2
    assert any(line.startswith(f"error: {says}") for line in trained.errors())
    assert saved(trained.home / name).state["step"] == 2


def test_wrong_setting_is_rejected_once_before_anything_is_written(trained: Trained) -> None:
    for name, (_, says) in REFUSED.items():
        assert trained.codes[name] == [2, 2]
        assert sum(says in line for line in trained.errors()) == 1
        assert not (trained.home / name).exists()
    assert trained.codes["counted"] == trained.codes["sample"] == [2, 2]
    assert "error: model.type=ngram: counts in one step, in one process: start it without torchrun" in trained.errors()
    assert "error: sample: is one process's work; start it without torchrun" in trained.errors()


def test_second_training_of_the_same_processes_is_another_run(trained: Trained) -> None:
    assert trained.codes["second"] == [2, 2]
    assert any(f"{trained.home / 'gpt'}: already holds a run" in line for line in trained.errors())
    assert "this launch began it before" not in trained.ended.said


def test_share_of_a_process_is_reported_as_a_share(trained: Trained) -> None:
    announced = [line for line in trained.ended.said.splitlines() if "MFLOP per token" in line]
    assert announced
    assert all(" in each of 2 processes (" in line and line.endswith((" GB each", " MB each")) for line in announced)
    assert {line.partition(":")[0] for line in announced} == {"GPT", "RNN"}


def test_only_the_first_process_logs(trained: Trained) -> None:
    assert trained.ended.said.count(f"run folder: {trained.home / 'gpt'}\n") == 1
    only_theirs = [line for line in trained.errors() if line.startswith("rank 1: ")]
    assert len(only_theirs) <= 1, only_theirs  # of the log that only the first one writes
    assert all("another process of this run has ended" in line for line in only_theirs)
