"""Path gain along the one dominant path to every cell: the engine behind our simulated maps.

The dominant path model replaces the many rays of a ray tracer by the single path with the least
loss. With line of sight that is the straight line; elsewhere it is a string pulled tight round
building corners, and every corner costs a fixed loss plus one that grows with the angle it bends
the path by. Source: R. Wahl et al., *Dominant Path Prediction Model for Urban Scenarios*, IST
Mobile and Wireless Communications Summit 2005; the loss terms here were fitted to RadioMapSeer.
"""

import heapq
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numba
import numpy as np
import shapely
from shapely import Polygon

from radiodiff.simulate.cities import rasterize
from radiodiff.simulate.visibility import (
    CORNER_OFFSET_M,
    find_corners,
    find_walls,
    is_visible,
    nearest_walls,
    visible_spans,
)
from radiodiff.units import REFERENCE_LOSS_DB, line_of_sight_gain_db

__all__ = ["DominantPath", "DominantPathConstants", "PathMap"]

#: Two corners of one wall are seen from up to this far off the wall [m].
SLACK_M = 1.01 * CORNER_OFFSET_M


@dataclass(frozen=True)
class DominantPathConstants:
    """Loss of a path without line of sight.

    A path of total length l [m] round corners that bend it by the angles a_i [rad] has the loss

        47.86 + 10 exponent log10(l)
        + sum_i (corner_db + angle_db_per_rad min(a_i, angle_limit_rad))

    in dB (eq. ``bent-path``). The values were fitted to the DPM gains of RadioMapSeer's map 0.
    """

    exponent: float = 2.93
    """Path-loss exponent of the whole bent path [1]; with line of sight it is 2.5."""
    corner_db: float = 1.4
    """Loss of a corner however little it bends the path [dB]."""
    angle_db_per_rad: float = 7.0
    """Further loss of a corner per angle it bends the path by [dB/rad]."""
    angle_limit_rad: float = 1.2
    """Angle beyond which a corner costs no more [rad]."""


class PathMap(NamedTuple):
    """What `DominantPath.trace` finds for one transmitter."""

    path_gain_db: np.ndarray
    """Path gain [dB], shape ``(size, size)``; NaN in buildings, -inf where no path leads."""
    bends: np.ndarray
    """Corners on the dominant path, shape ``(size, size)``; 0 with line of sight, else -1
    without a path and in buildings."""


class DominantPath:
    """Dominant-path propagation on one tile; built once, then asked for many transmitters.

    The path found is the best of all tight strings round corners, not an approximation: a state
    of the search is the arrival at a corner from another one, and because loss is logarithmic in
    the total length it keeps, besides the cheapest arrival, every dearer one with less corner
    loss, which may win farther on.

    Args:
        buildings: Outlines [m], y up; clipped to the tile, overlaps are merged.
        size: Cells along each side of the tile.
        cell_size_m: Side of a cell [m].
        constants: Loss of bent paths.

    Raises:
        ValueError: If ``size`` or ``cell_size_m`` is not positive.
    """

    def __init__(
        self,
        buildings: Sequence[Polygon],
        size: int,
        cell_size_m: float,
        constants: DominantPathConstants | None = None,
    ) -> None:
        if size < 1 or not cell_size_m > 0:
            raise ValueError(
                f"expected size >= 1 and cell_size_m > 0, got {size} and {cell_size_m}; "
                "give the cells along a side and the side of a cell in metres"
            )
        self.size = size
        self.cell_size_m = float(cell_size_m)
        self.extent_m = size * self.cell_size_m
        self.constants = constants or DominantPathConstants()
        tile = shapely.box(0, 0, self.extent_m, self.extent_m)
        geometry = shapely.union_all(list(buildings)).intersection(tile)
        parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon"]
        self._geometry = shapely.MultiPolygon(parts)
        shapely.prepare(self._geometry)
        self.building_mask = rasterize(parts, size, self.cell_size_m)
        self._walls = find_walls(self._geometry, self.extent_m)
        self._corners = find_corners(self._geometry, self.extent_m)
        self._graph = _corner_graph(self._walls, *self._corners)
        self._spans = _corner_spans(self._walls, self._corners.points, size, self.cell_size_m)

    def path_gain_db(self, transmitter_m: tuple[float, float]) -> np.ndarray:
        """Return the path gain [dB] of every cell centre, shape ``(size, size)``.

        Args:
            transmitter_m: Position ``(x, y)`` [m].

        Returns:
            Path gain [dB], float64; NaN in buildings, -inf where no path leads.

        Raises:
            ValueError: If the transmitter lies in a building or outside the tile.
        """
        return self.trace(transmitter_m).path_gain_db

    def trace(self, transmitter_m: tuple[float, float]) -> PathMap:
        """Return the path gain [dB] and the number of bends of every cell centre.

        Args:
            transmitter_m: Position ``(x, y)`` [m].

        Raises:
            ValueError: If the transmitter lies in a building or outside the tile.
        """
        source = np.array(transmitter_m, np.float64)
        if not ((source > 0) & (source < self.extent_m)).all():
            raise ValueError(
                f"expected a transmitter between 0 and {self.extent_m:g} m in x and y, got "
                f"({source[0]:g}, {source[1]:g}); give metres from the lower left corner"
            )
        if shapely.intersects_xy(self._geometry, *source):
            raise ValueError(
                f"expected a transmitter outdoors, got ({source[0]:g}, {source[1]:g}) m inside or "
                "on the wall of a building; choose a cell with place_transmitters"
            )
        loss_db, bends = _trace(
            self._walls,
            *self._corners,
            *self._graph,
            *self._spans,
            source,
            self.size,
            self.cell_size_m,
            astuple(self.constants),
        )
        centers = (np.arange(self.size) + 0.5) * self.cell_size_m
        distance_m = np.hypot(centers - source[0], centers[::-1, None] - source[1])
        path_gain_db = np.where(
            bends == 0, line_of_sight_gain_db(distance_m), -(REFERENCE_LOSS_DB + loss_db)
        )
        path_gain_db[self.building_mask] = np.nan
        bends[self.building_mask] = -1
        return PathMap(path_gain_db, bends)


