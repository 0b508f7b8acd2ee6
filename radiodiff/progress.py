"""Progress: where the package's log goes, and how far work has come, in a bar or a line."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import TextIO

__all__ = ["Progress", "has_bar", "show_log", "show_progress"]

logger = logging.getLogger(__name__)

#: Called as ``progress(done, total)``.
Report = Callable[[int, int], None]

#: Time of the first word, between later lines of a log, and between looks of a bar [s].
FIRST_S, LINE_S, BAR_S = 0.9, 5.0, 0.5
#: Work that will be over sooner is not told of [s].
QUICK_S = 2.0


def show_log(stream: TextIO, pattern: str = "%(message)s") -> None:
    """Send the package's progress lines to a stream, and only there.

    Args:
        stream: Where the lines go, e.g. ``sys.stdout`` in a notebook.
        pattern: Format of a line, as in `logging.Formatter`.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(pattern, datefmt="%H:%M:%S"))
    package = logging.getLogger("radiodiff")
    package.handlers = [handler]
    package.propagate = False
    package.setLevel(logging.INFO)


def has_bar() -> bool:
    """Whether progress is a bar, as in a terminal, and not lines of a log.

    In a notebook a bar would be printed to standard error, and stand in the executed file.
    """
    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def show_progress(deed: str, things: str) -> Iterator[Report]:
    """Tell within the first second, and then every few, how far work has come.

    In a terminal that is tqdm's bar, elsewhere, in notebooks too, lines of the log such as
    ``evaluated 32 of 192 maps, 40 s left``. Work of less than two seconds says nothing.

    Args:
        deed: What is done to each thing, e.g. ``evaluated``.
        things: What is counted, e.g. ``maps``.

    Yields:
        What is to be called as ``progress(done, total)``, first of all with what was done before.
    """
    progress = Progress(deed, things)
    stop = Event()
    is_bar = has_bar()
    show = _Bar(progress) if is_bar else _Lines(progress)

    def watch() -> None:
        wait_s = FIRST_S
        while not stop.wait(wait_s):
            wait_s = BAR_S if is_bar else LINE_S
            if progress.is_slow():
                show()

    thread = Thread(target=watch, daemon=True)
    with _lines_above_bar() if is_bar else contextlib.nullcontext():
        thread.start()
        try:
            yield progress
        finally:
            stop.set()
            thread.join()
            show.end()


def _lines_above_bar() -> contextlib.AbstractContextManager[None]:
    """Return what keeps lines of the log from tearing a bar."""
    from tqdm.contrib.logging import logging_redirect_tqdm  # here: no --help waits for it

    return logging_redirect_tqdm([logging.getLogger("radiodiff")])


class Progress:
    """How much of some work is done; called as ``progress(done, total)``.

    Args:
        deed: What is done to each thing.
        things: What is counted.

    Attributes:
        done: Things that are done.
        total: Things that are to do; ``None`` until it is known.
    """

    def __init__(self, deed: str, things: str) -> None:
        self.deed, self.things = deed, things
        self.done, self.total = 0, None
        self._began_s = time.monotonic()
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Take note."""
        self.done, self.total = done, total
        if self._first is None:
            self._first = (time.monotonic(), done)

    def left_s(self) -> float | None:
        """Return how long the rest takes at the pace so far [s]; ``None`` before there is one."""
        if self._first is None or self.done <= self._first[1]:
            return None
        since_s, before = self._first
        pace_s = (time.monotonic() - since_s) / (self.done - before)
        return pace_s * (self.total - self.done)

    def is_slow(self) -> bool:
        """Whether the work lasts so long that it is told of."""
        left_s = self.left_s()
        return left_s is None or time.monotonic() - self._began_s + left_s >= QUICK_S

    def __str__(self) -> str:
        """Say it in a line of the log."""
        if self.total is None:
            return f"{self.deed} no {self.things} yet"
        left_s = self.left_s()
        text = f"{self.deed} {self.done} of {self.total} {self.things}"
        if left_s is None or self.done == self.total:
            return text
        minutes, seconds = divmod(round(left_s), 60)
        return f"{text}, {f'{minutes} min {seconds:02} s' if minutes else f'{seconds} s'} left"


class _Lines:
    """Tells of progress in lines of the log."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._last = progress, None

    def __call__(self) -> None:
        self._last = str(self._progress)
        logger.info("%s", self._last)

    def end(self) -> None:
        """Tell the end, if anything was told before."""
        if self._last not in (None, str(self._progress)):
            logger.info("%s", self._progress)


class _Bar:
    """Tells of progress in a bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._bar = progress, None

    def __call__(self) -> None:
        from tqdm import tqdm  # here: no --help waits for it

        progress = self._progress
        if self._bar is None:
            self._bar = tqdm(
                total=progress.total,
                initial=progress.done,
                desc=f"{progress.deed} {progress.things}",
                file=sys.stderr,
                dynamic_ncols=True,
            )
        self._bar.total, self._bar.n = progress.total, progress.done
        self._bar.refresh()

    def end(self) -> None:
        """Show the last state, if anything was shown before."""
        if self._bar is not None:
            self()
            self._bar.close()
