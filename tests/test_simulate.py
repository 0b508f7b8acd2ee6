"""Cities, exact visibility, the dominant path and the datasets made from them."""

import dataclasses
import hashlib
import itertools
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image
from scipy import ndimage

from radiodiff.simulate import (
    ATTRIBUTION,
    CITY_NAMES,
    SPLIT_OF_CITY,
    VARIANTS,
    DominantPath,
    DominantPathConstants,
    city_of_map,
    city_tile,
    dataset_outlines,
    load_city,
    place_cars,
    place_transmitters,
    procedural_tile,
    rasterize,
    read_antennas,
    read_outlines,
    simulate_dataset,
    simulate_outlines,
)
from radiodiff.simulate.cars import CAR_DB_PER_M
from radiodiff.simulate.outlines import RADIOMAPSEER_SHIFT_CELLS
from radiodiff.simulate.visibility import find_walls, nearest_walls, visible_spans
from radiodiff.units import (
    FLOOR_DB,
    NOISE_THRESHOLD_DB,
    cell_to_m,
    gray_to_path_gain_db,
    line_of_sight_gain_db,
    m_to_cell,
    path_gain_db_to_uint8,
)

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT.parent / "shared" / "data" / "radiomapseer_sample"
FITTED = DominantPathConstants()
STREETS = dataclasses.replace(FITTED, roof_height_m=math.inf)
SMALL = {"maps": 5, "transmitters": 2, "size": 64, "cell_size_m": 2.0, "seed": 3}


def make_tile(city="munich", seed=1, size=96, cell_size_m=2.0):
    """Return buildings, engine and three transmitters [m] of a random tile."""
    rng = np.random.default_rng(seed)
    buildings = city_tile(city, rng, size * cell_size_m, detail_m=0.3 * cell_size_m)
    engine = DominantPath(buildings, size, cell_size_m)
    cells = place_transmitters(engine.building_mask, 3, rng, cell_size_m=cell_size_m)
    positions = [cell_to_m(cell, size=size, cell_size_m=cell_size_m) for cell in cells]
    return buildings, engine, positions


def cell_centers(size, cell_size_m):
    """Return x and y [m] of all cell centres, each of shape (size, size)."""
    axis = (np.arange(size) + 0.5) * cell_size_m
    return np.meshgrid(axis, axis[::-1])


