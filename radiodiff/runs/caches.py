"""What a run computes once, ahead of its steps: latents of its maps and slow channels."""

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff.config import Config
from radiodiff.data import LatentCache, RadioMapSample, RadioMapSeer, WithLatents
from radiodiff.data.options import MapDataset
from radiodiff.data.pack_reader import digest_of, scan
from radiodiff.files import sha256
from radiodiff.models import AutoencoderKL
from radiodiff.progress import show_progress
from radiodiff.threads import cores
from radiodiff.workers import process_state, run_jobs

__all__ = ["fill_channels", "with_latents"]

logger = logging.getLogger(__name__)

#: Raised whenever kept latents would be others for the same weights and maps.
_VERSION = 1

#: Share of the free space of a disk that latents may take [1]; checkpoints need some too.
_DISK_SHARE = 0.9

#: Maps whose channels a process makes before it tells that they are there.
_CHUNK = 16
#: Maps that are worth the start of further processes.
_MANY_MAPS = 200


def with_latents(
    config: Config,
    run_dir: Path,
    maps: MapDataset,
    items: Dataset[RadioMapSample],
    autoencoder: AutoencoderKL,
) -> Dataset[RadioMapSample]:
    """Return training items with their latents, which are encoded here if they are not kept yet.

    The autoencoder is not equivariant: each symmetry of a map is an item of its own, and is encoded
    as it is. Latents are float32 in every precision. Processes share the blocks among themselves.
    A cache only saves work: where it would not, as for fewer steps than maps, or where the disk has
    no room for it, the items are returned as they are, and one line says why.

    Args:
        config: The run.
        run_dir: Its folder, with ``autoencoder.safetensors``; receives ``latent_cache/``.
        maps: The training maps.
        items: What is trained on: the maps, or the maps under their symmetries.
        autoencoder: The frozen first stage, on the device of this process.

    Raises:
        DatasetError: If a map cannot be read.
    """
    state = process_state()
    if not config.process.cache_latents or not isinstance(maps, RadioMapSeer):
        return items
    settings, count = config.training, len(items)
    drawn = settings.max_steps * settings.batch_size * settings.accumulation * state.num_processes
    if count > drawn:
        _log("latents are not cached: %d maps, of which training draws %d", count, drawn)
        return items
    sides = (side // autoencoder.downsampling for side in maps[0].radio_map.shape[-2:])
    shape = (count, 2, config.autoencoder.latent_channels, *sides)
    cache = LatentCache(run_dir / "latent_cache", _key(config, run_dir, maps), shape)
    if state.is_main_process:
        _try(cache.claim)
    state.wait_for_everyone()
    missing = cache.missing()
    needed, free = cache.bytes_of(missing), shutil.disk_usage(run_dir).free
    state.wait_for_everyone()  # nobody writes before everybody has looked
    if needed > _DISK_SHARE * free:
        gigabytes = (needed / 1e9, run_dir, free / 1e9)
        _log("latents are not cached: they take %.1f GB, %s has %.1f GB", *gigabytes)
    else:
        own = [block for block in missing if block % state.num_processes == state.process_index]

        @torch.no_grad()
        def encode(radio_maps: Tensor) -> Tensor:
            posterior = autoencoder.encode(radio_maps.to(state.device))
            return torch.stack([posterior.mean, posterior.log_variance], dim=1)

        _try(cache.build, own, items, encode)
    state.wait_for_everyone()
    is_complete = not cache.missing()
    state.wait_for_everyone()
    return WithLatents(items, cache) if is_complete else items


def _key(config: Config, run_dir: Path, maps: RadioMapSeer) -> dict[str, Any]:
    """Return what latents depend on."""
    folders = [maps.gain_dir, *([maps.mixed_in] if maps.mixed_in is not None else [])]
    keys = ("simulation", "irt2_max_weight", "threshold", "seed", "augment")
    return {
        "version": _VERSION,
        "weights": sha256(run_dir / "autoencoder.safetensors"),
        "autoencoder": dataclasses.asdict(config.autoencoder),
        "maps": {folder.name: digest_of(scan(folder)) for folder in folders},
        "names": maps.names,
        "data": {key: getattr(config.data, key) for key in keys},
    }


def _try(function: Any, *arguments: Any) -> None:
    """Call what only saves work; where it cannot write, training does without."""
    try:
        function(*arguments)
    except OSError as error:
        logger.warning("latents are not cached: %s", error)


def fill_channels(dataset: MapDataset, *, workers: int | None = None) -> None:
    """Make the slow condition channels that a dataset keeps and that are missing.

    A dataset makes them too when it is asked for a sample, one map at a time; here processes share
    the maps. Whatever ends it, the files that are there stay.

    Args:
        dataset: Maps; others than RadioMapSeer's keep no channels.
        workers: Processes; as many as there are cores if ``None``, one for a few maps.

    Raises:
        DatasetError: If an image is missing or unreadable; names the file.
    """
    if not isinstance(dataset, RadioMapSeer):
        return
    with process_state().main_process_first():
        missing = dataset.without_channels() if process_state().is_main_process else []
        if not missing:
            return
        if workers is None:
            workers = cores() if len(missing) >= _MANY_MAPS else 1
        _make(dataset, missing, workers)


def _make(dataset: RadioMapSeer, missing: Sequence[int], workers: int) -> None:
    """Visit the samples that lack a channel, in chunks."""
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    jobs = [(dataset.part(chunk),) for chunk in chunks]
    done = 0
    try:
        with show_progress("made the condition channels of", "maps") as progress:
            progress(0, len(missing))
            for number, _ in run_jobs(_visit, jobs, workers):
                done += len(chunks[number])
                progress(done, len(missing))
    except BrokenProcessPool as error:
        logger.warning("a process that makes condition channels died: made when needed: %s", error)


def _visit(part: RadioMapSeer) -> None:
    """Read every sample, which makes its channels and keeps them."""
    for index in range(len(part)):
        part[index]


def _log(message: str, *arguments: Any) -> None:
    """Log once, not once a process."""
    if process_state().is_main_process:
        logger.info(message, *arguments)
