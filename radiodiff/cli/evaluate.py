"""``radiodiff evaluate``: score a run against baselines."""

import argparse
from pathlib import Path

from radiodiff.cli.options import add_run_dir
from radiodiff.evaluate import format_table
from radiodiff.files import project_path
from radiodiff.protocols import PROTOCOLS
from radiodiff.runs.evaluate import evaluate_run

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``evaluate``."""
    evaluate = commands.add_parser("evaluate", help="score a run against baselines")
    add_run_dir(evaluate)
    evaluate.add_argument("--out", type=Path, help="results folder (results/<name>)")
    evaluate.add_argument(
        "--protocol",
        action="append",
        choices=list(PROTOCOLS),
        metavar="NAME",
        help=(
            f"rule for the numbers, may be repeated: {', '.join(PROTOCOLS)} (without it all are "
            "stored and city is printed)"
        ),
    )
    evaluate.add_argument(
        "--allow-leak",
        action="store_true",
        help="judge although judged maps are in another split too; recorded in metrics.json",
    )
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    results_dir = options.out or project_path("results") / options.run_dir.resolve().name
    wanted = list(dict.fromkeys(options.protocol or ()))
    result = evaluate_run(
        options.run_dir,
        results_dir,
        protocols=wanted or tuple(PROTOCOLS),
        allow_leak=options.allow_leak,
    )
    for protocol in wanted or ["city"]:
        print(format_table(result, protocol) + "\n")
    print(f"figure:  {results_dir / 'predictions.png'}")
    print(f"metrics: {results_dir / 'metrics.json'}")
    print(f"run:     {options.run_dir}")
