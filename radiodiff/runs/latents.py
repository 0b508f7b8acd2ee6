"""The training maps' latents, encoded once instead of at every step.

The autoencoder is frozen in the second stage, so the posterior of a map never changes: its mean and
log-variance are kept in a file of the run folder, for each map under each symmetry that training
shows it in, since the autoencoder does not turn with the map. Posterior noise is drawn anew at
every step, as without the file.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset, Subset

from radiodiff.config import Config
from radiodiff.data import EightSymmetries, RadioMapSample, RadioMapSeer
from radiodiff.data.loading import sound_batches
from radiodiff.data.pack_reader import digest_of, scan
from radiodiff.data.posterior import WithPosterior
from radiodiff.files import FileError, read_record, sha256, write_record
from radiodiff.models import AutoencoderKL
from radiodiff.workers import process_state

__all__ = ["drop_latents", "with_latents"]

logger = logging.getLogger(__name__)

#: Raised whenever a kept file would be read otherwise.
_VERSION = 1
_FOLDER = "latents"
#: Maps encoded at a time, and seconds between two notes of how far it is.
_BATCH, _NOTE_S = 16, 5.0
#: Share of the free disk that latents may take.
_DISK_SHARE = 0.5


def with_latents(
    config: Config, run_dir: Path, dataset: Dataset[RadioMapSample], autoencoder: AutoencoderKL
) -> Dataset[RadioMapSample]:
    """Return the training maps with their posteriors, which are encoded first if need be.

    Stopped or killed, the same call goes on with the maps that are left. The first process encodes,
    the others wait. Where it does not pay (training sees fewer maps than there are), where maps
    change from time to time, or where the disk has no room, the dataset comes back as it is.

    Args:
        config: Data, autoencoder, process and training sections are used.
        run_dir: Folder of the run; receives ``latents/``.
        dataset: Training maps, under their symmetries if training uses them.
        autoencoder: Trained, on the device that encodes.
    """
    own = dataset.dataset if isinstance(dataset, EightSymmetries) else dataset
    state, training = process_state(), config.training
    seen = training.max_steps * training.batch_size * training.accumulation * state.num_processes
    if not (config.process.keep_latents and isinstance(own, RadioMapSeer)) or seen < len(dataset):
        return dataset
    folder = run_dir / _FOLDER
    path = folder / "posterior.npy"
    if state.is_main_process:
        key = _key(config, run_dir, own)
        try:
            _encode(path, key, dataset, autoencoder)
        except OSError as error:
            logger.warning("latents are not kept, every step encodes its maps: %s", error)
            drop_latents(run_dir)
    state.wait_for_everyone()
    return WithPosterior(dataset, path) if path.is_file() else dataset


def drop_latents(run_dir: Path) -> None:
    """Remove what `with_latents` kept."""
    shutil.rmtree(run_dir / _FOLDER, ignore_errors=True)


def _key(config: Config, run_dir: Path, dataset: RadioMapSeer) -> str:
    """Return a digest of all that the posteriors depend on."""
    parts: dict[str, Any] = {
        "version": _VERSION,
        "weights": sha256(run_dir / "autoencoder.safetensors"),
        "autoencoder": dataclasses.asdict(config.autoencoder),
        "data": dataclasses.asdict(config.data),
        "maps": [digest_of(scan(each)) for each in (dataset.gain_dir, dataset.mixed_in) if each],
        "names": dataset.names,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@torch.no_grad()
def _encode(
    path: Path, key: str, dataset: Dataset[RadioMapSample], autoencoder: AutoencoderKL
) -> None:
    """Write the posteriors of all maps that a file does not hold yet.

    Raises:
        OSError: If there is no room.
    """
    note = path.parent / "latents.json"
    done = _done(path, note, key)
    unfinished = path.with_suffix(".part")
    if done == len(dataset):
        if unfinished.is_file():
            unfinished.rename(path)
        return
    device = next(autoencoder.parameters()).device
    height, width = dataset[0].radio_map.shape[-2:]
    factor, channels = autoencoder.downsampling, 2 * autoencoder.config.latent_channels
    shape = (len(dataset), channels, height // factor, width // factor)
    path.parent.mkdir(parents=True, exist_ok=True)
    if done == 0:
        needed, free = 4 * int(np.prod(shape)), shutil.disk_usage(path.parent).free
        if needed > _DISK_SHARE * free:
            raise OSError(f"they need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")
        drop_latents(path.parent.parent)
        path.parent.mkdir()
        rows = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float32, shape=shape)
    else:
        rows = np.lib.format.open_memmap(unfinished, mode="r+")
    logger.info(
        "encoding %d of %d maps, once; writing to %s", len(dataset) - done, *shape[:1], path
    )
    left = Subset(dataset, range(done, len(dataset)))
    began = noted = time.monotonic()
    first = done
    for batch in sound_batches(DataLoader(left, batch_size=_BATCH, generator=torch.Generator())):
        posterior = autoencoder.encode(send_to_device(batch.radio_map, device))
        stop = done + len(batch.radio_map)
        rows[done:stop] = torch.cat([posterior.mean, posterior.log_variance], 1).cpu().numpy()
        done = stop
        if time.monotonic() - noted >= _NOTE_S:
            noted = time.monotonic()
            rows.flush()
            write_record(note, {"key": key, "done": done})
            seconds = (noted - began) / (done - first) * (len(dataset) - done)
            logger.info("encoded %d of %d maps, %.0f s left", done, len(dataset), seconds)
    rows.flush()
    write_record(note, {"key": key, "done": done})
    unfinished.rename(path)
    logger.info("encoded %d maps in %.0f s", done - first, time.monotonic() - began)


def _done(path: Path, note: Path, key: str) -> int:
    """Return how many maps a file of this key holds; 0 if there is none that can be gone on with."""
    try:
        found = read_record(note, {"key": str, "done": int})
    except (FileNotFoundError, FileError):
        return 0
    if found["key"] != key:
        logger.info("latents of another autoencoder or other maps are replaced")
        return 0
    is_there = path.is_file() or path.with_suffix(".part").is_file()
    return found["done"] if is_there else 0
