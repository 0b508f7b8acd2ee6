"""Training a run: a configuration becomes weights."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from radiodiff.checkpoint import load_weights, newest_checkpoint
from radiodiff.config import Config, save_config
from radiodiff.data import EightSymmetries
from radiodiff.data.open import make_dataset
from radiodiff.files import project_path, remove_temporaries, write_atomically
from radiodiff.models import AutoencoderKL, UNet, parameter_count
from radiodiff.runs.guard import STAGES, Stage, check_condition, check_run, last_checkpoint
from radiodiff.runs.sessions import record_session
from radiodiff.tasks import AutoencoderTask, DiffusionTask, measure_latent_scale
from radiodiff.trainer import OnCheckpoint, train
from radiodiff.workers import process_state

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
    initial_unet: Mapping[str, Tensor] | None = None,
    on_checkpoint: OnCheckpoint | None = None,
) -> Path:
    """Train both stages and return the run folder, which `RadioDiffPipeline.from_run` reads.

    The folder receives ``config.yaml`` (resolved) before the first step, one folder a stage, and
    ``autoencoder.safetensors``, ``latents.json`` and ``diffusion.safetensors`` as they are
    finished. Calling it again goes on from the newest checkpoint.

    Args:
        config: The run.
        run_dir: Folder of the run; ``runs/<name>`` if ``None``.
        resume: ``True`` needs a checkpoint, ``"auto"`` uses one if present, ``False`` requires
            that there is none.
        stages: Which stages to train; ``diffusion`` alone needs ``autoencoder.safetensors`` in
            the folder.
        initial_unet: Weights that the U-Net starts from instead of random ones.
        on_checkpoint: Called in the main process before each checkpoint, see `trainer.train`.

    Returns:
        The run folder.

    Raises:
        ConfigError: If the folder holds a run with another configuration or with more steps, or
            the network takes another number of condition channels than the data give.
        FileNotFoundError: If ``resume`` is ``True`` and there is no checkpoint.
        FileExistsError: If ``resume`` is ``False`` and there is one, or the folder holds weights
            of a stage without a checkpoint, as that of an imported run does.
        NonFiniteLossError: If a loss is not finite.
    """
    run_dir = Path(run_dir) if run_dir is not None else default_run_dir(config)
    if "diffusion" in stages:
        check_condition(config)
    check_run(config, run_dir, resume=resume, stages=stages)
    state = process_state()
    last = last_checkpoint(config, run_dir, stages[-1])
    newest = newest_checkpoint(last.parent)
    began = time.monotonic()
    dataset = make_dataset(config, "train")
    if state.is_main_process:
        remove_temporaries(run_dir)
        save_config(config, run_dir / "config.yaml")
        if newest != last:
            record_session(run_dir, time.monotonic() - began)
        logger.info("%d training maps of %d tiles", len(dataset), len(dataset.maps))
        logger.info("parameters: %s", _parameter_counts(config))
    training = EightSymmetries(dataset) if config.data.augment else dataset
    settings: dict[str, Any] = {
        "seed": config.seed,
        "workers": config.data.workers,
        "on_checkpoint": on_checkpoint,
    }
    # The latent scale is written after the first stage: with it the stage is over for good, since
    # the second builds on exactly these weights.
    if "autoencoder" in stages and not (run_dir / "latents.json").is_file():
        task = _seeded(config.seed, AutoencoderTask, config)
        train(task, training, config.train_autoencoder, run_dir, **settings)
    if "diffusion" not in stages:
        return run_dir
    autoencoder = _seeded(config.seed, AutoencoderKL, config.autoencoder)
    load_weights(autoencoder, run_dir / "autoencoder.safetensors")
    scale = _latent_scale(config, autoencoder.to(state.device).eval(), dataset, run_dir)
    task = _seeded(config.seed + 1, DiffusionTask, config, autoencoder, scale)
    if initial_unet is not None:
        task.unet.load_state_dict(initial_unet)
    train(task, training, config.train, run_dir, **settings)
    return run_dir


def _parameter_counts(config: Config) -> str:
    """Return the sizes of autoencoder and U-Net and their sum, as text."""
    with torch.device("meta"):
        autoencoder, unet = AutoencoderKL(config.autoencoder), UNet(config.unet)
    counts = {"autoencoder": parameter_count(autoencoder), "U-Net": parameter_count(unet)}
    counts["total"] = sum(counts.values())
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _seeded(seed: int, make: Any, *arguments: Any) -> nn.Module:
    """Build a module whose weights depend on the seed alone; leave global generators alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make(*arguments)


def _latent_scale(config: Config, autoencoder: AutoencoderKL, dataset: Any, run_dir: Path) -> float:
    """Return the configured or measured latent scale and keep it in ``latents.json``."""
    path = run_dir / "latents.json"
    state = process_state()
    if state.is_main_process and not path.is_file():
        scale = config.diffusion.latent_scale
        if config.diffusion.latent_scaling == "softsign":
            scale = 1.0
        scale = scale or _measure_scale(config, autoencoder, dataset)
        write_atomically(path, json.dumps({"latent_scale": scale}))
    state.wait_for_everyone()  # on every path: one process alone in a barrier waits for ever
    return json.loads(path.read_text())["latent_scale"]


def _measure_scale(config: Config, autoencoder: AutoencoderKL, dataset: Any) -> float:
    """Return 1 / standard deviation of the latents of maps spread evenly over a dataset."""
    device = next(autoencoder.parameters()).device
    count = min(config.diffusion.latent_scale_maps, len(dataset))
    chosen = Subset(dataset, range(0, count * (len(dataset) // count), len(dataset) // count))
    # A generator of its own: a loader draws from the global one otherwise.
    loader = DataLoader(chosen, batch_size=16, generator=torch.Generator())
    batches = (batch._replace(radio_map=batch.radio_map.to(device)) for batch in loader)
    generator = torch.Generator(device).manual_seed(config.seed)
    scale = measure_latent_scale(autoencoder, batches, generator)
    logger.info("latent scale %.4f, measured on training maps", scale)
    return scale
