"""Options that several verbs share, and checks of options against each other."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from radiodiff.cli.choices import PROFILES
from radiodiff.files import shorten, user_path

__all__ = [
    "absolute",
    "add_overrides",
    "add_reference_options",
    "add_run_dir",
    "numbers",
    "refuse",
    "report",
]

#: Longest error that is printed [characters].
MAX_MESSAGE = 400


def absolute(path: str) -> str:
    """Return a path as a configuration may hold it: there, relative ones count from the project."""
    return str(user_path(path).resolve())


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--set KEY=VALUE``."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change one key, e.g. {example}; may be repeated",
    )


def add_run_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--run-dir``, a folder that must be there."""
    parser.add_argument("--run-dir", "--run", type=Path, required=True, help="run folder")


def add_reference_options(parser: argparse.ArgumentParser) -> None:
    """Add what a configuration file of the public code does not tell."""
    parser.add_argument("--data", type=absolute, help="dataset folder")
    parser.add_argument(
        "--profile", choices=PROFILES, help="state of the public code (told by the YAML)"
    )


def refuse(options: argparse.Namespace, option: str, *names: str, present: bool = True) -> None:
    """Raise if an option was given that another excludes, or that means nothing without it."""
    for name in names:
        if getattr(options, name) is not None:
            relation = "does not go with" if present else "belongs to"
            raise ValueError(f"--{name.replace('_', '-')} {relation} {option}")


def numbers(option: str, words: Sequence[str] | None) -> list[int] | None:
    """Return the words of an option as numbers; ``None`` if it was not given."""
    try:
        return None if words is None else [int(word) for word in words]
    except ValueError:
        raise ValueError(f"{option} must be numbers with commas, got {','.join(words)}") from None


def report(error: Exception, *, status: int) -> int:
    """Print an error as one line, what is too much of it left out, and return the exit status."""
    line = shorten("; ".join(str(error).splitlines()), MAX_MESSAGE)
    print(f"radiodiff: error: {line}", file=sys.stderr)
    return status
