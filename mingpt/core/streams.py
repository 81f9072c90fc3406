"""Standard streams that end no command: odd characters, closed streams, a reader that has gone.

What a stream's encoding hasn't got is written as an escape (`\\u2014`), but for the dots and dashes of this program's
own lines, which become `-`.  Output that is redirected, to a file or a pipe, is UTF-8, as the texts that models are
trained on, unless PYTHONIOENCODING names another; a terminal keeps its encoding.  A stream that was closed (`>&-`)
takes everything and keeps nothing.  Long work goes on in silence when its reader has gone.
"""

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO, errno.EINVAL)  # a pipe without a reader; a closed terminal; a closed pipe on Windows


PLAINER = dict.fromkeys("·–", "-")  # where the encoding has no such letter


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle what can't be encoded: by a plainer letter, or else by escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plainer = (PLAINER.get(each) or each.encode("ascii", "backslashreplace").decode() for each in lacking)
    return "".join(plainer), error.end


codecs.register_error("mingpt.plainer", _plainer)


class Lasting:
    """A text stream that becomes silent once it can't be written to, instead of raising an error.

    Args:
        stream: what is written to; everything else is asked of it.

    Attributes:
        failed: why, but where its reader has gone; as on a full disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._gone = stream, False
        self.failed: OSError | None = None

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
            self._gone = True
            if error.errno not in GONE:
                self.failed = error
                error.filename = error.filename or getattr(self._stream, "name", None)
            with contextlib.suppress(OSError, ValueError):  # what is still buffered must not be an error at the exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Let standard output and standard error be `Lasting`, as in `chargpt | head` or after a terminal was closed.

    Raises:
        OSError: at the end, when all work is done: what was printed could not be written, as to a full disk.
    """
    streams: tuple[Any, Any] = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and Lasting(stream) for stream in streams)
    try:
        yield
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
                if stream.failed:
                    raise stream.failed
    finally:
        sys.stdout, sys.stderr = streams


def prepare_streams() -> None:
    """Make this process's standard streams so; for the command line alone, whose process is its own."""
    _occupy()
    sys.stdout, sys.stderr = (_encoding_all(stream) for stream in (sys.stdout, sys.stderr))


def _occupy() -> None:
    """Open what of the first three file descriptors is closed, else the next file opened would take its number."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)


def _encoding_all(stream: Any) -> Any:
    """Return `stream`, or in the place of one that is closed another; it encodes any character."""
    if stream is None or stream.closed:
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        as_asked = stream.isatty() or os.environ.get("PYTHONIOENCODING")
        stream.reconfigure(encoding=None if as_asked else "utf-8", errors=_errors(stream))
    return stream


def _errors(stream: io.TextIOWrapper) -> str:
    """How it encodes what it hasn't got; odd names of files stay the bytes that they are, where they are now."""
    lossless = stream.errors == "surrogateescape" and stream.encoding.lower().replace("-", "") == "utf8"
    return "surrogateescape" if lossless else "mingpt.plainer"
