"""The process that runs wandb for a training: records in by standard input, one line out if it fails.

Started as a script by `wandb_log.py`, never imported: what wandb changes in its process (environment, threads, hooks at
exit, logging) and what it spends are no part of the training's.  Lines of JSON: first the arguments of `wandb.init`;
then records, `{"step": 3, ...}`, and samples, `["sample", step, prompt, text]`; last `["end"]`.  Where that is missing
the training was killed.
"""

import json
import os
import queue
import sys
import threading
from typing import Any, TextIO

LAST = 60.0  # seconds that it goes on after the training has ended


def main() -> int:
    """Log standard input to W&B; return the exit code, after the reason on standard output if it is not 0."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what wandb prints is not for the training to read
    items: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_read, args=(os.fdopen(0, encoding="utf-8"), items), daemon=True).start()
    try:
        _mirror(items)
        return 0
    except BaseException as error:  # whatever a library of that size raises
        lines = str(error).splitlines() or [type(error).__name__]
        missing = isinstance(error, ModuleNotFoundError) and error.name == "wandb"
        answers.write("wandb is not installed: `pip install wandb`" if missing else lines[0])
        answers.close()
        return 1


def _read(lines: TextIO, items: "queue.Queue[Any]") -> None:
    """Take lines as they come, so that the training never waits, and end this process if nothing else does."""
    for line in lines:
        items.put(json.loads(line))
    items.put(None)
    end = threading.Timer(LAST, os._exit, (1,))
    end.daemon = True
    end.start()


def _mirror(items: "queue.Queue[Any]") -> None:
    asked = items.get()
    import wandb  # 1.4 s

    if asked["mode"] == "online" and not wandb.login(prompt=False):
        raise RuntimeError("no API key: `wandb login` stores one")
    settings = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False)
    run = wandb.init(**asked, resume="allow", settings=settings)
    samples: list[list[Any]] = []
    item = None
    while (item := items.get()) not in (None, ["end"]):
        if isinstance(item, dict):
            run.log({key: value for key, value in item.items() if key != "step"}, step=item["step"])
        else:
            samples.append(item[1:])
    if samples:
        run.log({"samples": wandb.Table(columns=["step", "prompt", "text"], data=samples)})
    run.finish(exit_code=1 if item is None else 0)


if __name__ == "__main__":
    sys.exit(main())
