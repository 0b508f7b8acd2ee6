"""Commands in forked children, and what ends them: `kill -9`, or a disk without room.

The parent has loaded the package and started no thread, so that a child begins at once.
"""

import contextlib
import errno
import faulthandler
import mmap
import os
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

#: Exit status of a child in which a command ended with an exception.
TRACEBACK = 70
#: What a child may take; the kernel ends one that takes longer.
MEMORY_BYTES, LIMIT_S = 6 << 30, 300
#: File system events of Python that change something, beside files opened for writing.
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_MAKES = {"open", "os.mkdir", "os.rename"}


class Fault(NamedTuple):
    """What happens to a child; by default nothing.

    Attributes:
        after_s: `kill -9` so long after the start, or after the writing of checkpoint ``write``
            began [s].
        write: Number of the checkpoint whose writing is hit, from 1.
        at_byte: In that writing, the kernel ends the process with the write that would make any
            file longer than this [bytes].
        at_change: `kill -9` just before this change of the file system (file opened for writing,
            renamed, removed), counted from 1 from the start or within that writing.
        full_at: From this change on, the disk has no room for new files.
        full_after: From the start, the disk has no room for a file longer than this [bytes].
    """

    after_s: float | None = None
    write: int | None = None
    at_byte: int | None = None
    at_change: int | None = None
    full_at: int | None = None
    full_after: int | None = None


class Outcome(NamedTuple):
    """How a child ended."""

    status: int  # of the command; 128 + signal if it was killed
    is_inside: bool  # whether it ended while a checkpoint was being written
    writes: int  # checkpoints begun
    changes: int  # of the file system
    seconds: float
    changes_in_write: int  # in the writing of the last checkpoint
    seconds_in_write: float  # mean over all of them
    output: str  # standard output and error

    @property
    def is_killed(self) -> bool:
        """Whether `kill -9`, or the kernel at a byte, ended it."""
        return self.status in (128 + signal.SIGKILL, 128 + signal.SIGXFSZ)


class _Shared:
    """Numbers that parent and child both see."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 64)

    def __getitem__(self, place: int) -> int:
        return struct.unpack_from("q", self.memory, 8 * place)[0]

    def __setitem__(self, place: int, value: int) -> None:
        struct.pack_into("q", self.memory, 8 * place, value)


#: Places of the numbers: whether a checkpoint is being written, how many were begun, changes of
#: the file system, those in the newest checkpoint, time in all of them.
_INSIDE, _WRITES, _CHANGED, _CHANGED_INSIDE, _NANOSECONDS = range(5)


def run(
    commands: Sequence[Sequence[str]],
    log: Path,
    fault: Fault = Fault(),  # noqa: B008
    *,
    prepare: Callable[[], object] | None = None,
) -> Outcome:
    """Run commands of `radiodiff` one after the other in a child; the first that fails ends it.

    Args:
        commands: Words after ``radiodiff`` of each.
        log: File for what they print.
        fault: What happens to the child.
        prepare: Called in the child first.
    """
    shared = _Shared()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_child(commands, log, fault, shared, prepare)
    began = time.monotonic()
    status = _wait(child, fault, shared)
    seconds = time.monotonic() - began
    return Outcome(
        os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status),
        bool(shared[_INSIDE]),
        shared[_WRITES],
        shared[_CHANGED],
        seconds,
        shared[_CHANGED_INSIDE],
        shared[_NANOSECONDS] / 1e9 / max(1, shared[_WRITES]),
        log.read_text(encoding="utf-8", errors="replace") if log.exists() else "",
    )


def _wait(child: int, fault: Fault, shared: _Shared) -> int:
    """Wait for a child, and kill it when it is time."""
    if fault.after_s is None:
        return os.waitpid(child, 0)[1]
    began = time.monotonic() if fault.write is None else None
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        if began is None and shared[_WRITES] >= (fault.write or 0):
            began = time.monotonic()
        left = 0.0005 if began is None else began + fault.after_s - time.monotonic()
        if left <= 0:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(min(left, 0.0005 if fault.write else 0.005))


def _be_child(
    commands: Sequence[Sequence[str]],
    log: Path,
    fault: Fault,
    shared: _Shared,
    prepare: Callable[[], object] | None,
) -> None:
    """Run the commands and end the process."""
    status = TRACEBACK
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = (
            open(k, "w", buffering=1, closefd=False, encoding="utf-8") for k in (1, 2)
        )
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        faulthandler.register(signal.SIGALRM, file=sys.stderr, chain=True)  # where it hangs
        signal.alarm(LIMIT_S)
        sys.dont_write_bytecode = True
        if prepare is not None:
            prepare()
        _watch_checkpoints(fault, shared)
        _watch_changes(fault, shared)
        if fault.full_after is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.full_after, resource.RLIM_INFINITY))
        from radiodiff.cli.main import main

        for words in commands:
            status = main(list(words))
            if status:
                break
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


def _watch_checkpoints(fault: Fault, shared: _Shared) -> None:
    """Note when the writing of a checkpoint begins and ends."""
    from radiodiff.checkpoint import save_checkpoint as save

    def watched(*arguments: object, **named: object) -> object:
        shared[_CHANGED_INSIDE] = 0
        shared[_INSIDE] = 1
        shared[_WRITES] += 1
        if fault.at_byte is not None and fault.write == shared[_WRITES]:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at_byte, resource.RLIM_INFINITY))
        began = time.monotonic_ns()
        path = save(*arguments, **named)
        shared[_INSIDE] = 0
        shared[_NANOSECONDS] += time.monotonic_ns() - began
        return path

    for name, module in list(sys.modules.items()):
        if (
            name.startswith("radiodiff.trainer")
            and getattr(module, "save_checkpoint", None) is save
        ):
            module.save_checkpoint = watched


def _watch_changes(fault: Fault, shared: _Shared) -> None:
    """Count the changes of the file system; kill, or refuse, at the one that was chosen."""

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR) or isinstance(path, int):
                return
            if str(path).startswith(("/dev/", "/proc/")):
                return
        elif event not in _CHANGES:
            return
        shared[_CHANGED] += 1
        count = shared[_CHANGED]
        if shared[_INSIDE]:
            shared[_CHANGED_INSIDE] += 1
        if fault.write is not None:
            if shared[_WRITES] != fault.write or not shared[_INSIDE]:
                return
            count = shared[_CHANGED_INSIDE]
        if count == fault.at_change:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.full_at is not None and count >= fault.full_at and event in _MAKES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    sys.addaudithook(hook)


def warm() -> None:
    """Load what the commands load; starts no thread."""

    import radiodiff.runs.evaluate
    import radiodiff.runs.train
    from radiodiff.cli import main
    from radiodiff.config import load_config

    radiodiff.runs.train._parameter_counts(load_config("smoke"))
    assert callable(main.main)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread does not survive a fork"
