"""Compiled loops, kept on disk where there is a folder for them."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import numba

__all__ = ["njit"]

logger = logging.getLogger(__name__)


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
    """Compile a loop when it is first called, and keep the result for the next process.

    It is kept in the folder that ``NUMBA_CACHE_DIR`` names; without it, or where that cannot be
    written, beside the package or in the user's cache, as numba does. Where none of them can be
    written, as in a container without a home folder, every process compiles anew.

    Args:
        function: Loops over numbers and arrays; ``None`` for a decorator with options.
        options: Options of ``numba.njit``.
    """
    if function is None:
        return functools.partial(njit, **options)
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder
        _say_once()
        return numba.njit(**options)(function)


@functools.cache
def _say_once() -> None:
    logger.info("no folder for compiled loops can be written: name one in NUMBA_CACHE_DIR")
