"""Rays through parked cars: every straight piece loses its length inside."""

import math

import numpy as np
import pytest
import shapely

from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import m_to_cell

from .conftest import make_rays, to_db, to_power

NO_DIFFRACTION = RayTracingConstants(corners=0)


def test_no_cars_change_nothing():
    buildings, engine, positions = make_rays("procedural", seed=5)
    empty = RayTracing(buildings, 96, 2.0, cars=np.zeros((96, 96), bool))
    free = np.zeros((96, 96), bool)
    free[40, 50] = True
    harmless = RayTracing(buildings, 96, 2.0, RayTracingConstants(car_db_per_m=0.0), cars=free)
    for position in positions:
        gain = engine.path_gain_db(position, interactions=2)
        np.testing.assert_array_equal(empty.path_gain_db(position, interactions=2), gain)
        np.testing.assert_allclose(harmless.path_gain_db(position, interactions=2), gain)


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
            ).path_gain_db((20.5, 23.5), interactions=reflections)
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
        RayTracing([corner], 64, 1.0, cars=cars).path_gain_db((25.5, 10.5), interactions=1)[shadow]
        for cars in (None, before, behind, before | behind)
    )
    slope = math.hypot(32 - 25.5, 32 - 10.5) / (32 - 10.5)
    assert plain - one == pytest.approx(2 * 3 * slope, abs=0.1)
    slope = math.hypot(55.5 - 32, 38.5 - 32) / (55.5 - 32)
    assert plain - other == pytest.approx(2 * 3 * slope, abs=0.1)
    assert plain - both == pytest.approx(2 * plain - one - other)


def test_cars_never_add_power():
    buildings, engine, positions = make_rays("san_francisco", seed=8)
    rng = np.random.default_rng(0)
    cars = (rng.random((96, 96)) < 0.05) & ~engine.building_mask
    parked = RayTracing(buildings, 96, 2.0, cars=cars)
    outdoor = ~engine.building_mask
    for position in positions:
        plain = engine.path_gain_db(position, interactions=2)[outdoor]
        gain = parked.path_gain_db(position, interactions=2)[outdoor]
        assert (gain <= plain + 1e-9).all()
        assert (gain < plain - 1).mean() > 0.1
