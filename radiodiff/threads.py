"""Threads that leave room for others: they sleep while they wait, or are fewer on a busy machine.

PyTorch's threads wait for each other by spinning. Beside another busy process, a thread then spins
while the one that it waits for has no core, and a step takes many times as long. OpenMP reads once,
when PyTorch is loaded, how its threads are to wait; so the package says it when it is imported.
How threads wait changes no result; how many there are changes the last digits. Waking costs time:
alone on a machine small networks are slower so, and ``OMP_WAIT_POLICY=active`` takes it back.

How a thread treats numbers too small for full precision is its own state too: a CPU takes many
times as long over them, and networks need none.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

__all__ = ["cores", "denormals_flushed", "leave_room"]

logger = logging.getLogger(__name__)

#: Variables by which users say themselves how threads wait, and how many there are.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def leave_room() -> None:
    """Let threads sleep while they wait; where PyTorch came first, use fewer on a busy machine.

    What the user has set stays: one of the variables above, or ``torch.set_num_threads``. A number
    of threads that is changed is told in one line, and never changes again in the process.
    """
    if any(name in os.environ for name in _WAITING):
        return
    if "torch" not in sys.modules:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        return
    import torch

    available, load = cores(), _load()
    threads = torch.get_num_threads()
    fewer = max(1, available - round(load))
    # PyTorch takes all cores unless it was told otherwise.
    if any(name in os.environ for name in _COUNTS) or threads != available or fewer >= threads:
        return
    torch.set_num_threads(fewer)
    logger.warning(
        "the machine is busy (load %.1f on %d cores) and torch was imported before radiodiff: "
        "it takes %d of its %d threads now, which may change last digits; to choose yourself, "
        "import radiodiff first or set OMP_NUM_THREADS",
        load,
        available,
        fewer,
        threads,
    )


@contextlib.contextmanager
def denormals_flushed() -> Iterator[None]:
    """Count numbers too small for full precision (below 1e-38 in float32) as 0, then as before.

    It holds for this thread and those that it starts within: PyTorch's stay so. Where the processor
    cannot do it nothing changes.
    """
    import torch

    before = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load() -> float:
    """Return how many threads wanted a core during the last minute; 0 where nothing tells."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
