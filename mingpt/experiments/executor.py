"""Getting cells done: several at once, each run in a process of its own, beside other crews on the same folder.

A crash of one cell ends no other.  A cell is claimed by a lock that the kernel drops with its process, so a claim is
never stale.  What is finished is left alone, what is begun goes on from its newest checkpoint.
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from mingpt.core.atomic_io import locked
from mingpt.core.errors import CheckpointError, DataError, NotFiniteError, in_one_line
from mingpt.core.run_files.reading import last_line
from mingpt.core.run_files.records import is_run
from mingpt.core.signals import stop_on_signals
from mingpt.experiments import trial_records
from mingpt.experiments.base import Cell
from mingpt.experiments.identity import changed
from mingpt.experiments.trials import folder_name, words_of
from mingpt.runs import checkpoint
from mingpt.runs.config import Config

logger = logging.getLogger(__name__)

LOOK_S = 0.1  # between looks at a running process
AGAIN_S = 1.0  # before asking again for what another crew holds
CHILD = "import sys; from mingpt.cli.main import main; sys.exit(main(sys.argv[1:]))"
# Linux weighs sessions against each other, each by its own priority, before it weighs what runs in one.
IDLE = """
import os
from pathlib import Path
os.nice(19)
try:
    Path("/proc/self/autogroup").write_text("19")
except OSError:
    pass
