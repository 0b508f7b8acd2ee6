"""Training a run: a configuration becomes weights."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from radiodiff.checkpoint import drop_checkpoints, load_tensors, load_weights, newest_checkpoint
from radiodiff.config import Config, save_config
from radiodiff.data import EightSymmetries, RadioMapSeer
from radiodiff.data.open import make_dataset
from radiodiff.data.options import MapDataset
from radiodiff.files import project_path, remove_temporaries, write_record
from radiodiff.models import AutoencoderKL, make_network, parameter_count
from radiodiff.predictors.familiar import SceneStatistics
from radiodiff.predictors.pipeline import RadioDiffPipeline, mean_run
from radiodiff.predictors.space import Space, read_scale, write_scale
from radiodiff.runs.caches import fill_channels, with_latents
from radiodiff.runs.guard import STAGES, Stage, check_run, last_checkpoint
from radiodiff.runs.sessions import record_session
from radiodiff.runs.validation import make_validation
from radiodiff.tasks import AutoencoderTask, GenerativeTask, measure_scale
from radiodiff.trainer import OnCheckpoint, train
from radiodiff.workers import only_writer, process_state

__all__ = ["default_run_dir", "train_run"]

logger = logging.getLogger(__name__)


def default_run_dir(config: Config) -> Path:
    """Return ``runs/<name>`` of the project."""
    return project_path(Path("runs") / config.name)


def train_run(
    config: Config,
    run_dir: Path | None = None,
    *,
    resume: bool | Literal["auto"] = "auto",
    stages: Sequence[Stage] = STAGES,
    initial_network: Mapping[str, Tensor] | None = None,
    on_checkpoint: OnCheckpoint | None = None,
) -> Path:
    """Train a run's stages and return its folder, which `RadioDiffPipeline.from_run` reads.

    A process on maps has no first stage. The folder receives ``config.yaml`` (resolved) before the
    first step, one folder a stage, and ``autoencoder.safetensors``, ``latents.json`` and
    ``diffusion.safetensors`` as they are finished. Calling it again goes on from the newest
    checkpoint.

    Args:
        config: The run.
        run_dir: Folder of the run; ``runs/<name>`` if ``None``.
        resume: ``True`` needs a checkpoint, ``"auto"`` uses one if present, ``False`` requires
            that there is none.
        stages: Which stages to train; ``diffusion`` alone needs ``autoencoder.safetensors`` in
            the folder.
        initial_network: Weights that the network of the process starts from instead of random ones.
        on_checkpoint: Called in the main process before each checkpoint, see `trainer.train`.

    Returns:
        The run folder.

    Raises:
        ConfigError: If the folder holds a run with another configuration or with more steps, or
            the network takes another number of condition channels than the data give.
        FileNotFoundError: If ``resume`` is ``True`` and there is no checkpoint.
        FileExistsError: If ``resume`` is ``False`` and there is one, or the folder holds weights
            of a stage without a checkpoint, as that of an imported run does.
        BlockingIOError: If another process trains in the folder.
        NonFiniteLossError: If a loss, a gradient or a weight is not finite.
        Stopped: After a signal that asks to stop, with a checkpoint written.
    """
    run_dir = Path(run_dir) if run_dir is not None else default_run_dir(config)
    check_run(config, run_dir, resume=resume, stages=stages)  # writes nothing
    with only_writer(run_dir, wait=False) if process_state().is_main_process else nullcontext():
        _train_stages(config, run_dir, stages, initial_network, on_checkpoint)
    return run_dir


def _train_stages(
    config: Config,
    run_dir: Path,
    stages: Sequence[Stage],
    initial_network: Mapping[str, Tensor] | None,
    on_checkpoint: OnCheckpoint | None,
) -> None:
    """Train what is not trained yet, in a folder that is held."""
    mean = mean_run(config, device=process_state().device) if "diffusion" in stages else None
    # Of the network, and of the run whose maps the process adds to.
    channels = Space(config, None, 1.0, mean).channels if mean is not None else None
    dataset = _open_training_maps(config, run_dir, stages[-1], channels)
    items = EightSymmetries(dataset) if config.data.augment else dataset
    learn = partial(
        train,
        run_dir=run_dir,
        seed=config.seed,
        workers=config.data.workers,
        on_checkpoint=on_checkpoint,
    )
    # The scale is written after the first stage: with it the stage is over for good, since the
    # second builds on exactly these weights.
    is_over = config.process.space == "map" or (run_dir / "latents.json").is_file()
    first = config.autoencoder_training
    if "autoencoder" in stages and not is_over:
        validate = make_validation(config, first, channels)
        task = _seeded(config.seed, AutoencoderTask, config)
        learn(task, items, config=first, validate=validate)
    elif process_state().is_main_process:  # a process that was killed may have left one too many
        drop_checkpoints(run_dir / "autoencoder/checkpoints", keep=first.keep_checkpoints)
    if "diffusion" in stages:
        task = _generative_task(config, run_dir, dataset, mean)
        if initial_network is not None:
            load_tensors(task.averaged, initial_network, "the initial network")
        if config.process.space == "latent" and not _is_finished(config, run_dir, "diffusion"):
            items = with_latents(config, run_dir, dataset, items, task.frozen[0])
        validate = make_validation(config, config.training, channels)
        learn(task, items, config=config.training, validate=validate)


def _open_training_maps(
    config: Config, run_dir: Path, stage: Stage, channels: tuple[str, ...] | None
) -> MapDataset:
    """Open the training maps, and note configuration and session unless the stage is finished."""
    is_finished = _is_finished(config, run_dir, stage)
    began = time.monotonic()
    dataset = make_dataset(config, "train", channels=channels)
    fill_channels(dataset)
    if process_state().is_main_process:
        remove_temporaries(run_dir)
        save_config(config, run_dir / "config.yaml")
        _note_scenes(dataset, run_dir)
        if not is_finished:
            record_session(run_dir, time.monotonic() - began)
        logger.info("%d training maps of %d tiles", len(dataset), len(dataset.maps))
        logger.info("parameters: %s", _parameter_counts(config))
    return dataset


def _is_finished(config: Config, run_dir: Path, stage: Stage) -> bool:
    """Whether the last checkpoint of a stage is there."""
    last = last_checkpoint(config, run_dir, stage)
    return newest_checkpoint(last.parent) == last


def _note_scenes(dataset: MapDataset, run_dir: Path) -> None:
    """Keep in ``scenes.json`` what the training scenes are like, one a tile."""
    if not isinstance(dataset, RadioMapSeer):
        return
    scenes = (dataset[index].scene for index in dataset.first_of_each_tile)
    write_record(run_dir / "scenes.json", SceneStatistics.of_scenes(scenes)._asdict())


def _generative_task(
    config: Config, run_dir: Path, dataset: MapDataset, mean: RadioDiffPipeline | None
) -> GenerativeTask:
    """Return the task of the second stage, on the autoencoder in the run folder if it has one."""
    autoencoder = None
    if config.process.space == "latent":
        autoencoder = _seeded(config.seed, AutoencoderKL, config.autoencoder)
        load_weights(autoencoder, run_dir / "autoencoder.safetensors")
        autoencoder.to(process_state().device).eval()
    scale = _scale(Space(config, autoencoder, 1.0, mean), dataset, run_dir)
    return _seeded(config.seed + 1, GenerativeTask, config, autoencoder, scale, mean)


def _parameter_counts(config: Config) -> str:
    """Return the sizes of autoencoder, if there is one, and network and their sum, as text."""
    with torch.device("meta"):
        counts = {"U-Net": parameter_count(make_network(config.network))}
        if config.process.space == "latent":
            autoencoder = AutoencoderKL(config.autoencoder)
            counts = {"autoencoder": parameter_count(autoencoder), **counts}
    counts["total"] = sum(counts.values())
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _seeded(seed: int, make: Any, *arguments: Any) -> nn.Module:
    """Build a module whose weights depend on the seed alone; leave global generators alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make(*arguments)