def digests(folder):
    """Return the SHA-256 of every file."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# --- Propagation: known answers ------------------------------------------------------------------


@pytest.mark.parametrize(("size", "cell_size_m"), [(64, 0.5), (100, 4.0)])
def test_open_field_is_line_of_sight_law(size, cell_size_m):
    transmitter_m = (0.3 * size * cell_size_m, 0.6 * size * cell_size_m)
    gain, bends, over_roofs = DominantPath([], size, cell_size_m).trace(transmitter_m)
    x, y = cell_centers(size, cell_size_m)
    distance = np.hypot(x - transmitter_m[0], y - transmitter_m[1])
    np.testing.assert_array_equal(gain, line_of_sight_gain_db(distance))
    assert (bends == 0).all()
    assert not over_roofs.any()


def test_one_corner_by_hand():
    """Checks eq. ``bent-path`` on the upper left corner of one building."""
    engine = DominantPath([shapely.box(24, 28, 40, 34)], 64, 1.0)
    transmitter, receiver = np.array([12.5, 24.5]), np.array([34.5, 36.5])
    corner = np.array([24, 34]) + 0.05 / math.sqrt(2) * np.array([-1, 1])
    first, second = corner - transmitter, receiver - corner
    length = np.linalg.norm(first) + np.linalg.norm(second)
    angle = math.atan2(first[1], first[0]) - math.atan2(second[1], second[0])
    assert 0.4 < angle < 0.5
    expected = -47.86 - FITTED.bent_db - 10 * FITTED.exponent * math.log10(length)
    expected -= FITTED.corner_db + FITTED.angle_db_per_rad * angle
    gain, bends, _ = engine.trace(tuple(transmitter))
    cell = m_to_cell(tuple(receiver), size=64, cell_size_m=1.0)
    assert gain[cell] == pytest.approx(expected, abs=1e-9)
    assert bends[cell] == 1


def test_angle_beyond_the_limit_costs_no_more():
    """Round the end of a thin wall: about 67 degrees at the first corner, 84 at the second."""
    cell = m_to_cell((30.5, 32.5), size=64, cell_size_m=1.0)
    gain = {}
    for limit in (1.2, 3.0):
        constants = dataclasses.replace(STREETS, angle_limit_rad=limit)
        engine = DominantPath([shapely.box(20, 30, 44, 31)], 64, 1.0, constants)
        gain[limit], bends, _ = engine.trace((40.5, 28.5))
        assert bends[cell] == 2
    second = np.pi / 2 - math.atan2(1.465, 13.535)
    saved = FITTED.angle_db_per_rad * (second - 1.2)
    assert gain[1.2][cell] - gain[3.0][cell] == pytest.approx(saved, abs=0.01)


@pytest.mark.parametrize(
    "change", [{"exponent": 0.0}, {"angle_db_per_rad": -1.0}, {"street_db": math.nan}], ids=str
)
def test_bad_constants(change):
    with pytest.raises(ValueError, match=f"expected {next(iter(change))} to be"):
        DominantPathConstants(**change)


def test_closed_courtyard_is_reached_over_the_roofs_only():
    block = shapely.box(20, 20, 44, 44).difference(shapely.box(26, 26, 38, 38))
    court = np.s_[64 - 38 : 64 - 26, 26:38]
    gain, bends, over_roofs = DominantPath([block], 64, 1.0, STREETS).trace((10.5, 10.5))
    assert (gain[court] == -np.inf).all()
    assert (bends[court] == -1).all()
    assert not over_roofs.any()
    inside = DominantPath([block], 64, 1.0, STREETS).path_gain_db((30.5, 30.5))
    assert np.isfinite(inside).sum() == 144
    gain, bends, over_roofs = DominantPath([block], 64, 1.0).trace((10.5, 10.5))
    assert np.isfinite(gain[court]).all()
    assert (bends[court] == 2).all()
    assert over_roofs[court].all()


def test_path_over_one_roof_by_hand():
    """Checks eq. ``roof-path`` straight across a wall that is too long to go round."""
    engine = DominantPath([shapely.box(0, 100, 256, 112)], 256, 1.0)
    gain, bends, over_roofs = engine.trace((128.5, 60.5))
    height = FITTED.roof_height_m
    for y, up, down in ((130.5, 39.5, 18.5), (170.5, 39.5, 58.5), (113.5, 39.5, 1.5)):
        cell = m_to_cell((128.5, y), size=256, cell_size_m=1.0)
        length = math.hypot(up, height) + 12 + math.hypot(down, height)
        angles = [min(math.atan(height / d), FITTED.roof_limit_rad) for d in (up, down)]
        expected = -47.86 - FITTED.bent_db - 10 * FITTED.exponent * math.log10(length)
        expected -= 2 * FITTED.corner_db + FITTED.angle_db_per_rad * sum(angles)
        assert gain[cell] == pytest.approx(expected, abs=0.06)
        assert (bends[cell], over_roofs[cell]) == (2, True)


@pytest.mark.parametrize(("walls", "paid_streets"), [(2, 0), (3, 1), (5, 3)])
def test_streets_crossed_above_the_roofs_cost_after_the_first(walls, paid_streets):
    rows = [shapely.box(0, 60 + 20 * k, 256, 70 + 20 * k) for k in range(walls)]
    end = 60 + 20 * (walls - 1) + 40.5
    cell = m_to_cell((128.5, end), size=256, cell_size_m=1.0)
    gain = {}
    for street_db in (0.0, FITTED.street_db):
        constants = dataclasses.replace(FITTED, street_db=street_db)
        gain[street_db] = DominantPath(rows, 256, 1.0, constants).path_gain_db((128.5, 20.5))[cell]
    saved = gain[0.0] - gain[FITTED.street_db]
    assert saved == pytest.approx(paid_streets * FITTED.street_db, abs=1e-9)


def test_roof_paths_are_the_best_of_all_that_turn_once():
    """The search in directions against every wall point a quarter of a metre apart."""
    buildings, engine, positions = make_tile("florence", seed=3, size=128, cell_size_m=1.0)
    path_map = engine.trace(positions[0])
    cells = np.argwhere(path_map.over_roofs)
    cells = cells[np.random.default_rng(0).choice(len(cells), 25, replace=False)]
    geometry = shapely.union_all(buildings)
    source = np.array(positions[0])
    streets = DominantPath(buildings, 128, 1.0, STREETS).path_gain_db(positions[0])
    errors = []
    for row, col in cells:
        end = np.array(cell_to_m((row, col), size=128, cell_size_m=1.0))
        found = [roof_path_loss_db(geometry, source, end), roof_path_loss_db(geometry, end, source)]
        errors.append(-path_map.path_gain_db[row, col] - min(*found, -streets[row, col]))
    assert abs(np.median(errors)) < 0.05
    assert np.abs(errors).mean() < 0.5
    assert np.abs(errors).max() < 4  # narrow gaps that no direction hits


def roof_path_loss_db(geometry, start, end):
    """Return the least loss of eq. ``roof-path`` that turns in plan over a wall seen from start."""
    points = shapely.get_coordinates(shapely.segmentize(geometry.boundary, 0.25))
    toward = points - start
    points = points - 1e-3 * toward / np.hypot(*toward.T)[:, None]
    lines = shapely.linestrings(np.stack([np.broadcast_to(start, points.shape), points], axis=1))
    points = points[~shapely.intersects(geometry, lines)]
    best = np.inf
    for point in points:
        step, level = point - start, end - point
        rest = shapely.LineString([point + 2e-3 * level / np.hypot(*level), end])
        walls = shapely.get_coordinates(shapely.intersection(rest, geometry.boundary))
        inside = shapely.Point(point + 0.02 * level / np.hypot(*level)).within(geometry)
        if not inside or len(walls) == 0:
            continue
        parts = shapely.get_parts(shapely.intersection(rest, geometry))
        streets = len([part for part in parts if part.length > 1e-6]) - 1
        near, down = np.hypot(*step), np.hypot(*(walls - end).T).min()
        height = FITTED.roof_height_m
        cos = near / math.hypot(near, height) * (step @ level) / (near * np.hypot(*level))
        bends = [math.acos(np.clip(cos, -1, 1)), math.atan2(height, down)]
        length = math.hypot(near, height) + np.hypot(*level) - down + math.hypot(down, height)
        loss = 47.86 + FITTED.bent_db + 10 * FITTED.exponent * math.log10(length)
        loss += FITTED.street_db * max(0, streets - 1)
        for bend in bends:
            loss += FITTED.corner_db + FITTED.angle_db_per_rad * min(bend, FITTED.roof_limit_rad)
        best = min(best, loss)
    return best


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


def test_bent_path_pays_for_cars_on_both_pieces():
    wall = [shapely.box(24, 0, 40, 34)]
    source, target = (12.5, 24.5), (52.5, 24.5)
    cell = m_to_cell(target, size=64, cell_size_m=1.0)
    free, bends, _ = DominantPath(wall, 64, 1.0, STREETS).trace(source)
    assert bends[cell] == 2
    cars = np.zeros((64, 64), bool)
    cars[:, 18] = cars[:, 32] = cars[:, 47] = True
    lost = free - DominantPath(wall, 64, 1.0, STREETS, cars=cars).path_gain_db(source)
    # Up to the one corner, along the wall and down from the other.
    inside_m = math.hypot(1, 9.535 / 11.465) + 1 + math.hypot(1, 9.535 / 12.465)
    assert lost[cell] == pytest.approx(inside_m * CAR_DB_PER_M, abs=0.001)


@pytest.mark.parametrize("seed", [5, 216])
def test_dominant_path_is_the_best_of_all_corner_sequences(seed):
    """The pruned search against trying every sequence of up to three corners with shapely.

    With seed 216 the best path to cell (16, 55) is not the best one to its last corner.
    """
    rng = np.random.default_rng(seed)
    boxes = [
        shapely.box(*low, *(low + rng.uniform(8, 14, 2))) for low in rng.uniform(6, 40, (5, 2))
    ]
    tilted = [shapely.affinity.rotate(box, rng.uniform(0, 90)) for box in boxes]
    geometry = shapely.union_all(tilted)
    engine = DominantPath(tilted, 56, 1.0, STREETS)
    source = (1.5, 20.5)
    gain, bends, _ = engine.trace(source)
    receivers = np.argwhere((bends >= 0) & (bends <= 3))
    receivers = receivers[rng.choice(len(receivers), 40, replace=False)]
    receivers = np.vstack([receivers, (16, 55)])
    assert set(bends[tuple(receivers.T)]) == {0, 1, 2, 3}

    shapely.prepare(geometry)
    corners = [tuple(point) for point in engine._streets.corners.points]
    ends = [cell_to_m(cell, size=56, cell_size_m=1.0) for cell in receivers]
    nodes = [source, *corners, *ends]
    lines = shapely.linestrings([[(a, b) for b in nodes] for a in nodes])
    is_free = ~shapely.intersects(geometry, lines)
    last = len(corners) + 1
    for k, (cell, end) in enumerate(zip(receivers, ends, strict=True)):
        best = -line_of_sight_gain_db(math.dist(source, end)) if is_free[0, last + k] else np.inf
        for count in (1, 2, 3):
            for middle in itertools.permutations(range(1, last), count):
                path = [0, *middle, last + k]
                if all(is_free[a, b] for a, b in itertools.pairwise(path)):
                    best = min(best, bent_path_loss_db([nodes[i] for i in path]))
        assert -gain[tuple(cell)] == pytest.approx(best, abs=1e-9)


def bent_path_loss_db(points):
    """Return the loss of eq. ``bent-path`` along a chain of points [m]."""
    steps = np.diff(points, axis=0)
    loss = 47.86 + FITTED.bent_db
    loss += 10 * FITTED.exponent * math.log10(np.hypot(*steps.T).sum())
    for a, b in itertools.pairwise(steps):
        angle = abs(math.atan2(a[0] * b[1] - a[1] * b[0], a @ b))
        loss += FITTED.corner_db
        loss += FITTED.angle_db_per_rad * min(angle, FITTED.angle_limit_rad)
    return loss


# --- Propagation: identities and invariances -----------------------------------------------------


@pytest.mark.parametrize("city", ["san_francisco", "procedural"])
def test_visibility_agrees_with_segment_intersection(city):
    buildings, engine, positions = make_tile(city)
    geometry = shapely.union_all(buildings)
    shapely.prepare(geometry)
    x, y = cell_centers(96, 2.0)
    for position in positions:
        bends = engine.trace(position).bends
        ends = np.stack([x, y], axis=-1)
        starts = np.broadcast_to(position, ends.shape)
        lines = shapely.linestrings(np.stack([starts, ends], axis=-2))
        expected = ~shapely.intersects(geometry, lines) & ~engine.building_mask
        np.testing.assert_array_equal(bends == 0, expected)


def test_visible_spans_cover_each_cell_once():
    """Also when the source lies on a cell centre, level with cell centres and wall ends."""
    walls = find_walls(shapely.MultiPolygon([shapely.box(20.5, 20.5, 30.5, 30.5)]), 64.0)
    for source in ([10.5, 20.5], [10.5, 25.5], [10.0, 30.5], [10.5, 10.5], [31.5, 31.5]):
        source = np.array(source)
        _, sectors = nearest_walls(walls, *source)
        count = np.zeros((64, 64), int)
        for row, start, stop in visible_spans(walls, sectors, source, 64, 1.0):
            count[row, start:stop] += 1
        assert count.max() == 1
        assert count[m_to_cell(tuple(source), size=64, cell_size_m=1.0)] == 1


@pytest.mark.parametrize("city", CITY_NAMES)
def test_reciprocity(city):
    buildings, engine, positions = make_tile(city, seed=2)
    cells = [m_to_cell(position, size=96, cell_size_m=2.0) for position in positions]
    streets = DominantPath(buildings, 96, 2.0, STREETS)
    for both in (streets, engine):
        gains = [both.path_gain_db(position) for position in positions]
        for a, b in itertools.combinations(range(3), 2):
            assert gains[a][cells[b]] == pytest.approx(gains[b][cells[a]], abs=1e-5)


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
    other = DominantPath(turned, 96, 2.0)
    for position in positions:
        point = shapely.affinity.affine_transform(shapely.Point(position), matrix)
        expected = turn_map(engine.path_gain_db(position))
        np.testing.assert_allclose(other.path_gain_db((point.x, point.y)), expected, atol=1e-9)


def test_nan_exactly_in_buildings():
    buildings, engine, positions = make_tile("paris", seed=6)
    np.testing.assert_array_equal(engine.building_mask, rasterize(buildings, 96, 2.0))
    for position in positions:
        gain = engine.path_gain_db(position)
        assert gain.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(gain), engine.building_mask)


def test_removing_a_building_never_hides_a_cell():
    buildings, engine, positions = make_tile("procedural", seed=7)
    before = [engine.trace(position).bends == 0 for position in positions]
    for removed in range(0, len(buildings), 8):
        fewer = DominantPath(buildings[:removed] + buildings[removed + 1 :], 96, 2.0)
        for position, lit in zip(positions, before, strict=True):
            assert (fewer.trace(position).bends == 0)[lit].all()


@pytest.mark.parametrize("city", CITY_NAMES)
def test_all_of_the_main_region_is_reached(city):
    for seed in range(4):
        _, engine, positions = make_tile(city, seed=seed, size=192, cell_size_m=1.0)
        labels, _ = ndimage.label(~engine.building_mask)
        main = labels == labels[m_to_cell(positions[0], size=192, cell_size_m=1.0)]
        # A few cells may hang together in the raster only.
        assert np.isfinite(engine.path_gain_db(positions[0])[main]).mean() > 0.99


def test_walls_that_turn_a_little_are_followed():
    """Behind a wall that turns by less than three degrees, for one corner and little more."""
    wall = shapely.Polygon([(0, 35), (50, 35), (100, 37.4), (100, 100), (0, 100)])
    gain, bends, _ = DominantPath([wall], 100, 1.0).trace((0.5, 34.95))
    assert set(np.unique(bends[np.isfinite(gain)])) == {0, 1}
    assert (gain[~np.isnan(gain)] > -np.inf).all()
    hidden = m_to_cell((99.5, 36.5), size=100, cell_size_m=1.0)
    assert bends[hidden] == 1
    expected = -47.86 - FITTED.bent_db - 10 * FITTED.exponent * np.log10(99)
    expected -= FITTED.corner_db + FITTED.angle_db_per_rad * 1.6 / 50
    assert gain[hidden] == pytest.approx(expected, abs=0.1)


def test_overlaps_are_merged_and_overhangs_clipped():
    overlapping = [shapely.box(20, 20, 40, 30), shapely.box(30, 25, 70, 45)]
    merged = [shapely.union_all(overlapping).intersection(shapely.box(0, 0, 64, 64))]
    one = DominantPath(overlapping, 64, 1.0).path_gain_db((10.5, 40.5))
    np.testing.assert_array_equal(one, DominantPath(merged, 64, 1.0).path_gain_db((10.5, 40.5)))


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
    engine = DominantPath([shapely.box(20, 20, 40, 40)], 64, 1.0)
    with pytest.raises(ValueError, match=message):
        engine.path_gain_db(position)


def test_bad_raster():
    with pytest.raises(ValueError, match="size >= 1"):
        DominantPath([], 0, 1.0)
    with pytest.raises(ValueError, match="cell_size_m > 0"):
        DominantPath([], 64, 0.0)


# --- Against real RadioMapSeer gains -------------------------------------------------------------


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


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="no RadioMapSeer sample beside the repository")
def test_real_outlines_hold_the_cells_without_gain():
    gains = [np.array(Image.open(path)) for path in sorted((SAMPLE / "gain/DPM").glob("*.png"))]
    silent = np.max(gains, axis=0) == 0
    built = rasterize(dataset_outlines(SAMPLE, 0), 256, 1.0)
    assert (silent & built).sum() / (silent | built).sum() > 0.999


# --- Cities --------------------------------------------------------------------------------------


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


# --- Datasets ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return simulate_dataset(tmp_path_factory.mktemp("simulate") / "one", **SMALL)


def test_splits_are_disjoint_by_city(dataset):
    assert set(SPLIT_OF_CITY) == set(CITY_NAMES)
    for count in (8, 20, 100):
        cities = [city_of_map(m) for m in range(count)]
        assert {SPLIT_OF_CITY[city] for city in cities} == {"train", "val", "test"}
    assert [cities.count(city) for city in CITY_NAMES] == [35, 20, 20, 10, 15]
    assert {city_of_map(m, ["paris", "munich"]) for m in range(20)} == {"munich", "paris"}
    manifest = json.loads((dataset / "dataset.json").read_text())
    assert manifest["maps"] == [
        {"id": m, "city": city_of_map(m), "split": SPLIT_OF_CITY[city_of_map(m)]} for m in range(5)
    ]
    assert manifest["attribution"] == ATTRIBUTION
    assert manifest["constants"]["dominant_path"] == dataclasses.asdict(FITTED)


def test_layout(dataset):
    names = {str(p.relative_to(dataset)) for p in dataset.rglob("*") if p.is_file()}
    expected = {"dataset.json", "SHA256SUMS"}
    for m in range(5):
        expected |= {
            f"antenna/{m}.json",
            f"png/buildings_complete/{m}.png",
            f"polygon/buildings_complete/{m}.json",
        }
        for t in range(2):
            expected |= {f"gain/DPM/{m}_{t}.png", f"png/antennas/{m}_{t}.png"}
    assert names == expected


def test_files_agree_with_each_other(dataset):
    for m in range(5):
        with Image.open(dataset / f"png/buildings_complete/{m}.png") as image:
            buildings = np.array(image)
        assert set(np.unique(buildings)) == {0, 255}
        rings = json.loads((dataset / f"polygon/buildings_complete/{m}.json").read_text())
        assert all(ring[0] == ring[-1] for ring in rings)
        x, y = cell_centers(64, 1.0)
        inside = sum(shapely.contains_xy(shapely.Polygon(ring), x, y).astype(int) for ring in rings)
        assert ((inside % 2 == 1) != (buildings > 0)).sum() <= 2  # vertices are rounded
        positions = json.loads((dataset / f"antenna/{m}.json").read_text())
        for t, (col, up) in enumerate(positions):
            with Image.open(dataset / f"png/antennas/{m}_{t}.png") as image:
                antenna = np.array(image)
            with Image.open(dataset / f"gain/DPM/{m}_{t}.png") as image:
                gain = np.array(image)
            assert (antenna == 255).sum() == 1
            assert (antenna > 0).sum() == 1
            assert antenna[63 - up, col] == 255
            assert gain.shape == (64, 64)
            assert gain.dtype == np.uint8
            assert gain[63 - up, col] == gain.max() == 255
            assert (gain[buildings > 0] == 0).all()


def test_map_depends_on_seed_and_id_only(tmp_path):
    settings = SMALL | {"cities": ["munich"]}
    three = digests(simulate_dataset(tmp_path / "three", **settings | {"maps": 3}))
    two = digests(simulate_dataset(tmp_path / "two", **settings | {"maps": 2}))
    other = digests(simulate_dataset(tmp_path / "other", **settings | {"maps": 2, "seed": 4}))
    buildings = "png/buildings_complete/{}.png".format
    common = two.keys() - {"dataset.json", "SHA256SUMS"}
    assert all(three[name] == two[name] for name in common)
    assert len({three[buildings(0)], three[buildings(1)], three[buildings(2)]}) == 3
    assert other[buildings(0)] != two[buildings(0)]


def test_digests_are_those_of_sha256sum(dataset):
    assert json.loads((dataset / "dataset.json").read_text())["commit"] == "unknown"
    lines = [line.split("  ") for line in (dataset / "SHA256SUMS").read_text().splitlines()]
    files = {p.relative_to(dataset).as_posix() for p in dataset.rglob("*") if p.is_file()}
    assert {name for _, name in lines} == files - {"SHA256SUMS"}
    for digest, name in lines:
        assert hashlib.sha256((dataset / name).read_bytes()).hexdigest() == digest


def test_variants(dataset, tmp_path):
    """Each variant is the same whatever others are made with it."""
    settings = SMALL | {"maps": 1}
    out = simulate_dataset(tmp_path / "all", **settings, variants=VARIANTS)
    cars = simulate_dataset(tmp_path / "cars", **settings, variants=["carsDPM"])
    one, few, many = digests(dataset), digests(cars), digests(out)
    assert {name for name in many if name.startswith("gain/")} == {
        f"gain/{variant}/0_{t}.png" for variant in VARIANTS for t in range(2)
    }
    for name in many.keys() & one.keys() - {"dataset.json", "SHA256SUMS"}:
        assert many[name] == one[name]
    for name in few.keys() - {"dataset.json", "SHA256SUMS"}:
        assert many[name] == few[name]
    gains = {v: np.array(Image.open(out / f"gain/{v}/0_0.png")).astype(int) for v in VARIANTS}
    assert (gains["IRT4"] >= gains["IRT2"]).all()
    for variant in ("DPM", "IRT2", "IRT4"):
        with_cars = gains[f"cars{variant}"]
        assert (with_cars <= gains[variant] + 1).all()  # rays meet cars in another order
        assert with_cars.sum() < gains[variant].sum()
    car_mask = np.array(Image.open(out / "png/cars/0.png"))
    buildings = np.array(Image.open(out / "png/buildings_complete/0.png"))
    assert set(np.unique(car_mask)) == {0, 255}
    assert not (car_mask & buildings).any()
    rings = json.loads((out / "polygon/cars/0.json").read_text())
    assert all(len(ring) == 5 for ring in rings)


@pytest.fixture
def outlines(tmp_path):
    """Two houses and three antennas, one of them indoors, in RadioMapSeer's formats."""
    rings = [
        [[10, 10], [10, 30], [40, 30], [40, 10], [10, 10]],
        [[50, 40], [70, 40], [70, 60], [50, 60], [50, 40]],
    ]
    (tmp_path / "7.json").write_text(json.dumps(rings))
    (tmp_path / "antennas.json").write_text(json.dumps([[45, 35], [20, 20], [80, 5]]))
    return tmp_path / "7.json", tmp_path / "antennas.json"


