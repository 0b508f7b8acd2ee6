"""`kill -9` of papermill and its kernel while a chapter trains a run."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import ROOT
from tests.faults import children, jobs

#: A fresh process seeds Python's and NumPy's own generators, which no part of a run draws from.
SKIP = (*jobs.VOLATILE_FILES, "random_states_0.pkl")


class Papermill:
    """Trials of ``papermill notebooks/train.ipynb`` with a tiny run.

    Args:
        base: Folder of the trials.
        root: Dataset of `jobs.write_data`.
        seed: Of the moments.
    """

    def __init__(self, base: Path, root: Path, *, seed: int) -> None:
        self.base, self.seed = base, seed
        self.changes = " ".join(jobs.overrides(root))
        # What the chapter does, by the command line: the same bytes.
        whole = base / "undisturbed"
        words = [jobs.train_words(root, whole), jobs.evaluate_words(whole, whole / "results")]
        outcome = children.run(words, base / "log.txt")
        if outcome.status != 0:
            raise RuntimeError(f"the run fails undisturbed: {outcome.output[-2000:]}")
        self.wanted = jobs.fingerprint(whole, skip=SKIP)
        # Longest time to a kill; each chapter that ends tells better how long it takes.
        self.seconds = 10.0

    def trial(self, number: int) -> dict[str, Any]:
        """Kill papermill and its kernel at a random moment, then run the chapter again."""
        rng = random.Random(f"{self.seed} papermill {number}")
        folder, began = self.base / f"trial-{number}", time.monotonic()
        last = began
        shutil.rmtree(folder, ignore_errors=True)
        status, text = self._run(folder, rng.uniform(0, self.seconds))
        row: dict[str, Any] = {"trial": number, "way": "moment", "kills": int(status < 0)}
        row["inside"] = int(any(folder.rglob("step-*.tmp")))
        row["resumes"], row["late"] = row["kills"], int(status == 0)
        if status < 0:
            last = time.monotonic()
            status, text = self._run(folder, None)
        self.seconds = time.monotonic() - last
        unequal, left = jobs.differences(jobs.fingerprint(folder, skip=SKIP), self.wanted)
        words = [f"{status}: {text.strip().splitlines()[-1:]}"] * (status != 0)
        words += [f"differs: {', '.join(unequal)}"] * bool(unequal)
        words += [f"left over: {', '.join(left)}"] * bool(left)
        row |= {"equal": not unequal, "left": left, "fault": "; ".join(words) or None}
        row["seconds"] = round(time.monotonic() - began, 2)
        shutil.rmtree(folder, ignore_errors=row["fault"] is None)
        return row

    def _run(self, folder: Path, kill_after_s: float | None) -> tuple[int, str]:
        """Run the chapter; return the exit status, negative when killed, and what it printed."""
        parameters = {"config": "smoke", "overrides": self.changes, "run_dir": str(folder)}
        command = [sys.executable, "-m", "papermill", "--no-progress-bar"]
        command += ["notebooks/train.ipynb", str(self.base / "out.ipynb")]
        command += [word for pair in parameters.items() for word in ("-p", *pair)]
        log = self.base / "log.txt"
        self.base.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"OMP_WAIT_POLICY": "passive"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
            try:
                status = process.wait(kill_after_s)
            except subprocess.TimeoutExpired:
                _kill_all(process)
                status = process.wait()
        return status, log.read_text(errors="replace", encoding="utf-8")


def _kill_all(process: subprocess.Popen) -> None:
    """Send SIGKILL to a process and all below it, as a machine that stops does."""
    parent = psutil.Process(process.pid)
    below = parent.children(recursive=True)
    for each in (parent, *below):
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(below, timeout=10)
