"""Drawing the radio maps of a split as pictures."""

import dataclasses
import hashlib
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from radiodiff import units
from radiodiff.config import EvaluateConfig
from radiodiff.data import EdgeDataset, EdgeImages, RadioMapSample
from radiodiff.data.loading import sound_batches
from radiodiff.data.open import make_dataset
from radiodiff.data.options import MapDataset
from radiodiff.files import read_json, sha256, write_atomically
from radiodiff.memory import keep_memory
from radiodiff.predictors import draw_maps
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.progress import log_progress
from radiodiff.sampler import SamplerConfig, make_schedule
from radiodiff.scoring.journal import Journal
from radiodiff.workers import need_one_process, only_writer

__all__ = ["sample_run"]

logger = logging.getLogger(__name__)


def sample_run(
    run_dir: Path,
    out_dir: Path,
    *,
    split: Literal["train", "val", "test"] | None = None,
    max_maps: int | None = None,
    steps: int | None = None,
    device: str | None = None,
) -> Path:
    """Draw the radio maps of a split and write them as 8-bit gray pictures.

    Each map's noise is a function of the run's ``evaluate.seed`` and, unless all share one noise,
    of its name, so no picture depends on the batch size. Stopped, the same call goes on: pictures
    of the same weights and settings are kept, which ``sample.json`` tells; ``.sample.journal``
    lists them with their digests. Nothing else in the folder is changed or taken for one of them.

    Args:
        run_dir: Folder of a finished or imported run.
        out_dir: Receives ``<map>_<transmitter>.png``: gray level as in the dataset's files; for
            pictures, ``<picture>.png`` with their edges.
        split: Which maps; those of the run's ``evaluate`` section if ``None``.
        max_maps: Use only the first so many tiles; the run's number if ``None``.
        steps: Denoiser calls; those of the run if ``None``.
        device: Where the networks run; a GPU if there is one.

    Returns:
        ``out_dir``.

    Raises:
        FileNotFoundError: If the run has not finished.
        FileExistsError: If a picture of the folder has a name that is to be written, but was not
            drawn here; names it.
        BlockingIOError: If another process writes to the folder.
        DatasetError: If its dataset is not there, or an image of it cannot be read.
        ValueError: If the folder holds pictures of other weights or settings, a number is below
            1, several processes were launched, or edges are to be drawn for random crops.
    """
    need_one_process("sampling")
    if max_maps is not None and max_maps < 1:
        raise ValueError(f"max_maps must be at least 1, got {max_maps}")
    keep_memory()
    pipeline = RadioDiffPipeline.from_run(run_dir, device=device)
    settings = dataclasses.replace(pipeline.config.evaluate, samples=1)
    sampler = pipeline.config.sampler
    if steps is not None:
        sampler = dataclasses.replace(sampler, steps=steps)
    make_schedule(sampler, pipeline.process)  # or raises
    dataset = make_dataset(
        pipeline.config,
        split or settings.split,
        channels=pipeline.space.channels if pipeline.config.data.has_decibels else None,
        max_maps=settings.max_maps if max_maps is None else max_maps,
    )
    if isinstance(dataset, EdgeDataset):
        raise ValueError("edges are drawn for whole pictures, those of split test")
    out_dir = Path(out_dir)
    with only_writer(out_dir, wait=False):
        journal = _claim_folder(out_dir, Path(run_dir), settings, sampler, dataset.names)
        _draw_pictures(pipeline, dataset, out_dir, settings, sampler, journal)
    return out_dir


def _claim_folder(
    out_dir: Path,
    run_dir: Path,
    settings: EvaluateConfig,
    sampler: SamplerConfig,
    names: Sequence[str],
) -> Journal:
    """Note in a folder what its pictures are made of; refuse one that holds others.

    Returns:
        Name and digest of the pictures that were drawn, those that are still there.
    """
    drawn_from = {
        "weights_sha256": sha256(run_dir / "diffusion.safetensors"),
        **{name: getattr(sampler, name) for name in ("steps", "schedule")},
        **{name: getattr(settings, name) for name in ("seed", "shared_noise")},
    }
    note = out_dir / "sample.json"
    if note.is_file() and read_json(note) != drawn_from:
        raise ValueError(f"{out_dir} holds pictures of other weights or settings: name another")
    journal = Journal(out_dir / ".sample.journal", drawn_from)
    journal.rows = [row for row in journal.rows if (out_dir / row["name"]).is_file()]
    digests = {row["name"]: row["sha256"] for row in journal.rows}
    others = sorted({path.name for path in out_dir.glob("*.png")} - digests.keys())
    altered = [name for name in digests if sha256(out_dir / name) != digests[name]]
    taken = [f"{name}.png" for name in names if f"{name}.png" in {*others, *altered}]
    if taken:
        raise FileExistsError(
            f"{out_dir / taken[0]} was not drawn by this command ({len(taken)} such files): move "
            "it away, or name another folder"
        )
    if others:
        logger.warning(
            "%d pictures in %s are not of this run, first %s: they stay",
            len(others),
            out_dir,
            others[0],
        )
    write_atomically(note, json.dumps(drawn_from, indent=1) + "\n")
    return journal


def _draw_pictures(
    pipeline: RadioDiffPipeline,
    dataset: MapDataset,
    out_dir: Path,
    settings: EvaluateConfig,
    sampler: SamplerConfig,
    journal: Journal,
) -> None:
    """Draw the maps that the folder lacks."""
    names = [f"{name}.png" for name in dataset.names]
    there = {row["name"] for row in journal.rows}
    left = [k for k, name in enumerate(names) if name not in there]
    if len(left) < len(names):
        logger.info("kept %d maps that were there", len(names) - len(left))
    report = log_progress("drew %d of %d maps")
    done = len(names) - len(left)
    batch_size = 1 if isinstance(dataset, EdgeImages) else settings.batch_size  # sides differ
    for batch in sound_batches(DataLoader(Subset(dataset, left), batch_size=batch_size)):
        gray = _drawn_gray(pipeline, batch, settings, sampler).clamp(0, 1)[:, 0]
        for name, picture in zip(batch.name, (255 * gray + 0.5).byte().numpy(), strict=True):
            content = io.BytesIO()
            Image.fromarray(picture).save(content, format="PNG")
            digest = hashlib.sha256(content.getvalue()).hexdigest()
            journal.append({"name": f"{name}.png", "sha256": digest})  # before it is there: ours
            write_atomically(out_dir / f"{name}.png", content.getvalue())
        done += len(batch.name)
        report(done, len(names))


def _drawn_gray(
    pipeline: RadioDiffPipeline,
    batch: RadioMapSample,
    settings: EvaluateConfig,
    sampler: SamplerConfig,
) -> Tensor:
    """Return a drawn map for each of a batch as gray levels of the files."""
    drawn = draw_maps(
        pipeline,
        batch.condition,
        [(name, 0) for name in batch.name],
        seed=settings.seed,
        sampler=sampler,
        shared_noise=settings.shared_noise,
    )
    if pipeline.config.data.has_decibels:
        return units.path_gain_db_to_gray(pipeline.path_gain_db(drawn).double().cpu())
    return units.model_to_gray(drawn.cpu())
