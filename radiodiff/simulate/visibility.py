"""Exact visibility between points, building corners and cells of a tile.

Buildings are prisms with vertical walls, so seen from above a wall is a line segment. Walls are
stored as directed segments ``(x_0, y_0, x_1, y_1)`` [m] with the building on their left and open
ground on their right. From a point on open ground the nearest wall changes only in directions
where a wall begins or ends; `nearest_walls` sorts those directions and finds the wall between
each two neighbours. What lies in such a sector is visible if it is nearer than its wall:
`is_visible` asks that for a point, `visible_spans` for all cell centres at once.

All loops are compiled by Numba, in one thread and without fast-math, so that a map does not
depend on how many are made at the same time. Compiled code is cached per file, see
`radiodiff.simulate.grid`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from radiodiff.simulate.compiled import njit

__all__ = [
    "CORNER_OFFSET_M",
    "CornerSpans",
    "Corners",
    "corner_spans",
    "find_corners",
    "find_walls",
    "is_visible",
    "line_of_sight_mask",
    "nearest_walls",
    "visible_spans",
]

#: Corners are looked at from this far in front of them [m].
CORNER_OFFSET_M = 0.05
#: Corners that turn by less than this bend no path [rad]. Where a long wall turns by a few degrees
#: it does hide what lies behind, so the limit must be small: at 1 mrad and 200 m of wall the
#: hidden strip is as wide as the offset above.
MIN_CORNER_TURN_RAD = 1e-3


class Corners(NamedTuple):
    """Corners that stick out into open ground, where paths can bend; ``n`` of them."""

    points: np.ndarray
    """Positions [m], 5 cm in front of the corner on the bisector, shape ``(n, 2)``."""
    backward: np.ndarray
    """Unit vectors along the wall that ends in the corner, away from it, shape ``(n, 2)``."""
    forward: np.ndarray
    """Unit vectors along the wall that begins in the corner, away from it, shape ``(n, 2)``."""


class CornerSpans(NamedTuple):
    """Runs of cells that each corner sees, in compressed rows."""

    first_span: np.ndarray
    """Where the runs of each corner begin in the next field, shape ``(corners + 1,)``."""
    spans: np.ndarray
    """Runs as from `visible_spans`, shape ``(runs, 3)``."""


def find_walls(geometry: BaseGeometry, extents_m: float | tuple[float, float]) -> np.ndarray:
    """Return all walls and the four sides of the tile as directed segments.

    The sides, with the outside on their left, make sure that every ray hits something.

    Args:
        geometry: Union of the buildings within the tile [m], its lower left corner at 0.
        extents_m: Sides of the tile, along x and y if they differ [m].

    Returns:
        Segments ``(x_0, y_0, x_1, y_1)`` [m], shape ``(walls, 4)``, the building on the left.
    """
    segments = [np.hstack([ring, np.roll(ring, -1, axis=0)]) for ring in _rings(geometry)]
    x, y = np.broadcast_to(extents_m, 2)
    sides = np.array([[0, 0, 0, y], [0, y, x, y], [x, y, x, 0], [x, 0, 0, 0]], np.float64)
    return np.concatenate([*segments, sides])


def find_corners(geometry: BaseGeometry, extents_m: float | tuple[float, float]) -> Corners:
    """Return the corners that stick out of buildings into the open ground of the tile.

    Left out are corners that turn by less than a milliradian, that lie on the edge of the tile, or
    that face another building less than 5 cm away.

    Args:
        geometry: Union of the buildings within the tile [m], its lower left corner at 0.
        extents_m: Sides of the tile, along x and y if they differ [m].
    """
    points, backward, forward = np.empty((3, 0, 2))
    for ring in _rings(geometry):
        to_next = np.roll(ring, -1, axis=0) - ring
        to_next /= np.hypot(*to_next.T)[:, None]
        to_last = -np.roll(to_next, 1, axis=0)
        turn = np.arctan2(
            -to_last[:, 0] * to_next[:, 1] + to_last[:, 1] * to_next[:, 0],
            -(to_last * to_next).sum(1),
        )
        inward = to_next + to_last
        keep = turn > MIN_CORNER_TURN_RAD
        inward = inward[keep] / np.hypot(*inward[keep].T)[:, None]
        points = np.concatenate([points, ring[keep] - CORNER_OFFSET_M * inward])
        backward = np.concatenate([backward, to_last[keep]])
        forward = np.concatenate([forward, to_next[keep]])
    shapely.prepare(geometry)
    is_free = ((points > 0) & (points < extents_m)).all(1) & ~shapely.contains_xy(geometry, points)
    return Corners(points[is_free], backward[is_free], forward[is_free])


def _rings(geometry: BaseGeometry) -> list[np.ndarray]:
    """Return the vertices of every ring, shape ``(n, 2)``, with the building on the left."""
    rings = []
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    for polygon in map(orient, parts):
        for ring in (polygon.exterior, *polygon.interiors):
            points = shapely.get_coordinates(ring)[:-1]
            # Vertices closer than a millimetre would give walls without a direction.
            steps = np.hypot(*(points - np.roll(points, 1, axis=0)).T)
            points = points[steps > 1e-3]
            if len(points) >= 3:
                rings.append(points)
    return rings


def line_of_sight_mask(
    buildings: Sequence[Polygon],
    transmitter_m: tuple[float, float],
    size: int | tuple[int, int],
    cell_size_m: float,
) -> np.ndarray:
    """Return which cell centres a transmitter sees, bool, shape ``(rows, columns)``.

    Args:
        buildings: Outlines [m], y up; clipped to the tile, overlaps are merged.
        transmitter_m: Position ``(x, y)`` [m] on open ground.
        size: Cells along each side of the tile, or its rows and columns.
        cell_size_m: Side of a cell [m].
    """
    rows, columns = size if isinstance(size, tuple) else (size, size)
    extents_m, side = (columns * cell_size_m, rows * cell_size_m), max(rows, columns)
    geometry = shapely.union_all(list(buildings)).intersection(shapely.box(0, 0, *extents_m))
    walls = find_walls(geometry, extents_m)
    source = np.array(transmitter_m, np.float64)
    _, sectors = nearest_walls(walls, source[0], source[1])
    seen = np.zeros((side, side), dtype=bool)
    for row, start, stop in visible_spans(walls, sectors, source, side, cell_size_m):
        seen[row, start:stop] = True
    return seen[side - rows :, :columns]


@njit
def nearest_walls(walls: np.ndarray, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the sectors round a point and the wall that bounds each.

    Args:
        walls: Segments from `find_walls`, shape ``(walls, 4)``.
        x: Position of the point [m], on open ground inside the tile.
        y: Position of the point [m].

    Returns:
        ``angles``: where each sector begins [rad], ascending in (-pi, pi], shape ``(sectors,)``;
        the last one reaches round to the first. ``sectors``: index of the nearest wall and the
        coordinates [m] of the wall ends that begin and end the sector, shape ``(sectors, 5)``.
    """
    # Only walls that face the point can be nearest. Near ones first, for the early exit below.
    count = len(walls)
    facing = np.empty(count, np.int64)
    reach = np.empty(count)
    n = 0
    for w in range(count):
        ax, ay = walls[w, 0] - x, walls[w, 1] - y
        dx, dy = walls[w, 2] - walls[w, 0], walls[w, 3] - walls[w, 1]
        if dx * ay - dy * ax > 1e-9:
            s = -(ax * dx + ay * dy) / (dx * dx + dy * dy)
            s = min(max(s, 0.0), 1.0)
            reach[n] = np.hypot(ax + s * dx, ay + s * dy)
            facing[n] = w
            n += 1
    order = np.argsort(reach[:n], kind="mergesort")

    ends = np.empty((2 * n, 2))
    all_angles = np.empty(2 * n)
    for k in range(n):
        w = facing[k]
        for side in range(2):
            ends[2 * k + side, 0] = walls[w, 2 * side]
            ends[2 * k + side, 1] = walls[w, 2 * side + 1]
            all_angles[2 * k + side] = np.arctan2(
                walls[w, 2 * side + 1] - y, walls[w, 2 * side] - x
            )
    turn = np.argsort(all_angles, kind="mergesort")

    angles = np.empty(2 * n)
    sectors = np.empty((2 * n, 5))
    used = 0
    for k in range(2 * n):
        start, stop = turn[k], turn[(k + 1) % (2 * n)]
        width = all_angles[stop] - all_angles[start]
        if k == 2 * n - 1:
            width += 2 * np.pi
        if width < 1e-12:
            continue
        middle = all_angles[start] + width / 2
        cos, sin = np.cos(middle), np.sin(middle)
        nearest = _nearest_along(walls, facing, reach, order, x, y, cos, sin)
        if nearest < 0:
            continue
        if used > 0 and sectors[used - 1, 0] == nearest:
            sectors[used - 1, 3:] = ends[stop]
        else:
            angles[used] = all_angles[start]
            sectors[used, 0] = nearest
            sectors[used, 1:3] = ends[start]
            sectors[used, 3:] = ends[stop]
            used += 1
    return angles[:used].copy(), sectors[:used].copy()


