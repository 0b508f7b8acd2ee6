"""What keeps a run one run: which folders it may go on in, and with which configuration."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from radiodiff.checkpoint import checkpoint_state, newest_checkpoint, steps_of
from radiodiff.config import Config, TrainingConfig, load_config
from radiodiff.files import FileError
from radiodiff.settings import ConfigError
from radiodiff.workers import process_state

__all__ = ["SECTION_OF_STAGE", "STAGES", "Stage", "check_run", "last_checkpoint", "stage_config"]

Stage = Literal["autoencoder", "diffusion"]

#: What a run trains, in order.
STAGES: tuple[Stage, ...] = ("autoencoder", "diffusion")

#: Section of the configuration that sets how a stage is trained.
SECTION_OF_STAGE: dict[Stage, str] = {
    "autoencoder": "autoencoder_training",
    "diffusion": "training",
}

#: Sections, keys and fields that may change between a run and its continuation.
_FREE_KEYS = (
    "evaluate",
    "sampler",
    "training.max_steps",
    "log_every",
    "sample_every",
    "sample_before",
    "cache_latents",
    "checkpoint_every",
    "keep_checkpoints",
    "workers",
    "cache",
    "packed",
    "on_nonfinite",
)

#: Keys of a stage that a run may continue with if together, and with the number of processes,
#: they make steps of as many maps.
_BATCH_KEYS = ("batch_size", "accumulation")


def stage_config(config: Config, stage: Stage) -> TrainingConfig:
    """Return the section that sets how a stage is trained."""
    return getattr(config, SECTION_OF_STAGE[stage])


def last_checkpoint(config: Config, run_dir: Path, stage: Stage) -> Path:
    """Return the checkpoint with which a stage will end."""
    steps = stage_config(config, stage).max_steps
    return run_dir / stage / "checkpoints" / f"step-{steps:08d}"


def check_run(
    config: Config,
    run_dir: Path,
    *,
    resume: bool | Literal["auto"] = "auto",
    stages: Sequence[Stage] = STAGES,
) -> None:
    """Refuse what `train_run` must not do; arguments and errors are the same.

    This is the one place where a resumption is judged: the trainer goes on from what it finds.
    """
    if "diffusion" in stages:
        _check_condition(config)
    newest = {stage: newest_checkpoint(run_dir / stage / "checkpoints") for stage in stages}
    if resume is True and not any(newest.values()):
        raise FileNotFoundError(f"resume is true, but {run_dir} holds no checkpoint")
    if resume is False and any(newest.values()):
        raise FileExistsError(f"resume is false, but {run_dir} holds a run: name another run_dir")
    free = {
        f"{SECTION_OF_STAGE[stage]}.{key}"
        for stage, checkpoint in newest.items()
        if checkpoint is not None and _has_same_batch(config, stage, checkpoint)
        for key in _BATCH_KEYS
    }
    _check_same_run(config, run_dir, free)
    for stage, checkpoint in newest.items():
        weights = run_dir / f"{stage}.safetensors"
        is_over = stage == "autoencoder" and (run_dir / "latents.json").is_file()
        if checkpoint is None and weights.is_file() and not is_over:
            raise FileExistsError(
                f"{weights} holds weights, but there is no checkpoint to go on from (was the run "
                "imported?): choose another run folder, or delete that one"
            )
    last, found = last_checkpoint(config, run_dir, stages[-1]), newest[stages[-1]]
    if found is not None and steps_of(found) > steps_of(last):
        raise ConfigError(
            f"{run_dir} has {found.name}, beyond {SECTION_OF_STAGE[stages[-1]]}.max_steps "
            f"{stage_config(config, stages[-1]).max_steps}: "
            "ask for as many steps or more, or choose another run folder"
        )


def _check_condition(config: Config) -> None:
    """Refuse data whose condition the network cannot take, before hours of a first stage."""
    if not config.condition_fits:
        given, key = config.channels, config.network.input_key
        raise ConfigError(
            f"the data give {len(given)} condition channels ({', '.join(given)}), the network "
            f"takes {config.network.condition_inputs}: set network.{key}={len(given)}, or change "
            "section data"
        )


def _has_same_batch(config: Config, stage: Stage, checkpoint: Path) -> bool:
    """Whether a checkpoint says how many maps a step had; refuse to go on with another number."""
    try:
        state = checkpoint_state(checkpoint)
    except (FileError, OSError):  # a damaged one: an older one is gone on from, or none
        return False
    if "maps_per_step" not in state:  # of an older version
        return False
    settings, processes = stage_config(config, stage), process_state().num_processes
    batch = settings.batch_size * settings.accumulation
    if batch * processes != state["maps_per_step"]:
        raise ConfigError(
            f"{checkpoint} is of steps of {state['maps_per_step']} maps on {state['processes']} "
            f"processes; this would be {batch * processes} maps on {processes}: start as many "
            f"processes as before, or set {SECTION_OF_STAGE[stage]}.batch_size so that a step has "
            "as many maps"
        )
    return True


def _check_same_run(config: Config, run_dir: Path, free: Collection[str]) -> None:
    """Refuse to continue a run under a configuration that would make it another run."""
    path = run_dir / "config.yaml"
    if not path.is_file():
        return

    def flat(value: Any, prefix: str = "") -> dict[str, Any]:
        if not dataclasses.is_dataclass(value):
            return {prefix[:-1]: value}
        rows: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            rows |= flat(getattr(value, field.name), f"{prefix}{field.name}.")
        return rows

    old, new = flat(load_config(path)), flat(config)
    changed = [
        f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not {key, *key.split(".")} & {*_FREE_KEYS, *free}
    ]
    if changed:
        shown = "; ".join(changed[:4]) + (f"; and {len(changed) - 4} more" * (len(changed) > 4))
        raise ConfigError(
            f"{run_dir} holds a run with another configuration ({shown}, by its {path.name}): "
            "choose another run folder or delete that one"
        )
