"""Checkpoints as folders that are complete or absent, and exported weights as single files."""

import hashlib
import logging
import re
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import accelerate.utils
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from radiodiff.files import (
    FileError,
    naming_what_failed,
    read_record,
    rename_folder,
    sha256,
    shorten,
    write_atomically,
    write_record,
)

__all__ = [
    "checkpoint_state",
    "digest_of",
    "drop_checkpoints",
    "load_checkpoint",
    "load_tensors",
    "load_weights",
    "newest_checkpoint",
    "read_checkpoint",
    "read_tensors",
    "save_checkpoint",
    "save_content",
    "save_tensors",
    "save_weights",
    "sound_checkpoint",
    "steps_of",
]

logger = logging.getLogger(__name__)

_STATE = "state.json"


def steps_of(path: Path) -> int | None:
    """Return the steps in the name of a checkpoint, or ``None`` for a name that is not one's."""
    found = re.fullmatch(r"step-(\d{8,})", path.name)
    return int(found[1]) if found else None


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the complete checkpoint with the most steps below ``folder``, if there is one."""
    return max(_complete(folder), default=None, key=steps_of)


def _complete(folder: Path) -> list[Path]:
    """Complete checkpoints, fewest steps first; what has another name is not ours."""
    paths = (path for path in Path(folder).glob("step-*") if steps_of(path) is not None)
    return sorted((path for path in paths if path.is_dir()), key=steps_of)


def save_checkpoint(
    accelerator: Accelerator, folder: Path, state: dict[str, Any], *, keep: int
) -> Path:
    """Save everything a run needs to go on, then drop the oldest checkpoints.

    All processes must call it. The folder is written under a temporary name, flushed to disk and
    renamed, so that a crash costs at most the work since the last checkpoint. ``state.json``
    holds the digest of every other file.

    Args:
        accelerator: Holds the prepared models, optimizers and registered objects.
        folder: Receives ``step-00001000``.
        state: Plain values to store beside the weights; must hold ``step``.
        keep: Newest checkpoints to keep, this one and older ones.

    Returns:
        Path of the checkpoint.

    Raises:
        OSError: If it cannot be written; the checkpoints before it are as they were.
    """
    path = Path(folder) / f"step-{state['step']:08d}"
    temporary = path.with_name(path.name + ".tmp")
    with naming_what_failed(path):
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        accelerator.wait_for_everyone()
        try:
            accelerator.save_state(str(temporary))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                digests = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
                write_record(temporary / _STATE, {**state, "files": digests})
                rename_folder(temporary, path, replace=True)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    if accelerator.is_main_process:
        drop_checkpoints(path.parent, keep=keep)
    accelerator.wait_for_everyone()
    return path


def drop_checkpoints(folder: Path, *, keep: int) -> None:
    """Remove all checkpoints but the newest, and what a killed process left half-written.

    A checkpoint loses its name first: killed in between, what is left of it is never taken for one.

    Args:
        folder: Folder of the checkpoints; there may be none.
        keep: Newest ones to keep.
    """
    for path in _complete(folder)[:-keep]:
        path.rename(path.with_name(path.name + ".tmp"))
    for path in Path(folder).glob("step-*.tmp"):
        if steps_of(path.with_suffix("")) is not None:
            shutil.rmtree(path, ignore_errors=True)


def sound_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint whose files are as they were written, if there is one.

    A damaged one that is newer is set aside as ``step-00001000.damaged``, and named in the log.

    Raises:
        FileError: If there are checkpoints and none is sound.
    """
    damaged: dict[Path, Exception] = {}
    for path in reversed(_complete(folder)):
        try:
            read_checkpoint(path)
        except (FileError, OSError) as error:
            damaged[path] = error
            continue
        for other, error in damaged.items():
            aside = _free_name(other.with_name(other.name + ".damaged"))
            other.rename(aside)
            logger.warning("%s; set aside as %s, going on from %s", error, aside.name, path.name)
        return path
    if damaged:
        error = next(iter(damaged.values()))
        raise FileError(
            f"{error}, and no older checkpoint is sound: bring the file back, or delete {folder} "
            "to train this stage from its start"
        )
    return None


