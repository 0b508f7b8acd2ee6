"""Maps a second on one core: the dominant path against ray tracing.

    python benchmarks/simulate.py --out simulate.json
    python benchmarks/simulate.py --tiles 4 --transmitters 20 --size 256

Times are CPU seconds of this process, of which every engine uses one thread. Compiling comes
before and does not count. ``setup_s`` is spent once per tile, ``map_s`` once per transmitter. If
scikit-fmm is installed, its fast marching method joins as the peer: it finds shortest distances
round buildings, without the loss of bends, to which the line-of-sight law is applied.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely import Polygon

from radiodiff.provenance import made_by, processor_name
from radiodiff.simulate import CITY_NAMES, DominantPath, city_tile, place_transmitters, rasterize
from radiodiff.simulate.ray_tracing import RayTracing
from radiodiff.units import NOISE_THRESHOLD_DB, cell_to_m, line_of_sight_gain_db, m_to_cell

Position = tuple[float, float]
#: Takes outlines, size and side of a cell [m]; returns what makes a map [dB] of a transmitter [m].
Engine = Callable[[Sequence[Polygon], int, float], Callable[[Position], np.ndarray]]


def dominant_path(buildings: Sequence[Polygon], size: int, cell_size_m: float) -> Any:
    """Build the dominant path engine."""
    return DominantPath(buildings, size, cell_size_m).path_gain_db


def ray_tracing(reflections: int) -> Engine:
    """Return a builder of ray tracing with this many reflections."""

    def build(buildings: Sequence[Polygon], size: int, cell_size_m: float) -> Any:
        engine = RayTracing(buildings, size, cell_size_m)
        return lambda position: engine.path_gain_db(position, reflections=reflections)

    return build


def fast_marching(buildings: Sequence[Polygon], size: int, cell_size_m: float) -> Any:
    """Build the peer: shortest distances round buildings by scikit-fmm."""
    import skfmm

    building_mask = rasterize(buildings, size, cell_size_m)

    def path_gain_db(position: Position) -> np.ndarray:
        front = np.ones((size, size))
        front[m_to_cell(position, size=size, cell_size_m=cell_size_m)] = -1
        distance_m = skfmm.distance(np.ma.MaskedArray(front, building_mask), dx=cell_size_m)
        return line_of_sight_gain_db(np.ma.filled(distance_m, np.nan))

    return path_gain_db


def measure(
    engine: Engine, tiles: Sequence[list[Polygon]], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return times [s] of one engine and what its maps look like."""
    size, cell_size_m = arguments.size, arguments.cell
    setup_s, map_s, silent, weak = [], [], [], []
    for number, buildings in enumerate(tiles):
        began = time.process_time()
        path_gain_db = engine(buildings, size, cell_size_m)
        setup_s.append(time.process_time() - began)
        building_mask = rasterize(buildings, size, cell_size_m)
        rng = np.random.default_rng([arguments.seed, number])
        cells = place_transmitters(
            building_mask, arguments.transmitters, rng, cell_size_m=cell_size_m
        )
        for cell in cells:
            position = cell_to_m(cell, size=size, cell_size_m=cell_size_m)
            began = time.process_time()
            gain = path_gain_db(position)
            map_s.append(time.process_time() - began)
            silent.append(float(np.isneginf(gain[~building_mask]).mean()))
            weak.append(float((gain[~building_mask] < NOISE_THRESHOLD_DB).mean()))
    per_map = statistics.fmean(map_s)
    with_setup = per_map + statistics.fmean(setup_s) / arguments.transmitters
    return {
        "maps_per_s_per_core": round(1 / per_map, 2),
        "maps_per_s_per_core_with_setup": round(1 / with_setup, 2),
        "map_s": {"mean": round(per_map, 4), "max": round(max(map_s), 4)},
        "setup_s": {
            "mean": round(statistics.fmean(setup_s), 4),
            "max": round(max(setup_s), 4),
        },
        "outdoor_share_without_signal": round(statistics.fmean(silent), 3),
        "outdoor_share_below_noise_threshold": round(statistics.fmean(weak), 3),
    }


def main() -> None:
    """Measure all engines on the same tiles and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=2, help="tiles per city")
    parser.add_argument("--transmitters", type=int, default=8, help="maps per tile")
    parser.add_argument("--cities", nargs="+", default=list(CITY_NAMES), choices=CITY_NAMES)
    parser.add_argument("--size", type=int, default=256, help="cells along a side")
    parser.add_argument("--cell", type=float, default=1.0, help="side of a cell [m]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the JSON; standard output without")
    arguments = parser.parse_args()

    engines: dict[str, Engine] = {
        "dominant_path": dominant_path,
        "ray_tracing_2": ray_tracing(2),
        "ray_tracing_4": ray_tracing(4),
    }
    packages = ["numba", "numpy", "shapely"]
    if importlib.util.find_spec("skfmm"):
        engines["fast_marching"] = fast_marching
        packages.append("scikit-fmm")
    extent_m = arguments.size * arguments.cell
    tiles = [
        city_tile(city, np.random.default_rng([arguments.seed, tile]), extent_m)
        for city in arguments.cities
        for tile in range(arguments.tiles)
    ]
    for engine in engines.values():  # compile
        engine([shapely.box(8, 8, 24, 24)], 32, 1.0)((4.0, 4.0))
    report = {
        "benchmark": "simulate",
        "parameters": {key: value for key, value in vars(arguments).items() if key != "out"},
        "machine": {
            "processor": processor_name(),
            "cpus": os.cpu_count(),
        },
        **made_by(*packages),
        "engines": {name: measure(engine, tiles, arguments) for name, engine in engines.items()},
    }
    text = json.dumps(report, indent=1) + "\n"
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
