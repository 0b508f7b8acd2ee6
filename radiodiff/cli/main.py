"""Command line: ``radiodiff simulate``, ``data``, ``train``, ``sample``, ``evaluate``..."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0; 1 (training failed, a dataset is not sound, or no memory is left); 2 (bad input); 130
    (interrupted); 143 (ended by SIGTERM).

    Args:
        arguments: Words after ``radiodiff``; those of the process if ``None``.
    """
    try:  # all imports are below: an interruption while modules load is one too
        return _run(arguments)
    except KeyboardInterrupt as stop:
        how = str(stop) or "interrupted"
        again = "train, simulate, data pack, sample and evaluate go on when called again"
        print(f"radiodiff: {how}; {again}", file=sys.stderr)
        return getattr(stop, "status", 130)


def _run(arguments: Sequence[str] | None) -> int:
    """Read the words, run the verb and return the exit status."""
    options = _parser().parse_args(arguments)
    from radiodiff.cli.options import report
    from radiodiff.data import DatasetError  # here: --help ends above, before torch is imported
    from radiodiff.files import shorten
    from radiodiff.progress import show_log
    from radiodiff.signals import stop_at_sigterm

    show_log(sys.stderr, "%(asctime)s %(message)s")
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        logging.getLogger("radiodiff").setLevel(logging.ERROR)

    try:
        for name, value in vars(options).items():  # a shell leaves ~ in --out=~/maps
            setattr(options, name, _expanded(value))
        with stop_at_sigterm():
            return options.run(options) or 0
    except (ValueError, OSError, ImportError, DatasetError) as error:
        return report(error, status=2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        advice = f"out of memory ({shorten(error, 120)}): lower the batch size, or the samples"
        return report(MemoryError(f"{advice} or maps that are asked for at once"), status=1)


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether Python, NumPy, a GPU or PyTorch's allocator on the CPU had no memory left."""
    if isinstance(error, MemoryError):
        return True
    from torch import OutOfMemoryError

    return isinstance(error, OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _expanded(value: Any) -> Any:
    """Return a path, or text that may be one, with its ``~`` replaced by the home folder."""
    from radiodiff.files import user_path

    if isinstance(value, list):
        return [_expanded(item) for item in value]
    if isinstance(value, str | Path) and str(value).startswith("~"):
        return type(value)(user_path(value))
    return value


def _parser() -> argparse.ArgumentParser:
    from radiodiff import __version__
    from radiodiff.cli import data, evaluate, reference, sample, simulate, train

    parser = argparse.ArgumentParser(prog="radiodiff", description="Radio maps by diffusion.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for verb in (simulate, data, train, sample, reference, evaluate):
        verb.add_commands(commands)
    return parser
