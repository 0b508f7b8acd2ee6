"""Command line: ``radiodiff simulate``, ``train``, ``sample``, ``evaluate`` and ``reference``."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from radiodiff import __version__
from radiodiff.config import DataConfig, load_config, project_path
from radiodiff.data import DatasetError
from radiodiff.evaluate import format_table
from radiodiff.experiment import (
    default_run_dir,
    evaluate_run,
    log_progress,
    sample_run,
    show_log,
    train_run,
)
from radiodiff.reference import PROFILES, export_run, import_run, read_reference_config
from radiodiff.reference_training import train_reference_run
from radiodiff.simulate import CITY_NAMES, simulate_dataset
from radiodiff.trainer import NonFiniteLossError, process_state

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (training failed), 2 (bad input) or 130.

    Args:
        arguments: Words after ``radiodiff``; those of the process if ``None``.
    """
    options = _parser().parse_args(arguments)
    show_log(sys.stderr, "%(asctime)s %(message)s")
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        logging.getLogger("radiodiff").setLevel(logging.ERROR)
    try:
        options.run(options)
    except (ValueError, OSError, ImportError, DatasetError) as error:
        print(f"radiodiff: error: {error}", file=sys.stderr)
        return 2
    except NonFiniteLossError as error:
        print(f"radiodiff: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("radiodiff: interrupted; train and simulate go on when called again", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="radiodiff", description="Radio maps by diffusion.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    simulate = commands.add_parser("simulate", help="simulate a dataset in RadioMapSeer's layout")
    simulate.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    simulate.add_argument("--maps", type=int, required=True, help="city tiles")
    simulate.add_argument("--transmitters", type=int, required=True, help="transmitters per tile")
    simulate.add_argument("--size", type=int, default=256, help="cells along a side (256)")
    simulate.add_argument("--cell", type=float, default=1.0, help="side of a cell [m] (1.0)")
    simulate.add_argument("--seed", type=int, default=0, help="seed (0)")
    simulate.add_argument("--workers", type=int, default=1, help="processes (1)")
    simulate.add_argument(
        "--cities", default=",".join(CITY_NAMES), help="comma-separated, of: %(default)s"
    )
    simulate.set_defaults(run=_simulate)

    train = commands.add_parser("train", help="train a run, or go on with it")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", help="YAML file, or a name in configs/")
    source.add_argument(
        "--reference",
        type=Path,
        metavar="YAML",
        help="configuration file of the public RadioDiff code; needs --data",
    )
    _add_overrides(train, "train.max_steps=100; with --reference in that file's keys")
    _add_reference_options(train)
    train.add_argument(
        "--encoder-weights",
        type=_absolute,
        help="torchvision's file for the condition encoder (--reference)",
    )
    train.add_argument(
        "--perceptual-weights",
        type=_absolute,
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

    sample = commands.add_parser("sample", help="draw the maps of a split as pictures")
    sample.add_argument("--run-dir", "--run", type=Path, required=True, help="run folder")
    sample.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    sample.add_argument("--split", choices=("train", "val", "test"), help="maps (the run's)")
    sample.add_argument("--max-maps", type=int, help="first so many tiles (the run's)")
    sample.add_argument("--steps", type=int, help="denoiser calls (the run's)")
    sample.set_defaults(run=_sample)

    reference = commands.add_parser("reference", help="checkpoints of the public RadioDiff code")
    verbs = reference.add_subparsers(required=True, metavar="VERB")
    import_ = verbs.add_parser("import", help="make a run folder of a checkpoint")
    import_.add_argument("checkpoint", type=Path, help=".pt or .safetensors file")
    import_.add_argument("--config", type=Path, required=True, help="its YAML file")
    import_.add_argument("--out", type=Path, required=True, help="run folder to make")
    import_.add_argument(
        "--weights",
        choices=("auto", "ema", "model"),
        default="auto",
        help="averaged weights or not; auto takes the averaged ones if there are any",
    )
    _add_overrides(import_, "model.unet.dim=64, in the YAML file's keys")
    _add_reference_options(import_)
    import_.set_defaults(run=_import)
    export = verbs.add_parser("export", help="write a run's weights as the public code does")
    export.add_argument("run_dir", type=Path, help="run folder of profile R24 or R25")
    export.add_argument("--out", type=Path, required=True, help=".pt or .safetensors file")
    export.set_defaults(run=_export)

    evaluate = commands.add_parser("evaluate", help="score a run against baselines")
    evaluate.add_argument("--run-dir", "--run", type=Path, required=True, help="run folder")
    evaluate.add_argument("--out", type=Path, help="results folder (results/<name>)")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _absolute(path: str) -> str:
    """Return a path as a configuration may hold it: there, relative ones count from the project."""
    return str(Path(path).resolve())


def _add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change one key, e.g. {example}; may be repeated",
    )


def _add_reference_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=_absolute, help="dataset folder")
    parser.add_argument(
        "--profile", choices=tuple(PROFILES), help="state of the public code (told by the YAML)"
    )


def _simulate(options: argparse.Namespace) -> None:
    simulate_dataset(
        options.out,
        maps=options.maps,
        transmitters=options.transmitters,
        size=options.size,
        cell_size_m=options.cell,
        seed=options.seed,
        workers=options.workers,
        cities=options.cities.split(","),
        progress=log_progress("simulated %d of %d city tiles"),
    )
    print(f"dataset: {options.out}")


def _train(options: argparse.Namespace) -> None:
    resume = {"auto": "auto", "true": True, "false": False}[options.resume]
    if options.reference is None:
        names = ("data", "profile", "encoder_weights", "perceptual_weights")
        unused = [name for name in names if getattr(options, name) is not None]
        if unused:
            shown = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            raise ValueError(f"{shown} belongs to --reference, not to --config")
        config = load_config(options.config, options.overrides)
        run_dir = train_run(config, options.run_dir or default_run_dir(config), resume=resume)
    else:
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
        run_dir = train_reference_run(run, run_dir, resume=resume)
    if process_state().is_main_process:
        print(f"run: {run_dir}")


def _sample(options: argparse.Namespace) -> None:
    out_dir = sample_run(
        options.run_dir,
        options.out,
        split=options.split,
        max_maps=options.max_maps,
        steps=options.steps,
    )
    print(f"pictures: {out_dir}")


def _import(options: argparse.Namespace) -> None:
    run = import_run(
        options.checkpoint,
        options.config,
        options.out,
        data_root=options.data or DataConfig.root,
        profile=PROFILES.get(options.profile),
        overrides=options.overrides,
        which=options.weights,
    )
    print(f"profile: {run.profile.name}, {run.stage}")
    print(f"run: {options.out}")


def _export(options: argparse.Namespace) -> None:
    count = export_run(options.run_dir, options.out)
    print(f"{count} tensors: {options.out}")


def _evaluate(options: argparse.Namespace) -> None:
    results_dir = options.out or project_path("results") / options.run_dir.resolve().name
    print(format_table(evaluate_run(options.run_dir, results_dir)))
    print(f"figure:  {results_dir / 'predictions.png'}")
    print(f"metrics: {results_dir / 'metrics.json'}")
    print(f"run:     {options.run_dir}")