"""
Launch = Callable[[Config, Path, Event], int]  # (configuration, log, wish to stop) -> exit code


@dataclass
class Outcome:
    """How all went.

    Attributes:
        failed: cell -> exit code and why.
        stopped: the signal that ended it early, or None.
    """

    failed: dict[Cell, tuple[int, str]] = field(default_factory=dict)
    stopped: str | None = None

    def hopeless(self, cell: Cell) -> bool:
        """Whether it failed by its own settings: its numbers stopped being numbers."""
        return cell in self.failed and self.failed[cell][0] == NotFiniteError.exit_code


def finished(config: Config, folder: Path) -> bool:
    """Whether the run in `folder` has made all its steps, and left what it should."""
    line, last = last_line(folder / "metrics.jsonl"), config.trainer.max_iters
    complete = line is not None and line["step"] == last and checkpoint.steps(folder)[:1] == [last]
    return complete and (folder / "baselines.json").exists()


def done(cell: Cell) -> bool:
    """Whether all stages are, and its record is written, where one is kept; or it was made from its record."""
    kept = cell.home is None or (cell.home / trial_records.NAME).is_file()
    from_record = cell.home is not None and not any((folder / "checkpoints").exists() for folder in cell.folders)
    return kept and (
        from_record or all(finished(config, folder) for config, folder in zip(cell.configs, cell.folders, strict=True))
    )


@contextmanager
def claimed(folder: Path, cell: Cell) -> Iterator[bool]:
    """Hold a cell for this crew alone; False where another holds it, or an orphan of one still trains in it."""
    with ExitStack() as stack:
        claim = folder / "claims" / folder_name(cell.name)
        claim.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(locked(claim))
            for run in cell.folders:
                if run.is_dir():
                    with locked(run):
                        pass
        except CheckpointError:
            yield False
            return
        yield True


def in_process_of_its_own(config: Config, log: Path, stop: Event, threads: int = 0, idle: bool = False) -> int:
    """Train as `chargpt train` would, all that it says in `log`; a wish to stop is passed on, once.

    Args:
        idle: run only where nothing else wants the processor.
    """
    home = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([home, os.environ.get("PYTHONPATH", "")])}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    command = [sys.executable, "-c", IDLE + CHILD if idle else CHILD, "train", *words_of(config.flat())]
    with open(log, "ab") as file:
        # In a session of its own, so that Ctrl-C reaches this process alone and not both: a second signal is impatient.
        child = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
    told = False
    while child.poll() is None:
        if stop.is_set() and not told:
            child.terminate()
            told = True
        time.sleep(LOOK_S)
    return child.returncode


def threads_for(jobs: int) -> int:
    """Threads of each of `jobs` processes; 0: as many as PyTorch chooses."""
    if jobs == 1:
        return 0
    return max(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1) // jobs, 1)


@dataclass
class Crew:
    """Does cells.

    Attributes:
        folder: the experiment's.
        jobs: cells at once.
        launch: trains one run.
        keep: called with each cell when its last run has ended well, before others may have it.
        kept: where records of finished trials lie; None: nowhere.
    """

    folder: Path
    jobs: int
    launch: Launch
    keep: Callable[[Cell], None] = lambda cell: None
    kept: Path | None = None
    _stop: Event = field(default_factory=Event)
    _outcome: Outcome = field(default_factory=Outcome)

    def do(self, cells: Sequence[Cell]) -> Outcome:
        """Finish every cell, or wait until another crew has; one that fails is left, and said.

        A first signal lets each running cell end its step and save.
        """
        self._stop, self._outcome = Event(), Outcome()
        todo = [cell for cell in cells if not done(cell)]
        if len(todo) < len(cells):
            logger.info(f"{len(cells) - len(todo)} of {len(cells)} cells are finished already")
        with stop_on_signals(self._signalled), ThreadPoolExecutor(self.jobs) as pool:
            self._oversee(todo, pool, Pace(self.jobs))
        return self._outcome

    def _signalled(self, name: str) -> None:
        self._outcome.stopped = name
        self._stop.set()

    def _oversee(self, todo: list[Cell], pool: ThreadPoolExecutor, pace: "Pace") -> None:
        total, busy = len(todo), list[Cell]()
        running: dict[Future[bool], tuple[Cell, float]] = {}
        while running or ((todo or busy) and not self._stop.is_set()):
            if not todo and not running:
                time.sleep(AGAIN_S)
            if not todo:
                todo, busy = busy, []
            while todo and len(running) < self.jobs and not self._stop.is_set():
                cell = todo.pop(0)
                running[pool.submit(self._attempt, cell)] = (cell, time.monotonic())
            ended, _ = wait(running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            for future in ended:
                cell, began = running.pop(future)
                if not future.result():
                    busy.append(cell)
                    continue
                pace.add(cell, time.monotonic() - began)
                left = [*todo, *busy, *(other for other, _ in running.values())]
                self._tell(cell, total - len(left), total, pace.left(left))

    def _attempt(self, cell: Cell) -> bool:
        """Whether it needs no more of us: finished, failed, or stopped."""
        with claimed(self.folder, cell) as ours:
            if not ours:
                return done(cell)
            if self._from_record(cell):
                return True
            log = self.folder / "logs" / f"{folder_name(cell.name)}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            inputs = cell.inputs or tuple(dict[str, str]() for _ in cell.configs)
            for config, folder, planned in zip(cell.configs, cell.folders, inputs, strict=True):
                if finished(config, folder):
                    continue
                if planned and not is_run(folder) and (why := changed(config, planned)):
                    self._outcome.failed[cell] = DataError.exit_code, why
                    break
                code = self.launch(_going_on(config, folder), log, self._stop)
                if self._stop.is_set():
                    break
                if code != 0:
                    self._outcome.failed[cell] = code, _last_line(log)
                    break
            else:
                self._keep(cell)
            return True

    def _keep(self, cell: Cell) -> None:
        try:
            self.keep(cell)
        except Exception as error:  # of one trial's measurements; the others go on
            self._outcome.failed[cell] = 1, f"its record was not written: {in_one_line(error)}"

    def _from_record(self, cell: Cell) -> bool:
        """Whether the cell is finished by now: made from the record that is kept of the same trial."""
        if self.kept is not None and cell.id and (record := trial_records.find(self.kept, cell.id)):
            if not done(cell):
                shutil.rmtree(cell.home or "", ignore_errors=True)
                trial_records.unpack(record, cell)
            return True
        return False

    def _tell(self, cell: Cell, number: int, total: int, left: float) -> None:
        if self._stop.is_set():
            return
        if cell in self._outcome.failed:
            logger.warning(f"[{number}/{total}] {cell.name} FAILED: {self._outcome.failed[cell][1]}")
            return
        loss = (last_line(cell.folders[-1] / "metrics.jsonl") or {}).get("val_loss")
        held_out = "" if loss is None else f": held out {loss:.4f}"
        about = f"{left / 60:.0f} min" if left >= 120 else f"{left:.0f} s"
        rest = f" · about {about} left" if number < total else ""
        logger.info(f"[{number}/{total}] {cell.name}{held_out}{rest}")


class Pace:
    """Guesses the time left from tokens trained on a second."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.tokens, self.seconds = jobs, 0, 0.0

    def add(self, cell: Cell, seconds: float) -> None:
        self.tokens, self.seconds = self.tokens + cell.tokens, self.seconds + seconds

    def left(self, cells: Sequence[Cell]) -> float:
        """Seconds."""
        return sum(cell.tokens for cell in cells) * self.seconds / max(self.tokens, 1) / self.jobs


def _going_on(config: Config, folder: Path) -> Config:
    """The same, resumed where it was begun."""
    if not (folder / "config.yaml").exists():
        return config
    return replace(config, trainer=replace(config.trainer, resume=True))


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
