"""Straight lines through the cells of a tile: one walk from cell to cell, and what it passes.

Whoever follows a line, be it through cars, through buildings or to the next wall, starts with
`first_cell` and goes on with `next_cell`. Cells are named by their column and by their row counted
from below, ``row = size - 1 - up``. Source: J. Amanatides, A. Woo, *A Fast Voxel Traversal
Algorithm for Ray Tracing*, Eurographics 1987.

Compiled code is cached per file: after a change here, delete ``__pycache__`` or the folder that
``NUMBA_CACHE_DIR`` names, or the modules that import this one go on with the old loops. ``make``
does it by itself.
"""

from typing import NamedTuple

import numpy as np

from radiodiff.simulate.compiled import njit

__all__ = [
    "Walk",
    "WallGrid",
    "first_cell",
    "length_inside",
    "meet_wall",
    "next_cell",
    "wall_grid",
]

#: Rounding that a wall may be off by where it passes from cell to cell [m].
SLACK_M = 1e-6


class Walk(NamedTuple):
    """A cell on a line, and where the line leaves it.

    Lengths count from the begin of the line, in any unit: metres after `first_cell`.
    """

    col: int
    up: int
    next_x: float
    """Length up to the next border between columns."""
    next_y: float
    """Length up to the next border between rows."""
    step_x: float
    """Length from one border between columns to the next."""
    step_y: float
    """Length from one border between rows to the next."""
    turn_x: int
    """1 if columns grow along the line, -1 if they shrink."""
    turn_y: int
    """The same for rows counted from below."""


class WallGrid(NamedTuple):
    """Walls of a tile, and which of them touch each cell."""

    walls: np.ndarray
    """Segments ``(x_0, y_0, x_1, y_1)`` [m], the building on the left, shape ``(walls, 4)``."""
    first_wall: np.ndarray
    """Where the walls of each cell begin in the next field, shape ``(cells + 1,)``."""
    wall_ids: np.ndarray
    """Walls that touch cell ``row * size + col``: from its ``first_wall`` to that of the next."""
    size: int
    """Cells along each side of the tile."""
    cell_size_m: float
    """Side of a cell [m]."""


@njit
def first_cell(x: float, y: float, ux: float, uy: float, cell_size_m: float) -> Walk:
    """Return the begin of a walk from a point [m] along a unit vector.

    Args:
        x: Begin of the line [m].
        y: Begin of the line [m].
        ux: Direction of the line, a unit vector.
        uy: Direction of the line.
        cell_size_m: Side of a cell [m].
    """
    col, up = int(np.floor(x / cell_size_m)), int(np.floor(y / cell_size_m))
    next_x = next_y = step_x = step_y = np.inf
    if ux != 0:
        step_x = cell_size_m / abs(ux)
        next_x = ((col + (ux > 0)) * cell_size_m - x) / ux
    if uy != 0:
        step_y = cell_size_m / abs(uy)
        next_y = ((up + (uy > 0)) * cell_size_m - y) / uy
    turn_x, turn_y = (1 if ux > 0 else -1), (1 if uy > 0 else -1)
    return Walk(col, up, next_x, next_y, step_x, step_y, turn_x, turn_y)


@njit
def next_cell(walk: Walk) -> Walk:
    """Return the walk one cell farther on; through a corner it goes by way of the next row."""
    col, up, next_x, next_y, step_x, step_y, turn_x, turn_y = walk
    if next_x < next_y:
        next_x += step_x
        col += turn_x
    else:
        next_y += step_y
        up += turn_y
    return Walk(col, up, next_x, next_y, step_x, step_y, turn_x, turn_y)


@njit
def length_inside(mask: np.ndarray, walk: Walk, length: float, enough: float) -> float:
    """Return how much of a line lies in marked cells; what lies outside the raster does not.

    Args:
        mask: Marked cells, bool, shape ``(h, w)``.
        walk: Begin of the line.
        length: Length of the line, in the unit of the walk.
        enough: The walk ends where more than this lies in marked cells; infinite for never.
    """
    rows, cols = mask.shape
    inside = at = 0.0
    while at < length and inside <= enough:
        stop = min(walk.next_x, walk.next_y, length)
        if 0 <= walk.col < cols and 0 <= walk.up < rows and mask[rows - 1 - walk.up, walk.col]:
            inside += stop - at
        at = stop
        walk = next_cell(walk)
    return inside


@njit
def meet_wall(
    walls: np.ndarray, wall: int, x: float, y: float, ux: float, uy: float
) -> tuple[float, float]:
    """Return where a ray meets the line of a wall.

    Returns:
        Distance from the begin of the ray [m], infinite if the ray is parallel to the wall or comes
        from behind it, that is from its left; and the place along the wall, 0 at its begin and 1
        at its end.
    """
    ax, ay = walls[wall, 0] - x, walls[wall, 1] - y
    dx, dy = walls[wall, 2] - walls[wall, 0], walls[wall, 3] - walls[wall, 1]
    inward = dx * uy - dy * ux
    if inward <= 0:
        return np.inf, 0.0
    return (dx * ay - dy * ax) / inward, (ux * ay - uy * ax) / inward


def wall_grid(walls: np.ndarray, size: int, cell_size_m: float) -> WallGrid:
    """Return which walls touch each cell.

    Args:
        walls: Segments ``(x_0, y_0, x_1, y_1)`` [m] within the tile, shape ``(walls, 4)``.
        size: Cells along each side of the tile.
        cell_size_m: Side of a cell [m].
    """
    return WallGrid(walls, *_walls_of_cells(walls, size, cell_size_m), size, cell_size_m)


@njit
def _walls_of_cells(
    walls: np.ndarray, size: int, cell_size_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``first_wall`` and ``wall_ids`` of a `WallGrid`."""
    first_wall = np.zeros(size * size + 1, np.int64)
    wall_ids = np.zeros(0, np.int64)
    for is_second_pass in (False, True):
        for w in range(len(walls)):
            ax, ay, bx, by = walls[w]
            low_up = max(0, int((min(ay, by) - SLACK_M) / cell_size_m))
            high_up = min(size - 1, int((max(ay, by) + SLACK_M) / cell_size_m))
            for up in range(low_up, high_up + 1):
                # Part of the wall that lies at the height of this row.
                left, right = ax, bx
                if by != ay:
                    s = (up * cell_size_m - SLACK_M - ay) / (by - ay)
                    t = ((up + 1) * cell_size_m + SLACK_M - ay) / (by - ay)
                    left = ax + min(max(s, 0.0), 1.0) * (bx - ax)
                    right = ax + min(max(t, 0.0), 1.0) * (bx - ax)
                low_col = max(0, int((min(left, right) - SLACK_M) / cell_size_m))
                high_col = min(size - 1, int((max(left, right) + SLACK_M) / cell_size_m))
                for col in range(low_col, high_col + 1):
                    cell = (size - 1 - up) * size + col
                    if is_second_pass:
                        wall_ids[first_wall[cell]] = w
                        first_wall[cell] += 1
                    else:
                        first_wall[cell + 1] += 1
        if not is_second_pass:
            first_wall = np.cumsum(first_wall)
            wall_ids = np.empty(first_wall[-1], np.int64)
    # The second pass moved every begin to the end of its cell, which is the begin of the next.
    first_wall[1:] = first_wall[:-1].copy()
    first_wall[0] = 0
    return first_wall, wall_ids
