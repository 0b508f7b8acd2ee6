"""Paths over the roofs: up a wall the transmitter sees, straight on, down a wall the cell sees.

All buildings of the dataset are equally high, so above them the plane is free, and a path that
leaves the streets bends twice: where it comes over the edge of a roof and where it goes down
again. With antennas 1.5 m and roofs 25 m above ground both bends lie ``height_m`` = 23.5 m above
the antennas. What limits such a path is how steeply it must climb, so it matters in deep shadow,
where the streets offer nothing better (eq. ``roof-path``). In plan it may turn at one of the two
bends and is straight otherwise; turning at both explains the real gains no better. Streets that it
crosses after the first one cost extra: without that, real cells below the noise would be 10 dB
darker.

From every cell, and from the transmitter, walls are looked up in evenly spread directions; the
bends are searched among the wall points found. Compiled code is cached per file, see
`radiodiff.simulate.visibility`.
"""

import numba
import numpy as np

__all__ = ["improve_over_roofs", "roof_edges"]

#: Directions in which cells look for roof edges; between two of them lie 5 degrees. A multiple of
#: eight, so that a turned or mirrored tile gives a turned or mirrored map.
CELL_DIRECTIONS = 72
#: Directions in which the transmitter looks.
TRANSMITTER_DIRECTIONS = 144


@numba.njit(cache=True)
def _cast(
    walls: np.ndarray,
    first: np.ndarray,
    index: np.ndarray,
    size: int,
    cell_size_m: float,
    x: float,
    y: float,
    cos: float,
    sin: float,
) -> tuple[int, float]:
    """Return the first wall that a ray meets and its distance [m], or -1 and infinity."""
    i, j = int(np.floor(x / cell_size_m)), int(np.floor(y / cell_size_m))
    step_i, step_j = (1 if cos > 0 else -1), (1 if sin > 0 else -1)
    delta_x = cell_size_m / abs(cos) if cos != 0 else np.inf
    delta_y = cell_size_m / abs(sin) if sin != 0 else np.inf
    next_x = ((i + (cos > 0)) * cell_size_m - x) / cos if cos != 0 else np.inf
    next_y = ((j + (sin > 0)) * cell_size_m - y) / sin if sin != 0 else np.inf
    found, nearest = -1, np.inf
    while 0 <= i < size and 0 <= j < size:
        cell = (size - 1 - j) * size + i
        for k in range(first[cell], first[cell + 1]):
            w = index[k]
            ax, ay = walls[w, 0] - x, walls[w, 1] - y
            dx, dy = walls[w, 2] - walls[w, 0], walls[w, 3] - walls[w, 1]
            across = dx * sin - dy * cos
            if across <= 0:  # parallel, or from behind
                continue
            distance = (dx * ay - dy * ax) / across
            along = (cos * ay - sin * ax) / across
            if 0 < distance < nearest and -1e-12 <= along <= 1 + 1e-12:
                found, nearest = w, distance
        if nearest <= min(next_x, next_y) + 1e-9:
            break
        if next_x < next_y:
            i += step_i
            next_x += delta_x
        else:
            j += step_j
            next_y += delta_y
    return found, nearest


