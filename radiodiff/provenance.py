"""Who made a file: which commit, on which device."""

import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["current_commit", "device_name"]


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
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def device_name(device: "torch.device") -> str:
    """Return the GPU's name, or the processor's and the number of threads torch uses."""
    import torch  # here: a command that only asks for the commit starts without it

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
