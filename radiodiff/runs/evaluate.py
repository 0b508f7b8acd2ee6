"""Scoring a run: numbers with where they come from, and a figure."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radiodiff.config import Config, EvaluateConfig
from radiodiff.data import RadioMapSeer, path_gain_db, split_overlap, transmitter_cell
from radiodiff.data.open import make_dataset
from radiodiff.data.pack_reader import digest_of, scan
from radiodiff.data.splits import read_manifest
from radiodiff.files import (
    project_path,
    remove_temporaries,
    sha256,
    shorten,
    write_atomically,
)
from radiodiff.memory import keep_memory
from radiodiff.plots import plot_predictions, save_figure
from radiodiff.predictors import (
    PipelinePredictor,
    Predictor,
    dataset_conditions,
    make_predictor,
    mean_of_samples,
)
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.provenance import made_by
from radiodiff.runs.caches import fill_channels
from radiodiff.runs.sessions import processes_of_run, seconds_of_run, trained_at
from radiodiff.scene import stack_scenes
from radiodiff.scoring import PROTOCOLS, check_protocols, evaluate
from radiodiff.scoring.journal import Journal
from radiodiff.settings import read_yaml, resolve
from radiodiff.workers import need_one_process, only_writer

__all__ = ["BASELINES", "evaluate_run"]

logger = logging.getLogger(__name__)

#: What a run is compared with unless others are named.
BASELINES = ("mean_training_map", "distance_law", "dominant_path")

_FIGURE_MAPS = 4

_UNFAIR = (
    "a score would be no fair test: {}. Choose other settings in section data, or score all the "
    "same with --allow-leak (allow_leak=True), which the results will tell"
)


def evaluate_run(
    run_dir: Path,
    results_dir: Path,
    *,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    predictors: Sequence[str] = BASELINES,
    device: str | None = None,
    allow_leak: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    """Score a run and its baselines on held-out cities; write numbers with provenance and a figure.

    Stopped or killed, the same call goes on with the maps that are left. The numbers are written
    first; a figure that fails is told in the log and left out.

    Args:
        run_dir: Folder of a finished run.
        results_dir: Receives ``metrics.json`` and ``predictions.png``.
        protocols: Rules for the numbers, see `radiodiff.scoring.PROTOCOLS`; all if not given.
        predictors: What the run is compared with: names in `radiodiff.predictors.PREDICTORS`, or
            folders of runs.
        device: Where the networks run; a GPU if there is one.
        allow_leak: Score all the same where it is no fair test: judged maps are in another split
            too, or the condition is computed from the truth. The results say so under ``leak``.
        workers: Processes that predict and score, see `radiodiff.scoring.evaluate`; those of the
            run's ``evaluate`` section if ``None``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        FileNotFoundError: If the run has not finished.
        BlockingIOError: If another process writes to the results folder.
        DatasetError: If its dataset is not there, or an image of it cannot be read.
        ValueError: If several processes were launched, there is no such protocol, the run's maps
            are not path gain on the scale of the files, or it is no fair test and ``allow_leak``
            is false; names the maps; or there is no such predictor.
    """
    need_one_process("evaluation")
    check_protocols(protocols)
    keep_memory()
    began = time.monotonic()
    run_dir, results_dir = Path(run_dir), Path(results_dir)
    pipeline = RadioDiffPipeline.from_run(run_dir, device=device)
    made = made_by("torch", "numpy", "numba", "accelerate", device=pipeline.device)
    config = pipeline.config
    training, held_out = _open_splits(config, pipeline.space.channels)
    leak = _leaks(config, held_out)
    if leak and not allow_leak:
        raise ValueError(_UNFAIR.format("; ".join(leak.values())))
    fill_channels(held_out)
    judged = {"radiodiff": _model(pipeline, held_out)}
    judged |= {_shown(name): make_predictor(name, training, device=device) for name in predictors}
    maps = f"{len(held_out)} maps of {len(held_out.maps)} tiles"
    about = {  # asked before the work, so that no file that is missing costs it
        "judged": f"{config.data.root}, {held_out.split}: {maps}",
        "run": config.name,
        "seed": config.seed,
        **made,
        "trained_at": trained_at(run_dir),
        "processes": processes_of_run(run_dir),
        "data": _describe(training, held_out),
        "config": resolve(read_yaml(run_dir / "config.yaml")),
        "seconds": seconds_of_run(run_dir),
    }
    with only_writer(results_dir, wait=False):
        remove_temporaries(results_dir, below=False)
        key = _key(about, held_out, run_dir, protocols, predictors)
        journal = Journal(results_dir / ".evaluation.journal", key)
        began -= sum(row["seconds"] for row in journal.rows)
        result = evaluate(
            judged,
            held_out,
            config.evaluate,
            protocols=protocols,
            journal=journal,
            workers=config.evaluate.workers if workers is None else workers,
        )
        seconds, settings = about.pop("seconds"), about.pop("config")
        evaluation = time.monotonic() - began
        result |= about | {"wall_time_s": _wall_time_s(seconds, evaluation), "config": settings}
        result |= {"leak": leak} if leak else {}
        write_atomically(results_dir / "metrics.json", json.dumps(result, indent=1) + "\n")
        journal.remove()
        _write_figure(held_out, judged["radiodiff"], config.evaluate, results_dir)
    return result


def _key(
    about: dict[str, Any],
    held_out: RadioMapSeer,
    run_dir: Path,
    protocols: Sequence[str],
    predictors: Sequence[str],
) -> dict[str, Any]:
    """Return what the scores of a batch depend on: those of another key are not gone on with."""
    mean = about["config"].get("process", {}).get("residual_to")
    runs = [run_dir, *map(Path, predictors), *([project_path(mean)] if mean else [])]
    weights = [file for run in runs for file in sorted(run.glob("*.safetensors"))]
    kept = ("commit", "device", "versions", "config", "data")
    return {key: about[key] for key in kept} | {
        "protocols": list(protocols),
        "predictors": list(predictors),
        "weights": [sha256(file) for file in weights],
        "maps": digest_of(scan(held_out.gain_dir)),
        "judged": held_out.names,
    }


def _open_splits(config: Config, channels: tuple[str, ...]) -> tuple[RadioMapSeer, RadioMapSeer]:
    """Open the maps of the training and those that are judged."""
    if not config.data.has_decibels or config.data.threshold:
        raise ValueError(
            "scores are defined for path gain on the scale of RadioMapSeer's files, but the run "
            f"has data.source {config.data.source} and data.threshold {config.data.threshold:g}: "
            "look at its maps with `radiodiff sample`"
        )
    judged = config.evaluate
    return (
        make_dataset(config, "train", channels=channels),
        make_dataset(config, judged.split, channels=channels, max_maps=judged.max_maps),
    )


def _model(pipeline: RadioDiffPipeline, dataset: RadioMapSeer) -> Predictor:
    """Return a run as a predictor of a dataset's scenes."""
    return PipelinePredictor(
        pipeline,
        shared_noise=pipeline.config.evaluate.shared_noise,
        conditions=dataset_conditions(dataset),
    )


