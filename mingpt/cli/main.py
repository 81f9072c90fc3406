"""`chargpt COMMAND --group.key=value ...`: arguments in, an exit code out; an error ends in one line.

0 done  1 anything else  2 a wrong setting or prompt  3 the text  4 a run folder or checkpoint  5 not finite
129, 130, 143 signals
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mingpt.cli.commands import COMMANDS, train
from mingpt.core.errors import MingptError, UsageError, memory_asked_for
from mingpt.core.registry import did_you_mean
from mingpt.core.shell import program, quoted
from mingpt.core.streams import prepare_streams
from mingpt.core.torchrun_env import launched, rank
from mingpt.core.version import VERSION

RENAMED = {"leaks": "causality"}  # commands by their old names, which still work
REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"  # of a checkout; an installed package has none


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    prepare_streams()
    given = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        command, rest = _command(given)
        try:
            code = command(rest)
        except SystemExit as done:  # `COMMAND --help` and `--print_config`
            code = int(done.code or 0)
        finally:
            if launched():  # torchrun ends the others by SIGTERM when one has ended; by now they are at their ends, too
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stdout.flush()  # here, where a closed pipe is distinguished from an error
        return code
    except MingptError as error:
        return _refuse(error, error.exit_code, debug)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "mingpt":
            raise
        install = f"-r {REQUIREMENTS.name}" if REQUIREMENTS.is_file() else missing
        return _refuse(f"{missing} is not installed: run `pip install {install}`", 1, debug)
    except BrokenPipeError:  # the reader has gone, as in `chargpt sample | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _refuse("interrupted", 130, debug)
    except OSError as error:  # a full disk, a folder that can't be written
        where = f"{error.filename}: " if error.filename else ""
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        message = f"{where}{error.strerror or error}; what was saved before is whole{notes} (see --debug)"
        return _refuse(message, 1, debug)
    except Exception as error:  # ours to fix, yet still one line
        if asked := memory_asked_for(error):
            return _refuse(f"out of memory: {asked}; ask for less at a time, or --device=cpu", 1, debug)
        return _refuse(f"{type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _command(given: list[str]) -> tuple[Callable[[list[str]], int], list[str]]:
    """Return the function of the command that `given` names, and its arguments."""
    if given[:1] in (["--help"], ["-h"]) or given == ["help"]:
        return _printed, [_help()]
    if given[:1] in (["--version"], ["-V"], ["version"]):
        return _printed, [VERSION]
    if given[:1] == ["help"]:
        given = [*given[1:], "--help"]
    name, rest = (given[0], given[1:]) if given and not given[0].startswith("-") else ("train", given)
    if name in RENAMED:
        print(f"warning: `{name}` is deprecated; use `{RENAMED[name]}`", file=sys.stderr)
        name = RENAMED[name]
    if name not in COMMANDS:
        if Path(name).suffix or os.path.exists(name):
            raise UsageError(f"{name!r}: is no command; a text is given as --data.path={quoted(name)}")
        hint = did_you_mean(name, COMMANDS)
        raise UsageError(f"{name!r}: must be one of {', '.join(COMMANDS)}, or settings{hint}")
    if launched() and COMMANDS[name] is not train:
        raise UsageError(f"{name}: is one process's work; start it without torchrun")
    return COMMANDS[name], rest


def _printed(lines: list[str]) -> int:
    print(*lines)
    return 0


def _refuse(error: object, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    line = " ".join(str(error).split())  # names from an untrusted file must not steer a terminal
    if not (rank() and getattr(error, "everywhere", False)):  # else the first process says the same
        who = f"rank {rank()}: " if rank() else ""
        print(f"{who}error: {''.join(c if c.isprintable() else ascii(c)[1:-1] for c in line)}", file=sys.stderr)
    return code


def _help() -> str:
    commands = "\n".join(f"  {name:11}{command.__doc__}" for name, command in COMMANDS.items())
    return (
        f"usage: {program()} [COMMAND] [--KEY=VALUE ...]\n\ncommands:\n{commands}\n\n"
        f"Without a command: train. `{program()} COMMAND --help` or `{program()} help COMMAND` lists its settings; "
        "`version` or `-V` prints the version; `--debug` shows where an error arose."
    )
