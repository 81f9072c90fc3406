"""Every wrong setting that is known, given to the whole command: exit code 2, one line, nothing read or left behind."""

import contextlib
import io
import os
from pathlib import Path

from mingpt.cli import main
from tests.campaign.tally import Tally, campaign
from tests.cli.test_settings import WRONG


@campaign("wrong settings on the command line", whole=len(WRONG), quick=len(WRONG))
def wrong_settings(home: Path, trials: int) -> Tally:
    tally, here = Tally(), os.getcwd()
    os.chdir(home)
    try:
        for words, named, rule in WRONG[:trials]:
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main.main(words.split(" "))
            said = err.getvalue()
            line = said.startswith(f"error: {named}: ") and rule in said and said.count("\n") == 1
            held = code == 2 and line and not out.getvalue() and not any(home.iterdir())
            tally.trial(words, held, f"exit {code}: {said}")
    finally:
        os.chdir(here)
    return tally
