"""Kill, tear and fill up, and see that nothing is lost: ``python -m tests.faults.sweep``.

Each trial is noted in ``<out>.jsonl`` as it ends, and the same command goes on where it stopped.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if "torch" not in sys.modules:  # a child has no thread of its parent
    os.environ["OMP_NUM_THREADS"] = "1"

from radiodiff.files import write_atomically
from radiodiff.provenance import made_by
from tests.conftest import ROOT
from tests.faults import children, jobs
from tests.faults.full import Full
from tests.faults.kills import Kills
from tests.faults.notebooks import Papermill
from tests.faults.tears import Tears

#: Trials in full; those of the last two are all there are.
TRIALS = {
    "train": 1000,
    "simulate": 100,
    "pack": 100,
    "evaluate": 100,
    "papermill": 100,
    "tear": None,
    "full": None,
}
_EVERY_S = 30
_HEADER = "kind       trials  kills  inside a write  resumes  bytes equal  left over  faults"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run sweeps; 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sweep", description=__doc__)
    parser.add_argument("--kind", action="append", choices=TRIALS, help="may be repeated (all)")
    parser.add_argument("--trials", type=int, help="of each kind (1,000 of train, 100 or all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", action="append", default=[], help="of tear or full (all)")
    parser.add_argument("--number", type=int, help="run this trial of one --kind and no other")
    parser.add_argument("--minutes", type=float, help="stop after so long; call again to go on")
    parser.add_argument("--out", type=Path, help="file of one kind (results/faults/<kind>.json)")
    parser.add_argument("--folder", type=Path, default=ROOT / "results/faults", help="of all files")
    options = parser.parse_args(arguments)
    kinds = options.kind or list(TRIALS)
    if (options.out or options.number) is not None and len(kinds) != 1:
        parser.error("--out and --number go with one --kind")
    os.nice(10)
    children.warm()
    until = time.monotonic() + 60 * options.minutes if options.minutes else None
    results = []
    with tempfile.TemporaryDirectory(prefix="radiodiff-faults-") as base:
        if options.number is not None:
            row = _open(kinds[0], Path(base) / kinds[0], options)[0](options.number)
            print(
                (Path(base) / kinds[0] / "log.txt").read_text(encoding="utf-8"),
                json.dumps(row, indent=1),
                sep="",
            )
            return int(row["fault"] is not None)
        for kind in kinds:
            out = options.out or options.folder / f"{kind}.json"
            results.append(_sweep(kind, Path(base) / kind, out, options, until))
    print(_HEADER)
    print("\n".join(map(_table_row, results)))
    return int(any(result["faults"] for result in results))


def _sweep(
    kind: str, base: Path, out: Path, options: argparse.Namespace, until: float | None
) -> dict[str, Any]:
    """Run the trials of a kind that are not noted yet, and write what all of them found."""
    journal = out.with_suffix(".jsonl")
    start = {"kind": kind, "seed": options.seed, "part": options.part}
    start |= made_by("torch", "accelerate")
    noted = _noted(journal, start)
    trial, numbers = _open(kind, base, options)
    rows = {number: noted[number] for number in numbers if number in noted}
    todo = [number for number in numbers if number not in rows]
    _note(journal, start)
    began = told = time.monotonic()
    for count, number in enumerate(todo, 1):
        if until is not None and time.monotonic() > until:
            break
        rows[number] = trial(number)
        _note(journal, rows[number])
        if rows[number]["fault"]:
            print(f"{kind} {number}: {rows[number]['fault']}", flush=True)
        now = time.monotonic()
        if now - told > _EVERY_S or count in (10, len(todo)):
            told, pace = now, (now - began) / count
            left = pace * (len(todo) - count) / 60
            print(f"{kind}: {count} of {len(todo)}, {pace:.2f} s each, {left:.0f} min left")
            sys.stdout.flush()
    result = _summary(start, list(rows.values()))
    # No path of this machine's.
    write_atomically(out, json.dumps(result, indent=1).replace(f"{base}/", ".../") + "\n")
    shutil.rmtree(base, ignore_errors=True)
    return result


def _open(
    kind: str, base: Path, options: argparse.Namespace
) -> tuple[Callable[[int], dict[str, Any]], Sequence[int]]:
    """Return what runs a trial, and the numbers of those to run."""
    base.mkdir(parents=True)
    root = jobs.write_data(base)
    run_dir = base / "run"
    if kind == "evaluate" or (kind == "full" and "evaluate" in (options.part or jobs.KINDS)):
        outcome = children.run([jobs.train_words(root, run_dir)], base / "log.txt")
        if outcome.status != 0:
            raise RuntimeError(f"training fails undisturbed: {outcome.output[-2000:]}")
    wanted = options.trials or TRIALS[kind]
    if kind == "papermill":
        return Papermill(base, root, seed=options.seed).trial, range(wanted)
    if kind in ("tear", "full"):
        if kind == "tear":
            trials: Tears | Full = Tears(base, root, options.part, seed=options.seed)
        else:
            chosen = [each for each in jobs.KINDS if not options.part or each in options.part]
            trials = Full(base, [jobs.make_job(each, root, run_dir) for each in chosen])
        total = len(trials.cases)
        count = min(wanted or total, total)
        return trials.trial, [number * total // count for number in range(count)]
    kills = Kills(jobs.make_job(kind, root, run_dir), base, seed=options.seed)
    return kills.trial, range(wanted)


def _noted(journal: Path, start: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the trials that are noted below such a start; of other code or seeds none counts."""
    rows, is_ours = {}, False
    for row in _lines(journal):
        if "kind" in row:
            is_ours = all(row.get(key) == start[key] for key in ("kind", "seed", "part", "commit"))
        elif is_ours:
            rows[row["trial"]] = row
    return rows


