"""How long training takes until a model is good: processor seconds and error, method by method.

    .venv/bin/python -m benchmarks.time_to_quality --out results/benchmarks/time_to_quality.json

Every method trains on the same maps (`sim-demo`) in one thread. The error on the validation city
(Paris) is told while it trains; the test city (Florence) is judged once, at the end. Seconds are
those of the processor, validation included, and are also given as operations that matrix products
would have done in that time on the same machine. Making the maps and the condition's channels is
not counted: it is done once, and measured by ``benchmarks.simulate``. Called again, it goes on with
the methods that the file does not have.
"""

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import (
    Row,
    earlier_rows,
    make_parser,
    make_report,
    matrix_ceiling_gflops,
    provenance,
    publish,
)
from radiodiff.config import Config, load_config
from radiodiff.data.open import make_dataset
from radiodiff.files import project_path, read_json_lines
from radiodiff.progress import show_log
from radiodiff.runs.caches import fill_channels
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.train import train_run

logger = logging.getLogger("radiodiff.benchmarks")

#: Errors on the validation city whose times are told [dB].
LEVELS_DB = (6, 4, 3, 2)
_NO_PATH = (
    "data.condition=[buildings,transmitter,distance_law,line_of_sight]",
    "network.plain.in_channels=4",
    "process.residual_to=distance_law",
)


@dataclasses.dataclass(frozen=True)
class Method:
    """A configuration and changes to it."""

    config: str
    overrides: tuple[str, ...] = ()


#: Name of a row to what is trained.
METHODS = {
    "with the dominant path, 500 steps": Method("demo", ("training.max_steps=500",)),
    "with the dominant path, 1500 steps": Method("demo", ("training.max_steps=1500",)),
    "with line of sight, 1600 steps": Method("demo", (*_NO_PATH, "training.max_steps=1600")),
    "with line of sight, 4000 steps": Method("demo", (*_NO_PATH, "training.max_steps=4000")),
    "latent diffusion, 480 steps": Method(
        "demo-latent", ("autoencoder_training.validate_every=50", "training.validate_every=20")
    ),
}


def main() -> None:
    """Train what is missing; publish after each method."""
    parser = make_parser(__doc__)
    parser.add_argument("--only", nargs="*", choices=tuple(METHODS), help="these methods alone")
    parser.add_argument("--runs", type=Path, default=project_path("runs/time_to_quality"))
    options = parser.parse_args()
    show_log(sys.stderr)
    torch.set_num_threads(1)
    rows = earlier_rows(options.out)
    for name in options.only or METHODS:
        if name in rows:
            continue
        rows[name] = measure(name, METHODS[name], options.runs)
        logger.info("%s: %s", name, rows[name].as_json())
        ordered = [rows[method] for method in METHODS if method in rows]
        what = "processor seconds of training in one thread, and the error they bring"
        publish(make_report("time_to_quality", what, ordered), options.out)


def measure(name: str, method: Method, runs: Path) -> Row:
    """Train one method and judge it.

    Args:
        name: Of the row; names the run folder too.
        method: What is trained.
        runs: Receives the run folder; a run that was stopped goes on.
    """
    config = load_config(method.config, method.overrides)
    made = provenance("torch", "numpy", "accelerate")
    for split in ("train", "val"):  # what is not there yet is made before, and does not count
        fill_channels(make_dataset(config, split))
    ceiling = matrix_ceiling_gflops()
    run = train_run(config, runs / name.replace(", ", "-").replace(" ", "-"))
    spent, curve = read_curve(config, run)
    result = evaluate_run(run, run / "results", predictors=["dominant_path"])
    error = result["protocols"]["city"]["scores"]["radiodiff"]["rmse_db"]
    until = {
        str(level): next((s for s, error_db in curve if error_db <= level), None)
        for level in LEVELS_DB
    }
    return Row(
        name=name,
        what="processor seconds of training",
        unit="s",
        ours=spent,
        peer=None,
        peer_name=None,
        details={
            "config": method.config,
            "overrides": list(method.overrides),
            "test_rmse_db": {key: round(error[key], 3) for key in ("value", "low", "high")},
            "judged": result["judged"],
            "validation_rmse_db": curve,
            "until_db": until,
            "ceiling_gflops": ceiling,
            "tflop_at_ceiling": round(spent * ceiling / 1e3, 2),
        },
        made_by=made,
    )


def read_curve(config: Config, run: Path) -> tuple[float, list[tuple[float, float]]]:
    """Return processor seconds of all stages [s], and seconds and error [dB] as a run learns.

    The first stage counts whole before the second begins; its own errors are of reconstructions
    and are left out.
    """
    before, rows = 0.0, []
    stages = ["autoencoder", "diffusion"] if config.process.space == "latent" else ["diffusion"]
    for stage in stages:
        before += rows[-1]["cpu_seconds"] if rows else 0.0
        rows: list[dict[str, Any]] = read_json_lines(run / stage / "log.jsonl")
    curve = [
        (round(before + row["cpu_seconds"], 1), round(row["validation_rmse_db"], 3))
        for row in rows
        if "validation_rmse_db" in row
    ]
    return round(before + rows[-1]["cpu_seconds"], 1), curve


if __name__ == "__main__":
    main()
