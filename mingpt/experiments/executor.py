"""Train trials: several at once, each run in a process of its own, while other executors may work in the same folder.

A crash of one trial ends no other.  A trial is claimed by a lock that the kernel drops with its process, so a claim is
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
from mingpt.experiments.base import Trial
from mingpt.experiments.identity import changed
from mingpt.experiments.trials import folder_name, words_of
from mingpt.runs import checkpoint
from mingpt.runs.config import Config

logger = logging.getLogger(__name__)

POLL_S = 0.1  # between checks of a running process
AGAIN_S = 1.0  # before asking again for what another executor holds
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
Launch = Callable[[Config, Path, Event], int]  # (configuration, log file, set to stop) -> exit code


@dataclass
class Outcome:
    """How the trials ended.

    Attributes:
        failed: trial -> exit code and reason.
        stopped: the signal that ended it early, or None.
    """

    failed: dict[Trial, tuple[int, str]] = field(default_factory=dict)
    stopped: str | None = None

    @property
    def diverged(self) -> dict[Trial, str]:
        """Trials whose loss stopped being finite, so that they would fail again, and why."""
        return {trial: why for trial, (code, why) in self.failed.items() if code == NotFiniteError.exit_code}


def finished(config: Config, folder: Path) -> bool:
    """Return True if the run in `folder` has made all its steps and written all its files."""
    line, last = last_line(folder / "metrics.jsonl"), config.trainer.max_iters
    complete = line is not None and line["step"] == last and checkpoint.steps(folder)[:1] == [last]
    return complete and (folder / "baselines.json").exists()


def done(trial: Trial) -> bool:
    """Return True if all stages and the record, if one is kept, are finished; or if the trial came from a record."""
    kept = trial.home is None or (trial.home / trial_records.NAME).is_file()
    from_record = trial.home is not None and not any((folder / "checkpoints").exists() for folder in trial.folders)
    return kept and (from_record or all(map(finished, trial.configs, trial.folders)))


@contextmanager
def claimed(folder: Path, trial: Trial) -> Iterator[bool]:
    """Hold a trial for this executor alone; False where another holds it, or an orphan of one still trains in it."""
    with ExitStack() as stack:
        claim = folder / "claims" / folder_name(trial.name)
        claim.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(locked(claim))
            for run in trial.folders:
                if run.is_dir():
                    with locked(run):
                        pass
        except CheckpointError:
            yield False
            return
        yield True


def in_process_of_its_own(config: Config, log: Path, stop: Event, threads: int = 0, idle: bool = False) -> int:
    """Train as `chargpt train` does, with its output in `log`; once `stop` is set, the process gets SIGTERM.

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
    terminated = False
    while child.poll() is None:
        if stop.is_set() and not terminated:
            child.terminate()
            terminated = True
        time.sleep(POLL_S)
    return child.returncode


def threads_for(jobs: int) -> int:
    """Threads of each of `jobs` processes; 0: as many as PyTorch chooses."""
    if jobs == 1:
        return 0
    return max(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1) // jobs, 1)


