"""Buildings on the straight line between a transmitter and the cells of a raster."""

import itertools
import math

import numpy as np
import pytest
import shapely

from radiodiff.simulate import (
    city_tile,
    line_of_sight_mask,
    occlusion_m,
    place_transmitters,
    raster_line_of_sight,
    rasterize,
)
from radiodiff.units import cell_to_m


@pytest.fixture(scope="module")
def city():
    """A real tile and transmitters in its streets."""
    rng = np.random.default_rng(3)
    building_mask = rasterize(city_tile("munich", rng, 160.0, detail_m=0.6), 80, 2.0)
    return building_mask, place_transmitters(building_mask, 4, rng, cell_size_m=2.0)


def random_mask(shape, seed=0, share=0.3):
    """Return buildings in random cells, where many lines pass through corners."""
    return np.random.default_rng(seed).random(shape) < share


# --- Known answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("cell_size_m", [0.5, 1.0, 4.0])
def test_a_wall_straight_ahead_is_its_thickness(cell_size_m):
    walls = np.zeros((9, 20), bool)
    walls[:, 5:8] = True
    found = occlusion_m(walls, (4, 2), cell_size_m)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[4, :5], 0)
    np.testing.assert_array_equal(found[4, 5:8], np.array([0.5, 1.5, 2.5]) * cell_size_m)
    np.testing.assert_array_equal(found[4, 8:], 3 * cell_size_m)
    np.testing.assert_array_equal(occlusion_m(walls.T, (2, 4), cell_size_m), found.T)


def test_a_wall_at_45_degrees_is_its_thickness_times_root_two():
    walls = np.zeros((30, 30), bool)
    walls[:, 10:14] = True
    found = occlusion_m(walls, (25, 5), 2.0)
    for step in range(9, 25):  # up to the right, behind the wall
        assert found[25 - step, 5 + step] == pytest.approx(2 * 4 * math.sqrt(2), rel=1e-6)


def test_any_slope_by_the_theorem_on_intersecting_lines():
    """Straight through a wall along the columns, all lengths grow with the line's slope."""
    walls = np.zeros((41, 50), bool)
    walls[:, 20:26] = True
    found = occlusion_m(walls, (20, 3), 1.0)
    rows, cols = np.mgrid[:41, 26:50]
    slope = np.hypot(rows - 20, cols - 3) / (cols - 3)
    np.testing.assert_allclose(found[:, 26:], 6 * slope, rtol=1e-6)


def test_lengths_agree_with_intersections_of_polygons():
    building_mask = random_mask((17, 23))
    rows, cols = np.nonzero(building_mask)
    built = shapely.union_all(shapely.box(cols, 16 - rows, cols + 1, 17 - rows))
    for cell in ((0, 0), (9, 14), (16, 3)):
        rows, cols = np.mgrid[:17, :23]
        ends = np.stack([cols + 0.5, 16.5 - rows], axis=-1)
        starts = np.broadcast_to((cell[1] + 0.5, 16.5 - cell[0]), ends.shape)
        lines = shapely.linestrings(np.stack([starts, ends], axis=-2))
        expected = 1.5 * shapely.length(shapely.intersection(built, lines))
        np.testing.assert_allclose(occlusion_m(building_mask, cell, 1.5), expected, atol=1e-5)


def test_a_corner_does_not_hide():
    """Also not where two cells meet in it; a line with the least length inside is hidden."""
    building_mask = np.zeros((7, 7), bool)
    building_mask[2, 3] = building_mask[3, 2] = True
    found = raster_line_of_sight(building_mask, (1, 1))
    assert found[2, 2]
    assert found[3, 3]
    assert found[6, 6]
    np.testing.assert_array_equal(np.diag(occlusion_m(building_mask, (1, 1), 1.0)), 0)
    building_mask[3, 3] = True
    assert not raster_line_of_sight(building_mask, (1, 1))[6, 6]
    thin = np.zeros((2, 100), bool)
    thin[0, 50] = True  # the line to the last cell changes rows in the middle of this one
    assert occlusion_m(thin, (0, 1), 1.0)[1, 99] == pytest.approx(0.5, rel=1e-3)
    assert not raster_line_of_sight(thin, (0, 1))[1, 99]


