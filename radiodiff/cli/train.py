"""``radiodiff train``: a configuration, ours or one of the public code, becomes a run."""

import argparse
from pathlib import Path
from typing import Literal

from radiodiff.cli.options import absolute, add_overrides, add_reference_options, report

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``train``."""
    train = commands.add_parser("train", help="train a run, or go on with it")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", help="YAML file, or a name in configs/")
    source.add_argument(
        "--reference",
        type=Path,
        metavar="YAML",
        help="configuration file of the public RadioDiff code; needs --data",
    )
    add_overrides(train, "training.max_steps=100; with --reference in that file's keys")
    add_reference_options(train)
    train.add_argument(
        "--encoder-weights",
        type=absolute,
        help="torchvision's file for the condition encoder (--reference)",
    )
    train.add_argument(
        "--perceptual-weights",
        type=absolute,
        help="VGG16 and LPIPS weights for the first stage (--reference)",
    )
    # torchrun takes --run for an abbreviation of an option of its own; --run-dir passes.
    train.add_argument("--run-dir", "--run", type=Path, help="run folder (runs/<name>)")
    train.add_argument(
        "--resume",
        choices=("auto", "true", "false"),
        default="auto",
        help="auto: go on from a checkpoint if there is one; true: need one; false: refuse one",
    )
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int | None:
    from radiodiff.trainer import NonFiniteLossError
    from radiodiff.workers import process_state

    resume = {"auto": "auto", "true": True, "false": False}[options.resume]
    train = _train_own if options.reference is None else _train_reference
    try:
        run_dir = train(options, resume)
    except NonFiniteLossError as error:
        return report(error, status=1)
    if process_state().is_main_process:
        print(f"run: {run_dir}")
    return None


def _train_own(options: argparse.Namespace, resume: bool | Literal["auto"]) -> Path:
    from radiodiff.config import load_config
    from radiodiff.runs.train import train_run

    names = ("data", "profile", "encoder_weights", "perceptual_weights")
    unused = [name for name in names if getattr(options, name) is not None]
    if unused:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise ValueError(f"{shown} belongs to --reference, not to --config")
    return train_run(load_config(options.config, options.overrides), options.run_dir, resume=resume)


def _train_reference(options: argparse.Namespace, resume: bool | Literal["auto"]) -> Path:
    from radiodiff.reference import PROFILES, read_reference_config
    from radiodiff.reference.training import train_reference_run
    from radiodiff.runs.train import default_run_dir

    if options.data is None:
        raise ValueError("--reference needs --data ROOT: the public code has its folder inside")
    run = read_reference_config(
        options.reference,
        data_root=options.data,
        profile=PROFILES.get(options.profile),
        overrides=options.overrides,
        encoder_weights=options.encoder_weights,
        perceptual_weights=options.perceptual_weights,
    )
    run_dir = options.run_dir or default_run_dir(run.config)
    return train_reference_run(run, run_dir, resume=resume)
