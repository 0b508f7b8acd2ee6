"""Wall time and peak memory of the commands that the page *Reproduce the numbers* names.

    .venv/bin/python benchmarks/commands.py setup test book

runs them in a fresh clone of the current commit, one after the other, and writes
``results/benchmarks/commands.json`` and the table ``commands.md`` beside it, which the page
includes. Commands that were measured before and are not named now keep their rows. The peer of
every row is the first command, ``setup``: it downloads and installs, so its time says how fast the
machine and its network were.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from radiodiff.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results/benchmarks"
#: Name of a row to the command in a clone; the order is that of the table.
COMMANDS = {
    "setup": "make setup",
    "demo": "make demo",
    "test": "make test",
    "book": "make book",
    "browser-test": "make browser-test",
    "small": ".venv/bin/radiodiff train --config small",
    "steps": ".venv/bin/python tools/sweep_steps.py",
}


def main() -> None:
    """Measure the named commands and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=list(COMMANDS), help="commands to measure")
    parser.add_argument("--clone", type=Path, help="a clone to use (a fresh one)")
    options = parser.parse_args()
    path = RESULTS / "commands.json"
    rows = json.loads(path.read_text()) if path.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        clone = options.clone
        if clone is None:
            clone = Path(folder) / "radiodiff"
            subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
            if "setup" not in options.names:
                subprocess.run(["make", "-s", "setup"], cwd=clone, check=True)
        for name in (name for name in COMMANDS if name in options.names):
            rows[name] = measure(COMMANDS[name], clone)
            print(name, rows[name], flush=True)
            ordered = {name: rows[name] for name in COMMANDS if name in rows}
            write_atomically(path, json.dumps(ordered, indent=1) + "\n")
            write_atomically(RESULTS / "commands.md", format_commands(ordered))


def measure(command: str, folder: Path) -> dict[str, Any]:
    """Run a command and return its wall time [s] and the largest process's memory [MiB].

    Raises:
        SystemExit: If the command fails; its output went to standard error.
    """
    # A process of its own, so that the peak is of this command's children alone.
    script = (
        "import resource, subprocess, sys\n"
        f"done = subprocess.run({command!r}, shell=True, cwd={str(folder)!r}, "
        "stdin=subprocess.DEVNULL, stdout=sys.stderr)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(done.returncode)"
    )
    commit = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    began = time.monotonic()
    arguments = [sys.executable, "-c", script]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed with exit status {done.returncode}")
    return {
        "command": command,
        "wall_time_s": round(time.monotonic() - began, 1),
        "peak_memory_mib": round(int(done.stdout.split()[-1]) / 1024),
        "cores": len(os.sched_getaffinity(0)),
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def format_commands(rows: dict[str, dict[str, Any]]) -> str:
    """Return the measured commands as a Markdown table."""
    lines = [
        "| command | wall time | largest process | cores | commit, date |",
        "|---|---|---|---|---|",
    ]
    for row in rows.values():
        minutes, seconds = divmod(round(row["wall_time_s"]), 60)
        lines.append(
            f"| `{row['command']}` | {minutes} min {seconds:02d} s | {row['peak_memory_mib']} MiB "
            f"| {row['cores']} | `{row['commit'][:7]}`, {row['date'][:10]} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