def test_open_ground_hides_nothing():
    empty = np.zeros((12, 31), bool)
    for cell in ((0, 0), (11, 30), (5, 7)):
        assert not occlusion_m(empty, cell, 3.0).any()
        assert raster_line_of_sight(empty, cell).all()


def test_all_built_is_the_distance():
    rows, cols = np.mgrid[:12, :31]
    found = occlusion_m(np.ones((12, 31), bool), (4, 9), 2.0)
    np.testing.assert_allclose(found, 2 * np.hypot(rows - 4, cols - 9), rtol=1e-6)
    assert not raster_line_of_sight(np.ones((12, 31), bool), (4, 9)).any()


# --- Identities and invariances ------------------------------------------------------------------


def test_length_is_the_same_both_ways(city):
    building_mask, cells = city
    for mask, ends in ((building_mask, cells), (random_mask((40, 40)), cells // 2)):
        maps = [occlusion_m(mask, cell, 2.0) for cell in ends]
        for a, b in itertools.combinations(range(len(ends)), 2):
            assert maps[a][tuple(ends[b])] == maps[b][tuple(ends[a])]


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_turned_or_mirrored_raster_gives_the_turned_map(city, turns, is_mirrored):
    def turn(raster):
        return np.rot90(raster[:, ::-1] if is_mirrored else raster, turns)

    building_mask, cells = city
    for mask, cell in ((building_mask, cells[0]), (random_mask((33, 20)), (30, 4))):
        marked = np.zeros(mask.shape, bool)
        marked[tuple(cell)] = True
        (other,) = np.argwhere(turn(marked))
        expected = turn(occlusion_m(mask, cell, 2.0))
        np.testing.assert_array_equal(occlusion_m(turn(mask), other, 2.0), expected)
        expected = turn(raster_line_of_sight(mask, cell))
        np.testing.assert_array_equal(raster_line_of_sight(turn(mask), other), expected)


def test_line_of_sight_is_where_nothing_is_in_the_way(city):
    building_mask, cells = city
    for mask, ends in ((building_mask, cells), (random_mask((50, 31)), [(3, 4), (40, 30)])):
        for cell in ends:
            seen = raster_line_of_sight(mask, cell)
            assert seen.dtype == bool
            np.testing.assert_array_equal(seen[~mask], occlusion_m(mask, cell, 1.0)[~mask] == 0)
            assert not seen[mask].any()


def test_another_building_adds_its_part(city):
    """Lengths of disjoint buildings add up."""
    building_mask, cells = city
    left = building_mask.copy()
    left[:, 40:] = False
    whole, one, other = (
        occlusion_m(mask, cells[0], 2.0) for mask in (building_mask, left, building_mask & ~left)
    )
    np.testing.assert_allclose(whole, one + other, atol=1e-4)


def test_raster_sees_nearly_what_the_outlines_show():
    rng = np.random.default_rng(4)
    buildings = city_tile("florence", rng, 128.0)
    building_mask = rasterize(buildings, 256, 0.5)
    for cell in place_transmitters(building_mask, 2, rng, cell_size_m=0.5):
        position = cell_to_m(cell, size=256, cell_size_m=0.5)
        expected = line_of_sight_mask(buildings, position, 256, 0.5)
        assert (raster_line_of_sight(building_mask, cell) == expected).mean() > 0.98


# --- Failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [(-1, 3), (3, -1), (5, 3), (3, 8)])
def test_transmitters_off_the_raster(cell):
    for look in (raster_line_of_sight, lambda *given: occlusion_m(*given, 1.0)):
        with pytest.raises(ValueError, match=r"raster of 5 x 8 cells, got \(" + str(cell[0])):
            look(np.zeros((5, 8), bool), cell)


@pytest.mark.parametrize(
    "mask", [np.zeros((8, 8)), np.zeros((1, 8, 8), bool)], ids=["float", "3-d"]
)
def test_masks_that_are_none(mask):
    for look in (raster_line_of_sight, lambda *given: occlusion_m(*given, 1.0)):
        with pytest.raises(
            ValueError, match=r"expected building_mask to be bool of shape \(h, w\)"
        ):
            look(mask, (1, 1))


@pytest.mark.parametrize("cell_size_m", [0.0, -1.0, math.nan, math.inf])
def test_bad_cell_size(cell_size_m):
    with pytest.raises(ValueError, match="expected cell_size_m > 0"):
        occlusion_m(np.zeros((8, 8), bool), (1, 1), cell_size_m)
