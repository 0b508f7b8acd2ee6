"""Measure what further denoiser calls buy: error, spread and time over the number of steps.

    .venv/bin/python tools/sweep_steps.py

Draws maps of held-out tiles with each sampler and each number of steps, several times. Writes
``results/steps/metrics.json``, which the chapter *Draw a radio map in a few steps* shows. A few
minutes on two CPU cores.
"""

import argparse
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from radiodiff import units
from radiodiff.data import RadioMapSample
from radiodiff.data.open import make_dataset
from radiodiff.files import project_path, sha256, write_atomically
from radiodiff.predictors.pipeline import RadioDiffPipeline, map_generators
from radiodiff.progress import show_log
from radiodiff.provenance import made_by
from radiodiff.scoring import bootstrap_interval, rmse
from radiodiff.settings import config_text

logger = logging.getLogger("radiodiff.steps")

PROTOCOL = (
    "RMSE [dB] over outdoor cells, path gain held at the floor or more: one value per map, mean "
    "over the transmitters of a tile, then over tiles; 95 % percentile bootstrap over tiles. "
    "difference_db: the same for RMSE minus that of one step and one sample, map by map. With "
    "several samples the prediction is their mean path gain. spread_db: root of the mean variance "
    "of the samples over outdoor cells, mean over maps. ms_per_map: one sample with encoding of "
    "the condition and decoding, median over batches, of all samples together where there are "
    "several. Noise is a function of map, sample and seed: the same for all rows."
)
STEPS = (1, 2, 3, 5, 10, 20, 50)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A way from noise to a map."""

    name: str
    stochastic: bool = True
    schedule: str = "uniform"


SAMPLERS = (
    Sampler("stochastic"),
    Sampler("deterministic", stochastic=False),
    Sampler("schedule of the public code", schedule="reference"),
)


def main() -> None:
    """Draw, score and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-dir", type=Path, default=project_path("results/small"))
    parser.add_argument("--out", type=Path, default=project_path("results/steps"))
    parser.add_argument("--tiles", type=int, default=24, help="held-out tiles (24)")
    parser.add_argument("--transmitters", type=int, default=2, help="of each tile (2)")
    parser.add_argument("--samples", type=int, default=4, help="samples averaged (4)")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="steps to try")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (all)")
    options = parser.parse_args()
    show_log(sys.stderr, "%(asctime)s %(message)s")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    began = time.monotonic()
    pipeline = RadioDiffPipeline.from_run(options.run_dir)
    made = made_by("torch", "numpy", device=pipeline.device)
    config = pipeline.config
    dataset = make_dataset(config, "test", max_maps=options.tiles)
    per_tile = len(dataset) // len(dataset.maps)
    count = min(per_tile, options.transmitters)
    chosen = [i for i in range(len(dataset)) if i % per_tile < count]
    batches = list(DataLoader(Subset(dataset, chosen), batch_size=config.evaluate.batch_size))
    draw(pipeline, batches[0], SAMPLERS[0], 1, number=0)  # the first call of a network is slower
    measured: list[tuple[Sampler, int, Measured]] = []
    for sampler in SAMPLERS:
        for steps in options.steps:
            values = measure(pipeline, batches, sampler, steps, options.samples)
            measured.append((sampler, steps, values))
            logger.info(
                "%s, %d steps: RMSE %.3f dB, %.1f ms a map",
                *(sampler.name, steps, values.rmse_db[1].mean(), values.ms_per_map),
            )
    names = [name for batch in batches for name in batch.name]
    base = next(values for _, steps, values in measured if steps == min(options.steps))
    result = {
        "what": "error, spread and time over denoiser calls",
        "protocol": PROTOCOL,
        "tiles": len(dataset.maps),
        "maps": len(names),
        "base": {"sampler": SAMPLERS[0].name, "steps": min(options.steps), "samples": 1},
        "rows": [
            row
            for sampler, steps, values in measured
            for row in rows(sampler, steps, values, base, names, config.evaluate.bootstrap)
        ],
        "run": config.name,
        "weights_sha256": sha256(options.run_dir / "diffusion.safetensors"),
        "seed": config.evaluate.seed,
        **made,
        "data": {"root": config.data.root, "split": dataset.split},
        "wall_time_s": round(time.monotonic() - began, 1),
        "config": yaml.safe_load(config_text(config)),
    }
    write_atomically(options.out / "metrics.json", json.dumps(result, indent=1) + "\n")
    print(options.out / "metrics.json")


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one sampler gives with one number of steps."""

    calls: int
    rmse_db: dict[int, np.ndarray]
    """Samples averaged to RMSE of each map [dB]."""
    spread_db: np.ndarray
    """Standard deviation of the samples of each map [dB]."""
    ms_per_map: float
    """Time of one sample [ms]."""


def measure(
    pipeline: RadioDiffPipeline,
    batches: Sequence[RadioMapSample],
    sampler: Sampler,
    steps: int,
    samples: int,
) -> Measured:
    """Draw all maps ``samples`` times and compare them with the truth."""
    errors: dict[int, list[Tensor]] = {1: [], samples: []}
    spreads, times = [], []
    for batch in batches:
        truth_db = units.model_to_path_gain_db(batch.radio_map).double()
        drawn = []
        for number in range(samples):
            began = time.perf_counter()
            drawn.append(draw(pipeline, batch, sampler, steps, number=number))
            times.append(1000 * (time.perf_counter() - began) / len(batch.name))
        stack = torch.stack(drawn)
        for k, column in errors.items():
            column.append(rmse(stack[:k].mean(0), truth_db, batch.outdoor_mask))
        variance = stack.var(0, correction=1) if samples > 1 else torch.zeros_like(truth_db)
        outdoors = batch.outdoor_mask.double()
        mean_variance = (variance * outdoors).flatten(1).sum(1) / outdoors.flatten(1).sum(1)
        spreads.append(mean_variance.sqrt())
    return Measured(
        calls=steps + (sampler.schedule == "reference"),
        rmse_db={k: torch.cat(column).numpy() for k, column in errors.items()},
        spread_db=torch.cat(spreads).numpy(),
        ms_per_map=float(np.median(times)),
    )


def draw(
    pipeline: RadioDiffPipeline, batch: RadioMapSample, sampler: Sampler, steps: int, *, number: int
) -> Tensor:
    """Return sample ``number`` of each map [dB], shape ``(b, 1, h, w)``, on the CPU."""
    config = pipeline.config
    settings = dataclasses.replace(config.evaluate, schedule=sampler.schedule)
    chosen = RadioDiffPipeline(
        pipeline.space.autoencoder,
        pipeline.network,
        pipeline.space.scale,
        dataclasses.replace(config, evaluate=settings),
    )
    generators = map_generators([f"{name}/{number}" for name in batch.name], settings.seed)
    maps = chosen.radio_maps(
        batch.condition, steps=steps, stochastic=sampler.stochastic, generator=generators
    )
    return chosen.path_gain_db(maps).double().cpu()


def rows(
    sampler: Sampler,
    steps: int,
    values: Measured,
    base: Measured,
    names: Sequence[str],
    resamples: int,
) -> list[dict[str, Any]]:
    """Return the entries of the file for one sampler and one number of steps."""

    def summary(column: np.ndarray) -> dict[str, float]:
        tiles: dict[str, list[float]] = {}
        for name, value in zip(names, column, strict=True):
            tiles.setdefault(name.split("_")[0], []).append(value)
        means = np.array([np.mean(tile) for tile in tiles.values()])
        rng = np.random.default_rng(0)
        low, high = bootstrap_interval(means, resamples=resamples, rng=rng)
        return {"mean": float(means.mean()), "low": low, "high": high}

    return [
        {
            "sampler": sampler.name,
            "stochastic": sampler.stochastic,
            "schedule": sampler.schedule,
            "steps": steps,
            "calls": values.calls,
            "samples": k,
            "rmse_db": summary(column),
            "difference_db": summary(column - base.rmse_db[1]),
            "spread_db": float(values.spread_db.mean()),
            "ms_per_map": round(k * values.ms_per_map, 2),
        }
        for k, column in values.rmse_db.items()
    ]


if __name__ == "__main__":
    main()