@dataclass
class Executor:
    """Trains trials.

    Attributes:
        folder: folder of the experiment.
        jobs: number of trials at once.
        launch: trains one run.
        keep: called with each trial when its last run has ended well, before others may have it.
        kept: where records of finished trials lie; None: nowhere.
        use_records: take trials from there instead of training them.
    """

    folder: Path
    jobs: int
    launch: Launch
    keep: Callable[[Trial], None] = lambda trial: None
    kept: Path | None = None
    use_records: bool = True
    _stop: Event = field(default_factory=Event)
    _outcome: Outcome = field(default_factory=Outcome)

    def do(self, trials: Sequence[Trial]) -> Outcome:
        """Finish every trial, or wait until another executor has; one that fails is logged and left.

        A first signal lets each running trial end its step and save.
        """
        self._stop, self._outcome = Event(), Outcome()
        todo = [trial for trial in trials if not done(trial)]
        if len(todo) < len(trials):
            logger.info(f"{len(trials) - len(todo)} of {len(trials)} trials are finished already")
        with stop_on_signals(self._signalled), ThreadPoolExecutor(self.jobs) as pool:
            taken = [trial for trial in todo if not self._stop.is_set() and self._take_record(trial)]
            if taken and self.kept:
                where = f"have a record in {self.kept.parent}"
                logger.info(f"{len(taken)} of {len(trials)} trials {where}; --fresh trains them again")
            self._oversee([trial for trial in todo if trial not in taken], pool, Pace(self.jobs))
        return self._outcome

    def _signalled(self, name: str) -> None:
        self._outcome.stopped = name
        self._stop.set()

    def _oversee(self, todo: list[Trial], pool: ThreadPoolExecutor, pace: "Pace") -> None:
        total, busy = len(todo), list[Trial]()
        running: dict[Future[bool], tuple[Trial, float]] = {}
        while running or ((todo or busy) and not self._stop.is_set()):
            if not todo and not running:
                time.sleep(AGAIN_S)
            if not todo:
                todo, busy = busy, []
            while todo and len(running) < self.jobs and not self._stop.is_set():
                trial = todo.pop(0)
                running[pool.submit(self._attempt, trial)] = (trial, time.monotonic())
            ended, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in ended:
                trial, began = running.pop(future)
                if not future.result():
                    busy.append(trial)
                    continue
                pace.add(trial, time.monotonic() - began)
                left = [*todo, *busy, *(other for other, _ in running.values())]
                self._report(trial, total - len(left), total, pace.left(left))

    def _attempt(self, trial: Trial) -> bool:
        """Train a trial; return False where another executor holds it, so that it has to be tried again."""
        with claimed(self.folder, trial) as ours:
            if not ours:
                return done(trial)
            if self._from_record(trial):
                return True
            log = self.folder / "logs" / f"{folder_name(trial.name)}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            inputs = trial.inputs or tuple(dict[str, str]() for _ in trial.configs)
            for config, folder, planned in zip(trial.configs, trial.folders, inputs, strict=True):
                if finished(config, folder):
                    continue
                if planned and not is_run(folder) and (why := changed(config, planned)):
                    self._outcome.failed[trial] = DataError.exit_code, why
                    break
                code = self.launch(_resumed(config, folder), log, self._stop)
                if self._stop.is_set():
                    break
                if code != 0:
                    self._outcome.failed[trial] = code, _last_line(log)
                    break
            else:
                self._keep(trial)
            return True

    def _keep(self, trial: Trial) -> None:
        try:
            self.keep(trial)
        except Exception as error:  # of one trial's measurements; the others go on
            self._outcome.failed[trial] = 1, f"its record was not written: {in_one_line(error)}"

    def _take_record(self, trial: Trial) -> bool:
        """Make the trial from its record, unless another executor holds it; return whether that was done."""
        with claimed(self.folder, trial) as ours:
            return ours and self._from_record(trial)

    def _from_record(self, trial: Trial) -> bool:
        """Make the trial from the kept record of the same trial; return False if there is none."""
        if (
            self.kept is not None
            and self.use_records
            and trial.id
            and (record := trial_records.find(self.kept, trial.id))
        ):
            if not done(trial):
                shutil.rmtree(trial.home or "", ignore_errors=True)
                trial_records.unpack(record, trial)
            return True
        return False

    def _report(self, trial: Trial, number: int, total: int, left: float) -> None:
        if self._stop.is_set():
            return
        if trial in self._outcome.failed:
            logger.warning(f"[{number}/{total}] {trial.name} FAILED: {self._outcome.failed[trial][1]}")
            return
        loss = (last_line(trial.folders[-1] / "metrics.jsonl") or {}).get("val_loss")
        validation = "" if loss is None else f": validation loss {loss:.4f}"
        about = f"{left / 60:.0f} min" if left >= 120 else f"{left:.0f} s"
        rest = f" · about {about} left" if number < total else ""
        logger.info(f"[{number}/{total}] {trial.name}{validation}{rest}")


class Pace:
    """Estimate of the time left, from the tokens trained on per second."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.tokens, self.seconds = jobs, 0, 0.0

    def add(self, trial: Trial, seconds: float) -> None:
        self.tokens, self.seconds = self.tokens + trial.tokens, self.seconds + seconds

    def left(self, trials: Sequence[Trial]) -> float:
        """Return the seconds that these trials will take."""
        return sum(trial.tokens for trial in trials) * self.seconds / max(self.tokens, 1) / self.jobs


def _resumed(config: Config, folder: Path) -> Config:
    """Return the configuration, with trainer.resume where the run has begun."""
    if not (folder / "config.yaml").exists():
        return config
    return replace(config, trainer=replace(config.trainer, resume=True))


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it logged nothing")
