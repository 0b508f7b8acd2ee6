"""The walk from cell to cell, walls that rays meet, and walls by cells, against shapely."""

import numpy as np
import pytest
import shapely

from radiodiff.simulate import DominantPath
from radiodiff.simulate.grid import first_cell, length_inside, meet_wall, next_cell, wall_grid

from .conftest import make_tile


def boxes(size, cell_size_m):
    """Return the squares of all cells [m], shape (size, size), row 0 at the top."""
    rows, cols = np.mgrid[:size, :size]
    x, y = cols * cell_size_m, (size - 1 - rows) * cell_size_m
    return shapely.box(x, y, x + cell_size_m, y + cell_size_m)


def test_a_walk_crosses_the_cells_that_its_line_does():
    rng = np.random.default_rng(0)
    for _ in range(100):
        start, end = rng.uniform(0, 30, (2, 2))
        length = np.hypot(*(end - start))
        walk = first_cell(*start, *(end - start) / length, 1.5)
        crossed, at = np.zeros((20, 20), bool), 0.0
        while at < length:
            crossed[19 - walk.up, walk.col] = True
            at = min(walk.next_x, walk.next_y)
            walk = next_cell(walk)
            assert min(walk.next_x, walk.next_y) >= at
        lengths = shapely.length(
            shapely.intersection(boxes(20, 1.5), shapely.LineString([start, end]))
        )
        np.testing.assert_array_equal(crossed[lengths > 1e-9], True)
        np.testing.assert_array_equal(crossed[lengths == 0], False)


@pytest.mark.parametrize(
    ("direction", "cells"),
    [
        ((1.0, 0.0), [(1, 2), (2, 2), (3, 2)]),
        ((-1.0, 0.0), [(1, 2), (0, 2), (-1, 2)]),
        ((0.0, 1.0), [(1, 2), (1, 3), (1, 4)]),
        ((0.0, -1.0), [(1, 2), (1, 1), (1, 0)]),
        ((0.5**0.5, 0.5**0.5), [(1, 2), (1, 3), (2, 3)]),  # through a corner
    ],
)
def test_walks_along_the_axes_and_through_a_corner(direction, cells):
    walk = first_cell(3.0, 5.0, *direction, 2.0)
    for col, up in cells:
        assert (walk.col, walk.up) == (col, up)
        walk = next_cell(walk)


def test_a_walk_ends_where_it_has_seen_enough():
    mask = np.zeros((3, 50), bool)
    mask[1, 5:] = True
    walk = first_cell(0.5, 1.5, 1.0, 0.0, 1.0)
    assert length_inside(mask, walk, 40.0, np.inf) == pytest.approx(35.5)
    assert 0 < length_inside(mask, walk, 40.0, 0.0) <= 1
    assert length_inside(mask, walk, 80.0, np.inf) == pytest.approx(45.0)  # beyond the raster


def test_a_ray_meets_walls_that_face_it():
    """Only from their right, where the ground is open."""
    walls = np.array([[4.0, 3.0, 4.0, -1.0], [4.0, -1.0, 4.0, 3.0], [0.0, 1.0, 9.0, 1.0]])
    assert meet_wall(walls, 0, 1.0, 0.0, 1.0, 0.0) == (3.0, 0.75)
    assert meet_wall(walls, 1, 1.0, 0.0, 1.0, 0.0) == (np.inf, 0.0)  # from behind
    assert meet_wall(walls, 2, 1.0, 0.0, 1.0, 0.0) == (np.inf, 0.0)  # parallel
    distance, along = meet_wall(walls, 0, 1.0, 0.0, 0.6, 0.8)
    assert (distance, along) == (pytest.approx(5.0), pytest.approx(-0.25))  # beyond its begin


@pytest.mark.parametrize("city", ["munich", "procedural"])
def test_walls_by_cells_are_those_that_touch_them(city):
    _, engine, _ = make_tile(city, size=48)
    grid = wall_grid(engine._walls[:-4], 48, 2.0)
    lines = shapely.linestrings(grid.walls.reshape(-1, 2, 2))
    tree = shapely.STRtree(lines)
    for cell, box in enumerate(boxes(48, 2.0).ravel()):
        found = set(grid.wall_ids[grid.first_wall[cell] : grid.first_wall[cell + 1]])
        assert set(tree.query(box.buffer(-1e-6), "intersects")) <= found
        assert found <= set(tree.query(box.buffer(1e-5), "intersects"))
    assert grid.first_wall[-1] == len(grid.wall_ids)


def test_no_walls():
    grid = wall_grid(np.zeros((0, 4)), 8, 1.0)
    assert not grid.first_wall.any()
    assert len(grid.wall_ids) == 0
    assert np.isfinite(DominantPath([], 8, 1.0).path_gain_db((4.0, 4.0))).all()
