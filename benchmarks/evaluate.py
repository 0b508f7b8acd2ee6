"""Time to score a map: samples of several maps drawn together and several processes, or neither.

    .venv/bin/python -m benchmarks.evaluate --out results/benchmarks/evaluate.json

Both ways score the same run and the baselines that it is compared with, all protocols included, on
the maps that the run's configuration names; its dataset is simulated first if it is not there. The
peer takes map after map in one process. A process has one thread. The ways take turns, so that
other load on the machine falls on both, and a first turn does not count; each number is the median
of five. A turn whose scores are not equal to 0.001 dB is an error. Loading the run and fitting the
baselines, which both share, is not in the times; starting the processes is.
"""

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common import (
    Row,
    make_parser,
    make_report,
    median_and_spread,
    provenance,
    publish,
)
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSeer
from radiodiff.data.open import make_dataset
from radiodiff.files import project_path
from radiodiff.predictors import (
    PipelinePredictor,
    Predictor,
    RadioDiffPipeline,
    dataset_conditions,
    make_predictor,
)
from radiodiff.runs.evaluate import BASELINES
from radiodiff.scoring import evaluate
from radiodiff.threads import cores

REPEATS = 5
#: Two scores are equal if they are no further apart [dB, or 1].
TOLERANCE = 1e-3


class Seconds(NamedTuple):
    """Time of a map [s]."""

    wall: float
    """On the clock."""
    cpu: float
    """Of all processes together."""


def main() -> None:
    """Measure and publish."""
    parser = make_parser(__doc__)
    parser.add_argument("--run-dir", type=Path, default="results/small", help="finished run")
    parser.add_argument("--max-maps", type=int, help="first so many tiles (the run's)")
    parser.add_argument("--workers", type=int, default=cores(), help="processes (one a core)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"turns ({REPEATS})")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run_dir = project_path(options.run_dir)
    report = measure(
        run_dir, max_maps=options.max_maps, workers=options.workers, repeats=options.repeats
    )
    publish(report, options.out)


def measure(run_dir: Path, *, max_maps: int | None, workers: int, repeats: int) -> dict[str, Any]:
    """Return the report on a run.

    Args:
        run_dir: Folder of a finished run.
        max_maps: Use only the first so many tiles; the run's number if ``None``.
        workers: Processes of our way.
        repeats: Turns that count.

    Raises:
        ValueError: If the ways do not give equal scores.
    """
    made = provenance("torch", "numpy", device=torch.device("cpu"))
    pipeline = RadioDiffPipeline.from_run(run_dir, device="cpu")
    config = pipeline.config.evaluate
    channels = pipeline.space.channels
    training = make_dataset(pipeline.config, "train", channels=channels)
    judged = make_dataset(
        pipeline.config, config.split, channels=channels, max_maps=max_maps or config.max_maps
    )
    model = PipelinePredictor(pipeline, conditions=dataset_conditions(judged))
    predictors = {"radiodiff": model}
    predictors |= {name: make_predictor(name, training) for name in BASELINES}
    turns = take_turns(predictors, judged, config, workers=workers, repeats=repeats)
    parameters = {
        "run": pipeline.config.name,
        "maps": len(judged),
        "shape": list(judged[0].radio_map.shape[1:]),
        "samples": config.samples,
        "batch_size": config.batch_size,
        "workers": workers,
        "threads_of_a_process": torch.get_num_threads(),
        "repeats": repeats,
    }
    what = "scoring a run and its baselines: several maps and processes at once, or map by map"
    return make_report("evaluate", what, compare(turns), made=made, parameters=parameters)


def take_turns(
    predictors: Mapping[str, Predictor],
    dataset: RadioMapSeer,
    config: EvaluateConfig,
    *,
    workers: int,
    repeats: int,
) -> list[tuple[Seconds, Seconds]]:
    """Return the times of our way and of the peer's, turn by turn; a first turn does not count.

    Raises:
        ValueError: If they do not give equal scores.
    """
    one_by_one = dataclasses.replace(config, batch_size=1)
    turns = []
    for _ in range(repeats + 1):
        seconds, results = [], []
        for settings, processes in ((config, workers), (one_by_one, 1)):
            began = _clocks()
            results.append(evaluate(predictors, dataset, settings, workers=processes))
            seconds.append(
                Seconds(*((b - a) / len(dataset) for a, b in zip(began, _clocks(), strict=True)))
            )
        check_equal(*results)
        turns.append(tuple(seconds))
    return turns[1:]


def _clocks() -> Seconds:
    """Return what the clock says, and the time that this process and ended ones worked [s]."""
    used = os.times()
    cpu = used.user + used.system + used.children_user + used.children_system
    return Seconds(time.perf_counter(), cpu)


def check_equal(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> None:
    """Raise unless two evaluations have the same scores.

    Raises:
        ValueError: If one is further from the other than `TOLERANCE`; names it.
    """
    found, expected = dict(_scores(ours)), dict(_scores(peer))
    for name, value in expected.items():
        if not abs(found[name] - value) <= TOLERANCE:
            raise ValueError(f"{' '.join(name)} is {found[name]}, map by map it is {value}")


def _scores(result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield every score of an evaluation with its name."""
    for protocol, content in result["protocols"].items():
        for method, metrics in content["scores"].items():
            for metric, score in metrics.items():
                yield (protocol, method, metric), score["value"]


def compare(turns: list[tuple[Seconds, Seconds]]) -> list[Row]:
    """Return the rows of the report."""
    rows = []
    for clock, what in (("wall", "time of a map"), ("cpu", "time of all processes for a map")):
        ours, peer = ([getattr(one, clock) for one in way] for way in zip(*turns, strict=True))
        median, spread = median_and_spread(ours, 5)
        median_of_peer, spread_of_peer = median_and_spread(peer, 5)
        times = [b / a for a, b in zip(ours, peer, strict=True)]
        factor, spread_of_factor = median_and_spread(times, 3)
        details = {
            "times_faster": factor,
            "spread_of_times_faster": list(spread_of_factor),
            "spread_of_peer": list(spread_of_peer),
        }
        rows.append(Row(clock, what, "s", median, median_of_peer, "map by map", spread, details))
    return rows


if __name__ == "__main__":
    main()