def _shown(name: str) -> str:
    """Return a predictor's name, or that of a run's folder, as a table shows it."""
    return Path(name).name.replace("_", " ")


def _leaks(config: Config, held_out: RadioMapSeer) -> dict[str, str]:
    """Return what makes a score no fair test, by kind; empty for a fair one."""
    leaks = {}
    judged = set(held_out.maps)
    for pair, maps in split_overlap(config.data.splits, root=held_out.root).items():
        shared = [m for m in maps if m in judged]
        if held_out.split in pair and shared:
            name = " and ".join(pair)
            leaks[name] = f"{name} share {len(shared)} maps: {', '.join(map(str, shared))}"
    if config.data.k2_channels:
        leaks["condition"] = "k² maps in the condition are computed from the maps to predict"
    return leaks


def _write_figure(
    dataset: RadioMapSeer, model: Predictor, config: EvaluateConfig, results_dir: Path
) -> None:
    """Draw truth and prediction of the first transmitter of a few tiles, if it can be done.

    The numbers are written by then: whatever goes wrong here is told, and costs nothing else.
    """
    path = results_dir / "predictions.png"
    try:
        figure = plot_predictions(_figure_rows(dataset, model, config))
        save_figure(figure, path)
    except Exception as error:
        path.unlink(missing_ok=True)  # an older one shows another prediction
        reason = shorten(f"{type(error).__name__}: {error}", 200)
        logger.warning("no figure %s, the numbers are written: %s", path, reason)


def _figure_rows(
    dataset: RadioMapSeer, model: Predictor, config: EvaluateConfig
) -> list[dict[str, Any]]:
    """Return what the figure shows of each tile."""
    samples = [dataset[index] for index in dataset.first_of_each_tile[:_FIGURE_MAPS]]
    scenes = stack_scenes([sample.scene for sample in samples])
    predictions = mean_of_samples(model(scenes, samples=config.samples, seed=config.seed))
    return [
        {
            "name": sample.name,
            "truth_db": path_gain_db(sample),
            "prediction_db": prediction[0].numpy(),
            "building_mask": ~sample.outdoor_mask[0].numpy(),
            "transmitter_cell": transmitter_cell(sample),
        }
        for sample, prediction in zip(samples, predictions, strict=True)
    ]


def _describe(training: RadioMapSeer, held_out: RadioMapSeer) -> dict[str, Any]:
    """Say what the numbers were computed on."""
    described = read_manifest(training.root) or {}
    cities = {row["id"]: row["city"] for row in described.pop("maps", [])}
    return {
        "source": "simulated" if described.get("generator") else "RadioMapSeer",
        **described,
        **{
            dataset.split: {
                "tiles": len(dataset.maps),
                "maps": len(dataset),
                "cities": sorted({cities[m] for m in dataset.maps if m in cities}),
            }
            for dataset in (training, held_out)
        },
    }


def _wall_time_s(seconds: dict[str, float], evaluation: float) -> dict[str, float]:
    """Return how long data, stages and evaluation took, and all of them together [s]."""
    seconds = seconds | {"evaluation": evaluation}
    seconds["total"] = sum(seconds.values())
    return {name: round(value, 1) for name, value in seconds.items()}
