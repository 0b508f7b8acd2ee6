"""Paths over the roofs: up a wall the transmitter sees, straight on, down a wall the cell sees.

All buildings of the dataset are equally high, so above them the plane is free, and a path that
leaves the streets bends twice: where it comes over the edge of a roof and where it goes down
again. With antennas 1.5 m and roofs 25 m above ground both bends lie ``height_m`` = 23.5 m above
the antennas. What limits such a path is how steeply it must climb, so it matters in deep shadow,
where the streets offer nothing better (eq. ``roof-path``). In plan it may turn at one of the two
bends and is straight otherwise; turning at both explains the real gains no better. Streets that it
crosses after the first one cost extra: without that, cells below the noise come out brighter still.

From every cell, and from the transmitter, walls are looked up in evenly spread directions; the
bends are searched among the wall points found. Compiled code is cached per file, see
`radiodiff.simulate.grid`.
"""

from typing import NamedTuple

import numpy as np

from radiodiff.simulate.compiled import njit
from radiodiff.simulate.grid import WallGrid, first_cell, meet_wall, next_cell, wall_grid

__all__ = ["RoofEdges", "RoofLosses", "Roofs", "find_roofs", "improve_over_roofs", "roof_edges"]

#: Directions in which cells and the transmitter look for roof edges; between two of them lie 5
#: degrees. A multiple of eight, so that a turned or mirrored tile gives a turned or mirrored map.
DIRECTIONS = 72
TURN_RAD = 2 * np.pi / DIRECTIONS
#: Where a path may come over a roof: the place [m], the direction to it (unit vector in plan) times
#: the cosine of the climb, the wall (vector [m]), the length up to it [m], and the climb [rad].
BEND = np.dtype(
    [(name, np.float64) for name in ("x", "y", "ux", "uy", "wall_x", "wall_y", "length", "climb")]
)


class RoofEdges(NamedTuple):
    """Walls that ``n`` points see in evenly spread directions, all of shape ``(n, 72)``."""

    walls: np.ndarray
    """Numbers, -1 where the tile ends first, int32."""
    distances: np.ndarray
    """Distances [m], infinite where there is no wall, float32."""
    order: np.ndarray
    """Directions, farthest wall first, those without one last, uint8."""


class Roofs(NamedTuple):
    """What paths over the roofs need to know of a tile with ``n`` outdoor cells."""

    grid: WallGrid
    """Walls without the sides of the tile."""
    building_mask: np.ndarray
    """Cells inside buildings, bool, shape ``(size, size)``."""
    cells: np.ndarray
    """Outdoor cells ``(row, col)``, shape ``(n, 2)``."""
    centers: np.ndarray
    """Their centres [m], shape ``(n, 2)``."""
    edges: RoofEdges
    """Roof edges that these see."""


class RoofLosses(NamedTuple):
    """Loss of a path over the roofs."""

    height_m: float
    """Height of the roofs above the antennas [m]."""
    street_db: float
    """Loss per street crossed after the first [dB]."""
    exponent: float
    """Path-loss exponent [1]."""
    bend_db: float
    """Loss of each of both bends [dB]."""
    angle_db_per_rad: float
    """Further loss of a bend per angle [dB/rad]."""
    angle_limit_rad: float
    """Angle beyond which a bend costs no more [rad]."""


def find_roofs(walls: np.ndarray, building_mask: np.ndarray, cell_size_m: float) -> Roofs:
    """Return what paths over the roofs need to know of a tile.

    Args:
        walls: Segments [m] with the building on the left, shape ``(walls, 4)``.
        building_mask: Cells inside buildings, bool, shape ``(size, size)``.
        cell_size_m: Side of a cell [m].
    """
    size = len(building_mask)
    grid = wall_grid(walls, size, cell_size_m)
    cells = np.argwhere(~building_mask)
    centers = np.stack([cells[:, 1] + 0.5, size - cells[:, 0] - 0.5], axis=1)
    centers *= cell_size_m
    return Roofs(grid, building_mask, cells, centers, roof_edges(grid, centers))


@njit
def _cast(grid: WallGrid, x: float, y: float, cos: float, sin: float) -> tuple[int, float]:
    """Return the first wall that a ray meets and its distance [m], or -1 and infinity."""
    size = grid.size
    found, nearest = -1, np.inf
    walk = first_cell(x, y, cos, sin, grid.cell_size_m)
    while 0 <= walk.col < size and 0 <= walk.up < size:
        cell = (size - 1 - walk.up) * size + walk.col
        for k in range(grid.first_wall[cell], grid.first_wall[cell + 1]):
            w = grid.wall_ids[k]
            distance, along = meet_wall(grid.walls, w, x, y, cos, sin)
            if 0 < distance < nearest and -1e-12 <= along <= 1 + 1e-12:
                found, nearest = w, distance
        if nearest <= min(walk.next_x, walk.next_y) + 1e-9:
            break
        walk = next_cell(walk)
    return found, nearest


