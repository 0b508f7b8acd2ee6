"""The dominant path: known answers, identities, and real gains."""

import itertools
import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from radiodiff.simulate import (
    CITY_NAMES,
    DominantPath,
    DominantPathConstants,
    dataset_outlines,
    place_cars,
    rasterize,
    read_antennas,
)
from radiodiff.simulate.cars import CAR_DB_PER_M
from radiodiff.units import (
    FLOOR_DB,
    NOISE_THRESHOLD_DB,
    gray_to_path_gain_db,
    line_of_sight_gain_db,
    m_to_cell,
)

from .conftest import SAMPLE, STREETS, cell_centers, make_tile

# --- Known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "cell_size_m"), [(64, 0.5), (100, 4.0)])
def test_open_field_is_line_of_sight_law(size, cell_size_m):
    transmitter_m = (0.3 * size * cell_size_m, 0.6 * size * cell_size_m)
    gain, bends, over_roofs = DominantPath([], size, cell_size_m).trace(transmitter_m)
    x, y = cell_centers(size, cell_size_m)
    distance = np.hypot(x - transmitter_m[0], y - transmitter_m[1])
    np.testing.assert_array_equal(gain, line_of_sight_gain_db(distance))
    assert (bends == 0).all()
    assert not over_roofs.any()


def test_car_costs_what_lies_inside_it():
    cars = np.zeros((64, 64), bool)
    cars[30:33, 20:25] = True
    free = DominantPath([], 64, 1.0).path_gain_db((10.5, 32.5))
    lost = free - DominantPath([], 64, 1.0, cars=cars).path_gain_db((10.5, 32.5))
    assert lost[31, 40] == pytest.approx(5 * CAR_DB_PER_M)
    assert lost[31, 22] == pytest.approx(2.5 * CAR_DB_PER_M)
    assert lost[31, 15] == lost[50, 40] == 0
    with pytest.raises(ValueError, match=r"cars of shape \(64, 64\), got \(32, 32\)"):
        DominantPath([], 64, 1.0, cars=cars[:32, :32])


# --- Identities and invariances -------------------------------------------------------------------


@pytest.mark.parametrize("city", CITY_NAMES)
def test_reciprocity(city):
    buildings, engine, positions = make_tile(city, seed=2)
    cells = [m_to_cell(position, size=96, cell_size_m=2.0) for position in positions]
    streets = DominantPath(buildings, 96, 2.0, STREETS)
    for both in (streets, engine):
        gains = [both.path_gain_db(position) for position in positions]
        for a, b in itertools.combinations(range(3), 2):
            assert gains[a][cells[b]] == pytest.approx(gains[b][cells[a]], abs=1e-5)


@pytest.mark.parametrize("city", CITY_NAMES)
def test_all_of_the_main_region_is_reached(city):
    for seed in range(4):
        _, engine, positions = make_tile(city, seed=seed, size=192, cell_size_m=1.0)
        labels, _ = ndimage.label(~engine.building_mask)
        main = labels == labels[m_to_cell(positions[0], size=192, cell_size_m=1.0)]
        # A few cells may hang together in the raster only.
        assert np.isfinite(engine.path_gain_db(positions[0])[main]).mean() > 0.99


def test_no_car_changes_nothing_and_cars_only_take():
    buildings, engine, positions = make_tile("munich", seed=9)
    none = DominantPath(buildings, 96, 2.0, cars=np.zeros((96, 96), bool))
    parked = rasterize(place_cars(buildings, 192.0, np.random.default_rng(0)), 96, 2.0)
    cars = DominantPath(buildings, 96, 2.0, cars=parked)
    for position in positions:
        gain = engine.path_gain_db(position)
        np.testing.assert_array_equal(none.path_gain_db(position), gain)
        lost = np.nan_to_num(gain - cars.path_gain_db(position))
        assert lost.min() >= 0
        assert 0.1 < lost.mean() < 15


# --- Failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"exponent": 0.0}, {"angle_db_per_rad": -1.0}, {"street_db": math.nan}], ids=str
)
def test_bad_constants(change):
    with pytest.raises(ValueError, match=f"expected {next(iter(change))} to be"):
        DominantPathConstants(**change)


# --- Against real RadioMapSeer gains --------------------------------------------------------------


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="no RadioMapSeer sample beside the repository")
@pytest.mark.parametrize("transmitter", [0, 11, 14, 15])
def test_real_gains(transmitter):
    """Of the two worst transmitters too: 14 and 15 were 3.3 and 3.7 dB off without roofs."""
    engine = DominantPath(dataset_outlines(SAMPLE, 0), 256, 1.0)
    x, y = read_antennas(SAMPLE / "antenna/0.json")[transmitter]
    gray = np.array(Image.open(SAMPLE / f"gain/DPM/0_{transmitter}.png")) / 255
    real = gray_to_path_gain_db(gray)
    gain, bends, _ = engine.trace((x + 0.5, y + 0.5))
    # Cells on the edge of what is visible belong to either side.
    visible = ndimage.binary_erosion(bends == 0, np.ones((3, 3)))
    assert (np.abs(gain - real)[visible] <= 0.5).mean() >= 0.95
    heard = ~engine.building_mask & (real > NOISE_THRESHOLD_DB)
    error = (np.maximum(gain, FLOOR_DB) - real)[heard]
    assert math.sqrt(np.mean(error**2)) <= 1.6
