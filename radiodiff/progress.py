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
    """Return a progress callback that logs ``message % (done, total)`` now and then."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= interval_s:
            last = time.monotonic()
            logger.info(message, done, total)

    return report
