"""Measure what further denoiser calls buy: error, spread and time over the number of steps.

    .venv/bin/python -m experiments.sweep_steps

Draws maps of held-out tiles with each sampler and each number of steps, several times. Writes
``results/steps/metrics.json``, which the chapter *Draw a radio map in a few steps* shows. A few
minutes on two CPU cores.
"""

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from experiments.common import Origin, make_parser, read_options, write_result
from radiodiff import units
from radiodiff.config import Config
from radiodiff.data import MapDataset, RadioMapSample
from radiodiff.data.open import make_dataset
from radiodiff.files import project_path, sha256
from radiodiff.predictors import RadioDiffPipeline, draw_maps
from radiodiff.sampler import SamplerConfig, make_schedule
from radiodiff.scoring import bootstrap_interval, rmse

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


#: Ways from noise to a map by name: what each changes of the run's own sampler.
SAMPLERS: dict[str, dict[str, Any]] = {
    "stochastic": {"schedule": "uniform", "stochastic": True},
    "deterministic": {"schedule": "uniform", "stochastic": False},
    "schedule of the public code": {"schedule": "reference", "stochastic": True},
}


def main() -> None:
    """Draw, score and write."""
    parser = make_parser(__doc__, "results/steps")
    parser.add_argument("--run-dir", type=Path, default=project_path("results/small"))
    parser.add_argument("--tiles", type=int, default=24, help="held-out tiles (24)")
    parser.add_argument("--transmitters", type=int, default=2, help="of each tile (2)")
    parser.add_argument("--samples", type=int, default=4, help="samples averaged (4)")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="steps to try")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (all)")
    options = read_options(parser)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    pipeline = RadioDiffPipeline.from_run(options.run_dir)
    origin = Origin.now("torch", "numpy", device=pipeline.device)
    config = pipeline.config
    dataset = make_dataset(config, "test", max_maps=options.tiles)
    batches = read_batches(dataset, config, options.transmitters)
    measured = sweep(pipeline, batches, options.steps, options.samples)
    names = [name for batch in batches for name in batch.name]
    base = next(one for one in measured if one.sampler.steps == min(options.steps))
    result = {
        "what": "error, spread and time over denoiser calls",
        "protocol": PROTOCOL,
        "tiles": len(dataset.maps),
        "maps": len(names),
        "base": {"sampler": base.name, "steps": base.sampler.steps, "samples": 1},
        "rows": [
            row for one in measured for row in rows(one, base, names, config.evaluate.bootstrap)
        ],
        "run": config.name,
        "weights_sha256": sha256(options.run_dir / "diffusion.safetensors"),
        "seed": config.evaluate.seed,
        "data": {"root": config.data.root, "split": dataset.split},
    }
    write_result(options.out, result, origin, config=config)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one sampler gives with one number of steps."""

    name: str
    """Name of the sampler."""
    sampler: SamplerConfig
    """The sampler."""
    calls: int
    """Evaluations of the network per sample."""
    rmse_db: dict[int, np.ndarray]
    """Samples averaged to RMSE of each map [dB]."""
    spread_db: np.ndarray
    """Standard deviation of the samples of each map [dB]."""
    ms_per_map: float
    """Time of one sample [ms]."""


def read_batches(dataset: MapDataset, config: Config, transmitters: int) -> list[RadioMapSample]:
    """Return the maps of the first so many transmitters of each tile, in batches."""
    per_tile = len(dataset) // len(dataset.maps)
    chosen = [i for i in range(len(dataset)) if i % per_tile < transmitters]
    return list(DataLoader(Subset(dataset, chosen), batch_size=config.evaluate.batch_size))


def sweep(
    pipeline: RadioDiffPipeline,
    batches: Sequence[RadioMapSample],
    steps: Sequence[int],
    samples: int,
) -> list[Measured]:
    """Measure every sampler at every number of steps."""
    own = pipeline.config.sampler
    samplers = [
        (name, dataclasses.replace(own, steps=count, **changes))
        for name, changes in SAMPLERS.items()
        for count in steps
    ]
    # The first call of a network is slower.
    draw(pipeline, batches[0], dataclasses.replace(samplers[0][1], steps=1), number=0)
    measured = []
    for name, sampler in samplers:
        one = measure(pipeline, batches, name, sampler, samples)
        logger.info(
            "%s, %d steps: RMSE %.3f dB, %.1f ms a map",
            *(name, sampler.steps, one.rmse_db[1].mean(), one.ms_per_map),
        )
        measured.append(one)
    return measured


def measure(
    pipeline: RadioDiffPipeline,
    batches: Sequence[RadioMapSample],
    name: str,
    sampler: SamplerConfig,
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
            drawn.append(draw(pipeline, batch, sampler, number=number))
            times.append(1000 * (time.perf_counter() - began) / len(batch.name))
        stack = torch.stack(drawn)
        for k, column in errors.items():
            column.append(rmse(stack[:k].mean(0), truth_db, batch.outdoor_mask))
        variance = stack.var(0, correction=1) if samples > 1 else torch.zeros_like(truth_db)
        outdoors = batch.outdoor_mask.double()
        mean_variance = (variance * outdoors).flatten(1).sum(1) / outdoors.flatten(1).sum(1)
        spreads.append(mean_variance.sqrt())
    return Measured(
        name=name,
        sampler=sampler,
        calls=len(make_schedule(sampler, pipeline.process)) - 1,
        rmse_db={k: torch.cat(column).numpy() for k, column in errors.items()},
        spread_db=torch.cat(spreads).numpy(),
        ms_per_map=float(np.median(times)),
    )


def draw(
    pipeline: RadioDiffPipeline, batch: RadioMapSample, sampler: SamplerConfig, *, number: int
) -> Tensor:
    """Return sample ``number`` of each map [dB], shape ``(b, 1, h, w)``, on the CPU."""
    draws = [(name, number) for name in batch.name]
    seed = pipeline.config.evaluate.seed
    maps = draw_maps(pipeline, batch.condition, draws, seed=seed, sampler=sampler)
    return pipeline.path_gain_db(maps).double().cpu()


def rows(
    measured: Measured, base: Measured, names: Sequence[str], resamples: int
) -> list[dict[str, Any]]:
    """Return the entries of the file for one sampler at one number of steps."""

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
            "sampler": measured.name,
            "stochastic": measured.sampler.stochastic,
            "schedule": measured.sampler.schedule,
            "steps": measured.sampler.steps,
            "calls": measured.calls,
            "samples": k,
            "rmse_db": summary(column),
            "difference_db": summary(column - base.rmse_db[1]),
            "spread_db": float(measured.spread_db.mean()),
            "ms_per_map": round(k * measured.ms_per_map, 2),
        }
        for k, column in measured.rmse_db.items()
    ]


if __name__ == "__main__":
    main()
