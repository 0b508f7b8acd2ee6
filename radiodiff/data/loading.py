"""Batches of a loader, and in one line why there are no more."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from radiodiff.data.images import DatasetError

__all__ = ["sound_batches"]

Batch = TypeVar("Batch")


def sound_batches(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of a PyTorch loader; what ends its processes is told as for this one.

    Raises:
        DatasetError: If a sample cannot be read, or a process of the loader dies.
    """
    try:
        yield from loader
    except DatasetError as error:  # from another process: its whole traceback as text
        *above, line = str(error).strip().splitlines()
        if not above:
            raise
        raise DatasetError(line.partition("DatasetError: ")[2] or line) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DatasetError(
            f"a process that reads data died ({str(error).splitlines()[0]}), perhaps for want of "
            "memory: lower data.workers or the batch size, and call it again"
        ) from error
