"""``radiodiff evaluate``: score a run against baselines."""

import argparse
from pathlib import Path

from radiodiff.cli.choices import PROTOCOLS
from radiodiff.cli.options import add_run_dir
from radiodiff.files import project_path

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``evaluate``."""
    evaluate = commands.add_parser("evaluate", help="score a run against baselines")
    add_run_dir(evaluate)
    evaluate.add_argument("--out", type=Path, help="results folder (results/<name>)")
    evaluate.add_argument(
        "--protocol",
        action="append",
        choices=PROTOCOLS,
        metavar="NAME",
        help=(
            f"rule for the numbers, may be repeated: {', '.join(PROTOCOLS)} (without it all are "
            "stored and city is printed)"
        ),
    )
    evaluate.add_argument(
        "--predictor",
        action="append",
        metavar="NAME|RUN",
        help=(
            "compare with this instead of the three usual baselines, may be repeated: a name such "
            "as kriging (a wrong one lists them all), or the folder of a run"
        ),
    )
    evaluate.add_argument(
        "--allow-leak",
        action="store_true",
        help="judge although judged maps are in another split too; recorded in metrics.json",
    )
    evaluate.add_argument("--workers", type=int, help="processes (the run's)")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from radiodiff.runs.evaluate import BASELINES, evaluate_run
    from radiodiff.scoring import format_table

    results_dir = options.out or project_path("results") / options.run_dir.resolve().name
    wanted = list(dict.fromkeys(options.protocol or ()))
    result = evaluate_run(
        options.run_dir,
        results_dir,
        protocols=wanted or PROTOCOLS,
        predictors=options.predictor or BASELINES,
        allow_leak=options.allow_leak,
        workers=options.workers,
    )
    for protocol in wanted or ["city"]:
        print(format_table(result, protocol) + "\n")
    figure = results_dir / "predictions.png"
    print(f"figure:  {figure if figure.is_file() else 'none, see above'}")
    print(f"metrics: {results_dir / 'metrics.json'}")
    print(f"run:     {options.run_dir}")
