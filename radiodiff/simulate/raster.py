"""The dominant path over a raster of buildings, where no outlines are known."""

import functools

import numpy as np

from radiodiff import units
from radiodiff.simulate.dominant_path import DominantPath
from radiodiff.simulate.outlines import clear_round, trace_outlines

__all__ = ["raster_gain_db"]


def raster_gain_db(
    building_mask: np.ndarray, transmitter_cell: tuple[int, int], cell_size_m: float
) -> np.ndarray:
    """Return the dominant path's gain [dB] over a raster of buildings, `units.FLOOR_DB` inside.

    It knows the raster and the transmitter, nothing else: on maps that the same engine made over
    exact outlines its error is that of the raster. The last few rasters are kept traced.

    Args:
        building_mask: True inside buildings, shape ``(h, h)``.
        transmitter_cell: ``(row, col)`` of an outdoor cell.
        cell_size_m: Side of a cell [m].

    Returns:
        Path gain [dB], shape ``(h, h)``.

    Raises:
        ValueError: If the map is not square.
    """
    rows, columns = building_mask.shape
    if rows != columns:
        raise ValueError(f"the dominant path needs a square map, got {rows} x {columns} cells")
    mask = np.ascontiguousarray(building_mask, dtype=bool)
    place_m = units.cell_to_m(transmitter_cell, size=rows, cell_size_m=cell_size_m)
    try:
        gain_db = _engine(mask.tobytes(), rows, cell_size_m).path_gain_db(place_m)
    except ValueError:  # smoothed outlines may reach the transmitter: leave it room
        room = clear_round(mask, transmitter_cell)
        gain_db = _engine(room.tobytes(), rows, cell_size_m).path_gain_db(place_m)
    return np.nan_to_num(gain_db, nan=units.FLOOR_DB, neginf=units.FLOOR_DB)


@functools.lru_cache(maxsize=4)
def _engine(mask: bytes, size: int, cell_size_m: float) -> DominantPath:
    building_mask = np.frombuffer(mask, dtype=bool).reshape(size, size)
    return DominantPath(trace_outlines(building_mask, cell_size_m), size, cell_size_m)
