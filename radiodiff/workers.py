"""Work in several processes, and one writer at a time: what makes and what packs datasets."""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

if TYPE_CHECKING:
    from accelerate import PartialState

__all__ = ["LOCK_NAME", "need_one_process", "only_writer", "process_state", "run_jobs"]

logger = logging.getLogger(__name__)

#: File that says who writes to a folder; it is there while somebody does, or was killed.
LOCK_NAME = ".lock"

#: In a worker process, the first argument of its calls.
_common: list[Any] = []


@contextlib.contextmanager
def only_writer(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder, which is made if need be, against every other process that fills it.

    The hold ends with its process, however it ends, and is the library `filelock`'s: it works on
    Linux, macOS and Windows, and on network folders that have ``flock``. It is a hidden file in
    the folder, `LOCK_NAME`, which is removed at the end. A folder that this process may only read,
    such as a finished dataset on a shared disk, needs no hold.

    Args:
        folder: Folder that is to be written to.
        wait: Wait until no other process holds it.

    Raises:
        BlockingIOError: If another process holds it and ``wait`` is false.
        OSError: If the folder cannot be made, or its lock file cannot be opened.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"expected {folder} to be a folder, got a file; choose another path")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        yield
        return
    lock = filelock.FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        if not wait:
            raise BlockingIOError(
                f"{folder} is in use by another process: wait for it, or choose another folder"
            ) from error
        logger.info("%s is in use by another process; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes it on release
            Path(lock.lock_file).unlink()  # still held: who waits for it begins anew
        lock.release()


def run_jobs(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int, common: Any = None
) -> Iterator[tuple[int, Any]]:
    """Call ``function(*job)`` for every job; yield number and result of each as it is finished.

    Args:
        function: Defined at the top of a module, as processes are spawned.
        jobs: Arguments of each call.
        workers: Processes; with one, or one job, all happens in this process and in order.
        common: First argument of every call, sent to each process once; left out if ``None``.
    """
    if workers == 1 or len(jobs) <= 1:
        first = () if common is None else (common,)
        for number, job in enumerate(jobs):
            yield number, function(*first, *job)
        return
    workers = min(workers, len(jobs))
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        # As bytes: what is pickled for a process would put tensors into shared memory.
        initargs=(workers, None if common is None else pickle.dumps(common)),
    )
    try:
        futures = {pool.submit(_call, function, job): number for number, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        # Interrupted at the very start, the pool has no thread to join yet and says so.
        with contextlib.suppress(RuntimeError):
            pool.shutdown(cancel_futures=True)


def _call(function: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    """Call a function in a worker process."""
    return function(*_common, *job)


def _start_worker(workers: int, common: bytes | None) -> None:
    """Let a worker process end at once on Ctrl-C, and when the main process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def end_with_parent() -> None:
        connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    if common is not None:
        _common.append(pickle.loads(common))
    if "torch" in sys.modules:  # the processes share the cores
        torch = sys.modules["torch"]
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))


def process_state() -> "PartialState":
    """Return which of how many processes this is, on CPU-only machines too.

    Raises:
        ValueError: If the launcher started more processes than Accelerate sees; they would
            train on their own and overwrite each other.
    """
    import torch  # here: workers that draw or pack start without it
    from accelerate import PartialState

    state = PartialState(cpu=not torch.accelerator.is_available())
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != launched:
        raise ValueError(
            f"the launcher started {launched} processes, Accelerate joins {state.num_processes}: "
            "start with `torchrun --nproc-per-node N -m radiodiff train ...`"
        )
    return state


def need_one_process(what: str) -> None:
    """Raise a `ValueError` if the launcher started several processes for what runs in one."""
    if process_state().num_processes > 1:
        raise ValueError(f"{what} runs in one process: start it without torchrun")
