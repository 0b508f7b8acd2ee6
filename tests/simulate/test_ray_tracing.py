"""Ray tracing against image sources and its own symmetries."""

import dataclasses
import itertools

import numpy as np
import pytest
import shapely

from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import m_to_cell

from .conftest import (
    THEORY,
    cell_centers,
    free_space,
    make_rays,
    reflection_coefficient,
    to_db,
    to_power,
)

NO_DIFFRACTION = dataclasses.replace(THEORY, corners=0)
EMPIRICAL = RayTracingConstants()
MODELS = pytest.mark.parametrize("constants", [EMPIRICAL, THEORY], ids=["empirical", "theory"])


# --- Direct and reflected paths -------------------------------------------------------------------


def test_open_field_is_free_space():
    transmitter_m = (20.3, 41.8)
    gain = RayTracing([], 64, 1.0).path_gain_db(transmitter_m, interactions=4)
    x, y = cell_centers(64)
    distance = np.hypot(x - transmitter_m[0], y - transmitter_m[1])
    np.testing.assert_allclose(gain, to_db(free_space(distance)), atol=1e-9)


@pytest.mark.parametrize("polarization", ["vertical", "horizontal"])
def test_one_wall_is_one_image_source(polarization):
    """Checks eq. ``reflected-ray`` and eq. ``fresnel``."""
    constants = dataclasses.replace(THEORY, polarization=polarization)
    engine = RayTracing([shapely.box(0, 50.8, 64, 64)], 64, 1.0, constants)
    x_0, y_0 = 30.5, 30.5
    maps = [to_power(engine.path_gain_db((x_0, y_0), interactions=r)) for r in (0, 1, 3)]
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
    constants = dataclasses.replace(THEORY, polarization="horizontal", conductivity_s_per_m=0.0)
    engine = RayTracing([shapely.box(0, 90, 128, 128)], 128, 1.0, constants)
    maps = [to_power(engine.path_gain_db((10.5, 70.5), interactions=r)) for r in (0, 1)]
    x, y = cell_centers(128)
    relative = (maps[1] - maps[0]) / free_space(np.hypot(x - 10.5, 180 - 70.5 - y))
    angle = np.arctan2(x - 10.5, 180 - 70.5 - y)
    near_brewster = (np.abs(angle - np.arctan(np.sqrt(5.24))) < 0.005) & (y < 88)
    assert near_brewster.sum() > 20
    assert relative[near_brewster].max() < 1e-4
    assert relative[64, 10] == pytest.approx(((1 - 5.24**0.5) / (1 + 5.24**0.5)) ** 2, rel=0.01)


def test_empirical_reflection_is_a_constant():
    """Whatever the angle, and for each of two reflections."""
    x_0, y_0 = 30.5, 30.5
    engine = RayTracing([shapely.box(0, 50.8, 64, 64)], 64, 1.0)
    maps = [to_power(engine.path_gain_db((x_0, y_0), interactions=r)) for r in (0, 1)]
    x, y = cell_centers(64)
    expected = free_space(np.hypot(x - x_0, 2 * 50.8 - y_0 - y))
    lost_db = to_db(expected / (maps[1] - maps[0]))[y < 50]
    np.testing.assert_allclose(lost_db, EMPIRICAL.reflection_db, atol=0.15)
    double = dataclasses.replace(EMPIRICAL, reflection_db=2 * EMPIRICAL.reflection_db)
    walls = [shapely.box(0, 0, 64, 20.2), shapely.box(0, 50.8, 64, 64)]
    parts = []
    for constants in (EMPIRICAL, double):
        engine = RayTracing(walls, 64, 1.0, constants)
        maps = [to_power(engine.path_gain_db((x_0, y_0), interactions=r)) for r in (1, 2)]
        parts.append((maps[1] - maps[0])[(y > 21) & (y < 50)])
    lost_db = to_db(parts[0] / parts[1])
    np.testing.assert_allclose(lost_db, 2 * EMPIRICAL.reflection_db, atol=1e-4)


def test_canyon_is_a_sum_of_image_sources():
    """Between two parallel walls a path with k reflections seems to come from k streets away."""
    low, high, x_0, y_0 = 40.2, 62.7, 50.5, 47.5
    walls = [shapely.box(0, 0, 128, low), shapely.box(0, high, 128, 128)]
    engine = RayTracing(walls, 128, 1.0, THEORY)
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
        gain = engine.path_gain_db((x_0, y_0), interactions=reflections)
        error_db = gain[inside] - to_db(expected)
        assert np.abs(error_db).max() < 0.2
        assert np.abs(error_db).mean() < 0.01


