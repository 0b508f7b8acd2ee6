"""Ray tracing against image sources and its own symmetries."""

import itertools
import math

import numpy as np
import pytest
import shapely

from radiodiff.simulate import rasterize
from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import m_to_cell

from .rays import (
    NO_DIFFRACTION,
    cell_centers,
    free_space,
    make_tile,
    reflection_coefficient,
    to_db,
    to_power,
)


def test_open_field_is_free_space():
    transmitter_m = (20.3, 41.8)
    gain = RayTracing([], 64, 1.0).path_gain_db(transmitter_m, reflections=4)
    x, y = cell_centers(64)
    distance = np.hypot(x - transmitter_m[0], y - transmitter_m[1])
    np.testing.assert_allclose(gain, to_db(free_space(distance)), atol=1e-9)


@pytest.mark.parametrize("polarization", ["vertical", "horizontal"])
def test_one_wall_is_one_image_source(polarization):
    """Checks eq. ``reflected-ray`` and eq. ``fresnel``."""
    constants = RayTracingConstants(polarization=polarization)
    engine = RayTracing([shapely.box(0, 50.8, 64, 64)], 64, 1.0, constants)
    x_0, y_0 = 30.5, 30.5
    maps = [to_power(engine.path_gain_db((x_0, y_0), reflections=r)) for r in (0, 1, 3)]
    x, y = cell_centers(64)
    length = np.hypot(x - x_0, 2 * 50.8 - y_0 - y)
    angle = np.arcsin((2 * 50.8 - y_0 - y) / length)
    expected = free_space(length) * np.abs(reflection_coefficient(angle, polarization)) ** 2
    open_field = y < 50.8
    error_db = to_db((maps[1] - maps[0]) / expected)[open_field]
    assert np.abs(error_db).max() < 0.15
    assert np.abs(np.median(error_db)) < 0.005
    np.testing.assert_array_equal(maps[2], maps[1])


def test_horizontal_field_has_a_brewster_angle():
    """No reflection where the tangent of the angle of incidence is the index of the wall."""
    constants = RayTracingConstants(polarization="horizontal", conductivity_s_per_m=0.0)
    engine = RayTracing([shapely.box(0, 90, 128, 128)], 128, 1.0, constants)
    maps = [to_power(engine.path_gain_db((10.5, 70.5), reflections=r)) for r in (0, 1)]
    x, y = cell_centers(128)
    relative = (maps[1] - maps[0]) / free_space(np.hypot(x - 10.5, 180 - 70.5 - y))
    angle = np.arctan2(x - 10.5, 180 - 70.5 - y)
    near_brewster = (np.abs(angle - np.arctan(np.sqrt(5.24))) < 0.005) & (y < 88)
    assert near_brewster.sum() > 20
    assert relative[near_brewster].max() < 1e-4
    assert relative[64, 10] == pytest.approx(((1 - 5.24**0.5) / (1 + 5.24**0.5)) ** 2, rel=0.01)


def test_canyon_is_a_sum_of_image_sources():
    """Between two parallel walls a path with k reflections seems to come from k streets away."""
    low, high, x_0, y_0 = 40.2, 62.7, 50.5, 47.5
    walls = [shapely.box(0, 0, 128, low), shapely.box(0, high, 128, 128)]
    engine = RayTracing(walls, 128, 1.0)
    x, y = cell_centers(128)
    inside = (y > low + 0.5) & (y < high - 0.5)
    x, y = x[inside], y[inside]
    expected = free_space(np.hypot(x - x_0, y - y_0))
    above = below = y_0
    for reflections in range(1, 5):
        above, below = 2 * high - below, 2 * low - above
        for image in (above, below):
            length = np.hypot(x - x_0, y - image)
            coefficient = reflection_coefficient(np.arcsin(np.abs(y - image) / length))
            expected = expected + free_space(length) * np.abs(coefficient) ** (2 * reflections)
        gain = engine.path_gain_db((x_0, y_0), reflections=reflections)
        error_db = gain[inside] - to_db(expected)
        assert np.abs(error_db).max() < 0.2
        assert np.abs(error_db).mean() < 0.01


