"""The engines over a raster of buildings, where no outlines are known."""

import functools
from collections.abc import Callable

import numpy as np

from radiodiff import units
from radiodiff.simulate.dominant_path import DominantPath
from radiodiff.simulate.occlusion import checked_raster
from radiodiff.simulate.outlines import clear_round, trace_outlines
from radiodiff.simulate.ray_tracing import RayTracing

__all__ = ["raster_gain_db", "raster_ray_gain_db"]


def raster_gain_db(
    building_mask: np.ndarray, transmitter_cell: tuple[int, int], cell_size_m: float
) -> np.ndarray:
    """Return the dominant path's gain [dB] over a raster of buildings, `units.FLOOR_DB` inside.

    It knows the raster and the transmitter, nothing else: on maps that the same engine made over
    exact outlines its error is that of the raster. The last few rasters are kept traced.

    Args:
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of an outdoor cell.
        cell_size_m: Side of a cell [m].

    Returns:
        Path gain [dB], shape ``(h, w)``.

    Raises:
        ValueError: If a mask is no raster of False and True, or the cell lies off it.
    """

    def gain_db(mask: np.ndarray, place_m: tuple[float, float]) -> np.ndarray:
        return _dominant_path(mask.tobytes(), mask.shape, cell_size_m).path_gain_db(place_m)

    return _over_raster(gain_db, building_mask, transmitter_cell, cell_size_m)


def raster_ray_gain_db(
    building_mask: np.ndarray,
    transmitter_cell: tuple[int, int],
    cell_size_m: float,
    *,
    interactions: int,
    cars_mask: np.ndarray | None = None,
) -> np.ndarray:
    """Return the gain [dB] of traced rays over a raster of buildings, `units.FLOOR_DB` inside.

    Args:
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of an outdoor cell.
        cell_size_m: Side of a cell [m].
        interactions: Most reflections and corners on a path.
        cars_mask: True where cars are, shape ``(h, w)``.

    Returns:
        Path gain [dB], shape ``(h, w)``.

    Raises:
        ValueError: If a mask is no raster of False and True, or the cell lies off it.
    """
    cars = b""
    if cars_mask is not None:
        known, *_ = checked_raster(_as_bool(cars_mask), transmitter_cell)
        if known.shape != np.shape(building_mask):
            raise ValueError(
                f"expected cars_mask of shape {np.shape(building_mask)}, got {known.shape}"
            )
        cars = known.tobytes()

    def gain_db(mask: np.ndarray, place_m: tuple[float, float]) -> np.ndarray:
        engine = _ray_tracing(mask.tobytes(), cars, mask.shape, cell_size_m)
        return engine.path_gain_db(place_m, interactions=interactions)

    return _over_raster(gain_db, building_mask, transmitter_cell, cell_size_m)


def _over_raster(
    gain_db: Callable[[np.ndarray, tuple[float, float]], np.ndarray],
    building_mask: np.ndarray,
    transmitter_cell: tuple[int, int],
    cell_size_m: float,
) -> np.ndarray:
    """Return the gain of a mask and a place [m], finite everywhere."""
    mask, *cell = checked_raster(_as_bool(building_mask), transmitter_cell)
    place_m = units.cell_to_m(tuple(cell), size=len(mask), cell_size_m=cell_size_m)
    try:
        found = gain_db(mask, place_m)
    except ValueError:  # smoothed outlines may reach the transmitter: leave it room
        found = gain_db(clear_round(mask, tuple(cell)), place_m)
    return np.nan_to_num(found, nan=units.FLOOR_DB, neginf=units.FLOOR_DB)


def _as_bool(mask: np.ndarray) -> np.ndarray:
    """Return a mask of zeros and ones as bool; anything else as it is."""
    is_mask = hasattr(mask, "dtype") and np.isin(mask, (0, 1)).all()
    return np.asarray(mask).astype(bool) if is_mask else mask


@functools.lru_cache(maxsize=4)
def _dominant_path(mask: bytes, shape: tuple[int, int], cell_size_m: float) -> DominantPath:
    return DominantPath(_outlines(mask, shape, cell_size_m), shape, cell_size_m)


@functools.lru_cache(maxsize=4)
def _ray_tracing(
    mask: bytes, cars: bytes, shape: tuple[int, int], cell_size_m: float
) -> RayTracing:
    known = np.frombuffer(cars, dtype=bool).reshape(shape) if cars else None
    return RayTracing(_outlines(mask, shape, cell_size_m), shape, cell_size_m, cars=known)


def _outlines(mask: bytes, shape: tuple[int, int], cell_size_m: float) -> list:
    return trace_outlines(np.frombuffer(mask, dtype=bool).reshape(shape), cell_size_m)
