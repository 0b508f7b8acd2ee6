"""Fit the ray tracer's empirical losses to real gains, and measure both interaction models.

    .venv/bin/python -m experiments.calibrate_ray_tracing --data DIR            # measure
    .venv/bin/python -m experiments.calibrate_ray_tracing --data DIR --fit      # fit first

DIR is a RadioMapSeer folder (or a part of one) that holds ``gain/DPM``, ``antenna`` and ``polygon``
of one map. The real gains are those of the dominant path: what rays bring besides must not change
how bright a shadow is as a whole. Writes ``results/calibration/ray_tracing/metrics.json``;
constants that a fit finds are copied by hand into `RayTracingConstants`, rounded.
"""

import dataclasses
import logging
from typing import Any

import numpy as np
from scipy import optimize

from experiments.calibrate_dominant_path import Measured, read_calibration_options, read_maps
from experiments.common import Origin, write_result
from radiodiff.simulate import (
    RayTracing,
    RayTracingConstants,
    dataset_outlines,
    line_of_sight_mask,
)
from radiodiff.units import (
    FLOOR_DB,
    NOISE_THRESHOLD_DB,
    path_gain_db_to_uint8,
)

logger = logging.getLogger("radiodiff.calibrate")

FITTED = ("reflection_db", "min_incidence_db", "max_incidence_db", "diffraction_db")
INTERACTIONS = (2, 4)

PROTOCOL = (
    "Real gains are DPM of RadioMapSeer. Shadow: outdoor cells without line of sight whose real "
    f"gain lies above {NOISE_THRESHOLD_DB:g} dB; RMSE and bias (simulated minus real) [dB], both "
    f"held at {FLOOR_DB:g} dB or more, over the cells of all transmitters. Mean gray [0 to 255] "
    "over all cells of all transmitters, buildings 0."
)


def main() -> None:
    """Fit if asked to, measure, write and print."""
    options = read_calibration_options(__doc__, "results/calibration/ray_tracing")
    origin = Origin.now("numpy", "numba", "shapely")
    maps = read_maps(options.data, options.map, options.transmitters)
    outlines = dataset_outlines(options.data, options.map)
    engine = RayTracing(outlines, 256, 1.0)
    shadows = [shadow(engine, one, outlines) for one in maps]
    if options.fit:
        engine.constants = fit(engine, maps, shadows)
    empirical = engine.constants
    rows = []
    for model in ("empirical", "theory"):
        engine.constants = dataclasses.replace(empirical, interaction_model=model)
        for interactions in INTERACTIONS:
            row = measure(engine, maps, shadows, interactions)
            rows.append({"model": model, "variant": f"IRT{interactions}"} | row)
            print(
                f"{model:9s} IRT{interactions}: shadow RMSE {row['rmse_db']:.2f} dB, bias "
                f"{row['bias_db']:+.2f} dB, mean gray {row['mean_gray']:.1f}"
            )
    result = {
        "what": "ray tracing against the DPM gains of RadioMapSeer (arXiv:2212.11777)",
        "protocol": PROTOCOL,
        "map": options.map,
        "transmitters": [one.transmitter for one in maps],
        "fitted": options.fit,
        "constants": dataclasses.asdict(empirical),
        "shadow_cells": int(sum(mask.sum() for mask in shadows)),
        "mean_gray_dpm": mean_gray([one.path_gain_db for one in maps], engine),
        "models": rows,
    }
    print(f"mean gray of the real DPM: {result['mean_gray_dpm']:.1f}")
    write_result(options.out, result, origin)


def shadow(engine: RayTracing, one: Measured, outlines: list) -> np.ndarray:
    """Return which outdoor cells without line of sight are heard, bool, shape ``(256, 256)``."""
    seen = line_of_sight_mask(outlines, one.position_m, engine.size, engine.cell_size_m)
    return ~engine.building_mask & ~seen & (one.path_gain_db > NOISE_THRESHOLD_DB)


def trace(engine: RayTracing, maps: list[Measured], interactions: int) -> list[np.ndarray]:
    """Return the simulated gains of all transmitters [dB]."""
    return [engine.path_gain_db(one.position_m, interactions=interactions) for one in maps]


def shadow_errors(
    gains_db: list[np.ndarray], maps: list[Measured], shadows: list[np.ndarray]
) -> np.ndarray:
    """Return simulated minus real gains of all heard cells in shadow [dB]."""
    errors = [
        (np.maximum(simulated, FLOOR_DB) - one.path_gain_db)[mask]
        for simulated, one, mask in zip(gains_db, maps, shadows, strict=True)
    ]
    return np.concatenate(errors)


def fit(engine: RayTracing, maps: list[Measured], shadows: list[np.ndarray]) -> RayTracingConstants:
    """Return the constants with the least sum of both variants' squared errors in shadow."""
    start = engine.constants
    count = 0

    def objective(values: np.ndarray) -> float:
        nonlocal count
        try:
            engine.constants = dataclasses.replace(
                start, **dict(zip(FITTED, map(float, values), strict=True))
            )
        except ValueError:
            return np.inf
        errors = [shadow_errors(trace(engine, maps, n), maps, shadows) for n in INTERACTIONS]
        score = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
        count += 1
        if count % 5 == 0:
            shown = ", ".join(f"{n} {v:.2f}" for n, v in zip(FITTED, values, strict=True))
            logger.info("fit %d: %.3f dB; %s", count, score, shown)
        return score

    first = np.array([getattr(start, name) for name in FITTED])
    simplex = first + np.vstack([np.zeros(4), np.diag([2.0, -2.0, 2.0, 2.0])])
    options = {"initial_simplex": simplex, "xatol": 0.1, "fatol": 1e-2, "maxfev": 80}
    best = optimize.minimize(objective, first, method="Nelder-Mead", options=options).x
    return dataclasses.replace(start, **{n: float(v) for n, v in zip(FITTED, best, strict=True)})


def measure(
    engine: RayTracing, maps: list[Measured], shadows: list[np.ndarray], interactions: int
) -> dict[str, Any]:
    """Return the errors in shadow and the brightness of one variant."""
    gains_db = trace(engine, maps, interactions)
    errors = shadow_errors(gains_db, maps, shadows)
    return {
        "rmse_db": float(np.sqrt(np.mean(errors**2))),
        "bias_db": float(np.mean(errors)),
        "mean_gray": mean_gray(gains_db, engine),
    }


def mean_gray(gains_db: list[np.ndarray], engine: RayTracing) -> float:
    """Return the mean gray level of maps [0 to 255], buildings 0."""
    grays = [path_gain_db_to_uint8(np.where(engine.building_mask, np.nan, g)) for g in gains_db]
    return float(np.mean(grays))


if __name__ == "__main__":
    main()
