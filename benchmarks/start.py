"""Seconds until the command line has answered ``--version``, ``--help`` and each verb's ``--help``.

    .venv/bin/python -m benchmarks.start --out results/benchmarks/start.json

The peer is a Python that does nothing. Each number is the median of five calls; the calls take
turns, so that other load on the machine falls on all of them, and a first turn does not count.
``--checkout`` measures another checkout, such as one of an earlier commit.
"""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import (
    Row,
    commit_of,
    make_parser,
    make_report,
    median_and_spread,
    provenance,
    publish,
)
from radiodiff.files import project_root

REPEATS = 5
PEER = ("-c", "pass")


def main() -> None:
    """Measure and publish."""
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"calls ({REPEATS})")
    parser.add_argument("--checkout", type=Path, help="folder whose package is asked (this one)")
    options = parser.parse_args()
    made, checkout = provenance(), options.checkout or project_root()
    if options.checkout is not None:
        made["commit"] = commit_of(checkout)
    commands = [("-m", "radiodiff", *words) for words in question_words(checkout)]
    seconds = measure([PEER, *commands], checkout, options.repeats)
    peer, _ = median_and_spread(seconds[PEER], 4)
    rows = []
    for command in commands:
        ours, spread = median_and_spread(seconds[command], 4)
        rows.append(
            Row(
                name=" ".join(command[1:]),
                what="time from the call to its end",
                unit="s",
                ours=ours,
                peer=peer,
                peer_name=" ".join(("python", *PEER)),
                spread=spread,
            )
        )
    what = "start of the command line, against a Python that does nothing"
    parameters = {"repeats": options.repeats}
    publish(make_report("start", what, rows, made=made, parameters=parameters), options.out)


def question_words(checkout: Path) -> list[tuple[str, ...]]:
    """Return what is asked: the version, the help, and the help of each verb that it lists."""
    text = subprocess.run(
        [sys.executable, "-m", "radiodiff", "--help"],
        cwd=checkout,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    verbs = re.findall(r"^    ([a-z-]+)(?: |$)", text, re.MULTILINE)
    return [("--version",), ("--help",), *((verb, "--help") for verb in verbs)]


def measure(
    commands: Sequence[tuple[str, ...]], checkout: Path, repeats: int
) -> dict[tuple[str, ...], list[float]]:
    """Return the times of each command [s].

    Args:
        commands: Arguments of Python.
        checkout: Folder in which they run, whose package is imported.
        repeats: Turns that count.

    Raises:
        CalledProcessError: If a command fails.
    """
    seconds: dict[tuple[str, ...], list[float]] = {command: [] for command in commands}
    for turn in range(repeats + 1):
        for command in commands:
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *command], cwd=checkout, stdout=subprocess.DEVNULL, check=True
            )
            seconds[command] += [time.perf_counter() - began] if turn else []
    return seconds


if __name__ == "__main__":
    main()
