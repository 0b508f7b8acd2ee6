"""Runs that a configuration file of the public RadioDiff code describes.

The trainer, the data and the run folder are ours; the file decides sizes, batches, schedules and
cadences. Beside our checkpoints, from which a stopped run goes on, each milestone is written as
the public code names and fills it: ``model-3.pt`` and ``sample-3.png``.
"""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from radiodiff.checkpoint import newest_checkpoint, save_content
from radiodiff.config import Config
from radiodiff.ema import EMA
from radiodiff.files import read_json, sha256, write_atomically
from radiodiff.reference import (
    R25,
    UNET_PREFIX,
    ReferenceRun,
    parameter_counts,
    read_weights,
    run_state_dict,
    save_reference_parts,
    split_weights,
    unet_state_dict,
)
from radiodiff.runs.guard import SECTION_OF_STAGE, check_run, stage_config
from radiodiff.runs.train import train_run
from radiodiff.settings import ConfigError
from radiodiff.tasks import AutoencoderTask, Task
from radiodiff.workers import process_state

__all__ = ["train_reference_run"]

logger = logging.getLogger(__name__)


def train_reference_run(
    run: ReferenceRun, run_dir: Path, *, resume: bool | Literal["auto"] = "auto"
) -> Path:
    """Train what a configuration file of the public code says and return the run folder.

    A file of the first stage gives a folder with an autoencoder; a file of the second builds on
    the autoencoder that it names and gives a folder that `RadioDiffPipeline.from_run` reads.

    Args:
        run: The file, read by `radiodiff.reference.read_reference_config`.
        run_dir: Folder of the run.
        resume: ``True`` needs a checkpoint, ``"auto"`` uses one if present, ``False`` requires
            that there is none.

    Returns:
        The run folder.

    Raises:
        ConfigError: If the file names no first stage, or asks for weights or a resumption that
            are not to be had.
        FileNotFoundError: If a file of weights does not exist.
        ValueError: If weights do not fit.
    """
    run_dir = Path(run_dir)
    state = process_state()
    config = _adapted(run, state.num_processes)
    check_run(config, run_dir, resume=resume, stages=(run.stage,))
    _check_resume(run, run_dir)
    if state.is_main_process:
        counts = parameter_counts(run)
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        logger.info(
            "profile %s; parameters as the public code counts them: %s", run.profile.name, shown
        )
        _warn_of_size(run, config, counts)
    initial = None
    if run.stage == "diffusion":
        if run.pretrained_encoder and config.encoder_weights_file is None:
            raise ConfigError(
                f"the file has the condition encoder ({config.network.encoder}) start from "
                "ImageNet weights: name torchvision's file with --encoder-weights (for swin_b "
                "https://download.pytorch.org/models/swin_b-68c6b09e.pth), or start from random "
                "ones with --set model.unet.without_pretrain=true"
            )
        with state.main_process_first():
            initial = _place_first_stage(run, config, run_dir)

    def write_milestone(step: int, task: Task, ema: EMA) -> None:
        _write_milestone(run, config, run_dir, step, task, ema)

    return train_run(
        config,
        run_dir,
        resume=resume,
        stages=(run.stage,),
        initial_network=initial,
        on_checkpoint=write_milestone,
    )