def _scale(space: Space, dataset: MapDataset, run_dir: Path) -> float:
    """Return the configured or measured scale of ``x_0`` and keep it in ``latents.json``."""
    process = space.config.process
    state = process_state()
    if state.is_main_process and not (run_dir / "latents.json").is_file():
        scale = 1.0 if process.scaling == "softsign" else process.scale
        write_scale(run_dir, scale or _measured_scale(space, dataset, state.device))
    state.wait_for_everyone()  # on every path: one process alone in a barrier waits for ever
    return read_scale(run_dir)


def _measured_scale(space: Space, dataset: MapDataset, device: torch.device) -> float:
    """Return 1 / standard deviation of ``x_0`` of maps spread evenly over a dataset."""
    count = min(space.config.process.scale_maps, len(dataset))
    chosen = Subset(dataset, range(0, count * (len(dataset) // count), len(dataset) // count))
    # A generator of its own: a loader draws from the global one otherwise.
    loader = DataLoader(chosen, batch_size=16, generator=torch.Generator())
    batches = (
        batch._replace(radio_map=batch.radio_map.to(device), condition=batch.condition.to(device))
        for batch in loader
    )
    generator = torch.Generator(device).manual_seed(space.config.seed)
    scale = measure_scale(space, batches, generator)
    logger.info("latent scale %.4f, measured on training maps", scale)
    return scale
