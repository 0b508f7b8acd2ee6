"""What the experiments share: options, log, who made a result, and what was measured before."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from radiodiff.config import Config, load_config
from radiodiff.files import project_path, write_atomically
from radiodiff.progress import show_log
from radiodiff.provenance import made_by
from radiodiff.settings import config_text

if TYPE_CHECKING:
    import torch

__all__ = ["Origin", "make_parser", "measured_once", "read_options", "write_result"]


def make_parser(docstring: str, out: str) -> argparse.ArgumentParser:
    """Return a parser of options with ``--out``.

    Args:
        docstring: That of the script; its first line is the description.
        out: Folder of the project that receives the results unless another is named.
    """
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0])
    parser.add_argument("--out", type=Path, default=project_path(out), help=f"folder ({out})")
    return parser


def read_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options of this call, and show the package's log from now on."""
    options = parser.parse_args()
    show_log(sys.stderr, "%(asctime)s %(message)s")
    return options


@dataclass(frozen=True)
class Origin:
    """Who makes a result, and since when."""

    made: dict[str, Any]
    """See `radiodiff.provenance.made_by`."""
    began_s: float
    """Reading of the monotonic clock [s]."""

    @classmethod
    def now(cls, *packages: str, device: "torch.device | None" = None) -> "Origin":
        """Note it; before the work, since a commit made meanwhile is not the one that runs.

        Args:
            packages: Packages whose versions matter.
            device: Where the numbers are computed, if it matters.
        """
        return cls(made_by(*packages, device=device), time.monotonic())


def write_result(
    folder: Path, result: dict[str, Any], origin: Origin, *, config: Config | None = None
) -> dict[str, Any]:
    """Write ``metrics.json``: numbers, who made them, how long it took and the configuration.

    Args:
        folder: Receives the file; made if need be.
        result: The numbers and what they mean.
        origin: Noted before the work.
        config: What the numbers depend on, if it is a run's.

    Returns:
        The content of the file.
    """
    result = result | origin.made
    result["wall_time_s"] = round(time.monotonic() - origin.began_s, 1)
    if config is not None:
        result["config"] = yaml.safe_load(config_text(config))
    path = folder / "metrics.json"
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(path)
    return result


def measured_once(
    run_dir: Path, config: Config, measure: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Return what a run was measured at, measuring it if that was not done: a stopped call goes on.

    Args:
        run_dir: Folder of the run, where ``measured.json`` keeps the values.
        config: What the run must be of.
        measure: Trains and measures; leaves ``config.yaml`` in the folder.

    Raises:
        SystemExit: If the values there are of another configuration.
    """
    kept = run_dir / "measured.json"
    if kept.is_file():
        if load_config(run_dir / "config.yaml") != config:
            raise SystemExit(f"{run_dir} was measured with another configuration: delete it")
        return json.loads(kept.read_text(encoding="utf-8"))
    values = measure()
    write_atomically(kept, json.dumps(values))
    return values
