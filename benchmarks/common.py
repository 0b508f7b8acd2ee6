"""The one form of all benchmarks: our number, a named peer's, their ratio, how far ours varied.

A report is JSON with these keys:

* ``benchmark``, ``what``: name of the script, and what it measures, in words;
* ``parameters``: what the numbers depend on;
* ``rows``: the numbers, see `Row`;
* ``details``: further numbers, in the form that suits the script;
* ``made_by``: commit, date, versions and machine. Where rows were measured apart from each other
  every one has its own instead.
"""

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiodiff.files import project_path, write_atomically
from radiodiff.provenance import made_by, processor_name
from radiodiff.threads import cores

if TYPE_CHECKING:
    import torch

__all__ = [
    "Row",
    "alternate",
    "commit_of",
    "earlier_rows",
    "flops_of",
    "make_parser",
    "make_report",
    "matrix_ceiling_gflops",
    "median_and_spread",
    "provenance",
    "publish",
    "read_report",
]

_KEYS = ("benchmark", "what", "parameters", "rows", "details")


@dataclass(frozen=True)
class Row:
    """One measurement."""

    name: str
    """What was measured, as no other row of the report."""
    what: str
    """The quantity, in words."""
    unit: str
    """Unit of our number, of the peer's and of the spread."""
    ours: float
    """Our number; the median where it was taken several times."""
    peer: float | None
    """The peer's number; ``None`` where there is none to compare with."""
    peer_name: str | None
    """What the peer is."""
    spread: tuple[float, float] | None = None
    """Least and most that ours was; ``None`` where it was taken once, or this was not kept."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further numbers of this row."""
    made_by: Mapping[str, Any] | None = None
    """Who measured it, for reports whose rows were measured apart."""

    def __post_init__(self) -> None:
        """Refuse a spread that does not hold our number.

        Raises:
            ValueError: If it does not.
        """
        spread = self.spread
        if spread is not None and not (len(spread) == 2 and spread[0] <= self.ours <= spread[1]):
            raise ValueError(
                f"spread must be the least and the most of {self.ours:g}, got {list(spread)}"
            )

    @property
    def ratio(self) -> float | None:
        """Ours through the peer's, to four digits."""
        return None if not self.peer else float(f"{self.ours / self.peer:.4g}")

    def as_json(self) -> dict[str, Any]:
        """Return the row as reports hold it."""
        row = {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "peer_name": self.peer_name,
            "ratio": self.ratio,
            "spread": None if self.spread is None else list(self.spread),
            "details": dict(self.details),
        }
        return row if self.made_by is None else row | {"made_by": dict(self.made_by)}

    @classmethod
    def of_json(cls, row: Mapping[str, Any]) -> "Row":
        """Return the row that a report holds.

        Raises:
            ValueError: If a key is missing or unknown, or the ratio is not that of the numbers.
        """
        values = {key: value for key, value in row.items() if key != "ratio"}
        try:
            made = cls(**values | {"spread": row["spread"] and tuple(row["spread"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"row {row.get('name')!r} is not of the form: {error}") from error
        if made.as_json() != dict(row):
            raise ValueError(f"row {made.name!r} must read {made.as_json()}, got {dict(row)}")
        return made


def make_parser(docstring: str) -> argparse.ArgumentParser:
    """Return a parser of options with ``--out``; the docstring's first line is the description."""
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0])
    parser.add_argument("--out", type=Path, help="file for the JSON; standard output without")
    return parser


def provenance(*packages: str, device: "torch.device | None" = None) -> dict[str, Any]:
    """Return who measures now, and where; to be asked before the work.

    Args:
        packages: Packages whose versions matter.
        device: Where the numbers are computed, if it matters.
    """
    machine = {"processor": processor_name(), "cores": cores(), "system": platform.platform()}
    return {**made_by(*packages, device=device), "machine": machine}


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout, for what is measured in another one than this."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def alternate(
    works: Mapping[str, Callable[[], object]], repeats: int, *, device: str = "cpu"
) -> dict[str, list[float]]:
    """Return how long each work takes [s], one after the other in turn, so that all meet the same.

    Args:
        works: Name to what is timed; each runs once before, which does not count.
        repeats: Times that each is timed.
        device: Where they compute: a GPU is waited for.
    """
    import torch

    seconds: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if device != "cpu":
                torch.accelerator.synchronize()
            if repeat > 0:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def flops_of(work: Callable[[], object]) -> int:
    """Return the floating-point operations of some work, two per multiplication with addition."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def matrix_ceiling_gflops(side: int = 2048, repeats: int = 5, *, device: str = "cpu") -> float:
    """Return the most operations per second of a float32 matrix product, in this process's threads.

    Args:
        side: Rows and columns of both factors.
        repeats: Products; the fastest counts.
        device: Where they are computed.

    Returns:
        Ceiling [GFLOP/s], two operations per multiplication with addition.
    """
    import torch

    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    seconds = alternate({"product": lambda: a @ b}, repeats, device=device)["product"]
    return round(2 * side**3 / min(seconds) / 1e9, 1)


def median_and_spread(values: Sequence[float], digits: int) -> tuple[float, tuple[float, float]]:
    """Return the median of repetitions, and the least and the most, rounded."""
    spread = (round(min(values), digits), round(max(values), digits))
    return round(statistics.median(values), digits), spread


def make_report(
    benchmark: str,
    what: str,
    rows: Sequence[Row],
    *,
    made: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a report.

    Args:
        benchmark: Name of the script.
        what: What it measures, in words.
        rows: The numbers.
        made: Who measured all of them, see `provenance`; ``None`` if each row says it.
        parameters: What the numbers depend on; JSON can hold it.
        details: Further numbers.

    Raises:
        ValueError: If two rows have one name, or it is not clear who measured a row.
    """
    if len({row.name for row in rows}) < len(rows):
        raise ValueError(f"rows of {benchmark} need names of their own: {[r.name for r in rows]}")
    if any((row.made_by is None) == (made is None) for row in rows):
        raise ValueError(f"{benchmark} must say who made it once: for all rows, or in each")
    report = {
        "benchmark": benchmark,
        "what": what,
        "parameters": dict(parameters or {}),
        "rows": [row.as_json() for row in rows],
        "details": dict(details or {}),
    }
    return report if made is None else report | {"made_by": dict(made)}


def publish(report: Mapping[str, Any], out: Path | None) -> None:
    """Write a report to a file, or print it."""
    text = json.dumps(report, indent=1) + "\n"
    if out is None:
        print(text, end="")
    else:
        write_atomically(out, text)


def earlier_rows(path: Path | None) -> dict[str, Row]:
    """Return the rows of a report by name, for rows measured apart; none where there is no file."""
    if path is None or not path.is_file():
        return {}
    return {row.name: row for row in read_report(path.resolve())[1]}


def read_report(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return a report and its rows.

    Args:
        path: What `publish` wrote; a relative path counts from the project's root.

    Raises:
        ValueError: If it is not of the form.
    """
    path = project_path(path)
    report = json.loads(path.read_text(encoding="utf-8"))
    missing = [key for key in _KEYS if key not in report]
    if missing or set(report) - {*_KEYS, "made_by"}:
        raise ValueError(f"{path} must hold {', '.join(_KEYS)} and made_by, got {list(report)}")
    rows = [Row.of_json(row) for row in report["rows"]]
    make_report(report["benchmark"], report["what"], rows, made=report.get("made_by"))
    return report, rows
