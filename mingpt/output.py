"""Output of long work, which must not end because nobody reads it any more."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO, errno.EINVAL)  # a pipe without a reader; a closed terminal; a closed pipe on Windows


class Lasting:
    """A text stream that becomes silent once its reader has gone, instead of raising an error.

    Args:
        stream: what is written to; everything else is asked of it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._gone = stream, False

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, act: Any) -> None:
        if self._gone:
            return
        try:
            act()
        except OSError as error:
            if error.errno not in GONE:
                raise
            self._gone = True
            with contextlib.suppress(OSError, ValueError):  # what is still buffered must not be an error at the exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Let standard output and standard error be `Lasting`, as in `chargpt | head` or after a terminal was closed."""
    streams: tuple[Any, Any] = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and Lasting(stream) for stream in streams)
    try:
        yield
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
    finally:
        sys.stdout, sys.stderr = streams
