"""Lines of progress: where the package's log goes, and one that appears now and then."""

import logging
import time
from typing import Any, TextIO

__all__ = ["log_progress", "show_log"]

logger = logging.getLogger(__name__)


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


def log_progress(message: str, *, interval_s: float = 5.0) -> Any:
    """Return a progress callback that logs ``message % (done, total)`` and what is left.

    It does so now and then. The pace is that since the first call, so that what was there before
    does not count.
    """
    last = time.monotonic()
    first: tuple[float, int] | None = None

    def report(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = first or (now, done)
        if done == total or now - last >= interval_s:
            last, left_s = now, 0.0
            if done > first[1]:
                left_s = (total - done) * (now - first[0]) / (done - first[1])
            left = f", {left_s / 60:.1f} min left" if left_s >= 60 else f", {left_s:.0f} s left"
            logger.info(f"{message}%s", done, total, left if left_s else "")

    return report
