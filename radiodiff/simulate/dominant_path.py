"""Path gain along the one dominant path to every cell: the engine behind our simulated maps.

The dominant path model replaces the many rays of a ray tracer by the single path with the least
loss. With line of sight that is the straight line; elsewhere it is a string pulled tight round
building corners, and every corner costs a fixed loss plus one that grows with the angle it bends
the path by. Source: R. Wahl et al., *Dominant Path Prediction Model for Urban Scenarios*, IST
Mobile and Wireless Communications Summit 2005; the loss terms here were fitted to RadioMapSeer by
``experiments/calibrate_dominant_path.py``.
"""

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numba
import numpy as np
from shapely import Polygon

from radiodiff.simulate.cars import CAR_DB_PER_M, car_loss_db
from radiodiff.simulate.grid import WallGrid, wall_grid
from radiodiff.simulate.roofs import RoofEdges, improve_over_roofs, roof_edges
from radiodiff.simulate.tile import Tile
from radiodiff.simulate.visibility import (
    CORNER_OFFSET_M,
    corner_spans,
    find_corners,
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

    A path of total length l [m] that bends by the angles a_i [rad] has the loss

        47.86 + bent_db + 10 exponent log10(l)
        + sum_i (corner_db + angle_db_per_rad min(a_i, angle_limit_rad))

    in dB (eq. ``bent-path``). It bends round corners of buildings, or twice over their roofs, in
    space then (eq. ``roof-path``). Six values were fitted to the DPM gains of seven transmitters
    of RadioMapSeer's map 0 by ``experiments/calibrate_dominant_path.py``; the height is the
    dataset's own; ``street_db`` was chosen by hand: more of it makes cells below the noise better
    and those above it worse.
    """

    exponent: float = 2.88
    """Path-loss exponent of the whole bent path [1]; with line of sight it is 2.5."""
    bent_db: float = -1.18
    """Added once to the loss of every path that bends [dB]."""
    corner_db: float = 1.89
    """Loss of a bend however small its angle [dB]."""
    angle_db_per_rad: float = 9.22
    """Further loss of a bend per angle [dB/rad]."""
    angle_limit_rad: float = 1.2
    """Angle beyond which a bend costs no more [rad]."""
    roof_height_m: float = 23.5
    """Height of the roofs above the antennas [m]; infinite for no paths over roofs."""
    roof_limit_rad: float = 0.94
    """Angle beyond which a bend over a roof costs no more [rad]."""
    street_db: float = 2.0
    """Loss of a path over roofs per street it crosses after the first [dB]."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            may_be_zero = name in ("corner_db", "street_db")
            if name != "bent_db" and not (value > 0 or (may_be_zero and value == 0)):
                least = "0 or more" if may_be_zero else "above 0"
                raise ValueError(f"expected {name} to be {least}, got {value}")


class PathMap(NamedTuple):
    """What `DominantPath.trace` finds for one transmitter."""

    path_gain_db: np.ndarray
    """Path gain [dB], shape ``(size, size)``; NaN in buildings, -inf where no path leads."""
    bends: np.ndarray
    """Bends of the dominant path, shape ``(size, size)``; 0 with line of sight, 2 over roofs,
    -1 without a path and in buildings."""
    over_roofs: np.ndarray
    """Whether the dominant path leads over roofs, bool, shape ``(size, size)``."""


class DominantPath(Tile):
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
        cars: Cells inside cars, bool, shape ``(size, size)``; paths along the streets lose
            ``CAR_DB_PER_M`` in them (eq. ``car-loss``). Paths over the roofs climb out of their
            way, and a path with line of sight goes straight even if it would pay to go round.

    Raises:
        ValueError: If ``size`` or ``cell_size_m`` is not positive, or ``cars`` has another shape.
    """

    def __init__(
        self,
        buildings: Sequence[Polygon],
        size: int,
        cell_size_m: float,
        constants: DominantPathConstants | None = None,
        *,
        cars: np.ndarray | None = None,
    ) -> None:
        super().__init__(buildings, size, cell_size_m)
        if cars is not None and np.shape(cars) != (size, size):
            raise ValueError(f"expected cars of shape {(size, size)}, got {np.shape(cars)}")
        self.constants = constants or DominantPathConstants()
        has_cars = cars is not None and np.any(cars)
        self.cars = np.asarray(cars, bool) if has_cars else np.zeros((0, 0), bool)
        self._corners = find_corners(self._geometry, self.extent_m)
        self._graph = _corner_graph(self._walls, *self._corners)
        self._spans = corner_spans(self._walls, self._corners.points, size, self.cell_size_m)
        self._car_losses = _car_losses(
            self.cars, self._corners.points, *self._graph[:2], *self._spans, size, self.cell_size_m
        )
        has_roofs = np.isfinite(self.constants.roof_height_m)
        self._roofs = self._look_at_roofs() if has_roofs else None

    def _look_at_roofs(self) -> tuple[WallGrid, np.ndarray, np.ndarray, RoofEdges]:
        """Walls by cells, outdoor cells, their centres, and the roof edges these see."""
        walls = self._walls[:-4]  # without the sides of the tile
        grid = wall_grid(walls, self.size, self.cell_size_m)
        cells = np.argwhere(~self.building_mask)
        centers = np.stack([cells[:, 1] + 0.5, self.size - cells[:, 0] - 0.5], axis=1)
        centers *= self.cell_size_m
        return grid, cells, centers, roof_edges(grid, centers)

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
        return self._path_maps(transmitter_m, [True])[0]

    def trace_without_and_with_cars(
        self, transmitter_m: tuple[float, float]
    ) -> tuple[PathMap, PathMap]:
        """Return what `trace` would without the cars and with them, in little more than its time.

        Args:
            transmitter_m: Position ``(x, y)`` [m].

        Raises:
            ValueError: If the transmitter lies in a building or outside the tile.
        """
        without, with_cars = self._path_maps(transmitter_m, [False, True])
        return without, with_cars

    def _path_maps(
        self, transmitter_m: tuple[float, float], with_cars: Sequence[bool]
    ) -> list[PathMap]:
        """Return one result without or with cars for each entry; the roofs are searched once."""
        source = self._source(transmitter_m)
        centers = (np.arange(self.size) + 0.5) * self.cell_size_m
        distance_m = np.hypot(centers - source[0], centers[::-1, None] - source[1])
        streets = [self._streets(source, cars) for cars in with_cars]
        # Nothing beats line of sight; elsewhere the roofs must beat the dearest of the maps.
        bent = [np.where(bends == 0, -np.inf, loss_db) for loss_db, bends in streets]
        roofs_db = np.maximum.reduce(bent)
        improved = self._improve_over_roofs(roofs_db, source)
        result = []
        for bent_db, (loss_db, bends) in zip(bent, streets, strict=True):
            over_roofs = improved & (roofs_db < bent_db)
            bent_db = np.where(over_roofs, roofs_db, bent_db)
            bends[over_roofs] = 2
            # Where a cell is visible the search leaves what is lost in cars.
            path_gain_db = np.where(
                bends == 0,
                line_of_sight_gain_db(distance_m) - loss_db,
                -(REFERENCE_LOSS_DB + self.constants.bent_db + bent_db),
            )
            path_gain_db[self.building_mask] = np.nan
            bends[self.building_mask] = -1
            result.append(PathMap(path_gain_db, bends, over_roofs))
        return result

    def _streets(self, source: np.ndarray, with_cars: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return loss [dB] and bends of paths along the streets, see `_trace`."""
        no_cars = (np.zeros((0, 0), bool), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, "f4"))
        return _trace(
            self._walls,
            *self._corners,
            *self._graph,
            *self._spans,
            *((self.cars, *self._car_losses) if with_cars else no_cars),
            source,
            self.size,
            self.cell_size_m,
            self._corner_losses,
        )

    @property
    def _corner_losses(self) -> tuple[float, float, float, float]:
        """The constants that matter in the search."""
        c = self.constants
        return c.exponent, c.corner_db, c.angle_db_per_rad, c.angle_limit_rad

    def _improve_over_roofs(self, loss_db: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Lower losses where a path over the roofs is better; return where, bool."""
        if self._roofs is None:
            return np.zeros(loss_db.shape, dtype=bool)
        grid, cells, centers, cell_edges = self._roofs
        source_edges = roof_edges(grid, source[None])
        return improve_over_roofs(
            loss_db,
            cells,
            centers,
            grid.walls,
            self.building_mask,
            self.cell_size_m,
            cell_edges,
            source,
            source_edges,
            self.constants.roof_height_m,
            self.constants.street_db,
            (*self._corner_losses[:3], self.constants.roof_limit_rad),
        )


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
def _car_losses(
    cars: np.ndarray,
    points: np.ndarray,
    first_edge: np.ndarray,
    targets: np.ndarray,
    first_span: np.ndarray,
    spans: np.ndarray,
    size: int,
    cell_size_m: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is lost in cars [dB] on the way between corners and from corners to cells.

    Returns:
        Loss of each edge, shape ``(edges,)``; where the cells of each span begin in the last
        result, shape ``(spans + 1,)``; loss of each cell of each span, float32. Without cars all
        are empty.
    """
    if cars.size == 0:
        return np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.float32)
    edge_db = np.zeros(len(targets))
    first_cell = np.zeros(len(spans) + 1, np.int64)
    for s in range(len(spans)):
        first_cell[s + 1] = first_cell[s] + spans[s, 2] - spans[s, 1]
    cell_db = np.zeros(first_cell[-1], np.float32)
    for c in range(len(points)):
        x, y = points[c]
        for e in range(first_edge[c], first_edge[c + 1]):
            tx, ty = points[targets[e]]
            edge_db[e] = car_loss_db(cars, cell_size_m, x, y, tx, ty, CAR_DB_PER_M)
        for s in range(first_span[c], first_span[c + 1]):
            ty = (size - spans[s, 0] - 0.5) * cell_size_m
            for col in range(spans[s, 1], spans[s, 2]):
                tx = (col + 0.5) * cell_size_m
                k = first_cell[s] + col - spans[s, 1]
                cell_db[k] = car_loss_db(cars, cell_size_m, x, y, tx, ty, CAR_DB_PER_M)
    return edge_db, first_cell, cell_db


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
    cars: np.ndarray,
    edge_cars_db: np.ndarray,
    first_cell: np.ndarray,
    cell_cars_db: np.ndarray,
    source: np.ndarray,
    size: int,
    cell_size_m: float,
    constants: tuple[float, float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least loss of bent paths beyond the first metre [dB] and the bends of every cell.

    Cells with line of sight get what the straight path loses in cars instead. Losses in cars do
    not grow with the path behind them, so they are counted with those at corners.

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
    has_cars = cars.size > 0

    # Arrivals at corners, least loss so far first: loss so far [dB], loss at corners [dB],
    # length [m], direction of the last piece (unit vector), corner, side, edge, bends.
    queue = [(np.inf, 0.0, 0.0, 0.0, 0.0, 0, 0, -1, 0)]
    for c in range(len(points)):
        x, y = points[c, 0] - source[0], points[c, 1] - source[1]
        length = np.hypot(x, y)
        side = _side(c, x, y, backward, forward)
        if side != 0 and length > 0 and is_visible(walls, angles, sectors, source, points[c]):
            cars_db = 0.0
            if has_cars:
                ends = (source[0], source[1], points[c, 0], points[c, 1])
                cars_db = car_loss_db(cars, cell_size_m, *ends, CAR_DB_PER_M)
            loss = 10 * exponent * np.log10(max(1.0, length)) + cars_db
            heapq.heappush(queue, (loss, cars_db, length, x / length, y / length, c, side, -1, 0))

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
                            if has_cars:
                                loss += cell_cars_db[first_cell[s] + col - spans[s, 1]]
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
            if has_cars:
                next_db += edge_cars_db[e]
            if next_db < least_corners_db[e]:
                step = np.hypot(x, y)
                total = length + step
                loss = 10 * exponent * np.log10(max(1.0, total)) + next_db
                ahead = (t, sides[e, 1], e, bends_so_far)
                heapq.heappush(queue, (loss, next_db, total, x / step, y / step, *ahead))

    for row, start, stop in visible_spans(walls, sectors, source, size, cell_size_m):
        best[row, start:stop] = 0.0
        if has_cars:
            y = (size - row - 0.5) * cell_size_m
            for col in range(start, stop):
                ends = (source[0], source[1], (col + 0.5) * cell_size_m, y)
                best[row, col] = car_loss_db(cars, cell_size_m, *ends, CAR_DB_PER_M)
    return best, bends
