"""Tiles of real and invented cities, their rasters and places for transmitters."""

import numpy as np
import pytest
import shapely
from scipy import ndimage

from radiodiff.simulate import (
    ATTRIBUTION,
    CITY_NAMES,
    city_tile,
    load_city,
    place_transmitters,
    procedural_tile,
    rasterize,
)

from ..conftest import ROOT


def test_cities_have_area_and_attribution():
    real_cities = [city for city in CITY_NAMES if city != "procedural"]
    for city in real_cities:
        polygons = load_city(city)
        assert all(p.is_valid for p in polygons)
        assert sum(p.area for p in polygons) > 1e5
    assert "OpenStreetMap contributors" in ATTRIBUTION
    notice = (ROOT / "radiodiff" / "simulate" / "CITIES.md").read_text(encoding="utf-8")
    assert "(c) OpenStreetMap contributors" in notice
    assert all(f"`{city}`" in notice for city in real_cities)


@pytest.mark.parametrize("city", CITY_NAMES)
@pytest.mark.parametrize("extent_m", [64.0, 256.0])
def test_tiles(city, extent_m):
    tile = shapely.box(0, 0, extent_m, extent_m).buffer(1e-9)
    for seed in range(4):
        buildings = city_tile(city, np.random.default_rng(seed), extent_m)
        again = city_tile(city, np.random.default_rng(seed), extent_m)
        assert shapely.MultiPolygon(buildings).equals_exact(shapely.MultiPolygon(again), 0)
        union = shapely.union_all(buildings)
        assert tile.covers(union)
        assert all(p.is_valid and p.area >= 9 for p in buildings)
        assert union.area == pytest.approx(sum(p.area for p in buildings))
        assert 0.2 <= union.area / extent_m**2 <= 0.75


def test_tiles_differ():
    outlines = [procedural_tile(np.random.default_rng(seed), 128.0) for seed in range(3)]
    outlines += [city_tile("munich", np.random.default_rng(seed), 128.0) for seed in range(3)]
    assert len({shapely.MultiPolygon(buildings).wkb for buildings in outlines}) == 6


def test_unknown_and_too_small_cities():
    with pytest.raises(ValueError, match="expected one of"):
        load_city("atlantis")
    with pytest.raises(ValueError, match="expected one of"):
        load_city("procedural")
    with pytest.raises(ValueError, match="choose a smaller tile"):
        city_tile("paris", np.random.default_rng(0), 1200.0)


def test_rasterize_points_up():
    mask = rasterize([shapely.box(0, 6, 4, 8)], 4, 2.0)
    np.testing.assert_array_equal(np.argwhere(mask), [[0, 0], [0, 1]])


@pytest.mark.parametrize("city", CITY_NAMES)
def test_transmitter_placement(city):
    rng = np.random.default_rng(8)
    buildings = city_tile(city, rng, 256.0)
    mask = rasterize(buildings, 128, 2.0)
    cells = place_transmitters(mask, 20, rng, cell_size_m=2.0)
    assert len({tuple(cell) for cell in cells}) == 20
    labels, _ = ndimage.label(~mask)
    sizes = np.bincount(labels[~mask])
    assert set(labels[tuple(cells.T)]) == {sizes.argmax()}
    near_wall = ndimage.binary_dilation(mask)
    assert not near_wall[tuple(cells.T)].any()
    assert (np.abs(cells + 0.5 - 64) <= 0.3 * 128).all()


def test_transmitters_need_room():
    mask = np.ones((32, 32), bool)
    mask[10:14, 10:14] = False
    with pytest.raises(ValueError, match="ask for fewer transmitters"):
        place_transmitters(mask, 20, np.random.default_rng(0))
    with pytest.raises(ValueError, match="got 0 outdoor cells"):
        place_transmitters(np.ones((32, 32), bool), 1, np.random.default_rng(0))
    assert len(place_transmitters(np.zeros((16, 16), bool), 20, np.random.default_rng(0))) == 20