@pytest.mark.parametrize("city", ["san_francisco", "procedural"])
def test_single_reflections_agree_with_shapely(city):
    """Every wall tried by the image method with shapely, for cells that one reflection reaches."""
    buildings, engine, positions = make_tile(city, size=96, extent_m=96.0, constants=NO_DIFFRACTION)
    geometry = shapely.union_all(buildings)
    shapely.prepare(geometry)
    source = np.array(positions[0])
    maps = [to_power(engine.path_gain_db(positions[0], reflections=r)) for r in (0, 1)]
    once = maps[1] - maps[0]
    rng = np.random.default_rng(0)
    outdoor = np.argwhere(~engine.building_mask)
    cells = outdoor[rng.choice(len(outdoor), 300, replace=False)]
    ends = np.stack([cells[:, 1] + 0.5, 96 - cells[:, 0] - 0.5], axis=1)
    expected = np.zeros(len(cells))
    rings = [r for p in shapely.get_parts(geometry) for r in (p.exterior, *p.interiors)]
    for ring in rings:
        for a, b in itertools.pairwise(shapely.get_coordinates(ring)):
            along = (b - a) / np.linalg.norm(b - a)
            normal = np.array([-along[1], along[0]])
            image = source - 2 * ((source - a) @ normal) * normal
            heights = (ends - a) @ normal
            crossing = -((image - a) @ normal) / (heights - (image - a) @ normal)
            hits = image + crossing[:, None] * (ends - image)
            place = (hits - a) @ along
            is_hit = (heights * ((source - a) @ normal) > 0) & (place >= 0)
            is_hit &= place <= np.linalg.norm(b - a)
            # Stop short of the wall itself.
            near = hits + 1e-6 * np.sign((source - a) @ normal) * normal
            legs = shapely.linestrings(np.stack([np.broadcast_to(source, near.shape), near], 1))
            is_hit &= ~shapely.intersects(geometry, legs)
            is_hit &= ~shapely.intersects(geometry, shapely.linestrings(np.stack([near, ends], 1)))
            length = np.linalg.norm(ends - image, axis=1)
            sine = np.minimum(np.abs(heights - (image - a) @ normal) / length, 1)
            coefficient = reflection_coefficient(np.arcsin(sine))
            expected += np.where(is_hit, free_space(length) * np.abs(coefficient) ** 2, 0)
    found = once[tuple(cells.T)]
    # Cells on the edge of a reflected beam are only partly lit.
    assert ((found > 0) == (expected > 0)).mean() > 0.85
    both = (found > 0) & (expected > 0)
    error_db = to_db(found[both]) - to_db(expected[both])
    assert abs(np.median(error_db)) < 0.05
    assert np.quantile(np.abs(error_db), 0.5) < 0.1
    assert to_db(found.sum()) == pytest.approx(to_db(expected.sum()), abs=0.2)


def test_cells_are_averaged_over_their_open_part():
    buildings, engine, _ = make_tile("san_francisco", size=96, extent_m=96.0)
    geometry = shapely.union_all(buildings)
    x, y = cell_centers(96)
    cells = shapely.box(x - 0.5, y - 0.5, x + 0.5, y + 0.5)
    open_share = 1 - shapely.area(shapely.intersection(cells, geometry))
    np.testing.assert_allclose(engine._open_share, np.maximum(open_share, 0.05), atol=1e-9)


@pytest.mark.parametrize("city", ["munich", "san_francisco", "procedural"])
def test_reciprocity(city):
    """Exact at the cell centres; means over cells differ at the edges of reflected beams."""
    _, engine, positions = make_tile(city, seed=2, size=128, extent_m=128.0, transmitters=8)
    cells = [m_to_cell(position, size=128, cell_size_m=1.0) for position in positions]
    for reflections, (typical_db, most_db) in ((0, (1e-9, 1e-9)), (2, (0.02, 0.5)), (4, (0.02, 1))):
        gains = [engine.path_gain_db(p, reflections=reflections) for p in positions]
        there, back = np.array(
            [
                (gains[a][cells[b]], gains[b][cells[a]])
                for a, b in itertools.combinations(range(8), 2)
            ]
        ).T
        heard = np.maximum(there, back) > -147
        error_db = np.abs(there[heard] - back[heard])
        assert heard.sum() > 20
        assert np.median(error_db) < typical_db
        assert np.quantile(error_db, 0.85) < most_db