def test_simulate_outlines(outlines, tmp_path):
    out = tmp_path / "out"
    written = simulate_outlines(
        out, *outlines, antenna_ids=[0, 2], size=96, variants=["DPM", "IRT2"]
    )
    assert [p.relative_to(out).as_posix() for p in written] == [
        f"gain/{variant}/7_{t}.png" for t in (0, 2) for variant in ("DPM", "IRT2")
    ]
    boxes = [
        shapely.box(*(np.array(box) + RADIOMAPSEER_SHIFT_CELLS))
        for box in ([10, 10, 40, 30], [50, 40, 70, 60])
    ]
    gain = DominantPath(boxes, 96, 1.0).path_gain_db((80.5, 5.5))
    np.testing.assert_array_equal(
        np.array(Image.open(out / "gain/DPM/7_2.png")), path_gain_db_to_uint8(gain)
    )
    assert np.array(Image.open(out / "png/antennas/7_2.png"))[96 - 1 - 5, 80] == 255
    again = dataset_outlines(out, 7)
    assert shapely.union_all(again).symmetric_difference(shapely.union_all(boxes)).area < 1e-9
    # Another map may join it.
    other = outlines[0].rename(outlines[0].with_name("8.json"))
    simulate_outlines(out, other, outlines[1], antenna_ids=[0], size=96)
    assert (out / "gain/DPM/7_0.png").exists()
    assert (out / "gain/DPM/8_0.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"antenna_ids": [1]}, r"antenna 1 at x=20, y=20 lies inside a building"),
        ({"antenna_ids": [2], "size": 64}, r"antenna 2 at x=80, y=5 lies off the map"),
        ({"antenna_ids": [3]}, r"has antennas 0 to 2, not 3"),
        ({"variants": ["carsDPM"]}, r"variants without cars"),
        ({"variants": ["DPN"]}, r"expected variants to be a list out of DPM"),
        ({"antenna_ids": []}, r"no antenna is chosen"),
        ({"shift_cells": math.nan}, r"finite shift"),
    ],
    ids=str,
)
def test_simulate_outlines_refuses(outlines, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        simulate_outlines(tmp_path / "out", *outlines, **{"size": 96} | change)
    assert not (tmp_path / "out").exists()


def test_simulate_outlines_overwrites_no_dataset(dataset, outlines, tmp_path):
    with pytest.raises(FileExistsError, match="holds a simulated dataset"):
        simulate_outlines(dataset, *outlines, size=96)
    with pytest.raises(FileExistsError, match="choose another folder"):
        simulate_outlines(tmp_path, *outlines, size=96)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"type": 1, "c": 2}]', "must be a list of rings"),
        ("[[[1], [2], [3]]]", "must be a list of rings"),
        ("[[[0, 0], [1", "cannot read .*7.json"),
        ('{"a": 1}', "must hold a list, got dict"),
        ('[["a", "b"]]', "must be a list of rings"),
        ("[[1, 2], [3, 4]]", "must be a list of rings"),
        ("[[[0, 0], [1, NaN], [2, 2]]]", "not finite"),
    ],
)
def test_bad_outlines_are_named(outlines, tmp_path, text, message):
    outlines[0].write_text(text)
    with pytest.raises(ValueError, match=message):
        simulate_outlines(tmp_path / "out", *outlines, size=96)
    outlines[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"7\.json"):
        simulate_outlines(tmp_path / "out", *outlines, size=96)


