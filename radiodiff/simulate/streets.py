"""Paths along the streets: strings pulled tight round the corners of buildings.

`find_streets` looks once at a tile: which corners see each other and which cells. `trace_streets`
then searches the best path from a transmitter to every cell (eq. ``bent-path``). Compiled code is
cached per file, see `radiodiff.simulate.grid`.
"""

import heapq
from typing import NamedTuple

import numpy as np

from radiodiff.simulate.cars import CAR_DB_PER_M, car_loss_db
from radiodiff.simulate.compiled import njit
from radiodiff.simulate.visibility import (
    CORNER_OFFSET_M,
    Corners,
    CornerSpans,
    corner_spans,
    is_visible,
    nearest_walls,
    visible_spans,
)

__all__ = [
    "NO_CARS",
    "BendLosses",
    "LossInCars",
    "Streets",
    "find_streets",
    "lose_in_cars",
    "trace_streets",
]

#: Two corners of one wall are seen from up to this far off the wall [m].
SLACK_M = 1.01 * CORNER_OFFSET_M


class BendLosses(NamedTuple):
    """Loss of a bent path."""

    exponent: float
    """Path-loss exponent of the whole path [1]."""
    bend_db: float
    """Loss of a bend however small its angle [dB]."""
    angle_db_per_rad: float
    """Further loss of a bend per angle [dB/rad]."""
    angle_limit_rad: float
    """Angle beyond which a bend costs no more [rad]."""


class Streets(NamedTuple):
    """What tight strings need to know of a tile.

    Pieces between corners are edges, in compressed rows. Sides are those of the building: 1 is
    left of the piece, -1 right.
    """

    walls: np.ndarray
    """Segments [m] with the building on the left, shape ``(walls, 4)``."""
    corners: Corners
    first_edge: np.ndarray
    """Where the edges of each corner begin in the next fields, shape ``(corners + 1,)``."""
    targets: np.ndarray
    """The corner that each edge leads to, shape ``(edges,)``."""
    sides: np.ndarray
    """Side of the building at the begin and at the end of each edge, shape ``(edges, 2)``."""
    seen: CornerSpans
    """Cells that each corner sees."""
    size: int
    """Cells along each side of the tile."""
    cell_size_m: float
    """Side of a cell [m]."""


class LossInCars(NamedTuple):
    """What straight pieces lose in cars; all empty without cars."""

    cars: np.ndarray
    """Cells inside cars, bool, shape ``(size, size)``."""
    edge_db: np.ndarray
    """Loss of each edge of the streets [dB], shape ``(edges,)``."""
    first_cell: np.ndarray
    """Where the cells of each run of ``seen`` begin in the next field, shape ``(runs + 1,)``."""
    cell_db: np.ndarray
    """Loss from a corner to each cell of each run [dB], float32."""


class Arrival(NamedTuple):
    """The end of a path at a corner; arrivals are sorted by their first field."""

    loss_db: float
    """Loss so far beyond the first metre, without the bend at this corner [dB]."""
    corners_db: float
    """Part of it lost at corners and in cars [dB]."""
    length_m: float
    ux: float
    """Direction of the last piece, a unit vector."""
    uy: float
    corner: int
    side: int
    """Side of the building at this corner."""
    bends: int
    """Bends before this corner."""


NO_CARS = LossInCars(
    np.zeros((0, 0), bool), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.float32)
)


def find_streets(walls: np.ndarray, corners: Corners, size: int, cell_size_m: float) -> Streets:
    """Return the pieces of tight strings on a tile.

    Args:
        walls: Segments from `radiodiff.simulate.visibility.find_walls`, shape ``(walls, 4)``.
        corners: From `radiodiff.simulate.visibility.find_corners`.
        size: Cells along each side of the tile.
        cell_size_m: Side of a cell [m].
    """
    edges = _corner_edges(walls, corners)
    seen = corner_spans(walls, corners.points, size, cell_size_m)
    return Streets(walls, corners, *edges, seen, size, cell_size_m)


@njit
def _wraps(backward: np.ndarray, forward: np.ndarray, side: int, x: float, y: float) -> bool:
    """Return whether a line (x, y) [m] from or to a corner has its building on the given side.

    Side 1 is left, -1 right. A tight string bends round a corner only if both of its pieces there
    have the building on the side it bends to.
    """
    to_backward = x * backward[1] - y * backward[0]
    to_forward = x * forward[1] - y * forward[0]
    return side * to_backward >= -SLACK_M and side * to_forward >= -SLACK_M