def test_more_reflections_never_take_power():
    for city in ("florence", "procedural"):
        _, engine, positions = make_tile(city, seed=3)
        for position in positions:
            maps = [engine.path_gain_db(position, reflections=r) for r in range(5)]
            for less, more in itertools.pairwise(maps):
                outdoor = ~engine.building_mask
                assert (more[outdoor] >= less[outdoor] - 1e-9).all()


@pytest.mark.parametrize(
    ("matrix", "turn_map"),
    [
        ([-1, 0, 0, 1, 192, 0], lambda gain: gain[:, ::-1]),
        ([0, -1, 1, 0, 192, 0], np.rot90),
    ],
    ids=["mirror", "rotate"],
)
def test_mirror_and_rotation(matrix, turn_map):
    buildings, engine, positions = make_tile("florence", seed=4)
    turned = [shapely.affinity.affine_transform(b, matrix) for b in buildings]
    other = RayTracing(turned, 96, 2.0)
    for position in positions:
        point = shapely.affinity.affine_transform(shapely.Point(position), matrix)
        expected = turn_map(engine.path_gain_db(position, reflections=2))
        gain = other.path_gain_db((point.x, point.y), reflections=2)
        np.testing.assert_allclose(gain, expected, atol=1e-6)


def test_nan_exactly_in_buildings():
    buildings, engine, positions = make_tile("paris", seed=6)
    np.testing.assert_array_equal(engine.building_mask, rasterize(buildings, 96, 2.0))
    for position in positions:
        gain = engine.path_gain_db(position, reflections=2)
        assert gain.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(gain), engine.building_mask)


def test_closed_courtyard_gets_nothing():
    block = shapely.box(20, 20, 44, 44).difference(shapely.box(26, 26, 38, 38))
    gain = RayTracing([block], 64, 1.0).path_gain_db((10.5, 10.5), reflections=4)
    assert (gain[64 - 38 : 64 - 26, 26:38] == -np.inf).all()
    inside = RayTracing([block], 64, 1.0).path_gain_db((30.5, 30.5), reflections=4)
    assert np.isfinite(inside).sum() == 144


def test_same_map_twice():
    _, engine, positions = make_tile("procedural", seed=5)
    first = engine.path_gain_db(positions[0], reflections=4)
    engine.path_gain_db(positions[1], reflections=2)
    np.testing.assert_array_equal(engine.path_gain_db(positions[0], reflections=4), first)
    _, other, _ = make_tile("procedural", seed=5)
    np.testing.assert_array_equal(other.path_gain_db(positions[0], reflections=4), first)


def test_finer_rays_change_little():
    """The fans are fine enough: four times the rays move the map by tenths of a decibel."""
    buildings, engine, positions = make_tile("munich", seed=7, size=192)
    fine = RayTracing(buildings, 192, 1.0, RayTracingConstants(rays=57600, corner_rays=5760))
    for position in positions:
        coarse_map = engine.path_gain_db(position, reflections=4)
        fine_map = fine.path_gain_db(position, reflections=4)
        heard = (fine_map > -147) & (coarse_map > -np.inf)
        error_db = coarse_map[heard] - fine_map[heard]
        assert heard.sum() == pytest.approx((fine_map > -147).sum(), rel=0.01)
        assert np.abs(error_db).mean() < 0.2
        assert abs(np.median(error_db)) < 0.001


def test_no_cars_change_nothing():
    buildings, engine, positions = make_tile("procedural", seed=5)
    empty = RayTracing(buildings, 96, 2.0, cars=np.zeros((96, 96), bool))
    free = np.zeros((96, 96), bool)
    free[40, 50] = True
    harmless = RayTracing(buildings, 96, 2.0, RayTracingConstants(car_db_per_m=0.0), cars=free)
    for position in positions:
        gain = engine.path_gain_db(position, reflections=2)
        np.testing.assert_array_equal(empty.path_gain_db(position, reflections=2), gain)
        np.testing.assert_allclose(harmless.path_gain_db(position, reflections=2), gain)


