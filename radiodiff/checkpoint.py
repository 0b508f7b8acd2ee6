"""Checkpoints as folders that are complete or absent, and exported weights as single files."""

import json
import logging
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from radiodiff.files import rename_folder, shorten, write_atomically

__all__ = [
    "load_checkpoint",
    "load_weights",
    "newest_checkpoint",
    "read_tensors",
    "save_checkpoint",
    "save_content",
    "save_tensors",
    "save_weights",
]

logger = logging.getLogger(__name__)


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the complete checkpoint with the most steps below ``folder``, if there is one."""
    return max(_complete(folder), default=None)


def _complete(folder: Path) -> list[Path]:
    """Complete checkpoints, fewest steps first."""
    return sorted(path for path in Path(folder).glob("step-*") if path.suffix != ".tmp")


def save_checkpoint(
    accelerator: Accelerator, folder: Path, state: dict[str, Any], *, keep: int
) -> Path:
    """Save everything a run needs to go on, then drop the oldest checkpoints.

    All processes must call it. The folder is written under a temporary name, flushed to disk and
    renamed, so that a crash costs at most the work since the last checkpoint.

    Args:
        accelerator: Holds the prepared models, optimizers and registered objects.
        folder: Receives ``step-00001000``.
        state: Plain values to store beside the weights; must hold ``step``.
        keep: Newest checkpoints to keep.

    Returns:
        Path of the checkpoint.
    """
    path = Path(folder) / f"step-{state['step']:08d}"
    temporary = path.with_name(path.name + ".tmp")
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (temporary / "state.json").write_text(json.dumps(state, indent=1))
        rename_folder(temporary, path, replace=True)
        for old in (*_complete(path.parent)[:-keep], *path.parent.glob("step-*.tmp")):
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return path


def load_checkpoint(accelerator: Accelerator, path: Path) -> dict[str, Any]:
    """Restore a checkpoint into the prepared objects and return its plain values."""
    accelerator.load_state(str(path))
    return json.loads((Path(path) / "state.json").read_text())


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as one safetensors file, atomically."""
    save_tensors(network.state_dict(), path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as one safetensors file, or as the ``model`` of a ``.pt`` file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if path.suffix == ".pt":
        save_content({"model": tensors}, path)
    else:
        write_atomically(path, lambda temporary: save_file(tensors, temporary))


def save_content(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values as a PyTorch file, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, torch puts its name into the file
            torch.save(content, file)

    write_atomically(path, write)


def read_tensors(path: Path) -> dict[str, Any]:
    """Read what a ``.safetensors`` or a PyTorch file holds; no code in a file is ever run.

    Tensors of PyTorch files stay on disk until they are used (memory-mapped) where the file's
    format allows it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither, is damaged, or is a pickle that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file: {error}") from error
    try:
        # Files older than torch 1.6 are no zip archives and cannot be mapped.
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickles that it then refuses
            state = torch.load(path, "cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        reason = shorten(str(error).partition("WeightsUnpickler error: ")[2] or str(error))
        raise ValueError(
            f"{path} is refused: it holds more than tensors and plain values, and reading it "
            f"could run code ({reason}). Save its state dict alone: torch.save(model.state_dict())"
        ) from error
    except Exception as error:  # what is no pickle at all fails in any way
        raise ValueError(f"{path} is not a PyTorch file: {error!r}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(state).__name__}")
    return state


def load_weights(network: nn.Module, path: Path) -> None:
    """Load weights written by `save_weights`, strictly.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a safetensors file or does not fit the network; lists what differs.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: has the run finished this stage?")
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit the configuration: {error}") from error
