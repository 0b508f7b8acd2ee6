"""What keeps a run one run: which folders it may go on in, and with which configuration."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from radiodiff.checkpoint import newest_checkpoint
from radiodiff.config import Config, ConfigError, load_config

__all__ = ["STAGES", "Stage", "check_condition", "check_run", "last_checkpoint"]

Stage = Literal["autoencoder", "diffusion"]

#: What a run trains, in order.
STAGES: tuple[Stage, ...] = ("autoencoder", "diffusion")

#: Sections, keys and fields that may change between a run and its continuation.
_FREE_KEYS = (
    "evaluate",
    "train.max_steps",
    "log_every",
    "sample_every",
    "sample_before",
    "checkpoint_every",
    "keep_checkpoints",
    "workers",
    "cache",
    "packed",
)


def check_run(
    config: Config,
    run_dir: Path,
    *,
    resume: bool | Literal["auto"] = "auto",
    stages: Sequence[Stage] = STAGES,
) -> None:
    """Refuse a folder in which `train_run` must not work; arguments and errors are the same."""
    newest = {stage: newest_checkpoint(run_dir / stage / "checkpoints") for stage in stages}
    if resume is True and not any(newest.values()):
        raise FileNotFoundError(f"resume is true, but {run_dir} holds no checkpoint")
    if resume is False and any(newest.values()):
        raise FileExistsError(f"resume is false, but {run_dir} holds a run: name another run_dir")
    _check_same_run(config, run_dir)
    for stage, checkpoint in newest.items():
        weights = run_dir / f"{stage}.safetensors"
        is_over = stage == "autoencoder" and (run_dir / "latents.json").is_file()
        if checkpoint is None and weights.is_file() and not is_over:
            raise FileExistsError(
                f"{weights} holds weights, but there is no checkpoint to go on from (was the run "
                "imported?): choose another run folder, or delete that one"
            )
    last, found = last_checkpoint(config, run_dir, stages[-1]), newest[stages[-1]]
    if found is not None and found.name > last.name:
        section = "train" if stages[-1] == "diffusion" else "train_autoencoder"
        raise ConfigError(
            f"{run_dir} has {found.name}, beyond {section}.max_steps "
            f"{getattr(config, section).max_steps}: "
            "ask for as many steps or more, or choose another run folder"
        )


def check_condition(config: Config) -> None:
    """Refuse data whose condition the network cannot take, before hours of a first stage."""
    if not config.condition_fits:
        given, encoder = config.data.condition_channels, config.unet.encoder
        key = f"{encoder}.in_channels" if encoder in ("swin", "conv") else "condition_mix_inputs"
        raise ConfigError(
            f"the data give {given} condition channels, the network takes "
            f"{config.unet.condition_inputs}: set unet.{key}={given}, or change section data"
        )


def _check_same_run(config: Config, run_dir: Path) -> None:
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
        if old.get(key) != new.get(key) and not {key, *key.split(".")} & set(_FREE_KEYS)
    ]
    if changed:
        shown = "; ".join(changed[:4]) + (f"; and {len(changed) - 4} more" * (len(changed) > 4))
        raise ConfigError(
            f"{run_dir} holds a run with another configuration ({shown}): "
            "choose another run folder or delete that one"
        )


def last_checkpoint(config: Config, run_dir: Path, stage: Stage) -> Path:
    """Return the checkpoint with which a stage will end."""
    training = config.train if stage == "diffusion" else config.train_autoencoder
    return run_dir / stage / "checkpoints" / f"step-{training.max_steps:08d}"
