"""What can go wrong that a user can mend, and the exit code each kind ends with.

Every error here is one sentence for a person: what was found, where, and what to do.
The command line prints that sentence alone; `--debug` adds the traceback.
Anything raised that is *not* one of these is our own mistake and exits with 1.
"""


class MingptError(Exception):
    """Base of every error that is the user's to mend.

    Attributes:
        exit_code: what a process that it ends, ends with.
        everywhere: whether it meets all processes of a run alike, so that the first may speak for them.
    """

    exit_code = 1
    everywhere = False


class UsageError(MingptError, ValueError):
    """A wrong setting, flag or prompt: names field, value and rule."""

    exit_code = 2
    everywhere = True


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
    """Another process of this run has failed, and has said how; this one ends with the same code."""

    everywhere = True

    def __init__(self, said: str, exit_code: int = 1) -> None:
        super().__init__(said)
        self.exit_code = exit_code


def require(holds: bool, field: str, value: object, rule: str) -> None:
    """Refuse a setting: `model.n_embd=30: must be a multiple of model.n_query_head=4`.

    Raises:
        UsageError: when `holds` is false.  Never an `assert`: these rules also hold under `python -O`.
    """
    if not holds:
        raise UsageError(f"{field}={value}: {rule}")