@numba.njit(cache=True)
def _wraps(
    corner: int, side: int, x: float, y: float, backward: np.ndarray, forward: np.ndarray
) -> bool:
    """Return whether a line (x, y) [m] from or to a corner has its building on the given side.

    Side 1 is left, -1 right. A tight string bends round a corner only if both of its pieces there
    have the building on the side it bends to.
    """
    to_backward = x * backward[corner, 1] - y * backward[corner, 0]
    to_forward = x * forward[corner, 1] - y * forward[corner, 0]
    return side * to_backward >= -SLACK_M and side * to_forward >= -SLACK_M


@numba.njit(cache=True)
def _side(corner: int, x: float, y: float, backward: np.ndarray, forward: np.ndarray) -> int:
    """Return the side of the building (`_wraps`) or 0 if the line runs into the building."""
    if _wraps(corner, 1, x, y, backward, forward):
        return 1
    if _wraps(corner, -1, x, y, backward, forward):
        return -1
    return 0


@numba.njit(cache=True)
def _corner_graph(
    walls: np.ndarray, points: np.ndarray, backward: np.ndarray, forward: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the straight pieces of tight strings between corners, in compressed rows.

    Returns:
        ``first_edge``: edges of corner ``c`` are ``first_edge[c]`` to ``first_edge[c + 1]``,
        shape ``(corners + 1,)``; ``targets``: the corner each edge leads to; ``sides``: the side
        of the building (`_side`) at the begin and at the end, shape ``(edges, 2)``.
    """
    n = len(points)
    first_edge = np.zeros(n + 1, np.int64)
    targets = np.empty(8 * n + 16, np.int64)
    sides = np.empty((len(targets), 2), np.int64)
    used = 0
    for c in range(n):
        angles, sectors = nearest_walls(walls, points[c, 0], points[c, 1])
        for t in range(n):
            if t == c:
                continue
            x, y = points[t, 0] - points[c, 0], points[t, 1] - points[c, 1]
            begin = _side(c, x, y, backward, forward)
            end = _side(t, x, y, backward, forward)
            if begin == 0 or end == 0:
                continue
            if not is_visible(walls, angles, sectors, points[c], points[t]):
                continue
            if used == len(targets):
                targets = np.concatenate((targets, targets))
                sides = np.concatenate((sides, sides))
            targets[used] = t
            sides[used, 0], sides[used, 1] = begin, end
            used += 1
        first_edge[c + 1] = used
    return first_edge, targets[:used].copy(), sides[:used].copy()


@numba.njit(cache=True)
def _corner_spans(
    walls: np.ndarray, points: np.ndarray, size: int, cell_size_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of cells visible from each corner, in compressed rows.

    Returns:
        ``first_span``, shape ``(corners + 1,)``, and ``spans`` as in `visible_spans`.
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
    return first_span, spans[: first_span[-1]].copy()


@numba.njit(cache=True)
def _trace(
    walls: np.ndarray,
    points: np.ndarray,
    backward: np.ndarray,
    forward: np.ndarray,
    first_edge: np.ndarray,
    targets: np.ndarray,
    sides: np.ndarray,
    first_span: np.ndarray,
    spans: np.ndarray,
    source: np.ndarray,
    size: int,
    cell_size_m: float,
    constants: tuple[float, float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least loss of bent paths beyond the first metre [dB] and the bends of every cell.

    Arrivals at corners are settled in ascending order of their loss so far and then passed on to
    the cells their corner sees and to its neighbours. Of two arrivals over the same edge, the one
    settled later has more loss so far; it can still win beyond this corner only if it lost less at
    corners, because the loss of length grows ever more slowly.
    """
    exponent, corner_db, angle_db_per_rad, angle_limit_rad = constants
    best = np.full((size, size), np.inf)
    bends = np.full((size, size), -1, np.int16)

    # Cells with line of sight; no bent path is better there.
    angles, sectors = nearest_walls(walls, source[0], source[1])
    for row, start, stop in visible_spans(walls, sectors, source, size, cell_size_m):
        best[row, start:stop] = -np.inf
        bends[row, start:stop] = 0

    # Arrivals at corners, least loss so far first: loss so far [dB], loss at corners [dB],
    # length [m], direction of the last piece (unit vector), corner, side, edge, bends.
    queue = [(np.inf, 0.0, 0.0, 0.0, 0.0, 0, 0, -1, 0)]
    for c in range(len(points)):
        x, y = points[c, 0] - source[0], points[c, 1] - source[1]
        length = np.hypot(x, y)
        side = _side(c, x, y, backward, forward)
        if side != 0 and length > 0 and is_visible(walls, angles, sectors, source, points[c]):
            loss = 10 * exponent * np.log10(max(1.0, length))
            heapq.heappush(queue, (loss, 0.0, length, x / length, y / length, c, side, -1, 0))

    least_corners_db = np.full(len(targets), np.inf)
    worst = np.full(len(points), np.inf)
    while True:
        loss_so_far, corners_db, length, ux, uy, c, side, edge, bends_so_far = heapq.heappop(queue)
        if loss_so_far == np.inf:
            break
        if edge >= 0:
            if corners_db >= least_corners_db[edge]:
                continue
            least_corners_db[edge] = corners_db
        corners_db += corner_db
        bends_so_far += 1

        # Pass on to the cells the corner sees, unless all of them are better off already.
        bound = loss_so_far + corner_db
        if bound < worst[c]:
            worst[c] = 0.0
            for s in range(first_span[c], first_span[c + 1]):
                row = spans[s, 0]
                y = (size - row - 0.5) * cell_size_m - points[c, 1]
                for col in range(spans[s, 1], spans[s, 2]):
                    if bound < best[row, col]:
                        x = (col + 0.5) * cell_size_m - points[c, 0]
                        cross = side * (ux * y - uy * x)
                        if cross >= 0 and _wraps(c, side, x, y, backward, forward):
                            angle = min(np.arctan2(cross, ux * x + uy * y), angle_limit_rad)
                            total = max(1.0, length + np.hypot(x, y))
                            loss = corners_db + angle_db_per_rad * angle
                            loss += 10 * exponent * np.log10(total)
                            if loss < best[row, col]:
                                best[row, col] = loss
                                bends[row, col] = bends_so_far
                    worst[c] = max(worst[c], best[row, col])

        # Pass on to the next corners.
        for e in range(first_edge[c], first_edge[c + 1]):
            t = targets[e]
            x, y = points[t, 0] - points[c, 0], points[t, 1] - points[c, 1]
            cross = side * (ux * y - uy * x)
            if sides[e, 0] != side or cross < 0:
                continue
            angle = min(np.arctan2(cross, ux * x + uy * y), angle_limit_rad)
            next_db = corners_db + angle_db_per_rad * angle
            if next_db < least_corners_db[e]:
                step = np.hypot(x, y)
                total = length + step
                loss = 10 * exponent * np.log10(max(1.0, total)) + next_db
                ahead = (t, sides[e, 1], e, bends_so_far)
                heapq.heappush(queue, (loss, next_db, total, x / step, y / step, *ahead))
    return best, bends