@numba.njit(cache=True)
def roof_edges(
    walls: np.ndarray,
    first: np.ndarray,
    index: np.ndarray,
    size: int,
    cell_size_m: float,
    points: np.ndarray,
    directions: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the wall that is first met from each point in each of evenly spread directions.

    Args:
        walls: Segments [m] with the building on the left, shape ``(walls, 4)``.
        first: From `radiodiff.simulate.visibility.wall_grid`.
        index: From the same.
        size: Cells along each side of the tile.
        cell_size_m: Side of a cell [m].
        points: Positions ``(x, y)`` [m] on open ground, shape ``(n, 2)``.
        directions: Number of directions; the k-th is ``(k + 0.5) 360 / directions`` degrees.

    Returns:
        Wall numbers, -1 where the tile ends first, int32; distances [m], infinite there, float32;
        and the directions of each point, farthest wall first, those without one last, uint8. All
        of shape ``(n, directions)``.
    """
    found = np.empty((len(points), directions), np.int32)
    distances = np.empty((len(points), directions), np.float32)
    for d in range(directions):
        angle = (d + 0.5) * 2 * np.pi / directions
        cos, sin = np.cos(angle), np.sin(angle)
        for p in range(len(points)):
            found[p, d], distances[p, d] = _cast(
                walls, first, index, size, cell_size_m, points[p, 0], points[p, 1], cos, sin
            )
    order = np.empty((len(points), directions), np.uint8)
    for p in range(len(points)):
        order[p] = np.argsort(np.where(found[p] < 0, np.inf, -distances[p]), kind="mergesort")
    return found, distances, order


@numba.njit(cache=True)
def improve_over_roofs(
    loss_db: np.ndarray,
    cells: np.ndarray,
    centers: np.ndarray,
    walls: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray, int, float],
    cell_walls: np.ndarray,
    cell_distances: np.ndarray,
    cell_order: np.ndarray,
    source: np.ndarray,
    source_walls: np.ndarray,
    source_distances: np.ndarray,
    source_order: np.ndarray,
    height_m: float,
    street_db: float,
    constants: tuple[float, float, float, float],
) -> np.ndarray:
    """Lower the loss of cells that are better reached over the roofs, in place.

    Args:
        loss_db: Least loss so far beyond the first metre [dB], shape ``(size, size)``; -inf with
            line of sight.
        cells: Outdoor cells ``(row, col)``, shape ``(n, 2)``.
        centers: Their centres [m], shape ``(n, 2)``.
        walls: Segments [m] with the building on the left, shape ``(walls, 4)``.
        grid: From `radiodiff.simulate.visibility.wall_grid`, cells along a side, their side [m].
        cell_walls: From `roof_edges` for the centres, shape ``(n, directions)``.
        cell_distances: From `roof_edges` for the centres [m], shape ``(n, directions)``.
        cell_order: From `roof_edges` for the centres, shape ``(n, directions)``.
        source: Transmitter [m], shape ``(2,)``.
        source_walls: From `roof_edges` for the transmitter, shape ``(1, directions)``.
        source_distances: From `roof_edges` for the transmitter [m], shape ``(1, directions)``.
        source_order: From `roof_edges` for the transmitter, shape ``(1, directions)``.
        height_m: Height of the roofs above the antennas [m].
        street_db: Loss per street crossed after the first [dB].
        constants: Exponent, loss per bend [dB], loss per angle [dB/rad], limit of the angle
            [rad].

    Returns:
        Which cells got a path over the roofs, bool, shape ``(size, size)``.
    """
    exponent, bend_db, angle_db_per_rad, angle_limit_rad = constants
    improved = np.zeros(loss_db.shape, np.bool_)
    up = (source_walls[0], source_distances[0], source_order[0])
    flattest_up = _slope(*up[1:], height_m, angle_limit_rad)
    for n in range(len(cells)):
        row, col = cells[n]
        x, y = centers[n]
        # No path over roofs is shorter than this, and none bends less than it climbs and falls.
        straight = np.hypot(x - source[0], y - source[1])
        least_db = 10 * exponent * np.log10(max(1.0, np.hypot(straight, 2 * height_m)))
        least_db += 2 * bend_db + angle_db_per_rad * flattest_up
        if loss_db[row, col] <= least_db:
            continue
        before = loss_db[row, col]
        # Turning in plan where it comes up, then, seen from the other end, where it goes down.
        ends = (source[0], source[1], x, y)
        down = (cell_walls[n], cell_distances[n], cell_order[n])
        flattest_down = _slope(*down[1:], height_m, angle_limit_rad)
        losses = (height_m, street_db, constants)
        best = _best_turn(before, walls, grid, ends, up, down, flattest_down, losses)
        ends = (x, y, source[0], source[1])
        best = _best_turn(best, walls, grid, ends, down, up, flattest_up, losses)
        if best < before:
            loss_db[row, col] = best
            improved[row, col] = True
    return improved


@numba.njit(cache=True)
def _slope(
    distances: np.ndarray, order: np.ndarray, height_m: float, angle_limit_rad: float
) -> float:
    """Return how steep a path to the farthest wall is, at most the limit [rad]."""
    if not np.isfinite(distances[order[0]]):
        return angle_limit_rad
    return min(np.arctan2(height_m, distances[order[0]]), angle_limit_rad)


@numba.njit(cache=True)
def _best_turn(
    best: float,
    walls: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray, int, float],
    ends: tuple[float, float, float, float],
    near: tuple[np.ndarray, np.ndarray, np.ndarray],
    far: tuple[np.ndarray, np.ndarray, np.ndarray],
    flattest_far: float,
    losses: tuple[float, float, tuple[float, float, float, float]],
) -> float:
    """Return the least loss of paths that turn in plan over the wall near their first end [dB].

    From there they run straight to the second end; the wall they come down by is looked up in
    that direction.
    """
    height_m, street_db, constants = losses
    exponent, bend_db, angle_db_per_rad, angle_limit_rad = constants
    near_walls, near_distances, near_order = near
    far_walls, far_distances, _ = far
    x_0, y_0, x_1, y_1 = ends
    near_count, far_count = len(near_walls), len(far_walls)
    near_turn, far_turn = 2 * np.pi / near_count, 2 * np.pi / far_count
    straight = np.hypot(np.hypot(x_1 - x_0, y_1 - y_0), 2 * height_m)
    least_db = 2 * bend_db + 10 * exponent * np.log10(max(1.0, straight))
    least_db += angle_db_per_rad * flattest_far
    for d in near_order:
        w = near_walls[d]
        if w < 0:
            break
        out = near_distances[d]
        climb = min(np.arctan2(height_m, out), angle_limit_rad)
        if best <= least_db + angle_db_per_rad * climb:
            break
        cos, sin = np.cos((d + 0.5) * near_turn), np.sin((d + 0.5) * near_turn)
        dx, dy = x_1 - x_0 - out * cos, y_1 - y_0 - out * sin
        # The path must go in over the wall.
        if (walls[w, 2] - walls[w, 0]) * dy - (walls[w, 3] - walls[w, 1]) * dx <= 0:
            continue
        level = np.sqrt(dx * dx + dy * dy)
        up_length = np.sqrt(out * out + height_m * height_m)
        # Cosine of the bend: that of the climb times that of the turn in plan.
        cos_bend = out / up_length * (cos * dx + sin * dy) / level
        bend = min(np.arccos(min(1.0, max(-1.0, cos_bend))), angle_limit_rad)
        if best <= least_db + angle_db_per_rad * bend:
            continue
        back = int(np.floor(np.arctan2(-dy, -dx) / far_turn)) % far_count
        home = far_distances[back]
        if far_walls[back] < 0 or home >= level:
            continue
        length = up_length + level - home + np.sqrt(home * home + height_m * height_m)
        fall = min(np.arctan2(height_m, home), angle_limit_rad)
        loss = 2 * bend_db + angle_db_per_rad * (bend + fall)
        loss += 10 * exponent * np.log10(max(1.0, length))
        if loss < best:
            # Each building that the path comes over after the first lies behind a street; beyond
            # so many the path cannot win.
            most = 2 + int(min((best - loss) / street_db, 1e3)) if street_db > 0 else 0
            start = (x_1 - dx, y_1 - dy, dx / level, dy / level)
            streets = _streets_between(walls, grid, start, level - home, most)
            best = min(best, loss + street_db * max(0, streets - 1))
    return best


@numba.njit(cache=True)
def _streets_between(
    walls: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray, int, float],
    start: tuple[float, float, float, float],
    length: float,
    most: int,
) -> int:
    """Return how many buildings a straight line enters that begins on a roof, ``most`` or fewer."""
    first, index, size, cell_m = grid
    x, y, cos, sin = start
    at = 1e-6  # beyond the wall that was met last
    for streets in range(most):
        wall, step = _cast(walls, first, index, size, cell_m, x + at * cos, y + at * sin, cos, sin)
        at += step + 1e-6
        if wall < 0 or at >= length:
            return streets
    return most
