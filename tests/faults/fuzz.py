"""Hostile inputs by the thousand: none may end in a traceback, hang, write elsewhere or run code.

    .venv/bin/python -m tests.faults.fuzz --inputs 20000 --seed 0 --out results/faults/fuzz.json

Each input is a valid file, or a few words, altered by `tests.faults.mutate`, and read by what
`tests.faults.targets` names, in a process of limited time and memory. A fault is

* an error that the command line does not turn into one line, of at most 500 characters;
* an input that takes longer than the limit, or that ends the process;
* a file outside the folder that the command was given;
* a pickle that was run.

The inputs that gave a new kind of fault are kept in a folder beside the report, ``fuzz-faults``.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

import radiodiff
from radiodiff.data import DatasetError
from radiodiff.files import project_root, write_atomically
from radiodiff.provenance import made_by
from tests.faults.targets import SIGN, TARGETS, OutsideError, write_seeds

#: What the command line turns into one line.
REPORTED = (ValueError, OSError, ImportError, DatasetError)
MAX_MESSAGE = 500
SECONDS = 20.0
MEMORY_BYTES = 3 << 30
KEPT = 2
PACKAGE = str(Path(radiodiff.__file__).parent)


class HangError(BaseException):
    """An input took longer than the limit."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try inputs, print what was found and return 1 if there are faults, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (0)")
    parser.add_argument("--out", type=Path, help="file for the JSON; faulty inputs lie beside it")
    parser.add_argument("--target", choices=TARGETS, action="append", help="may be repeated (all)")
    options = parser.parse_args(arguments)
    kept = None if options.out is None else options.out.parent / "fuzz-faults"
    report = fuzz(options.inputs, options.seed, options.target or list(TARGETS), kept)
    if options.out is not None:
        write_atomically(options.out, json.dumps(report, indent=1) + "\n")
    for fault in report["faults"]:
        print(f"{fault['count']:5d} {fault['target']}: {fault['what']} (input {fault['input']})")
    kinds = len(report["faults"])
    print(f"{report['inputs']} inputs, seed {options.seed}: {kinds} kinds of fault", flush=True)
    return 1 if kinds else 0


def fuzz(
    inputs: int, seed: int, targets: Sequence[str] = tuple(TARGETS), kept: Path | None = None
) -> dict[str, Any]:
    """Try inputs and return a report.

    Args:
        inputs: How many.
        seed: With its number it gives an input.
        targets: Names of `TARGETS`, which take turns.
        kept: Folder for faulty inputs.
    """
    made, began = made_by("torch", "numpy", "pillow", "pyyaml", "safetensors"), time.monotonic()
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], int] = {}
    statuses: dict[str, Counter[str]] = {name: Counter() for name in targets}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        (base / "seeds").mkdir()
        write_seeds(base / "seeds")
        for number, status, faults in outcomes(inputs, seed, targets, base):
            target = targets[number % len(targets)]
            statuses[target][status] += 1
            for what in faults:
                counts[target, what] += 1
                first.setdefault((target, what), number)
                if kept is not None and counts[target, what] <= KEPT:
                    keep(number, seed, target, what, base, kept)
    found = [
        {"target": target, "what": what, "count": count, "input": first[target, what]}
        for (target, what), count in sorted(counts.items())
    ]
    return {
        "inputs": inputs,
        "seed": seed,
        "limits": {"seconds": SECONDS, "bytes": MEMORY_BYTES, "message": MAX_MESSAGE},
        "ended": {name: dict(sorted(counter.items())) for name, counter in statuses.items()},
        "faults": found,
        "seconds": round(time.monotonic() - began, 1),
        "made_by": made,
    }


def alter(number: int, seed: int, target: str, base: Path, folder: Path) -> None:
    """Write an input into a folder, which is made."""
    folder.mkdir(parents=True)
    TARGETS[target].alter(Random(f"{seed}/{number}"), base / "seeds", folder)


def keep(number: int, seed: int, target: str, what: str, base: Path, kept: Path) -> None:
    """Write a faulty input, without the large files that every one of its kind has."""
    folder = kept / f"{target}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    alter(number, seed, target, base, folder)
    seeds = {path.read_bytes() for path in (base / "seeds").rglob("*") if path.is_file()}
    for path in folder.rglob("*"):
        if path.is_file() and path.read_bytes() in seeds:
            path.unlink()
    (folder / "fault.txt").write_text(f"{what}\ninput {number} of seed {seed}\n", encoding="utf-8")


# Processes