def _lines(journal: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal; one that was being written is none."""
    rows = []
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def _note(journal: Path, row: dict[str, Any]) -> None:
    """Add a line to the journal; one that was cut off before it ends here."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    is_cut = journal.is_file() and not journal.read_bytes().endswith(b"\n")
    with journal.open("a", encoding="utf-8") as file:
        file.write("\n" * is_cut + json.dumps(row) + "\n")


def _summary(start: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all trials of a kind found."""
    kind, seconds = start["kind"], [row["seconds"] for row in rows]
    result = {**start, "trials": len(rows)}
    if kind in ("tear", "full"):
        result["verdicts"] = dict(Counter(row["verdict"] for row in rows).most_common())
    else:
        for key in ("kills", "inside", "resumes", "equal"):
            result[key] = sum(row[key] for row in rows)
        result["left_over"] = sum(len(row["left"]) for row in rows)
        result["ways"] = dict(Counter(row["way"] for row in rows).most_common())
    return result | {
        "not_compared": {"fields": jobs.VOLATILE_FIELDS, "files": jobs.VOLATILE_FILES},
        "seconds_per_trial": round(sum(seconds) / max(1, len(seconds)), 2),
        "faults": [row["fault"] for row in rows if row["fault"]],
    }


def _table_row(result: dict[str, Any]) -> str:
    """Return a line of the table."""
    start = f"{result['kind']:10} {result['trials']:6,}"
    if "verdicts" in result:
        shown = ", ".join(f"{count} {name}" for name, count in result["verdicts"].items())
        return f"{start}  {shown}; {len(result['faults'])} faults"
    counts = [result[key] for key in ("kills", "inside", "resumes", "equal", "left_over")]
    widths = (5, 14, 7, 11, 9)
    numbers = "  ".join(f"{count:{width},}" for count, width in zip(counts, widths, strict=True))
    return f"{start}  {numbers}  {len(result['faults']):6,}"


if __name__ == "__main__":
    sys.exit(main())
