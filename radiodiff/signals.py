"""Signals that ask a long piece of work to end: it ends at the next good moment."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = ["Stopped", "stop_at_sigterm", "stop_requests"]

logger = logging.getLogger(__name__)

#: Ctrl-C; what a scheduler sends; a terminal that is closed.
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped(KeyboardInterrupt):
    """The work was asked to stop by a signal, and did.

    Attributes:
        status: Exit status of a program that ends so, 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number


@contextlib.contextmanager
def stop_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end work as Ctrl-C does, worker processes with it: no file stays half-written.

    In a thread other than the main one, where Python takes no handlers, nothing changes.

    Raises:
        Stopped: At the signal; a second one ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Note the first signal that asks to stop, and let a second one stop at once.

    The handlers that were there come back at the end. In a thread other than the main one, where
    Python takes no handlers, nothing changes.

    Yields:
        A function that returns the number of the signal, 0 before one came.

    Raises:
        Stopped: At the second signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    received, owner = [], os.getpid()

    def note(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a forked loader worker, which has no good moment to wait for
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif received:
            raise Stopped(number)
        else:
            received.append(number)
            name = signal.Signals(number).name
            logger.info("%s: stopping at the end of this step; once more stops at once", name)

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, which cannot be given back.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
