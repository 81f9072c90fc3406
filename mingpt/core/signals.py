"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) stop a run after its current step; a second signal ends it at once.

A signal that the parent process has set to be ignored, as `nohup` does and shells do for background jobs, stays so.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = {getattr(signal, name): name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
EXIT_CODES = {name: 128 + number for number, name in SIGNALS.items()}  # 130, 143 and 129, as of a shell


@contextmanager
def stop_on_signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Call `stop(name)` at the first signal that isn't ignored; do nothing outside the main thread, which gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    caught = [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]

    def first(number: int, frame: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_DFL)
        stop(SIGNALS[signal.Signals(number)])

    with _second_watched():
        before = {number: signal.signal(number, first) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _second_watched() -> Iterator[None]:
    """Let a thread see to the second signal: the main one may wait for other processes, and hear of not even one."""
    reads, writes = socket.socketpair()
    writes.setblocking(False)
    watch = threading.Thread(target=_end_at_second, args=(reads,), daemon=True)
    watch.start()
    before = signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)  # is written to as a signal comes
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writes.close()
        watch.join()
        reads.close()


def _end_at_second(reads: socket.socket) -> None:
    received = 0
    while byte := reads.recv(1):
        received += byte[0] in SIGNALS
        if received > 1:
            os._exit(EXIT_CODES[SIGNALS[signal.Signals(byte[0])]])