@njit
def _side(corners: Corners, corner: int, x: float, y: float) -> int:
    """Return the side of the building (`_wraps`) or 0 if the line runs into the building."""
    backward, forward = corners.backward[corner], corners.forward[corner]
    if _wraps(backward, forward, 1, x, y):
        return 1
    if _wraps(backward, forward, -1, x, y):
        return -1
    return 0


@njit
def _corner_edges(walls: np.ndarray, corners: Corners) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``first_edge``, ``targets`` and ``sides`` of `Streets`."""
    points = corners.points
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
            begin = _side(corners, c, x, y)
            end = _side(corners, t, x, y)
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


@njit
def lose_in_cars(streets: Streets, cars: np.ndarray) -> LossInCars:
    """Return what is lost in cars on the way between corners and from corners to cells.

    Args:
        streets: The pieces of tight strings.
        cars: Cells inside cars, bool, shape ``(size, size)``.
    """
    points, spans, cell_size_m = streets.corners.points, streets.seen.spans, streets.cell_size_m
    edge_db = np.zeros(len(streets.targets))
    first_cell = np.zeros(len(spans) + 1, np.int64)
    for s in range(len(spans)):
        first_cell[s + 1] = first_cell[s] + spans[s, 2] - spans[s, 1]
    cell_db = np.zeros(first_cell[-1], np.float32)
    for c in range(len(points)):
        x, y = points[c]
        for e in range(streets.first_edge[c], streets.first_edge[c + 1]):
            tx, ty = points[streets.targets[e]]
            edge_db[e] = car_loss_db(cars, cell_size_m, x, y, tx, ty, CAR_DB_PER_M)
        for s in range(streets.seen.first_span[c], streets.seen.first_span[c + 1]):
            ty = (streets.size - spans[s, 0] - 0.5) * cell_size_m
            for col in range(spans[s, 1], spans[s, 2]):
                tx = (col + 0.5) * cell_size_m
                k = first_cell[s] + col - spans[s, 1]
                cell_db[k] = car_loss_db(cars, cell_size_m, x, y, tx, ty, CAR_DB_PER_M)
    return LossInCars(cars, edge_db, first_cell, cell_db)


@njit
def trace_streets(
    streets: Streets, in_cars: LossInCars, source: np.ndarray, losses: BendLosses
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least loss of bent paths beyond the first metre [dB] and the bends of every cell.

    Cells with line of sight get what the straight path loses in cars instead. Losses in cars do
    not grow with the path behind them, so they are counted with those at corners.

    Arrivals at corners are settled in ascending order of their loss so far and then passed on to
    the cells their corner sees and to its neighbours. A corner passes on its first arrival alone,
    the one with the least loss so far.

    Args:
        streets: The pieces of tight strings.
        in_cars: What they lose in cars.
        source: Transmitter [m], shape ``(2,)``.
        losses: Loss of length and bends.
    """
    size, cell_size_m, cars = streets.size, streets.cell_size_m, in_cars.cars
    best = np.full((size, size), np.inf)
    bends = np.full((size, size), -1, np.int16)

    # Cells with line of sight; no bent path is better there.
    angles, sectors = nearest_walls(streets.walls, source[0], source[1])
    lit = visible_spans(streets.walls, sectors, source, size, cell_size_m)
    for row, start, stop in lit:
        best[row, start:stop] = -np.inf
        bends[row, start:stop] = 0

    queue = _first_arrivals(streets, in_cars, source, angles, sectors, losses)
    is_settled = np.zeros(len(streets.corners.points), np.bool_)
    worst = np.full(len(streets.corners.points), np.inf)
    while True:
        arrival = heapq.heappop(queue)
        if arrival.loss_db == np.inf:
            break
        if is_settled[arrival.corner]:
            continue
        is_settled[arrival.corner] = True
        # Unless all cells that the corner sees are better off already.
        if arrival.loss_db + losses.bend_db < worst[arrival.corner]:
            _pass_to_cells(streets, in_cars, losses, arrival, worst, best, bends)
        _pass_to_corners(streets, in_cars, losses, arrival, is_settled, queue)

    for row, start, stop in lit:
        best[row, start:stop] = 0.0
        if cars.size > 0:
            y = (size - row - 0.5) * cell_size_m
            for col in range(start, stop):
                ends = (source[0], source[1], (col + 0.5) * cell_size_m, y)
                best[row, col] = car_loss_db(cars, cell_size_m, *ends, CAR_DB_PER_M)
    return best, bends


