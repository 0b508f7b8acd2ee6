"""Measured cells along streets, as a walk or a drive through a city gives them.

A route joins random places by ways of the fewest steps from cell to cell. It steps to any of the
eight neighbours, but not between two buildings or past the corner of one: a diagonal step needs the
two cells beside it to be open.
"""

import numpy as np
from scipy import ndimage

from radiodiff.simulate.compiled import njit

__all__ = ["measured_along_route", "walk_route"]

#: Every so many cells of new ground one is measured, where the map has room for that.
STEP_CELLS = 4
#: Share of the ground that a route covers at most, unless more cells than that are asked for.
_COVERED = 0.5


def measured_along_route(
    outdoor: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw cells at regular steps along a route through the streets, none of them twice.

    Every fourth cell of the ground that the route covers is measured; more of them where so many
    cells are asked for that it would have to cover over half of the map. Ground that it crosses
    again counts once.

    Args:
        outdoor: True outside buildings, shape ``(h, w)``.
        count: Cells wanted.
        generator: Source of all randomness; the same state gives the same cells.

    Returns:
        ``count`` cells in the order of the route, counted along the rows; all that can be reached
        on one route if they are fewer.
    """
    room = int(_largest_part(outdoor).sum())
    step = int(np.clip(_COVERED * room // max(count, 1), 1, STEP_CELLS))
    route = walk_route(outdoor, min(room, step * count), generator)
    _, firsts = np.unique(route, return_index=True)
    return route[np.sort(firsts)][::step][:count]


def walk_route(outdoor: np.ndarray, covered: int, generator: np.random.Generator) -> np.ndarray:
    """Return a route through the largest connected open ground.

    It starts at a random cell and goes on to random cells that it has not seen, each by one of the
    shortest ways, until it has covered enough.

    Args:
        outdoor: True outside buildings, shape ``(h, w)``.
        covered: Distinct cells that the route shall touch at least; all are, where there are fewer.
        generator: Source of all randomness; the same state gives the same route.

    Returns:
        Cells one after the other, counted along the rows; those of a crossing come again.
    """
    ground = _largest_part(outdoor)
    unseen = ground.copy()
    route = np.zeros(0, dtype=np.int64)
    wanted = min(covered, int(ground.sum()))
    while ground.sum() - unseen.sum() < wanted:
        places = np.flatnonzero(unseen)
        goal = places[generator.integers(len(places))]
        leg = _shortest_way(ground, route[-1], goal)[1:] if len(route) else np.array([goal])
        route = np.concatenate([route, leg])
        unseen.flat[leg] = False
    return route


def _largest_part(outdoor: np.ndarray) -> np.ndarray:
    """Return the largest part whose cells are joined by their sides, bool, shape ``(h, w)``."""
    labels, count = ndimage.label(outdoor)
    if not count:
        return np.zeros_like(outdoor, dtype=bool)
    return labels == 1 + np.argmax(np.bincount(labels.ravel(), minlength=count + 1)[1:])


@njit
def _shortest_way(ground: np.ndarray, start: int, goal: int) -> np.ndarray:
    """Return the cells of a way of the fewest steps, both ends among them, by breadth first.

    Straight steps are tried before diagonal ones. The ends must be connected.
    """
    h, w = ground.shape
    before = np.full(h * w, -1, np.int64)
    queue = np.empty(h * w, np.int64)
    queue[0], head, tail = goal, 0, 1
    before[goal] = goal
    while before[start] < 0:
        cell = queue[head]
        head += 1
        row, column = cell // w, cell % w
        for k in range(8):
            down = (-1, 0, 0, 1, -1, -1, 1, 1)[k]
            right = (0, -1, 1, 0, -1, 1, -1, 1)[k]
            r, c = row + down, column + right
            if not (0 <= r < h and 0 <= c < w) or before[r * w + c] >= 0:
                continue
            if ground[r, c] and ground[r, column] and ground[row, c]:
                before[r * w + c] = cell
                queue[tail] = r * w + c
                tail += 1
    way = [start]
    while way[-1] != goal:
        way.append(before[way[-1]])
    return np.array(way)