def outcomes(
    inputs: int, seed: int, targets: Sequence[str], base: Path
) -> Iterator[tuple[int, str, list[str]]]:
    """Yield number, how it ended and the faults of each input; a process that dies is replaced."""
    number = 0
    while number < inputs:
        reader, writer = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _work(range(number, min(number + 200, inputs)), seed, targets, base, writer)
        os.close(writer)
        began = number
        with open(reader, "rb", buffering=0) as pipe:
            for line in _lines(pipe, 3 * SECONDS):
                yield number, *json.loads(line)
                number += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if number < inputs and (number == began or number % 200 != began % 200):
            how = f"the process ended ({os.waitstatus_to_exitcode(status)})"
            yield number, "died", [how]
            number += 1


def _lines(pipe: io.RawIOBase, wait_s: float) -> Iterator[bytes]:
    """Yield the lines of a pipe until it ends or stays silent for too long."""
    rest = b""
    while select.select([pipe], [], [], wait_s)[0]:
        data = pipe.read(1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def _work(numbers: range, seed: int, targets: Sequence[str], base: Path, writer: int) -> None:
    """Try inputs in this process, a forked one, and end it."""
    try:
        torch.set_num_threads(1)
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
        signal.signal(signal.SIGALRM, _hang)
        logging.disable()  # of what is printed only errors count
        warnings.simplefilter("ignore")
        for number in numbers:
            target = targets[number % len(targets)]
            line = json.dumps(attempt(number, seed, target, base)) + "\n"
            os.write(writer, line.encode())
    finally:
        os._exit(0)


def _hang(*_: object) -> None:
    raise HangError


def attempt(number: int, seed: int, target: str, base: Path) -> tuple[str, list[str]]:
    """Try one input; return how it ended and its faults.

    The watched folder holds the folder of the input, an empty project, in which the command runs,
    and nothing else.
    """
    around = base / "around"
    shutil.rmtree(around, ignore_errors=True)
    make_folders(around)
    alter(number, seed, target, base, around / "named")
    before = listing(around)
    os.chdir(around / "project")
    os.environ["HOME"] = str(around / "home")
    printed = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
        status, faults = call(target, around / "named")
    faults += message_faults(printed.getvalue())
    new = sorted(listing(around) - before)
    if any(name.rsplit("/", 1)[-1] == SIGN for name in new):
        faults.append("a pickle was run")
    elif new:
        faults.append("wrote outside the folder")
    return status, faults


def make_folders(around: Path) -> None:
    """Make the watched folder, with an empty project."""
    for folder in ("project/configs", "project/runs", "home"):
        (around / folder).mkdir(parents=True)
    (around / "project/pyproject.toml").touch()


def call(target: str, folder: Path) -> tuple[str, list[str]]:
    """Read an input; return how that ended and the faults it shows."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return f"status {TARGETS[target].read(folder)}", []
    except OutsideError:
        return "outside", ["a name leads outside the folder"]
    except REPORTED as error:
        return type(error).__name__, message_faults(f"radiodiff: error: {error}\n")
    except SystemExit as error:  # of argparse
        return f"status {error.code}", []
    except HangError:
        return "hang", [f"longer than {SECONDS:g} s"]
    except BaseException as error:
        return type(error).__name__, [f"{place(error)} {type(error).__name__}"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def place(error: BaseException) -> str:
    """Return file and line of the package from which an error came."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [
        f for f in frames if "/radiodiff/" in f.filename and "site-packages" not in f.filename
    ]
    if not inside:
        return frames[-1].filename.rsplit("/", 1)[-1] if frames else "?"
    return f"radiodiff{inside[-1].filename.removeprefix(PACKAGE)}:{inside[-1].lineno}"


def message_faults(printed: str) -> list[str]:
    """Return what is wrong with the errors that were printed: too long, or of several lines."""
    mark, faults = "radiodiff: error: ", []
    for message in printed.split(mark)[1:]:
        words = " ".join(message.split()[:60])
        if len(message) > MAX_MESSAGE:
            faults.append(f"a message of over {MAX_MESSAGE} characters: {_gist(words)}")
        if any(c in message[:-1] for c in "\n\r\v\f\x1b\x85\u2028\u2029\0"):
            faults.append(f"a message with a line break or control code: {_gist(words)}")
    return faults


def _gist(message: str) -> str:
    """Return the words of a message that do not change with the input."""
    words = [word for word in message.split() if word.isalpha() and len(word) < 15]
    return " ".join(words[:6])


def listing(folder: Path) -> set[str]:
    """Return all paths below a folder but those that a command may write."""
    found = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(("named/", "project/runs/")) or path.name == SIGN:
            found.add(name)
    return found


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    project_root()  # a checkout is needed, for the seeds
    sys.exit(main())
