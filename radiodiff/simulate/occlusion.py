"""How much building lies between a transmitter and every cell of a raster.

Here the raster alone counts: a building is a set of square cells, and the straight line runs from
the centre of the transmitter's cell to the centre of another. `radiodiff.simulate.visibility` asks
the same of outlines. A line through the corner of a cell passes that cell by: it crosses only cells
that it spends some length in.

Between centres of cells all borders lie at fractions with one denominator, so the walk counts in
whole numbers: results are the same both ways and for turned or mirrored rasters, and zero is exact.

Compiled code is cached per file, see `radiodiff.simulate.grid`.
"""

import numpy as np

from radiodiff.files import shorten
from radiodiff.simulate.compiled import njit
from radiodiff.simulate.grid import Walk, length_inside

__all__ = ["checked_raster", "occlusion_m", "raster_line_of_sight"]


def occlusion_m(
    building_mask: np.ndarray, transmitter_cell: tuple[int, int], cell_size_m: float
) -> np.ndarray:
    """Return the metres inside buildings on the straight line to a transmitter.

    Cells inside buildings count the way through their own building, up to their centre.

    Args:
        building_mask: Cells inside buildings, bool, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of the transmitter.
        cell_size_m: Side of a cell [m].

    Returns:
        Lengths [m], float32, shape ``(h, w)``; 0 where nothing is in the way.

    Raises:
        ValueError: If the mask is no bool raster, the cell lies off it, or ``cell_size_m`` is not
            positive.
    """
    if not 0 < cell_size_m < np.inf:
        raise ValueError(
            f"expected cell_size_m > 0, got {cell_size_m}; give the side of a cell in metres"
        )
    lengths = _lengths_inside(*checked_raster(building_mask, transmitter_cell), np.inf)
    return (lengths * cell_size_m).astype(np.float32)


def raster_line_of_sight(
    building_mask: np.ndarray, transmitter_cell: tuple[int, int]
) -> np.ndarray:
    """Return which cells a transmitter sees: the straight line to them crosses no building.

    A line that touches the corner of a building's cell passes by, also between two such cells that
    meet in that corner. Cells inside buildings are not seen.

    Args:
        building_mask: Cells inside buildings, bool, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of the transmitter.

    Returns:
        Cells in sight, bool, shape ``(h, w)``; in the open those where `occlusion_m` is 0.

    Raises:
        ValueError: If the mask is no bool raster, or the cell lies off it.
    """
    lengths = _lengths_inside(*checked_raster(building_mask, transmitter_cell), 0.0)
    return (lengths == 0) & ~building_mask


def checked_raster(
    building_mask: np.ndarray, transmitter_cell: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    """Return the mask in the one layout that is compiled for, and the row and column.

    Raises:
        ValueError: If the mask is no bool raster, or the cell lies off it.
    """
    try:
        building_mask = np.asarray(building_mask)
        row, col = (float(index) for index in transmitter_cell)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = shorten(str(error), 100)
        raise ValueError(f"expected a mask of NumPy and its (row, col): {reason}") from error
    if building_mask.dtype != bool or building_mask.ndim != 2:
        raise ValueError(
            f"expected building_mask to be bool of shape (h, w), got {building_mask.dtype} of "
            f"shape {building_mask.shape}; compare with 0 and choose one map"
        )
    rows, cols = building_mask.shape
    on_raster = 0 <= row < rows and 0 <= col < cols
    if not (on_raster and row.is_integer() and col.is_integer()):
        raise ValueError(
            f"expected a transmitter on the raster of {rows} x {cols} cells, got ({row:g}, "
            f"{col:g}); give (row, col), row 0 at the top"
        )
    return np.array(building_mask, order="C"), int(row), int(col)


@njit
def _lengths_inside(
    building_mask: np.ndarray, from_row: int, from_col: int, enough: float
) -> np.ndarray:
    """Return how much of the lines from a cell lies in buildings [cells], shape ``(h, w)``.

    A line that lies in buildings for more than ``enough`` may be followed no farther.
    """
    rows, cols = building_mask.shape
    lengths = np.zeros((rows, cols))
    from_up = rows - 1 - from_row
    for row in range(rows):
        for col in range(cols):
            right, upward = col - from_col, from_row - row
            if right == 0 and upward == 0:
                continue
            # In units in which a column is 2 ``height`` wide and a row 2 ``width`` high, counted
            # along the line, its ends, in the middle of cells, and all borders are whole numbers.
            width, height = float(max(1, abs(right))), float(max(1, abs(upward)))
            walk = Walk(
                col=from_col,
                up=from_up,
                next_x=height if right != 0 else np.inf,
                next_y=width if upward != 0 else np.inf,
                step_x=2 * height if right != 0 else np.inf,
                step_y=2 * width if upward != 0 else np.inf,
                turn_x=1 if right > 0 else -1,
                turn_y=1 if upward > 0 else -1,
            )
            whole = 2 * width * height
            inside = length_inside(building_mask, walk, whole, enough)
            lengths[row, col] = np.hypot(right, upward) * (inside / whole)
    return lengths