@njit
def _nearest_along(
    walls: np.ndarray,
    facing: np.ndarray,
    reach: np.ndarray,
    order: np.ndarray,
    x: float,
    y: float,
    cos: float,
    sin: float,
) -> int:
    """Return the wall that a ray from a point [m] meets first, or -1.

    Args:
        walls: Segments from `find_walls`, shape ``(walls, 4)``.
        facing: Walls that face the point.
        reach: Distances of these from the point [m].
        order: Where they are found in ascending order of distance.
        x: Position of the point [m].
        y: Position of the point [m].
        cos: Direction of the ray, a unit vector.
        sin: Direction of the ray.
    """
    nearest, distance = -1, np.inf
    for j in order:
        if reach[j] > distance:
            break
        w = facing[j]
        ax, ay = walls[w, 0] - x, walls[w, 1] - y
        bx, by = walls[w, 2] - x, walls[w, 3] - y
        # The ray passes between the ends if they lie on different sides of it.
        side_a, side_b = cos * ay - sin * ax, cos * by - sin * bx
        if (side_a > 0) == (side_b > 0):
            continue
        s = side_a / (side_a - side_b)
        along = (ax + s * (bx - ax)) * cos + (ay + s * (by - ay)) * sin
        if 0 < along < distance:
            nearest, distance = w, along
    return nearest