@njit
def _look(grid: WallGrid, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first wall met from each point in each direction, and its distance [m]."""
    found = np.empty((len(points), DIRECTIONS), np.int32)
    distances = np.empty((len(points), DIRECTIONS), np.float32)
    for d in range(DIRECTIONS):
        angle = (d + 0.5) * TURN_RAD
        cos, sin = np.cos(angle), np.sin(angle)
        for p in range(len(points)):
            found[p, d], distances[p, d] = _cast(grid, points[p, 0], points[p, 1], cos, sin)
    return found, distances


def roof_edges(grid: WallGrid, points: np.ndarray) -> RoofEdges:
    """Return the wall that is first met from each point in each of evenly spread directions.

    The k-th direction is ``(k + 0.5) 360 / DIRECTIONS`` degrees.

    Args:
        grid: From `radiodiff.simulate.grid.wall_grid`.
        points: Positions ``(x, y)`` [m] on open ground, shape ``(n, 2)``.
    """
    found, distances = _look(grid, points)
    key = np.where(found < 0, np.inf, -distances)
    return RoofEdges(found, distances, np.argsort(key, axis=1, kind="stable").astype(np.uint8))


@njit
def improve_over_roofs(
    loss_db: np.ndarray,
    roofs: Roofs,
    source: np.ndarray,
    source_edges: RoofEdges,
    losses: RoofLosses,
) -> np.ndarray:
    """Lower the loss of cells that are better reached over the roofs, in place.

    Args:
        loss_db: Least loss so far beyond the first metre [dB], shape ``(size, size)``; -inf with
            line of sight.
        roofs: From `find_roofs`.
        source: Transmitter [m], shape ``(2,)``.
        source_edges: From `roof_edges` for the transmitter.
        losses: Loss of paths over the roofs.

    Returns:
        Which cells got a path over the roofs, bool, shape ``(size, size)``.
    """
    improved = np.zeros(loss_db.shape, np.bool_)
    ups, downs = np.empty(DIRECTIONS, BEND), np.empty(DIRECTIONS, BEND)
    walls, raster = roofs.grid.walls, (roofs.building_mask, roofs.grid.cell_size_m)
    count = _bends(source, 0, walls, source_edges, losses, ups)
    if count == 0:
        return improved
    ups = ups[:count]
    cells, centers, cell_edges = roofs.cells, roofs.centers, roofs.edges
    for n in range(len(cells)):
        row, col = cells[n]
        # No path over roofs is shorter than this, and none bends less than it climbs and falls.
        straight = np.hypot(centers[n, 0] - source[0], centers[n, 1] - source[1])
        shortest = np.hypot(straight, 2 * losses.height_m)
        least_db = 10 * losses.exponent * np.log10(max(1.0, shortest))
        least_db += 2 * losses.bend_db
        before = loss_db[row, col]
        if before <= least_db + losses.angle_db_per_rad * ups[0].climb:
            continue
        count = _bends(centers[n], n, walls, cell_edges, losses, downs)
        if count == 0:
            continue
        # Turning in plan where it comes up, then, seen from the other end, where it goes down.
        far = (cell_edges.walls[n], cell_edges.distances[n], downs[0].climb)
        best = _best_turn(before, least_db, *raster, ups, centers[n], far, losses)
        far = (source_edges.walls[0], source_edges.distances[0], ups[0].climb)
        best = _best_turn(best, least_db, *raster, downs[:count], source, far, losses)
        if best < before:
            loss_db[row, col] = best
            improved[row, col] = True
    return improved


@njit
def _bends(
    point: np.ndarray,
    row: int,
    walls: np.ndarray,
    edges: RoofEdges,
    losses: RoofLosses,
    bends: np.ndarray,
) -> int:
    """Write where a path from a point may come over a roof, flattest climb first; return how many.

    Args:
        point: Begin of the path [m], shape ``(2,)``.
        row: Its number in ``edges``.
        walls: Segments [m], shape ``(walls, 4)``.
        edges: From `roof_edges`.
        losses: Loss of paths over the roofs; climbs stop at the limit of the angle.
        bends: Receives the places, `BEND`, shape ``(72,)``.
    """
    height_m = losses.height_m
    count = 0
    for d in edges.order[row]:
        w = edges.walls[row, d]
        if w < 0:
            break
        distance = edges.distances[row, d]
        cos, sin = np.cos((d + 0.5) * TURN_RAD), np.sin((d + 0.5) * TURN_RAD)
        length = np.sqrt(distance * distance + height_m * height_m)
        bend = bends[count]
        bend.x, bend.y = point[0] + distance * cos, point[1] + distance * sin
        bend.ux, bend.uy = cos * distance / length, sin * distance / length
        bend.wall_x, bend.wall_y = walls[w, 2] - walls[w, 0], walls[w, 3] - walls[w, 1]
        bend.length = length
        bend.climb = min(np.arctan2(height_m, distance), losses.angle_limit_rad)
        count += 1
    return count


@njit
def _best_turn(
    best: float,
    least_db: float,
    building_mask: np.ndarray,
    cell_size_m: float,
    near: np.ndarray,
    target: np.ndarray,
    far: tuple[np.ndarray, np.ndarray, float],
    losses: RoofLosses,
) -> float:
    """Return the least loss of paths that turn in plan over one of the walls near their start [dB].

    From there they run straight to the target; the wall they come down by is looked up in that
    direction.

    Args:
        best: Least loss so far [dB].
        least_db: What all such paths lose in length and in bends without their angles [dB].
        building_mask: Cells inside buildings, bool, shape ``(size, size)``.
        cell_size_m: Side of a cell [m].
        near: Places where the path may come over a roof, `BEND`.
        target: End of the path [m], shape ``(2,)``.
        far: Walls that the target sees and their distances [m], as in `RoofEdges`, and its
            flattest climb [rad].
        losses: Loss of paths over the roofs.
    """
    bare_db = _without_streets(best, least_db, near, target, far, losses)
    street_db = losses.street_db
    while True:
        k = np.argmin(bare_db)
        loss = bare_db[k]
        if loss >= best:
            return best
        bare_db[k] = np.inf
        dx, dy = target[0] - near[k].x, target[1] - near[k].y
        level = np.sqrt(dx * dx + dy * dy)
        home = far[1][int(np.floor(np.arctan2(-dy, -dx) / TURN_RAD)) % DIRECTIONS]
        # Beyond so many streets the path cannot win.
        most = 2 + int(min((best - loss) / street_db, 1e3)) if street_db > 0 else 0
        start = (near[k].x, near[k].y, dx / level, dy / level)
        streets = _streets_between(building_mask, cell_size_m, start, level - home, most)
        best = min(best, loss + street_db * max(0, streets - 1))


@njit
def _without_streets(
    best: float,
    least_db: float,
    near: np.ndarray,
    target: np.ndarray,
    far: tuple[np.ndarray, np.ndarray, float],
    losses: RoofLosses,
) -> np.ndarray:
    """Return the losses of these paths but for streets, which take longest to find [dB].

    Infinite for those that cannot be; the arguments are those of `_best_turn`.
    """
    far_walls, far_distances, flattest_far = far
    angle_db_per_rad, angle_limit_rad = losses.angle_db_per_rad, losses.angle_limit_rad
    height_m = losses.height_m
    least_db += angle_db_per_rad * flattest_far
    # A sharper bend than this cannot win.
    sharpest = (best - least_db) / angle_db_per_rad
    least_cos = np.cos(sharpest) if sharpest < min(angle_limit_rad, np.pi) else -2.0
    bare_db = np.full(len(near), np.inf)
    for k in range(len(near)):
        bend = near[k]
        if sharpest <= bend.climb:
            break
        dx, dy = target[0] - bend.x, target[1] - bend.y
        # The path must go in over the wall.
        if bend.wall_x * dy - bend.wall_y * dx <= 0:
            continue
        level = np.sqrt(dx * dx + dy * dy)
        # Cosine of the bend: that of the climb times that of the turn in plan.
        cos_bend = (bend.ux * dx + bend.uy * dy) / level
        if cos_bend <= least_cos:
            continue
        back = int(np.floor(np.arctan2(-dy, -dx) / TURN_RAD)) % DIRECTIONS
        home = far_distances[back]
        if far_walls[back] < 0 or home >= level:
            continue
        fall = min(np.arctan2(height_m, home), angle_limit_rad)
        if best <= least_db + angle_db_per_rad * (bend.climb + fall - flattest_far):
            continue
        length = bend.length + level - home + np.sqrt(home * home + height_m * height_m)
        turn = min(np.arccos(min(1.0, max(-1.0, cos_bend))), angle_limit_rad)
        bare_db[k] = 2 * losses.bend_db + angle_db_per_rad * (turn + fall)
        bare_db[k] += 10 * losses.exponent * np.log10(max(1.0, length))
    return bare_db


@njit
def _streets_between(
    building_mask: np.ndarray,
    cell_size_m: float,
    start: tuple[float, float, float, float],
    length: float,
    most: int,
) -> int:
    """Return how many streets a straight line crosses, ``most`` or fewer.

    It begins and ends at the edge of a roof, at ``(x, y)`` [m] in the direction ``(cos, sin)``,
    and is looked at every cell; a street is open ground with buildings before and behind.
    """
    size = building_mask.shape[0]
    x, y, cos, sin = start
    streets = 0
    is_open = False
    for k in range(1, int(length / cell_size_m) + 1):
        if streets >= most:
            break
        at = k * cell_size_m
        row = size - 1 - int((y + at * sin) / cell_size_m)
        col = int((x + at * cos) / cell_size_m)
        if not building_mask[min(max(row, 0), size - 1), min(max(col, 0), size - 1)]:
            is_open = k > 1 or is_open
        elif is_open:
            streets += 1
            is_open = False
    return streets
