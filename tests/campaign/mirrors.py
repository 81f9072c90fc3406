"""wandb that is missing, mute, slow or broken, in whole processes: the same run, little time lost, nothing asked."""

import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from mingpt.report.reading import read_lines
from tests.campaign.children import start
from tests.campaign.runs import differences, words_of
from tests.campaign.tally import Tally, campaign

STEPS, LOST = 12, 5.0  # seconds that a mirror may cost
WAYS = {  # how it fails -> the mode that is asked for, and what the run says of it
    "missing": ("online", "wandb stopped (import of wandb"),
    "import hangs": ("offline", "wandb did not finish in time"),
    "import exits": ("offline", "wandb stopped ("),
    "init raises": ("offline", "wandb stopped (no such project)"),
    "init hangs": ("offline", "wandb did not finish in time"),
    "init exits": ("online", "wandb stopped ("),
    "log raises at step 10": ("offline", "wandb stopped (disk quota)"),
    "log hangs at step 10": ("offline", "wandb did not finish in time"),
    "finish hangs": ("offline", "wandb did not finish in time"),
    "no key": ("online", "wandb stopped (no API key"),
}


def never() -> None:
    time.sleep(3600)


class Broken(ModuleType):
    """As much of wandb as the mirror asks for, which fails in one way."""

    def __init__(self, way: str) -> None:
        super().__init__("wandb")
        self.way, self.Settings, self.Table = way, SimpleNamespace, SimpleNamespace

    def login(self, prompt: bool = True) -> bool:
        if prompt:
            input()
        return self.way != "no key"

    def init(self, **asked: Any) -> Any:
        if self.way == "init raises":
            raise RuntimeError("no such project\nand a second line")
        if self.way == "init hangs":
            never()
        if self.way == "init exits":
            sys.exit(3)
        return SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, record: dict[str, Any], step: int | None = None) -> None:
        if step == 10 and self.way == "log raises at step 10":
            raise OSError("disk quota")
        if step == 10 and self.way == "log hangs at step 10":
            never()

    def finish(self) -> None:
        if self.way == "finish hangs":
            never()


PACKAGES = {"import hangs": "import time; time.sleep(3600)", "import exits": "import sys; sys.exit(3)"}


def broken(way: str, place: Path) -> None:
    """In a child: put such a wandb in the place of the installed one."""
    sys.modules.pop("wandb", None)
    if way in PACKAGES:
        (place / "wandb").mkdir(parents=True)
        (place / "wandb" / "__init__.py").write_text(PACKAGES[way])
        sys.path.insert(0, str(place))
    else:
        sys.modules["wandb"] = None if way == "missing" else Broken(way)  # type: ignore[assignment]
    sys.stdin = None  # type: ignore[assignment]  # whoever prompts, fails


@campaign("wandb missing, raising, hanging or exiting", whole=len(WAYS), quick=2, limits={"seconds lost": LOST})
def mirrors(home: Path, trials: int) -> Tally:
    tally = Tally()
    plain, undisturbed = {"trainer.max_iters": STEPS, "trainer.save_every": 4}, home / "disabled"
    for folder in (home / "first", undisturbed):  # the first also waits until everything is loaded
        began = time.monotonic()
        start(words_of(home, folder, plain), folder).wait()
        usual = time.monotonic() - began
    for number, (way, (mode, says)) in enumerate(list(WAYS.items())[:: -(-len(WAYS) // trials)]):
        folder = home / f"run{number}"
        words = words_of(home, folder, {**plain, "wandb.mode": mode})
        began = time.monotonic()
        child = start(words, folder, broken, way, home / f"packages{number}")
        try:
            code = child.wait()
        except TimeoutError as stuck:
            tally.trial(way, held=False, why=stuck)
            continue
        lost = time.monotonic() - began - usual
        tally.saw("seconds lost", lost)
        wrong = differences(folder, undisturbed) or child.complained
        told = [line for line in child.said.splitlines() if line.startswith("wandb")]
        complete = [line["step"] for line in read_lines(folder / "metrics.jsonl")] == list(range(1, STEPS + 1))
        held = not wrong and code == 0 and lost <= LOST and complete and len(told) == 1 and told[0].startswith(says)
        tally.trial(way, held, f"exit {code}, {lost:.1f} s, {wrong}, {told}")
    return tally