def test_outlines_of_simulated_and_of_3d_datasets(dataset, tmp_path):
    """Courtyards stay open; heights are passed over."""
    for m in range(5):
        mask = np.array(Image.open(dataset / f"png/buildings_complete/{m}.png")) > 0
        again = rasterize(dataset_outlines(dataset, m), 64, 2.0)
        assert (again != mask).sum() <= 2  # vertices are rounded
    path = tmp_path / "3d.json"
    path.write_text("[[[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [12.5]]]")
    assert read_outlines(path, shift_cells=0)[0].area == 16


def test_workers_do_not_matter(dataset, tmp_path):
    calls = []
    two = simulate_dataset(
        tmp_path / "two", **SMALL, workers=2, progress=lambda *c: calls.append(c)
    )
    assert digests(two) == digests(dataset)
    assert calls == [(done, 5) for done in range(1, 6)]


def test_finished_maps_are_left_alone(dataset, tmp_path):
    out = simulate_dataset(tmp_path / "out", **SMALL)
    (out / "antenna/2.json").unlink()
    stray = out / "gain/DPM/.2_0.png.123.tmp"
    stray.write_bytes(b"half a file")
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    calls = []
    simulate_dataset(out, **SMALL, progress=lambda *c: calls.append(c))
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert calls == [(5, 5)]
    changed = {p.name.split(".")[0].split("_")[0] for p in after if after[p] != before.get(p)}
    assert changed == {"2", "SHA256SUMS"}
    assert not stray.exists()
    assert digests(out) == digests(dataset)


