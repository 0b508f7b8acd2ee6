"""Routes through streets: where they go, what is measured along them, and what they depend on."""

import numpy as np
import pytest
from scipy import ndimage

from radiodiff.data.routes import STEP_CELLS, measured_along_route, walk_route


def town(seed=0, shape=(40, 56)):
    """Return open ground between blocks, with corners that touch and a court shut off."""
    rng = np.random.default_rng(seed)
    outdoor = np.ones(shape, dtype=bool)
    for _ in range(25):
        row, column = rng.integers(0, shape[0] - 6), rng.integers(0, shape[1] - 8)
        outdoor[row : row + rng.integers(2, 7), column : column + rng.integers(2, 9)] = False
    outdoor[10:15, 10:15], outdoor[12, 12] = False, True
    return outdoor


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(6))
def test_a_route_steps_from_cell_to_cell_round_the_corners(seed):
    outdoor = town(seed)
    cells = np.stack(np.unravel_index(walk_route(outdoor, 400, generator(seed)), outdoor.shape), 1)
    assert outdoor[tuple(cells.T)].all()
    assert len(np.unique(cells, axis=0)) >= 400
    steps = np.diff(cells, axis=0)
    assert (np.abs(steps).max(1) == 1).all()  # one of the eight neighbours
    for (row, column), (down, right) in zip(cells[:-1], steps, strict=True):
        assert outdoor[row + down, column]
        assert outdoor[row, column + right]
    assert (np.abs(steps).sum(1) == 2).any()


def test_the_way_is_the_shortest():
    """Along a wall with one gap: down to the gap and up again, diagonally where it is open."""
    outdoor = np.ones((9, 9), dtype=bool)
    outdoor[:7, 4] = False
    route = walk_route(outdoor, 81, generator())
    rows, columns = np.unravel_index(route, outdoor.shape)
    crossing = np.flatnonzero(np.diff(columns > 4))
    assert len(crossing) > 1
    assert set(rows[crossing]) <= {7, 8}
    corridor = np.zeros((3, 9), dtype=bool)
    corridor[1] = True
    assert np.abs(np.diff(walk_route(corridor, 9, generator()))).max() == 1


def test_corners_that_touch_are_no_passage():
    outdoor = np.zeros((6, 6), dtype=bool)
    outdoor[:3, :3] = outdoor[3:, 3:] = True
    outdoor[3, 5] = False
    route = walk_route(outdoor, 36, generator())
    assert set(route) == {6 * row + column for row in range(3) for column in range(3)}


@pytest.mark.parametrize("count", [0, 1, 2, 17, 120, 600])
@pytest.mark.parametrize("seed", range(3))
def test_as_many_cells_as_asked_for_none_twice_all_outdoors(count, seed):
    outdoor = town(seed)
    cells = measured_along_route(outdoor, count, generator(seed))
    assert len(cells) == len(set(cells.tolist())) == count
    assert outdoor.flat[cells].all()


def test_all_there_are_where_more_are_asked_for():
    outdoor = town()
    labels, _ = ndimage.label(outdoor)
    largest = np.bincount(labels[outdoor]).max()
    cells = measured_along_route(outdoor, outdoor.size, generator())
    assert len(set(cells.tolist())) == len(cells) == largest < outdoor.sum()
    assert len(measured_along_route(np.zeros((5, 5), dtype=bool), 3, generator())) == 0


def test_cells_lie_at_regular_steps():
    """On a street that the route covers from end to end: every fourth cell of new ground."""
    outdoor = town(1)
    cells = measured_along_route(outdoor, 30, generator(4))
    route = walk_route(outdoor, 30 * STEP_CELLS, generator(4))
    new_ground = list(dict.fromkeys(route.tolist()))
    assert cells.tolist() == new_ground[: 30 * STEP_CELLS : STEP_CELLS]
    rows, columns = np.unravel_index(cells, outdoor.shape)
    apart = np.maximum(np.abs(np.diff(rows)), np.abs(np.diff(columns)))
    assert np.median(apart) >= STEP_CELLS - 1


def test_a_route_depends_on_its_generator_alone():
    one, again, other = (walk_route(town(), 200, generator(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    walk_route(town(), 50, generator())
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