def _free_name(path: Path) -> Path:
    """Return a name that nothing has."""
    tries = chain([path], (path.with_name(f"{path.name}-{number}") for number in count(2)))
    return next(each for each in tries if not each.exists())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint after a look at the digest of each of its files.

    Raises:
        FileNotFoundError: If a file is missing.
        FileError: If a file is not as it was written.
    """
    state = checkpoint_state(path)
    files = read_record(path / _STATE).get("files")
    if files is None:
        logger.warning("%s is of an older version, without digests: taken unchecked", path)
        return state
    for name, digest in files.items():
        file = path / Path(name).name
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing")
        if sha256(file) != digest:
            raise FileError(f"{file} is not as it was written (its sha256 differs)")
    return state


def checkpoint_state(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint, without a look at its other files.

    Raises:
        FileNotFoundError: If they are missing.
        FileError: If they are not as they were written, or those of another checkpoint.
    """
    state = read_record(path / _STATE, {"step": int})
    if state["step"] != steps_of(path):
        raise FileError(f"{path / _STATE} is that of step {state['step']}")
    state.pop("files", None)
    return state


def load_checkpoint(accelerator: Accelerator, path: Path) -> dict[str, Any]:
    """Restore a checkpoint into the prepared objects and return its plain values.

    No code in a file is ever run. What `sound_checkpoint` returned has been checked.

    Raises:
        FileNotFoundError: If the random state of this process is missing.
        FileError: If a file does not fit; names it.
    """
    path = Path(path)
    state = checkpoint_state(path)
    for file in path.glob("custom_checkpoint_*.pkl"):
        read_tensors(file)  # or raises: Accelerate would run what is in it
    random_states = path / f"random_states_{accelerator.process_index}.pkl"
    try:
        expected = accelerate.utils.load(random_states)["torch_manual_seed"]
        accelerator.load_state(str(path))
    except (RuntimeError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
        raise FileError(f"{path} does not fit the configuration: {shorten(error, 200)}") from error
    if not torch.equal(torch.get_rng_state(), expected):  # Accelerate goes on without a word
        raise FileError(f"{random_states} cannot be restored on this machine")
    return state


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as one safetensors file, atomically."""
    save_tensors(network.state_dict(), path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as one safetensors file, or as the ``model`` of a ``.pt`` file, atomically.

    A safetensors file names the digest of its tensors in its header, see `digest_of`.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if path.suffix == ".pt":
        save_content({"model": tensors}, path)
    else:
        metadata = {"sha256": digest_of(tensors)}  # one: their order is not fixed
        write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors: of name, type, shape and bytes of each, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


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
        return _read_safetensors(path)
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
        # Not its repr, in which a UnicodeDecodeError shows all the bytes.
        reason = f"{type(error).__name__}: {shorten(str(error))}"
        raise ValueError(f"{path} is not a PyTorch file: {reason}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(state).__name__}")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; if it names the digest of its tensors, that must be theirs."""
    try:
        with safe_open(path, "pt") as file:
            expected = (file.metadata() or {}).get("sha256")
        tensors = load_file(path)
    except (SafetensorError, RuntimeError, ValueError, KeyError, MemoryError) as error:
        raise ValueError(f"{path} is not a safetensors file: {shorten(error, 120)}") from error
    if expected is not None and digest_of(tensors) != expected:
        raise ValueError(f"{path} is damaged: its tensors are not those that were written")
    return tensors


def load_weights(network: nn.Module, path: Path) -> None:
    """Load weights written by `save_weights`, strictly.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is damaged or does not fit the network; says which tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: has the run finished this stage?")
    load_tensors(network, read_tensors(path), path)


def load_tensors(
    network: nn.Module,
    tensors: Mapping[str, Any],
    source: str | Path,
    *,
    what: str = "configuration",
) -> None:
    """Load a network's weights, strictly.

    Args:
        network: Receives them.
        tensors: Tensors by name.
        source: Where they are from, for the message.
        what: What they are to fit, for the message.

    Raises:
        ValueError: If they do not fit; says which tensors, how many, and what to do.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in tensors]
    unknown = [name for name in tensors if name not in own]
    others = [
        f"{name} {_shape(tensors[name])} instead of {_shape(own[name])}"
        for name in own
        if name in tensors and _shape(tensors[name]) != _shape(own[name])
    ]
    faults = [
        f"{len(names)} of {len(own)} {what} ({shorten(', '.join(names[:3]), 120)})"
        for names, what in (
            (missing, "are missing"),
            (unknown, "too many"),
            (others, "have another shape"),
        )
        if names
    ]
    if faults:
        raise ValueError(
            f"{source} does not fit the {what}: of its tensors {', '.join(faults)}; use the "
            "configuration it was trained with"
        )
    network.load_state_dict(tensors)


def _shape(tensor: Any) -> tuple[int, ...] | str:
    return tuple(tensor.shape) if isinstance(tensor, Tensor) else f"a {type(tensor).__name__}"