def test_a_car_takes_its_length_times_the_loss():
    """Checks eq. ``car-loss`` on a direct and on a reflected path."""
    wall = shapely.box(0, 50.3, 64, 64)
    cars = np.zeros((64, 64), bool)
    cars[40, 30:35] = True  # level with the transmitter
    cars[20:24, :] = True  # between it and the wall
    maps = {
        (reflections, is_parked): to_power(
            RayTracing(
                [wall], 64, 1.0, NO_DIFFRACTION, cars=cars if is_parked else None
            ).path_gain_db((20.5, 23.5), reflections=reflections)
        )
        for reflections in (0, 1)
        for is_parked in (False, True)
    }
    direct_db = to_db(maps[0, False] / maps[0, True])
    assert direct_db[40, 29] == 0
    assert direct_db[40, 31] == pytest.approx(2 * 1.5, abs=1e-9)
    assert direct_db[40, 50] == pytest.approx(2 * 5, abs=1e-9)
    # Straight up to the wall and down again.
    reflected_db = to_db((maps[1, False] - maps[0, False]) / (maps[1, True] - maps[0, True]))
    assert reflected_db[40, 20] == pytest.approx(2 * 2 * 4, abs=0.01)


def test_a_car_before_and_behind_a_corner():
    """Both pieces of a bent path lose what they lose alone."""
    corner = shapely.box(32, 0, 64, 32)
    before, behind = np.zeros((2, 64, 64), bool)
    before[40:43, 20:32] = True  # 3 m that the path crosses on its way up to the corner
    behind[20:32, 40:43] = True  # 3 m that it crosses on its way to the right
    shadow = m_to_cell((55.5, 38.5), size=64, cell_size_m=1.0)
    plain, one, other, both = (
        RayTracing([corner], 64, 1.0, cars=cars).path_gain_db((25.5, 10.5), reflections=0)[shadow]
        for cars in (None, before, behind, before | behind)
    )
    slope = math.hypot(32 - 25.5, 32 - 10.5) / (32 - 10.5)
    assert plain - one == pytest.approx(2 * 3 * slope, abs=0.1)
    slope = math.hypot(55.5 - 32, 38.5 - 32) / (55.5 - 32)
    assert plain - other == pytest.approx(2 * 3 * slope, abs=0.1)
    assert plain - both == pytest.approx(2 * plain - one - other)


def test_cars_never_add_power():
    buildings, engine, positions = make_tile("san_francisco", seed=8)
    rng = np.random.default_rng(0)
    cars = (rng.random((96, 96)) < 0.05) & ~engine.building_mask
    parked = RayTracing(buildings, 96, 2.0, cars=cars)
    outdoor = ~engine.building_mask
    for position in positions:
        plain = engine.path_gain_db(position, reflections=2)[outdoor]
        gain = parked.path_gain_db(position, reflections=2)[outdoor]
        assert (gain <= plain + 1e-9).all()
        assert (gain < plain - 1).mean() > 0.1


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ((30.0, 30.0), "outdoors"),
        ((20.0, 30.0), "outdoors"),
        ((-1.0, 5.0), "between 0 and 64"),
        ((5.0, 64.5), "between 0 and 64"),
        ((float("nan"), 5.0), "between 0 and 64"),
    ],
)
def test_bad_transmitters(position, message):
    engine = RayTracing([shapely.box(20, 20, 40, 40)], 64, 1.0)
    with pytest.raises(ValueError, match=message):
        engine.path_gain_db(position, reflections=2)


def test_bad_arguments():
    with pytest.raises(ValueError, match="size >= 1"):
        RayTracing([], 0, 1.0)
    with pytest.raises(ValueError, match="cell_size_m > 0"):
        RayTracing([], 64, 0.0)
    with pytest.raises(ValueError, match="bool mask of shape"):
        RayTracing([], 64, 1.0, cars=np.zeros((32, 32), bool))
    with pytest.raises(ValueError, match="bool mask of shape"):
        RayTracing([], 64, 1.0, cars=np.zeros((64, 64)))
    with pytest.raises(ValueError, match="reflections >= 0"):
        RayTracing([], 64, 1.0).path_gain_db((1.0, 1.0), reflections=-1)


@pytest.mark.parametrize(
    "change",
    [{"rays": 2}, {"corner_rays": 0}, {"polarization": "up"}, {"diffractions": 2}],
    ids=str,
)
def test_bad_constants(change):
    with pytest.raises(ValueError, match="expected .*" + next(iter(change))):
        RayTracingConstants(**change)
