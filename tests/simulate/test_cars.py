"""Parked cars and what paths lose in them."""

import itertools
import math

import numpy as np
import pytest
import shapely

from radiodiff.simulate import city_tile, rasterize
from radiodiff.simulate.cars import CAR_DB_PER_M, CAR_SIZE_M, car_loss_db, place_cars


def random_cars(size=40, seed=0):
    """Return a raster with a car in every fifth cell."""
    return np.random.default_rng(seed).random((size, size)) < 0.2


# --- Loss ----------------------------------------------------------------------------------------


def test_loss_along_rows_and_columns():
    """Checks eq. ``car-loss``: the length inside counts, to the fraction of a cell."""
    cars = np.zeros((20, 20), bool)
    cars[12, 5:10] = True  # y from 14 to 16 m, x from 10 to 20 m
    assert car_loss_db(cars, 2.0, 1.0, 15.0, 39.0, 15.0, 2.0) == pytest.approx(20.0)
    assert car_loss_db(cars, 2.0, 13.5, 15.0, 39.0, 15.0, 2.0) == pytest.approx(13.0)
    assert car_loss_db(cars, 2.0, 13.5, 15.0, 14.0, 15.0, 2.0) == pytest.approx(1.0)
    assert car_loss_db(cars, 2.0, 11.0, 1.0, 11.0, 39.0, 1.5) == pytest.approx(3.0)
    assert car_loss_db(cars, 2.0, 1.0, 17.0, 39.0, 17.0, 2.0) == 0
    assert car_loss_db(cars, 2.0, 11.0, 15.0, 11.0, 15.0, 2.0) == 0


def test_loss_agrees_with_intersections_of_polygons():
    rng = np.random.default_rng(1)
    cars = random_cars()
    rows, cols = np.nonzero(cars)
    cells = shapely.union_all(
        shapely.box(cols * 0.5, (39 - rows) * 0.5, cols * 0.5 + 0.5, (40 - rows) * 0.5)
    )
    for _ in range(200):
        x0, y0, x1, y1 = rng.uniform(-5, 25, 4)  # the raster ends at 20 m
        inside_m = shapely.intersection(cells, shapely.LineString([(x0, y0), (x1, y1)])).length
        assert car_loss_db(cars, 0.5, x0, y0, x1, y1, 3.0) == pytest.approx(3 * inside_m, abs=1e-9)


def test_loss_is_the_same_both_ways():
    rng = np.random.default_rng(2)
    cars = random_cars()
    for _ in range(200):
        x0, y0, x1, y1 = rng.uniform(0, 40, 4)
        there = car_loss_db(cars, 1.0, x0, y0, x1, y1, 2.0)
        assert there == pytest.approx(car_loss_db(cars, 1.0, x1, y1, x0, y0, 2.0), abs=1e-9)


def test_loss_adds_up_along_a_path():
    rng = np.random.default_rng(3)
    cars = random_cars()
    for _ in range(50):
        start, end = rng.uniform(0, 40, (2, 2))
        middle = start + rng.random() * (end - start)
        parts = car_loss_db(cars, 1.0, *start, *middle, 2.0)
        parts += car_loss_db(cars, 1.0, *middle, *end, 2.0)
        assert car_loss_db(cars, 1.0, *start, *end, 2.0) == pytest.approx(parts, abs=1e-9)


def test_no_cars_lose_nothing():
    rng = np.random.default_rng(4)
    for _ in range(20):
        assert car_loss_db(np.zeros((40, 40), bool), 1.0, *rng.uniform(0, 40, 4), 2.0) == 0
        assert car_loss_db(random_cars(), 1.0, *rng.uniform(0, 40, 4), 0.0) == 0


def test_default_loss_is_ten_decibels_along_a_car():
    assert CAR_DB_PER_M * CAR_SIZE_M[0] == 10
    assert CAR_DB_PER_M * CAR_SIZE_M[1] == 4


# --- Places --------------------------------------------------------------------------------------