@njit
def _first_arrivals(
    streets: Streets,
    in_cars: LossInCars,
    source: np.ndarray,
    angles: np.ndarray,
    sectors: np.ndarray,
    losses: BendLosses,
) -> list[Arrival]:
    """Return the arrivals at corners that the transmitter sees, and one without end, as a heap."""
    queue = [Arrival(np.inf, 0.0, 0.0, 0.0, 0.0, 0, 0, 0)]
    points = streets.corners.points
    for c in range(len(points)):
        x, y = points[c, 0] - source[0], points[c, 1] - source[1]
        length = np.hypot(x, y)
        side = _side(streets.corners, c, x, y)
        if side == 0 or length == 0:
            continue
        if is_visible(streets.walls, angles, sectors, source, points[c]):
            cars_db = 0.0
            if in_cars.cars.size > 0:
                ends = (source[0], source[1], points[c, 0], points[c, 1])
                cars_db = car_loss_db(in_cars.cars, streets.cell_size_m, *ends, CAR_DB_PER_M)
            loss = 10 * losses.exponent * np.log10(max(1.0, length)) + cars_db
            ahead = Arrival(loss, cars_db, length, x / length, y / length, c, side, 0)
            heapq.heappush(queue, ahead)
    return queue


# Inlined: to hand over so many arrays at every arrival costs a twentieth of the search.
@njit(inline="always")
def _pass_to_cells(
    streets: Streets,
    in_cars: LossInCars,
    losses: BendLosses,
    arrival: Arrival,
    worst: np.ndarray,
    best: np.ndarray,
    bends: np.ndarray,
) -> None:
    """Bend a path towards the cells its corner sees.

    Args:
        streets: The pieces of tight strings.
        in_cars: What they lose in cars.
        losses: Loss of length and bends.
        arrival: End of the path.
        worst: Largest loss [dB] among the cells that each corner sees, shape ``(corners,)``.
        best: Least loss so far [dB], shape ``(size, size)``.
        bends: Bends of the path with this loss, shape ``(size, size)``.
    """
    _, corners_db, length, ux, uy, c, side, _ = arrival
    bound = arrival.loss_db + losses.bend_db
    corners_db += losses.bend_db
    size, cell_size_m, spans = streets.size, streets.cell_size_m, streets.seen.spans
    backward, forward = streets.corners.backward[c], streets.corners.forward[c]
    first_cell, cell_db = in_cars.first_cell, in_cars.cell_db
    exponent, _, angle_db_per_rad, angle_limit_rad = losses
    px, py = streets.corners.points[c]
    has_cars = in_cars.cars.size > 0
    worst_here = 0.0
    for s in range(streets.seen.first_span[c], streets.seen.first_span[c + 1]):
        row = spans[s, 0]
        y = (size - row - 0.5) * cell_size_m - py
        for col in range(spans[s, 1], spans[s, 2]):
            if bound < best[row, col]:
                x = (col + 0.5) * cell_size_m - px
                cross = side * (ux * y - uy * x)
                if cross >= 0 and _wraps(backward, forward, side, x, y):
                    angle = min(np.arctan2(cross, ux * x + uy * y), angle_limit_rad)
                    total = max(1.0, length + np.hypot(x, y))
                    loss = corners_db + angle_db_per_rad * angle
                    loss += 10 * exponent * np.log10(total)
                    if has_cars:
                        loss += cell_db[first_cell[s] + col - spans[s, 1]]
                    if loss < best[row, col]:
                        best[row, col] = loss
                        bends[row, col] = arrival.bends + 1
            worst_here = max(worst_here, best[row, col])
    worst[c] = worst_here


@njit(inline="always")
def _pass_to_corners(
    streets: Streets,
    in_cars: LossInCars,
    losses: BendLosses,
    arrival: Arrival,
    is_settled: np.ndarray,
    queue: list[Arrival],
) -> None:
    """Bend a path towards the next corners, and push its arrivals there."""
    _, corners_db, length, ux, uy, c, side, bends = arrival
    corners_db += losses.bend_db
    points = streets.corners.points
    for e in range(streets.first_edge[c], streets.first_edge[c + 1]):
        t = streets.targets[e]
        x, y = points[t, 0] - points[c, 0], points[t, 1] - points[c, 1]
        cross = side * (ux * y - uy * x)
        if streets.sides[e, 0] != side or cross < 0:
            continue
        if is_settled[t]:
            continue
        angle = min(np.arctan2(cross, ux * x + uy * y), losses.angle_limit_rad)
        next_db = corners_db + losses.angle_db_per_rad * angle
        if in_cars.cars.size > 0:
            next_db += in_cars.edge_db[e]
        step = np.hypot(x, y)
        total = length + step
        loss = 10 * losses.exponent * np.log10(max(1.0, total)) + next_db
        ahead = (total, x / step, y / step, t, streets.sides[e, 1], bends + 1)
        heapq.heappush(queue, Arrival(loss, next_db, *ahead))
