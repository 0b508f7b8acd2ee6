"""Who made a file: which commit, when, on which device, with which versions."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["current_commit", "device_name", "made_by", "processor_name"]

_CPU_LIST = Path("/proc/cpuinfo")


def made_by(*packages: str, device: "torch.device | None" = None) -> dict[str, Any]:
    """Return who makes a file now, as results, runs and measurements store it.

    Ask before the work: a commit made meanwhile is not the one that runs.

    Args:
        packages: Packages whose versions matter, beside this one and Python.
        device: Where the numbers are computed, if it matters.

    Returns:
        ``commit``, ``date``, ``device`` (unless it is ``None``) and ``versions``.

    Raises:
        PackageNotFoundError: If a package is not installed.
    """
    made: dict[str, Any] = {
        "commit": current_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if device is not None:
        made["device"] = device_name(device)
    versions = {name: version(name) for name in ("radiodiff", *packages)}
    return made | {"versions": versions | {"python": platform.python_version()}}


def current_commit() -> str:
    """Return the commit of the checkout, ``-dirty`` if files differ, ``unknown`` outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        # A run rewrites its own results; they do not change what made them.
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    """Return what git prints in the project's root."""
    command = ["git", "-C", str(Path(__file__).resolve().parents[1]), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def device_name(device: "torch.device") -> str:
    """Return the GPU's name, or the processor's and the number of threads torch uses."""
    import torch  # here: a command that only asks for the commit starts without it

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} threads"


def processor_name() -> str:
    """Return the processor's name, or its architecture where the system does not tell."""
    lines = _CPU_LIST.read_text(encoding="utf-8").splitlines() if _CPU_LIST.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
