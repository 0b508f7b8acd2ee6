"""Wall time and peak memory of the commands that the page *Reproduce the numbers* names.

    .venv/bin/python -m benchmarks.commands setup test book

runs them in a fresh clone of the current commit, one after the other, and writes
``results/benchmarks/commands.json`` and the table ``commands.md`` beside it, which the page
includes. Commands that were measured before and are not named now keep their rows. The peer of
every row is the first command, ``setup``: it downloads and installs, so its time says how fast the
machine and its network were.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.common import Row, commit_of, earlier_rows, make_report, publish
from radiodiff.files import project_path, project_root, write_atomically
from radiodiff.threads import cores

#: Name of a row to the command in a clone; the order is that of the table.
COMMANDS = {
    "setup": "make setup",
    "demo": "make demo",
    "test": "make test",
    "book": "make book",
    "browser-test": "make browser-test",
    "small": ".venv/bin/radiodiff train --config small",
    "steps": ".venv/bin/python -m experiments.sweep_steps",
}
#: Row that the others are compared with.
PEER = "setup"


def main() -> None:
    """Measure the named commands and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=list(COMMANDS), help="commands to measure")
    parser.add_argument("--clone", type=Path, help="a clone to use (a fresh one)")
    parser.add_argument("--out", type=Path, default=project_path("results/benchmarks"))
    options = parser.parse_args()
    path = options.out / "commands.json"
    rows = earlier_rows(path)
    with tempfile.TemporaryDirectory() as folder:
        clone = options.clone
        if clone is None:
            clone = Path(folder) / "radiodiff"
            subprocess.run(["git", "clone", "-q", str(project_root()), str(clone)], check=True)
            if "setup" not in options.names:
                subprocess.run(["make", "-s", "setup"], cwd=clone, check=True)
        for name in (name for name in COMMANDS if name in options.names):
            rows[name] = measure(name, COMMANDS[name], clone, rows.get(PEER))
            print(name, rows[name].as_json(), flush=True)
            ordered = [rows[name] for name in COMMANDS if name in rows]
            publish(
                make_report("commands", "commands of the page, in a fresh clone", ordered), path
            )
            write_atomically(options.out / "commands.md", format_commands(ordered))


def measure(name: str, command: str, folder: Path, peer: Row | None) -> Row:
    """Run a command and return its wall time [s] and the largest process's memory [MiB].

    Args:
        name: Name of the row.
        command: What the shell runs.
        folder: Clone in which it runs.
        peer: Row to compare with; its own if it is that one.

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
    commit = commit_of(folder)
    began = time.monotonic()
    arguments = [sys.executable, "-c", script]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"{command} failed with exit status {done.returncode}")
    seconds = round(time.monotonic() - began, 1)
    peer_s = seconds if name == PEER else (peer and peer.ours)
    return Row(
        name=name,
        what="wall time",
        unit="s",
        ours=seconds,
        peer=peer_s,
        peer_name=PEER if peer_s is not None else None,
        details={
            "command": command,
            "peak_memory_mib": round(int(done.stdout.split()[-1]) / 1024),
            "cores": cores(),
        },
        made_by={"commit": commit, "date": datetime.now(UTC).isoformat(timespec="seconds")},
    )


def format_commands(rows: Sequence[Row]) -> str:
    """Return the measured commands as a Markdown table."""
    lines = [
        "| command | wall time | largest process | cores | commit, date |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        minutes, seconds = divmod(round(row.ours), 60)
        commit, date = row.made_by["commit"][:7], row.made_by["date"][:10]
        lines.append(
            f"| `{row.details['command']}` | {minutes} min {seconds:02d} s "
            f"| {row.details['peak_memory_mib']} MiB | {row.details['cores']} "
            f"| `{commit}`, {date} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
