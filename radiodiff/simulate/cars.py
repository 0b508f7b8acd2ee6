"""Parked cars: where they stand, and what a path loses in crossing them.

A car is a box of 5 m x 2 m beside a facade. It is lower than a building and stops no path: what
crosses it loses a fixed number of decibels per metre inside, so that every propagation engine can
add the loss along its straight pieces. No measurement stands behind that number. Real cars are
about as high as the antennas (1.5 m) and made of metal and glass, so a path passes over, under
and through them; 2 dB/m takes 10 dB along a car and 4 dB across it.

Compiled code is cached per file, see `radiodiff.simulate.grid`.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from shapely import Polygon

from radiodiff.simulate.compiled import njit
from radiodiff.simulate.grid import first_cell, length_inside

__all__ = ["CAR_DB_PER_M", "CAR_SIZE_M", "car_loss_db", "place_cars"]

#: Length and width of a car [m].
CAR_SIZE_M = (5.0, 2.0)
#: Loss of a path per metre inside a car [dB/m]; a choice, not a measurement.
CAR_DB_PER_M = 2.0
#: Least and largest distance between a car and its facade [m].
KERB_M = (1.0, 2.5)
#: Least distance between cars, and between a car and any building [m].
GAP_M = 0.5
#: Least distance between a car and a place to keep clear [m].
CLEARANCE_M = 3.0
#: Places that `place_cars` tries for every car wanted.
TRIES_PER_CAR = 4


def place_cars(
    buildings: Sequence[Polygon],
    extent_m: float,
    rng: np.random.Generator,
    *,
    spacing_m: float = 25.0,
    avoid_m: np.ndarray | Sequence[tuple[float, float]] = (),
) -> list[Polygon]:
    """Park cars along the outer facades, parallel to the nearest one.

    Places are drawn at random along the facades and kept if the car stands on open ground of the
    tile, 1 to 2.5 m from its facade, which must be the nearest one, and half a metre or more from
    buildings and other cars. Courtyards that buildings enclose stay empty.

    Args:
        buildings: Outlines within ``[0, extent_m]^2`` [m], y up; overlaps are merged.
        extent_m: Side of the tile [m].
        rng: Source of all randomness; the same state gives the same cars.
        spacing_m: Wanted metres of facade per car; where there is no room cars are fewer.
        avoid_m: Places ``(x, y)`` [m], such as transmitters, 3 m round which no car may stand,
            shape ``(n, 2)``.

    Returns:
        Rectangles of 5 m x 2 m [m], disjoint; `radiodiff.simulate.rasterize` gives their cells.

    Raises:
        ValueError: If ``extent_m`` or ``spacing_m`` is not positive.
    """
    if not (extent_m > 0 and spacing_m > 0):
        raise ValueError(
            f"expected extent_m > 0 and spacing_m > 0, got {extent_m} and {spacing_m}; give the "
            "side of the tile and the facade per car in metres"
        )
    tile = shapely.box(0, 0, extent_m, extent_m)
    built = shapely.union_all(list(buildings))
    starts, steps = _outer_facades(built)
    if len(starts) == 0:
        return []
    lengths = np.hypot(*steps.T)
    ends_m = np.cumsum(lengths)
    clear = shapely.MultiPoint(np.reshape(avoid_m, (-1, 2)))
    shapely.prepare([built, tile, clear])

    wanted = round(ends_m[-1] / spacing_m)
    cars: list[Polygon] = []
    for place_m, kerb_m in zip(
        rng.uniform(0, ends_m[-1], TRIES_PER_CAR * wanted),
        rng.uniform(*KERB_M, TRIES_PER_CAR * wanted),
        strict=True,
    ):
        if len(cars) == wanted:
            break
        k = min(int(np.searchsorted(ends_m, place_m, side="right")), len(lengths) - 1)
        along = steps[k] / lengths[k]
        facade_point = starts[k] + (place_m - ends_m[k] + lengths[k]) * along
        car = _park(facade_point, along, kerb_m, built)
        if car is None or not shapely.contains_properly(tile, car):
            continue
        if clear.is_empty or shapely.distance(clear, car) >= CLEARANCE_M:
            if not cars or shapely.distance(cars, car).min() >= GAP_M:
                cars.append(car)
    return cars


def _outer_facades(built: shapely.Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Return begins [m] and vectors [m] of the facades that enclose buildings, shape ``(n, 2)``."""
    outer = [p.exterior for p in shapely.get_parts(built) if p.geom_type == "Polygon"]
    rings = [np.empty((0, 2)), *map(shapely.get_coordinates, outer)]
    starts = np.concatenate([ring[:-1] for ring in rings])
    return starts, np.concatenate([np.diff(ring, axis=0) for ring in rings])


def _park(
    facade_point: np.ndarray, along: np.ndarray, kerb_m: float, built: shapely.Geometry
) -> Polygon | None:
    """Return a car beside a point of a facade, or None if that facade is not the nearest one."""
    length, width = CAR_SIZE_M
    across = np.array([along[1], -along[0]])
    for out in (across, -across):
        center = facade_point + (kerb_m + width / 2) * out
        if abs(shapely.distance(built, shapely.Point(center)) - kerb_m - width / 2) > 1e-6:
            continue
        sides = (along * length / 2, out * width / 2)
        car = Polygon([center + a * sides[0] + b * sides[1] for a, b in _UNIT_SQUARE])
        if shapely.distance(built, car) >= GAP_M:
            return car
    return None


_UNIT_SQUARE = ((-1, -1), (1, -1), (1, 1), (-1, 1))


@njit
def car_loss_db(
    car_mask: np.ndarray,
    cell_size_m: float,
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    db_per_m: float,
) -> float:
    """Return what a straight path loses in the cars it crosses [dB] (eq. ``car-loss``).

    The path goes from cell to cell, and each length inside a cell of a car counts exactly; what
    lies outside the raster is free.

    Args:
        car_mask: Cells inside cars, bool, shape ``(size, size)``, row 0 at the largest y.
        cell_size_m: Side of a cell [m].
        x0: Begin of the path [m].
        y0: Begin of the path [m].
        x1: End of the path [m].
        y1: End of the path [m].
        db_per_m: Loss per metre inside a car [dB/m].
    """
    length_m = np.hypot(x1 - x0, y1 - y0)
    if length_m == 0:
        return 0.0
    walk = first_cell(x0, y0, (x1 - x0) / length_m, (y1 - y0) / length_m, cell_size_m)
    return db_per_m * length_inside(car_mask, walk, length_m, np.inf)
