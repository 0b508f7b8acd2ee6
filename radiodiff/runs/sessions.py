"""The sessions of a run: which commits worked on it, and how long."""

import json
from pathlib import Path
from typing import Any

from radiodiff.checkpoint import newest_checkpoint
from radiodiff.files import read_json, write_atomically
from radiodiff.provenance import made_by
from radiodiff.runs.guard import STAGES

__all__ = ["record_session", "seconds_of_run", "trained_at"]

_FILE = "sessions.json"


def record_session(run_dir: Path, data_seconds: float, *, commit: str | None = None) -> None:
    """Note in ``sessions.json`` who works on the run, and how long its data took.

    Args:
        run_dir: Folder of the run.
        data_seconds: Time to open or simulate the dataset [s].
        commit: Where the weights are from, if this checkout does not train them.
    """
    session = made_by("torch") | {"data_s": round(data_seconds, 1)}
    if commit is not None:
        session["commit"] = commit
    earlier = _sessions(run_dir) if (run_dir / _FILE).is_file() else []
    write_atomically(run_dir / _FILE, json.dumps([*earlier, session], indent=1))


def trained_at(run_dir: Path) -> list[str]:
    """Return the commits that worked on a run, sorted."""
    return sorted({session["commit"] for session in _sessions(run_dir)})


def seconds_of_run(run_dir: Path) -> dict[str, float]:
    """Return the time of ``data`` and of each stage over all interruptions [s]."""
    seconds = {"data": sum(session["data_s"] for session in _sessions(run_dir))}
    for stage in STAGES:
        checkpoint = newest_checkpoint(run_dir / stage / "checkpoints")
        state = {} if checkpoint is None else read_json(checkpoint / "state.json")
        seconds[stage] = state.get("seconds", 0.0)
    return seconds


def _sessions(run_dir: Path) -> list[dict[str, Any]]:
    return read_json(run_dir / _FILE, list)
