"""Scoring a run: numbers with where they come from, and a figure."""

import json
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from torch.utils.data import DataLoader

from radiodiff.config import Config
from radiodiff.data import RadioMapSeer, path_gain_db, split_overlap, transmitter_cell
from radiodiff.data.open import make_dataset
from radiodiff.data.splits import read_manifest
from radiodiff.evaluate import (
    Baselines,
    check_protocols,
    dominant_path_predictor,
    evaluate,
    model_predictor,
)
from radiodiff.files import write_atomically
from radiodiff.pipeline import RadioDiffPipeline
from radiodiff.plots import plot_predictions
from radiodiff.protocols import PROTOCOLS
from radiodiff.provenance import current_commit, device_name
from radiodiff.runs.sessions import stage_seconds
from radiodiff.workers import process_state

__all__ = ["evaluate_run"]

_FIGURE_MAPS = 4


def evaluate_run(
    run_dir: Path,
    results_dir: Path,
    *,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    device: str | None = None,
    allow_leak: bool = False,
) -> dict[str, Any]:
    """Score a run and its baselines on held-out cities; write numbers with provenance and a figure.

    Args:
        run_dir: Folder of a finished run.
        results_dir: Receives ``metrics.json`` and ``predictions.png``.
        protocols: Rules for the numbers, see `radiodiff.protocols.PROTOCOLS`; all if not given.
        device: Where the networks run; a GPU if there is one.
        allow_leak: Score all the same where it is no fair test: judged maps are in another split
            too, or the condition is computed from the truth. The results say so under ``leak``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        FileNotFoundError: If the run has not finished.
        DatasetError: If its dataset is not there.
        ValueError: If several processes were launched, there is no such protocol, the run's maps
            are not path gain on the scale of the files, or it is no fair test and ``allow_leak``
            is false; names the maps.
    """
    if process_state().num_processes > 1:
        raise ValueError("evaluation runs in one process: start it without torchrun")
    check_protocols(protocols)
    commit = current_commit()
    began = time.monotonic()
    run_dir, results_dir = Path(run_dir), Path(results_dir)
    pipeline = RadioDiffPipeline.from_run(run_dir, device=device)
    config = pipeline.config
    if not config.data.has_decibels or config.data.threshold:
        raise ValueError(
            "scores are defined for path gain on the scale of RadioMapSeer's files, but the run "
            f"has data.source {config.data.source} and data.threshold {config.data.threshold:g}: "
            "look at its maps with `radiodiff sample`"
        )
    training = make_dataset(config, "train")
    held_out = make_dataset(config, config.evaluate.split, max_maps=config.evaluate.max_maps)
    leak = _leaks(config, held_out)
    if leak and not allow_leak:
        raise ValueError(
            f"a score would be no fair test: {'; '.join(leak.values())}. Choose other settings in "
            "section data, or score all the same with --allow-leak (allow_leak=True), which the "
            "results will tell"
        )
    model = model_predictor(pipeline, config.evaluate)
    predictors = {
        "radiodiff": model,
        **Baselines.fit(training).predictors(),
        "dominant path": dominant_path_predictor(_cell_size_m(held_out)),
    }
    result = evaluate(predictors, held_out, config.evaluate, protocols=protocols)
    figure = plot_predictions(_figure_rows(held_out, model))
    results_dir.mkdir(parents=True, exist_ok=True)
    figure.savefig(results_dir / "predictions.png", dpi=110)
    sessions = json.loads((run_dir / "sessions.json").read_text())
    seconds = {"data": sum(session["data_s"] for session in sessions)}
    seconds |= {stage: stage_seconds(run_dir, stage) for stage in ("autoencoder", "diffusion")}
    seconds["evaluation"] = time.monotonic() - began
    judged = (
        f"{config.data.root}, {held_out.split}: {len(held_out)} maps of {result['tiles']} tiles"
    )
    result |= {
        "judged": judged,
        "run": config.name,
        "seed": config.seed,
        "commit": commit,
        "trained_at": sorted({session["commit"] for session in sessions}),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(pipeline.device),
        "versions": {
            name: version(name) for name in ("radiodiff", "torch", "numpy", "numba", "accelerate")
        }
        | {"python": platform.python_version()},
        "data": _describe(training, held_out),
        "wall_time_s": {name: round(value, 1) for name, value in seconds.items()}
        | {"total": round(sum(seconds.values()), 1)},
        "config": yaml.safe_load((run_dir / "config.yaml").read_text()),
    }
    if leak:
        result["leak"] = leak
    write_atomically(results_dir / "metrics.json", json.dumps(result, indent=1) + "\n")
    return result


def _cell_size_m(dataset: RadioMapSeer) -> float:
    """Return the side of a cell of a dataset [m]; 1 m in the real one."""
    manifest = read_manifest(dataset.root) or {}
    return manifest.get("parameters", {}).get("cell_size_m", 1.0)


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


def _figure_rows(dataset: RadioMapSeer, model: Any) -> list[dict[str, object]]:
    """Truth and prediction of the first transmitter of a few tiles."""
    firsts: dict[int, int] = {}
    for index, (map_id, _) in enumerate(dataset.pairs):
        firsts.setdefault(map_id, index)
    chosen = list(firsts.values())[:_FIGURE_MAPS]
    samples = [dataset[index] for index in chosen]
    predictions = model(next(iter(DataLoader(samples, batch_size=len(samples)))))
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
    manifest = training.root / "dataset.json"
    described = json.loads(manifest.read_text()) if manifest.is_file() else {}
    cities = {row["id"]: row["city"] for row in described.pop("maps", [])}
    return {
        "source": "simulated" if described else "RadioMapSeer",
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
