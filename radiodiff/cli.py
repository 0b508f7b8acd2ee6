"""Command line: ``radiodiff simulate``, ``train`` and ``evaluate``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from radiodiff import __version__
from radiodiff.config import load_config, project_path
from radiodiff.data import DatasetError
from radiodiff.evaluate import format_table
from radiodiff.experiment import default_run_dir, evaluate_run, log_progress, show_log, train_run
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
    try:
        options.run(options)
    except (ValueError, OSError, DatasetError) as error:
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
    train.add_argument("--config", required=True, help="YAML file, or a name in configs/")
    train.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one key, e.g. train.max_steps=100; may be repeated",
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

    evaluate = commands.add_parser("evaluate", help="score a run against baselines")
    evaluate.add_argument("--run-dir", "--run", type=Path, required=True, help="run folder")
    evaluate.add_argument("--out", type=Path, help="results folder (results/<name>)")
    evaluate.set_defaults(run=_evaluate)
    return parser


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
    config = load_config(options.config, options.overrides)
    resume = {"auto": "auto", "true": True, "false": False}[options.resume]
    run_dir = train_run(config, options.run_dir or default_run_dir(config), resume=resume)
    if process_state().is_main_process:
        print(f"run: {run_dir}")


def _evaluate(options: argparse.Namespace) -> None:
    results_dir = options.out or project_path("results") / options.run_dir.resolve().name
    print(format_table(evaluate_run(options.run_dir, results_dir)))
    print(f"figure:  {results_dir / 'predictions.png'}")
    print(f"metrics: {results_dir / 'metrics.json'}")
    print(f"run:     {options.run_dir}")
