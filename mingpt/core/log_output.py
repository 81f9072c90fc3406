"""Log records on the command line: the message alone, where the command's output goes.

The library logs to `logging.getLogger(__name__)`, and prints nothing unless its caller configures logging.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

PACKAGE = "mingpt"


class _Messages(logging.Handler):
    """Give each record's message to `write`, whose errors are those of `print`: the caller's to handle.

    Args:
        only: names of loggers whose INFO records are shown; warnings of every other are, too.
    """

    def __init__(self, write: Callable[[str], object], only: tuple[str, ...]) -> None:
        super().__init__()
        self.write = write
        self.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith(only))

    def emit(self, record: logging.LogRecord) -> None:
        self.write(record.getMessage())


@contextlib.contextmanager
def messages(write: Callable[[str], object], *only: str) -> Iterator[None]:
    """Show what the package logs inside, from INFO up; for the command line, whose process is its own.

    Args:
        write: receives a message, of one or several lines.
        only: loggers whose INFO records are shown; none: all of the package.
    """
    logger, handler = logging.getLogger(PACKAGE), _Messages(write, only or (PACKAGE,))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def no_messages() -> Iterator[None]:
    """Drop what the package logs inside, as in processes of a rank other than 0."""
    logger = logging.getLogger(PACKAGE)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def to_stdout(line: str) -> None:
    """Print a message on standard output."""
    print(line)


def to_stderr(line: str) -> None:
    """Print a message on standard error."""
    print(line, file=sys.stderr)
