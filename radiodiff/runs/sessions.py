"""The sessions of a run: which commits worked on it, and how long."""

from pathlib import Path
from typing import Any

from radiodiff.checkpoint import checkpoint_state, newest_checkpoint
from radiodiff.files import read_json, read_record, write_record
from radiodiff.provenance import made_by
from radiodiff.runs.guard import STAGES
from radiodiff.workers import process_state

__all__ = ["processes_of_run", "record_session", "seconds_of_run", "trained_at"]

_FILE = "sessions.json"


def record_session(run_dir: Path, data_seconds: float, *, commit: str | None = None) -> None:
    """Note in ``sessions.json`` who works on the run, in how many processes, for how long on data.

    Args:
        run_dir: Folder of the run.
        data_seconds: Time to open or simulate the dataset [s].
        commit: Where the weights are from, if this checkout does not train them.
    """
    state = process_state()
    session = made_by("torch", device=state.device) | {
        "processes": state.num_processes,
        "data_s": round(data_seconds, 1),
    }
    if commit is not None:
        session["commit"] = commit
    earlier = _sessions(run_dir) if (run_dir / _FILE).is_file() else []
    write_record(run_dir / _FILE, {"sessions": [*earlier, session]})


def trained_at(run_dir: Path) -> list[str]:
    """Return the commits that worked on a run, sorted."""
    return sorted({session["commit"] for session in _sessions(run_dir)})


def processes_of_run(run_dir: Path) -> list[int]:
    """Return the numbers of processes that worked on a run, sorted; none of an older version."""
    sessions = _sessions(run_dir)
    return sorted({session["processes"] for session in sessions if "processes" in session})


def seconds_of_run(run_dir: Path) -> dict[str, float]:
    """Return the time of ``data`` and of each stage over all interruptions [s]."""
    seconds = {"data": sum(session["data_s"] for session in _sessions(run_dir))}
    for stage in STAGES:
        checkpoint = newest_checkpoint(run_dir / stage / "checkpoints")
        state = {} if checkpoint is None else checkpoint_state(checkpoint)
        seconds[stage] = state.get("seconds", 0.0)
    return seconds


def _sessions(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / _FILE
    content = read_json(path, object)
    if isinstance(content, list):  # a run of an older version
        return content
    return read_record(path, {"sessions": list})["sessions"]
