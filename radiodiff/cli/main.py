"""Command line: ``radiodiff simulate``, ``data``, ``train``, ``sample``, ``evaluate``..."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from radiodiff import __version__
from radiodiff.cli import data, evaluate, reference, sample, simulate, train
from radiodiff.cli.options import report
from radiodiff.progress import show_log

__all__ = ["main"]

#: Modules of the verbs, in the order of the help.
_VERBS = (simulate, data, train, sample, reference, evaluate)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0; 1 (training failed, or a dataset is not sound); 2 (bad input); 130 (interrupted); 143 (ended
    by SIGTERM).

    Args:
        arguments: Words after ``radiodiff``; those of the process if ``None``.
    """
    options = _parser().parse_args(arguments)
    from radiodiff.data import DatasetError  # here: --help ends above, before torch is imported

    show_log(sys.stderr, "%(asctime)s %(message)s")
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        logging.getLogger("radiodiff").setLevel(logging.ERROR)
    try:
        status = options.run(options)
    except (ValueError, OSError, ImportError, DatasetError) as error:
        return report(error, status=2)
    except KeyboardInterrupt as stop:
        how = str(stop) or "interrupted"
        again = "train, simulate and data pack go on when called again"
        print(f"radiodiff: {how}; {again}", file=sys.stderr)
        return getattr(stop, "status", 130)
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="radiodiff", description="Radio maps by diffusion.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for verb in _VERBS:
        verb.add_commands(commands)
    return parser