@pytest.mark.parametrize("city", ["munich", "florence", "procedural"])
def test_cars_stand_on_open_ground_beside_the_nearest_facade(city):
    rng = np.random.default_rng(5)
    buildings = city_tile(city, rng, 128.0)
    cars = place_cars(buildings, 128.0, rng)
    built = shapely.union_all(buildings)
    assert len(cars) >= 10
    walls = []
    for part in shapely.get_parts(built):
        walls += itertools.pairwise(shapely.get_coordinates(part.exterior))
    lines = shapely.linestrings(np.array(walls))
    for car in cars:
        assert car.area == pytest.approx(10.0)
        assert shapely.box(0, 0, 128, 128).contains(car)
        assert 0.5 <= built.distance(car) <= 2.5
        distances = shapely.distance(lines, car.centroid)
        assert 1 + 1 <= distances.min() <= 2.5 + 1 + 1e-9
        sides = np.diff(shapely.get_coordinates(car)[:3], axis=0)
        long_side = sides[np.argmax(np.hypot(*sides.T))]
        assert np.hypot(*long_side) == pytest.approx(5.0)
        nearest = np.flatnonzero(distances < distances.min() + 1e-6)
        turns = [
            abs(long_side[0] * (b - a)[1] - long_side[1] * (b - a)[0]) / (5 * math.dist(a, b))
            for a, b in (walls[k] for k in nearest)
        ]
        assert min(turns) < 1e-6
    for a, b in itertools.combinations(cars, 2):
        assert a.distance(b) >= 0.5


def test_cars_keep_clear_of_transmitters():
    buildings = [shapely.box(20, 20, 44, 44)]
    everywhere = place_cars(buildings, 64.0, np.random.default_rng(6), spacing_m=6.0)
    avoid = np.array([car.centroid.coords[0] for car in everywhere[::2]])
    cars = place_cars(buildings, 64.0, np.random.default_rng(6), spacing_m=6.0, avoid_m=avoid)
    assert 0 < len(cars) < len(everywhere)
    assert shapely.distance(shapely.MultiPoint(avoid), cars).min() >= 3.0
    assert shapely.distance(shapely.MultiPoint(avoid), everywhere).min() == 0


def test_enclosed_courtyards_stay_empty():
    block = shapely.box(10, 10, 54, 54).difference(shapely.box(20, 20, 44, 44))
    cars = place_cars([block], 64.0, np.random.default_rng(7), spacing_m=10.0)
    assert cars
    assert not any(shapely.box(20, 20, 44, 44).intersects(car) for car in cars)


def test_number_of_cars():
    buildings = [shapely.box(20, 20, 80, 80)]
    few = place_cars(buildings, 100.0, np.random.default_rng(8), spacing_m=40.0)
    crowded = place_cars(buildings, 100.0, np.random.default_rng(8), spacing_m=0.5)
    assert len(few) == 6
    assert 30 <= len(crowded) <= 44  # 240 m of kerb, 5.5 m a car
    assert place_cars([], 100.0, np.random.default_rng(8)) == []


def test_same_state_same_cars():
    buildings = city_tile("munich", np.random.default_rng(9), 96.0)
    one, same, other = (
        shapely.MultiPolygon(place_cars(buildings, 96.0, np.random.default_rng(seed))).wkb
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_cars_become_cells():
    cars = place_cars([shapely.box(20, 20, 80, 80)], 100.0, np.random.default_rng(10))
    mask = rasterize(cars, 400, 0.25)
    assert mask.sum() * 0.25**2 == pytest.approx(10 * len(cars), rel=0.05)


@pytest.mark.parametrize(("extent_m", "spacing_m"), [(0.0, 25.0), (64.0, 0.0), (64.0, -1.0)])
def test_bad_arguments(extent_m, spacing_m):
    with pytest.raises(ValueError, match="expected extent_m > 0 and spacing_m > 0"):
        place_cars([], extent_m, np.random.default_rng(0), spacing_m=spacing_m)
