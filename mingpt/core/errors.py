"""What can go wrong that a user can fix, and the exit code each kind ends with.

Every error here is one sentence for a person: what was found, where, and what to do.
The command line prints that sentence alone; `--debug` adds the traceback.
Anything raised that is *not* one of these is our own mistake and exits with 1.
"""

import re


class MingptError(Exception):
    """Base of every error that is the user's to fix.

    Attributes:
        exit_code: what a process that it ends, ends with.
        everywhere: whether all processes of a run raise it, so that the first reports it for all.
    """

    exit_code = 1
    everywhere = False


Setting = tuple[str, object]  # its key, and its value


class UsageError(MingptError, ValueError):
    """A wrong setting, flag or prompt: names field, value and rule.

    Attributes:
        field, value: the setting that the rule belongs to; "" and None where `require` didn't raise it.
        rule: the rest of the sentence.
        others: settings that the rule names.
    """

    exit_code = 2
    everywhere = True
    field: str = ""
    value: object = None
    rule: str = ""
    others: tuple[Setting, ...] = ()


class DataError(MingptError, ValueError):
    """A text that is missing, too short, or not UTF-8."""

    exit_code = 3


class CheckpointError(MingptError):
    """A run folder or checkpoint that is missing, damaged, locked or of another model."""

    exit_code = 4


class NotFiniteError(MingptError):
    """The loss or a gradient stopped being a number; nothing was updated or saved."""

    exit_code = 5
    everywhere = True


class PeerError(MingptError):
    """Another process of this run has failed, and has reported how; this one ends with the same code."""

    everywhere = True

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class OutOfMemoryError(MingptError):
    """More memory was asked for than there is; what was saved before is complete."""


def in_one_line(error: BaseException) -> str:
    """Return the message of `error` in one line; the way to install what isn't."""
    if isinstance(error, ModuleNotFoundError):
        return f"{(error.name or '').partition('.')[0]} is not installed"
    return " ".join(str(error).split()) or type(error).__name__


def memory_asked_for(error: BaseException) -> str | None:
    """How much memory was asked for, in words, where `error` is of too little memory; None for any other."""
    text = " ".join(str(error).split())
    lacking = re.search("out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", text, re.IGNORECASE)
    if not (isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and lacking)):
        return None
    amount = re.search(r"allocate ([\d.]+) ?([KMGTPE]?i?B|bytes)", text)
    if amount and amount[2] == "bytes":
        return f"{float(amount[1]) / 1e9:,.3g} GB were asked for at once"
    return f"{amount[1]} {amount[2]} were asked for at once" if amount else "the amount is unknown"


def require(holds: bool, field: str, value: object, rule: str, *others: Setting) -> None:
    """Check a setting: `model.n_embd=30: must be a multiple of model.n_query_head=4`.

    Args:
        others: settings that the rule depends on, too; each stands in a `{}` of it.

    Raises:
        UsageError: when `holds` is false.  Never an `assert`: these rules also hold under `python -O`.
    """
    if not holds:
        text = rule.format(*(f"{key}={of}" for key, of in others)) if others else rule
        error = UsageError(f"{field}={value}: {text}")
        error.field, error.value, error.rule, error.others = field, value, text, others
        raise error
