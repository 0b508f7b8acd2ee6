"""The sessions of a run: which commits worked on it, and how long."""

import json
from datetime import UTC, datetime
from pathlib import Path

from radiodiff.checkpoint import newest_checkpoint
from radiodiff.files import write_atomically
from radiodiff.provenance import current_commit

__all__ = ["record_session", "stage_seconds"]


def record_session(run_dir: Path, data_seconds: float) -> None:
    """Note in ``sessions.json`` which commit works on the run, and how long its data took [s]."""
    path = run_dir / "sessions.json"
    sessions = json.loads(path.read_text()) if path.is_file() else []
    sessions.append(
        {
            "commit": current_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "data_s": round(data_seconds, 1),
        }
    )
    write_atomically(path, json.dumps(sessions, indent=1))


def stage_seconds(run_dir: Path, stage: str) -> float:
    """Return the training time of a stage over all its interruptions [s]."""
    checkpoint = newest_checkpoint(run_dir / stage / "checkpoints")
    if checkpoint is None:
        return 0.0
    return json.loads((checkpoint / "state.json").read_text())["seconds"]