@njit
def is_visible(
    walls: np.ndarray,
    angles: np.ndarray,
    sectors: np.ndarray,
    source: np.ndarray,
    point: np.ndarray,
) -> bool:
    """Return whether a point lies in front of the nearest wall, seen from the source.

    Args:
        walls: Segments from `find_walls`, shape ``(walls, 4)``.
        angles: From `nearest_walls`, shape ``(sectors,)``.
        sectors: From `nearest_walls`, shape ``(sectors, 5)``.
        source: Where `nearest_walls` looked from [m], shape ``(2,)``.
        point: Point on open ground [m], shape ``(2,)``.
    """
    angle = np.arctan2(point[1] - source[1], point[0] - source[0])
    # Before the first beginning lies the end of the last sector, index -1.
    w = int(sectors[np.searchsorted(angles, angle, side="right") - 1, 0])
    dx, dy = walls[w, 2] - walls[w, 0], walls[w, 3] - walls[w, 1]
    return dx * (point[1] - walls[w, 1]) - dy * (point[0] - walls[w, 0]) <= 0


@njit
def visible_spans(
    walls: np.ndarray, sectors: np.ndarray, source: np.ndarray, size: int, cell_size_m: float
) -> np.ndarray:
    """Return the runs of cells whose centres are visible from a point.

    Every sector is a triangle between the point and its wall; it is filled row by row. Half-open
    runs share their ends, so a centre on the line between two sectors counts once.

    Args:
        walls: Segments from `find_walls`, shape ``(walls, 4)``.
        sectors: From `nearest_walls`, shape ``(sectors, 5)``.
        source: Where `nearest_walls` looked from [m], shape ``(2,)``.
        size: Cells along each side of the tile.
        cell_size_m: Side of a cell [m].

    Returns:
        Runs ``(row, first col, last col + 1)``, shape ``(runs, 3)``, int32.
    """
    sx, sy = source
    spans = np.empty((1024, 3), np.int32)
    used = 0
    for k in range(len(sectors)):
        w = int(sectors[k, 0])
        wx, wy = walls[w, 0], walls[w, 1]
        dx, dy = walls[w, 2] - wx, walls[w, 3] - wy
        # Direction of both rays, and where they meet the wall.
        ux, uy = sectors[k, 1] - sx, sectors[k, 2] - sy
        vx, vy = sectors[k, 3] - sx, sectors[k, 4] - sy
        depth = dx * (wy - sy) - dy * (wx - sx)
        u_reach, v_reach = dx * uy - dy * ux, dx * vy - dy * vx
        if u_reach <= 0 or v_reach <= 0:
            continue
        px, py = sx + depth / u_reach * ux, sy + depth / u_reach * uy
        qx, qy = sx + depth / v_reach * vx, sy + depth / v_reach * vy
        low, high = min(sy, py, qy), max(sy, py, qy)
        first = max(0, int(np.ceil(low / cell_size_m - 0.5)))
        last = min(size - 1, int(np.ceil(high / cell_size_m - 0.5)))
        for i in range(first, last + 1):
            y = (i + 0.5) * cell_size_m
            left, right = np.inf, -np.inf
            left, right = _widen(left, right, y, sx, sy, py, ux, uy)
            left, right = _widen(left, right, y, sx, sy, qy, vx, vy)
            left, right = _widen(left, right, y, px, py, qy, qx - px, qy - py)
            if left >= right:
                continue
            start = max(0, int(np.ceil(left / cell_size_m - 0.5)))
            stop = min(size, int(np.ceil(right / cell_size_m - 0.5)))
            if start < stop:
                if used == len(spans):
                    grown = np.empty((2 * used, 3), np.int32)
                    grown[:used] = spans
                    spans = grown
                spans[used, 0], spans[used, 1], spans[used, 2] = size - 1 - i, start, stop
                used += 1
    return spans[:used].copy()