def test_killed_run_is_completed(tmp_path):
    """SIGKILL of the main process ends its workers too; the same call then finishes the rest."""
    settings = SMALL | {"maps": 60, "size": 96}
    out = tmp_path / "killed"
    script = (
        "from pathlib import Path\n"
        "from radiodiff.simulate import simulate_dataset\n"
        f"simulate_dataset(Path({str(out)!r}), workers=2, **{settings!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not any((out / "antenna").glob("[0-9]*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    time.sleep(0.5)
    finished = {p: p.stat().st_mtime_ns for p in (out / "antenna").glob("[0-9]*.json")}
    assert 1 <= len(finished) < 60
    time.sleep(1.0)
    assert len(list((out / "antenna").glob("[0-9]*.json"))) == len(finished)

    simulate_dataset(out, **settings)
    assert all(p.stat().st_mtime_ns == mtime for p, mtime in finished.items())
    assert digests(out) == digests(simulate_dataset(tmp_path / "whole", **settings))


@pytest.mark.parametrize(
    "change",
    [
        {"maps": 6},
        {"transmitters": 3},
        {"size": 96},
        {"cell_size_m": 1.0},
        {"seed": 4},
        {"cities": ["munich", "paris"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_parameters_are_refused(dataset, change):
    before = digests(dataset)
    with pytest.raises(ValueError, match=next(iter(change)) + ": there .*choose a new folder"):
        simulate_dataset(dataset, **SMALL | change)
    assert digests(dataset) == before


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    with pytest.raises(FileExistsError, match="choose another folder"):
        simulate_dataset(tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "change",
    [
        {"maps": 0},
        {"transmitters": 0},
        {"size": 8},
        {"seed": -1},
        {"workers": 0},
        {"cell_size_m": 0.0},
        {"cities": ["atlantis"]},
        {"cities": []},
        {"variants": ["DPN"]},
        {"variants": []},
    ],
    ids=str,
)
def test_bad_parameters(tmp_path, change):
    with pytest.raises(ValueError, match=f"expected {next(iter(change))}"):
        simulate_dataset(tmp_path / "out", **SMALL | change)
    assert not (tmp_path / "out").exists()