def _adapted(run: ReferenceRun, processes: int) -> Config:
    """Return the configuration for this number of processes."""
    config = run.config
    training = stage_config(config, run.stage)
    if training.batch_size % processes:
        raise ConfigError(
            f"data.batch_size {training.batch_size} is that of all processes together in the "
            f"public code and must be a multiple of their number, {processes}"
        )
    training = replace(training, batch_size=training.batch_size // processes)
    return replace(config, **{SECTION_OF_STAGE[run.stage]: training})


def _check_resume(run: ReferenceRun, run_dir: Path) -> None:
    """Say what ``resume_milestone`` comes to; ours go on from the newest checkpoint."""
    if not run.resume_milestone:
        return
    if not run.saves_state:
        raise ConfigError(
            "trainer.resume_milestone needs trainer.enable_resume: true, in the public code too"
        )
    newest = newest_checkpoint(run_dir / run.stage / "checkpoints")
    logger.info(
        "resume_milestone %d: going on from %s",
        run.resume_milestone,
        newest or "the start, since there is no checkpoint, as in the public code",
    )


def _warn_of_size(run: ReferenceRun, config: Config, counts: dict[str, int]) -> None:
    """Log what all milestones together will take on disk (T14)."""
    training = stage_config(config, run.stage)
    count = training.max_steps // training.checkpoint_every
    one = counts.get("total", counts["first stage"])
    size = 4e-9 * one * (2 if run.saves_state else 1)
    if count * size > 1:
        logger.warning(
            "%d milestones of up to %.2f GB each, %.0f GB in the end: "
            "trainer.save_and_sample_every sets how many",
            count,
            size,
            count * size,
        )


def _place_first_stage(
    run: ReferenceRun, config: Config, run_dir: Path
) -> dict[str, Tensor] | None:
    """Put the autoencoder that the file names into the run folder, once.

    Returns:
        Weights that the U-Net starts from, if the file names any.
    """
    note, sources = run_dir / "first_stage.json", _sources(run)
    if note.is_file() and read_json(note) != sources:
        raise ConfigError(
            f"{run_dir} was started from other weights (first_stage.json there says which): "
            "choose another run folder"
        )
    initial = None
    if run.initial_weights:
        state = read_weights(Path(run.initial_weights), "model")
        if run.initial_unet_only:
            initial = unet_state_dict(state, config.network)
        else:  # whole: its autoencoder and its latent scale belong to its U-Net
            weights = split_weights(state, config.autoencoder, config.network)
            initial = weights.unet
    if note.is_file():
        return initial
    if not run.initial_weights or run.initial_unet_only:
        path = Path(str(run.first_stage_weights))
        weights = split_weights(read_weights(path), config.autoencoder, None)
    elif weights.scale_factor is not None:
        scale = {"latent_scale": weights.scale_factor}
        write_atomically(run_dir / "latents.json", json.dumps(scale))
    own = run.initial_weights and not run.initial_unet_only
    logger.info("first stage from %s", run.initial_weights if own else run.first_stage_weights)
    if run.profile is R25 and not config.network.condition_mix_inputs:
        # July 2025 owns this layer for five condition channels whether it is used or not.
        for part, shape in (("weight", (3, 5, 1, 1)), ("bias", (3,))):
            weights.rest.setdefault(f"{UNET_PREFIX}init_conv_carK.{part}", torch.zeros(shape))
    save_reference_parts(weights, run_dir)
    write_atomically(note, json.dumps(sources))
    return initial


def _sources(run: ReferenceRun) -> dict[str, str]:
    """Return digests of the files that a second stage builds on."""
    names = {"initial": run.initial_weights, "first stage": run.first_stage_weights}
    if run.initial_weights and not run.initial_unet_only:
        del names["first stage"]  # the whole file brings its own
    elif not run.first_stage_weights:
        raise ConfigError(
            "model.first_stage.ckpt_path is empty: the diffusion needs a trained autoencoder. "
            "Train one with first_radio.yaml and name its model-N.pt with "
            "--set model.first_stage.ckpt_path=FILE"
        )
    for path in filter(None, names.values()):
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file {path}")
    return {kind: sha256(Path(path)) for kind, path in names.items() if path}


def _write_milestone(
    run: ReferenceRun, config: Config, run_dir: Path, step: int, task: Task, ema: EMA
) -> None:
    """Write ``model-<n>.pt`` and ``sample-<n>.png`` if a step is a milestone."""
    training = stage_config(config, run.stage)
    if step % training.checkpoint_every:
        return
    milestone = step // training.checkpoint_every
    content: dict[str, Any] = {"model": _state(config, run_dir, task, task.averaged.state_dict())}
    if run.saves_state:
        averaged = _state(config, run_dir, task, ema.state_dict())
        last_update = (step - 1) // training.ema_every * training.ema_every
        started = last_update > training.ema_start
        content |= {
            "step": step,
            "ema": {
                "initted": torch.tensor([started]),
                "step": torch.tensor([step]),
                **{f"online_model.{key}": value for key, value in content["model"].items()},
                **{f"ema_model.{key}": value for key, value in averaged.items()},
            },
        }
    path = run_dir / f"model-{milestone}.pt"
    save_content(content, path)
    samples = run_dir / task.name / f"samples-{step:08d}.png"
    if samples.is_file():
        shutil.copyfile(samples, run_dir / f"sample-{milestone}.png")
    logger.info("milestone %d: %s", milestone, path)


def _state(
    config: Config, run_dir: Path, task: Task, network: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the weights of a stage under the public code's names, on the CPU."""
    network = {key: value.detach().cpu() for key, value in network.items()}
    if not isinstance(task, AutoencoderTask):
        autoencoder = {key: value.cpu() for key, value in task.frozen[0].state_dict().items()}
        return run_state_dict(run_dir, config, autoencoder, network)
    state = run_state_dict(run_dir, config, network, None)
    if "discriminator" in task.passes:
        for key, value in task.discriminator.state_dict().items():
            state[f"loss.discriminator.{key}"] = value.detach().cpu()
    return state