@pytest.mark.parametrize("city", ["san_francisco", "procedural"])
def test_single_reflections_agree_with_shapely(city):
    """Every wall tried by the image method with shapely, for cells that one reflection reaches."""
    buildings, engine, positions = make_rays(city, size=96, extent_m=96.0, constants=NO_DIFFRACTION)
    geometry = shapely.union_all(buildings)
    shapely.prepare(geometry)
    source = np.array(positions[0])
    maps = [to_power(engine.path_gain_db(positions[0], interactions=r)) for r in (0, 1)]
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
    buildings, engine, _ = make_rays("san_francisco", size=96, extent_m=96.0)
    geometry = shapely.union_all(buildings)
    x, y = cell_centers(96)
    cells = shapely.box(x - 0.5, y - 0.5, x + 0.5, y + 0.5)
    open_share = 1 - shapely.area(shapely.intersection(cells, geometry))
    np.testing.assert_allclose(engine._open_share, np.maximum(open_share, 0.05), atol=1e-9)


# --- Identities and invariances -------------------------------------------------------------------


@MODELS
@pytest.mark.parametrize("city", ["munich", "san_francisco", "procedural"])
def test_reciprocity(city, constants):
    """Exact at the cell centres; means over cells differ at the edges of reflected beams."""
    _, engine, positions = make_rays(
        city, seed=2, size=128, extent_m=128.0, transmitters=8, constants=constants
    )
    cells = [m_to_cell(position, size=128, cell_size_m=1.0) for position in positions]
    for interactions, (typical_db, most_db) in (
        (0, (1e-9, 1e-9)),
        (2, (0.02, 0.5)),
        (4, (0.02, 1)),
    ):
        gains = [engine.path_gain_db(p, interactions=interactions) for p in positions]
        there, back = np.array(
            [
                (gains[a][cells[b]], gains[b][cells[a]])
                for a, b in itertools.combinations(range(8), 2)
            ]
        ).T
        heard = np.maximum(there, back) > -147
        error_db = np.abs(there[heard] - back[heard])
        assert heard.sum() >= 20
        assert np.median(error_db) < typical_db
        assert np.quantile(error_db, 0.85) < most_db


@MODELS
def test_more_interactions_never_take_power(constants):
    for city in ("florence", "procedural"):
        _, engine, positions = make_rays(city, seed=3, constants=constants)
        for position in positions:
            maps = [engine.path_gain_db(position, interactions=r) for r in range(5)]
            for less, more in itertools.pairwise(maps):
                outdoor = ~engine.building_mask
                assert (more[outdoor] >= less[outdoor] - 1e-9).all()


def test_closed_courtyard_gets_nothing():
    block = shapely.box(20, 20, 44, 44).difference(shapely.box(26, 26, 38, 38))
    gain = RayTracing([block], 64, 1.0).path_gain_db((10.5, 10.5), interactions=4)
    assert (gain[64 - 38 : 64 - 26, 26:38] == -np.inf).all()
    inside = RayTracing([block], 64, 1.0).path_gain_db((30.5, 30.5), interactions=4)
    assert np.isfinite(inside).sum() == 144


def test_same_map_twice():
    _, engine, positions = make_rays("procedural", seed=5)
    first = engine.path_gain_db(positions[0], interactions=4)
    engine.path_gain_db(positions[1], interactions=2)
    np.testing.assert_array_equal(engine.path_gain_db(positions[0], interactions=4), first)
    _, other, _ = make_rays("procedural", seed=5)
    np.testing.assert_array_equal(other.path_gain_db(positions[0], interactions=4), first)


@MODELS
def test_finer_rays_change_little(constants):
    """The fans are fine enough: four times the rays move the map by tenths of a decibel."""
    buildings, engine, positions = make_rays("munich", seed=7, size=192, constants=constants)
    fine = RayTracing(
        buildings, 192, 1.0, dataclasses.replace(constants, rays=57600, corner_rays=5760)
    )
    for position in positions:
        coarse_map = engine.path_gain_db(position, interactions=4)
        fine_map = fine.path_gain_db(position, interactions=4)
        heard = (fine_map > -147) & (coarse_map > -np.inf)
        error_db = coarse_map[heard] - fine_map[heard]
        assert heard.sum() == pytest.approx((fine_map > -147).sum(), rel=0.01)
        assert np.abs(error_db).mean() < 0.2
        assert abs(np.median(error_db)) < 0.001


# --- Failures -------------------------------------------------------------------------------------


def test_bad_arguments():
    with pytest.raises(ValueError, match="bool mask of shape"):
        RayTracing([], 64, 1.0, cars=np.zeros((32, 32), bool))
    with pytest.raises(ValueError, match="bool mask of shape"):
        RayTracing([], 64, 1.0, cars=np.zeros((64, 64)))
    with pytest.raises(ValueError, match="interactions >= 0"):
        RayTracing([], 64, 1.0).path_gain_db((1.0, 1.0), interactions=-1)


@pytest.mark.parametrize(
    "change",
    [
        {"rays": 2},
        {"corner_rays": 0},
        {"polarization": "up"},
        {"interaction_model": "guess"},
        {"corners": -1},
        {"reflection_db": -1.0},
        {"diffraction_db": float("nan")},
        {"min_incidence_db": 5.0},
        {"max_incidence_db": 10.0},
    ],
    ids=str,
)
def test_bad_constants(change):
    with pytest.raises(ValueError, match="expected .*" + next(iter(change))):
        RayTracingConstants(**change)