@njit
def _widen(
    left: float, right: float, y: float, x0: float, y0: float, y1: float, dx: float, dy: float
) -> tuple[float, float]:
    """Return a run on a row at height y, widened to where a line crosses that row.

    The line goes from (x0, y0) in the direction (dx, dy) up to the height y1 [m].
    """
    if (y0 <= y) != (y1 <= y):
        at = x0 + (y - y0) / dy * dx
        left, right = min(left, at), max(right, at)
    return left, right


@njit
def corner_spans(
    walls: np.ndarray, points: np.ndarray, size: int, cell_size_m: float
) -> CornerSpans:
    """Return the runs of cells visible from each corner.

    Args:
        walls: Segments from `find_walls`, shape ``(walls, 4)``.
        points: Positions of the corners [m], shape ``(corners, 2)``.
        size: Cells along each side of the tile.
        cell_size_m: Side of a cell [m].
    """
    first_span = np.zeros(len(points) + 1, np.int64)
    spans = np.empty((4096, 3), np.int32)
    for c in range(len(points)):
        _, sectors = nearest_walls(walls, points[c, 0], points[c, 1])
        more = visible_spans(walls, sectors, points[c], size, cell_size_m)
        begin = first_span[c]
        first_span[c + 1] = begin + len(more)
        while begin + len(more) > len(spans):
            spans = np.concatenate((spans, np.empty_like(spans)))
        spans[begin : begin + len(more)] = more
    return CornerSpans(first_span, spans[: first_span[-1]].copy())
