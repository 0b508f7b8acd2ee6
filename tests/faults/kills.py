"""`kill -9` at random moments, the same command again, and the bytes at the end."""

import random
import shutil
import time
from pathlib import Path
from typing import Any

from tests.faults import children, jobs
from tests.faults.children import Fault, Outcome

#: Chance that a command that goes on is killed once more.
AGAIN = 0.2
#: Ways to end the writing of a checkpoint, and those that serve every command.
INSIDE = ("moment inside", "byte inside", "change inside")
ANYWHERE = ("moment", "change")


class Kills:
    """Trials of one job.

    Args:
        job: What is killed.
        base: Folder for the undisturbed result and the trials.
        seed: Of the moments.
    """

    def __init__(self, job: jobs.Job, base: Path, *, seed: int) -> None:
        self.job, self.base, self.seed = job, base, seed
        folder = base / "undisturbed"
        self.whole = self._run(folder)
        if job.name in jobs.COMPILED:  # now that the loops are cached
            shutil.rmtree(folder)
            self.whole = self._run(folder)
        if self.whole.status != 0:
            raise RuntimeError(f"{job.name} fails undisturbed: {self.whole.output[-2000:]}")
        self.wanted = jobs.fingerprint(folder)
        self.longest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def trial(self, number: int) -> dict[str, Any]:
        """Kill the job once or more, finish it and compare; the number decides on all."""
        rng = random.Random(f"{self.seed} {self.job.name} {number}")
        folder = self.base / f"trial-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        way = self._way(rng, number)
        began = time.monotonic()
        row = {"trial": number, "way": way, "kills": 0, "inside": 0, "resumes": 0, "late": 0}
        outcome = self._run(folder, self._fault(rng, way))
        while outcome.is_killed:
            row["kills"] += 1
            row["inside"] += outcome.is_inside
            row["resumes"] += 1
            fault = self._fault(rng, rng.choice(ANYWHERE)) if rng.random() < AGAIN else Fault()
            outcome = self._run(folder, fault)
        row["late"] = int(row["kills"] == 0)
        row |= self._judge(folder, outcome)
        row["seconds"] = round(time.monotonic() - began, 2)
        if row["fault"] is None:
            shutil.rmtree(folder)
        return row

    def _run(self, folder: Path, fault: Fault = Fault()) -> Outcome:  # noqa: B008
        log = self.base / "log.txt"
        return children.run(self.job.commands(folder), log, fault, prepare=jobs.prepare)

    def _way(self, rng: random.Random, number: int) -> str:
        """Return how a trial kills: every second training inside the writing of a checkpoint."""
        return rng.choice(INSIDE if self.whole.writes and number % 2 else ANYWHERE)

    def _fault(self, rng: random.Random, way: str) -> Fault:
        whole = self.whole
        if way == "moment":
            return Fault(after_s=rng.uniform(0, whole.seconds))
        if way == "change":
            return Fault(at_change=rng.randint(1, whole.changes))
        write = rng.randint(1, whole.writes)
        if way == "byte inside":
            # Files are of a few bytes or of megabytes: every size is tried.
            return Fault(write=write, at_byte=int(self.longest ** rng.uniform(0, 0.99)))
        if way == "change inside":
            return Fault(write=write, at_change=rng.randint(1, whole.changes_in_write))
        return Fault(write=write, after_s=rng.uniform(0, whole.seconds_in_write))

    def _judge(self, folder: Path, outcome: Outcome) -> dict[str, Any]:
        """Compare what is there at the end."""
        if outcome.status != 0:
            lines = outcome.output.strip().splitlines() or ["without a word"]
            return {"equal": False, "left": [], "fault": f"{outcome.status}: {lines[-1]}"}
        unequal, left = jobs.differences(jobs.fingerprint(folder), self.wanted)
        words = [f"differs: {', '.join(unequal)}"] * bool(unequal)
        words += [f"left over: {', '.join(left)}"] * bool(left)
        return {"equal": not unequal, "left": left, "fault": "; ".join(words) or None}
