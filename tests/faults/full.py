"""A disk without room, from every change of the file system on and at many sizes."""

import contextlib
import ctypes
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults import children, jobs
from tests.faults.children import TRACEBACK, Fault, Outcome

_NEW_USER, _NEW_MOUNTS, _REMOUNT, _DETACH = 0x10000000, 0x00020000, 32, 2
#: Sizes that are tried, as parts of what the whole result takes.
SIZES = 24
#: Longest message [characters].
LONGEST_LINE = 400


class Full:
    """Trials of jobs on a disk that is full, numbered from 0.

    Each job is tried with no room from its k-th change of the file system on, for every k, and on
    disks of many sizes: small file systems in memory where one may be mounted, else a limit on the
    length of a file.

    Args:
        base: Folder of the trials.
        all_jobs: What is tried.
    """

    def __init__(self, base: Path, all_jobs: list[jobs.Job]) -> None:
        self.base, self.jobs = base, {job.name: job for job in all_jobs}
        self.folder = base / "full"
        self.can_mount = _own_mounts()
        self.wanted: dict[str, dict[str, str]] = {}
        self.cases: list[tuple[str, str, int]] = []
        for job in all_jobs:
            if job.name in jobs.COMPILED:
                self._run(job)
                shutil.rmtree(self.folder)
            whole = self._run(job)
            if whole.status != 0:
                raise RuntimeError(f"{job.name} fails undisturbed: {whole.output[-2000:]}")
            self.wanted[job.name] = jobs.fingerprint(self.folder)
            sizes = [path.stat().st_size for path in self.folder.rglob("*") if path.is_file()]
            shutil.rmtree(self.folder)
            self.cases += [(job.name, "change", k) for k in range(1, whole.changes + 1)]
            room = sum(sizes) if self.can_mount else max(sizes)
            self.cases += [(job.name, "size", room * k // SIZES) for k in range(1, SIZES)]

    def trial(self, number: int) -> dict[str, Any]:
        """Fill the disk, free it, and call the same command again."""
        name, way, value = self.cases[number]
        job, began = self.jobs[name], time.monotonic()
        shutil.rmtree(self.folder, ignore_errors=True)
        if way == "size" and self.can_mount:
            with _small_disk(self.folder, value) as free:
                fault = self._tell(job, Fault(), free)
        else:
            limit = {"full_at": value} if way == "change" else {"full_after": value}
            fault = self._tell(job, Fault(**limit), lambda: None)
        case = f"{name}: {way} {value}"
        return {
            **{"trial": number, "case": case, "verdict": "sound" if fault is None else "fault"},
            "fault": fault and f"{case}: {fault}",
            "seconds": round(time.monotonic() - began, 2),
        }

    def _tell(self, job: jobs.Job, fault: Fault, free: Any) -> str | None:
        """Return what is wrong with a run on a full disk and the one after it."""
        wanted = self.wanted[job.name]
        outcome = self._run(job, fault)
        wrong = _wrong_message(outcome)
        there = jobs.fingerprint(self.folder) if self.folder.exists() else {}
        # The log grows with every step; all else has its name when it is whole.
        half = [
            name
            for name in there.keys() & wanted.keys()
            if there[name] != wanted[name] and not name.endswith("log.jsonl")
        ]
        if half:
            wrong = f"{wrong or ''} half a file: {', '.join(sorted(half))}"
        free()
        outcome = self._run(job)
        if outcome.status != 0:
            return f"{wrong or ''} does not go on: {outcome.output.strip().splitlines()[-1:]}"
        unequal, left = jobs.differences(jobs.fingerprint(self.folder), wanted)
        if unequal or left:
            wrong = f"{wrong or ''} differs: {', '.join((*unequal, *left))}"
        return wrong

    def _run(self, job: jobs.Job, fault: Fault = Fault()) -> Outcome:  # noqa: B008
        log = self.base / "log.txt"
        return children.run(job.commands(self.folder), log, fault, prepare=jobs.prepare)


def _wrong_message(outcome: Outcome) -> str | None:
    """Return what is wrong with the words of a command that met a full disk."""
    lines = outcome.output.strip().splitlines() or ["without a word"]
    errors = [line for line in lines if line.startswith("radiodiff: error:")]
    if outcome.status == TRACEBACK or outcome.status > 128 or "Traceback (most" in outcome.output:
        return f"traceback: {lines[-1]}"
    if outcome.status != 0 and len(errors) != 1:
        return f"status {outcome.status} with {len(errors)} messages: {lines[-1]}"
    if errors and (len(errors[0]) > LONGEST_LINE or errors[0] != lines[-1]):
        return f"more than one line: {errors[0][:200]}"
    return None


def _own_mounts() -> bool:
    """Give this process file systems of its own, which go with it; `False` where that is barred."""
    user, group = os.getuid(), os.getgid()
    try:
        if ctypes.CDLL(None).unshare(_NEW_USER | _NEW_MOUNTS) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="utf-8")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="utf-8")
    except (AttributeError, OSError):
        return False
    return True


@contextlib.contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Any]:
    """Mount a file system of so many bytes; gives what makes room on it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(options: bytes, flags: int = 0) -> None:
        if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))

    folder.mkdir()
    mount(f"size={max(4096, size)}".encode())
    try:
        yield lambda: mount(b"size=1g", _REMOUNT)
    finally:
        libc.umount2(os.fsencode(folder), _DETACH)
