"""Maps a second on one core: the dominant path against ray tracing.

    .venv/bin/python -m benchmarks.simulate --out simulate.json
    .venv/bin/python -m benchmarks.simulate --tiles 4 --transmitters 20 --size 256

Times are CPU seconds of this process, of which every engine uses one thread. Compiling comes
before and does not count. ``setup_s`` is spent once per tile, ``map_s`` once per transmitter. If
scikit-fmm is installed, its fast marching method joins as the peer: it finds shortest distances
round buildings, without the loss of bends, to which the line-of-sight law is applied.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely import Polygon

from benchmarks.common import Row, make_parser, make_report, provenance, publish
from radiodiff.simulate import (
    CITY_NAMES,
    DominantPath,
    RayTracing,
    city_tile,
    place_transmitters,
    rasterize,
)
from radiodiff.units import NOISE_THRESHOLD_DB, cell_to_m, line_of_sight_gain_db, m_to_cell

Position = tuple[float, float]
#: Takes outlines, size and side of a cell [m]; returns what makes a map [dB] of a transmitter [m].
Engine = Callable[[Sequence[Polygon], int, float], Callable[[Position], np.ndarray]]


def dominant_path(buildings: Sequence[Polygon], size: int, cell_size_m: float) -> Any:
    """Build the dominant path engine."""
    return DominantPath(buildings, size, cell_size_m).path_gain_db


def ray_tracing(interactions: int) -> Engine:
    """Return a builder of ray tracing with this many interactions."""

    def build(buildings: Sequence[Polygon], size: int, cell_size_m: float) -> Any:
        engine = RayTracing(buildings, size, cell_size_m)
        return lambda position: engine.path_gain_db(position, interactions=interactions)

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


class Measured(NamedTuple):
    """What one engine took, and what its maps look like."""

    map_s: list[float]
    """Time of each map [s]."""
    setup_s: list[float]
    """Time that each tile takes once [s]."""
    silent: list[float]
    """Share of the outdoor cells of each map without any signal [1]."""
    weak: list[float]
    """Share of the outdoor cells of each map below the noise threshold [1]."""

    def rates(self, transmitters: int | None) -> tuple[float, tuple[float, float]]:
        """Return maps a second: of the mean map, and of the slowest and the fastest.

        Args:
            transmitters: Maps that share the setup of a tile; ``None`` leaves it out.
        """
        setup_s = statistics.fmean(self.setup_s) / transmitters if transmitters else 0.0
        times_s = (statistics.fmean(self.map_s), max(self.map_s), min(self.map_s))
        mean, slowest, fastest = (round(1 / (map_s + setup_s), 2) for map_s in times_s)
        return mean, (slowest, fastest)

    def as_json(self) -> dict[str, Any]:
        """Return what is not in the rows."""
        return {
            "map_s": {
                "mean": round(statistics.fmean(self.map_s), 4),
                "max": round(max(self.map_s), 4),
            },
            "setup_s": {
                "mean": round(statistics.fmean(self.setup_s), 4),
                "max": round(max(self.setup_s), 4),
            },
            "outdoor_share_without_signal": round(statistics.fmean(self.silent), 3),
            "outdoor_share_below_noise_threshold": round(statistics.fmean(self.weak), 3),
        }


def measure(
    engine: Engine, tiles: Sequence[list[Polygon]], arguments: argparse.Namespace
) -> Measured:
    """Return times of one engine and what its maps look like."""
    size, cell_size_m = arguments.size, arguments.cell
    measured = Measured([], [], [], [])
    for number, buildings in enumerate(tiles):
        began = time.process_time()
        path_gain_db = engine(buildings, size, cell_size_m)
        measured.setup_s.append(time.process_time() - began)
        building_mask = rasterize(buildings, size, cell_size_m)
        rng = np.random.default_rng([arguments.seed, number])
        cells = place_transmitters(
            building_mask, arguments.transmitters, rng, cell_size_m=cell_size_m
        )
        for cell in cells:
            position = cell_to_m(cell, size=size, cell_size_m=cell_size_m)
            began = time.process_time()
            gain = path_gain_db(position)
            measured.map_s.append(time.process_time() - began)
            measured.silent.append(float(np.isneginf(gain[~building_mask]).mean()))
            measured.weak.append(float((gain[~building_mask] < NOISE_THRESHOLD_DB).mean()))
    return measured


def compare(measured: Mapping[str, Measured], transmitters: int) -> list[Row]:
    """Return the dominant path beside each other engine, without and with the setup of a tile."""
    rows = []
    ours = measured["dominant_path"]
    for peer_name, peer in measured.items():
        if peer is ours:
            continue
        for suffix, sharing in (("", None), (", with setup", transmitters)):
            rate, spread = ours.rates(sharing)
            rows.append(
                Row(
                    name=f"dominant_path/{peer_name}{suffix}",
                    what="maps on one core",
                    unit="1/s",
                    ours=rate,
                    peer=peer.rates(sharing)[0],
                    peer_name=peer_name,
                    spread=spread,
                )
            )
    return rows


def main() -> None:
    """Measure all engines on the same tiles and publish."""
    parser = make_parser(__doc__)
    parser.add_argument("--tiles", type=int, default=2, help="tiles per city")
    parser.add_argument("--transmitters", type=int, default=8, help="maps per tile")
    parser.add_argument("--cities", nargs="+", default=list(CITY_NAMES), choices=CITY_NAMES)
    parser.add_argument("--size", type=int, default=256, help="cells along a side")
    parser.add_argument("--cell", type=float, default=1.0, help="side of a cell [m]")
    parser.add_argument("--seed", type=int, default=0)
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
    made = provenance(*packages)
    extent_m = arguments.size * arguments.cell
    tiles = [
        city_tile(city, np.random.default_rng([arguments.seed, tile]), extent_m)
        for city in arguments.cities
        for tile in range(arguments.tiles)
    ]
    for engine in engines.values():  # compile
        engine([shapely.box(8, 8, 24, 24)], 32, 1.0)((4.0, 4.0))
    measured = {name: measure(engine, tiles, arguments) for name, engine in engines.items()}
    report = make_report(
        "simulate",
        "simulating radio maps: the dominant path against other engines",
        compare(measured, arguments.transmitters),
        made=made,
        parameters={key: value for key, value in vars(arguments).items() if key != "out"},
        details={"engines": {name: one.as_json() for name, one in measured.items()}},
    )
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
