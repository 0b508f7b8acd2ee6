"""Paths over the roofs against known answers and a search through all walls."""

import dataclasses
import math

import numpy as np
import pytest
import shapely

from radiodiff.simulate import DominantPath
from radiodiff.units import cell_to_m, m_to_cell

from .conftest import FITTED, STREETS, make_tile


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
        expected -= 2 * FITTED.roof_bend_db + FITTED.roof_angle_db_per_rad * sum(angles)
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
            angle = min(bend, FITTED.roof_limit_rad)
            loss += FITTED.roof_bend_db + FITTED.roof_angle_db_per_rad * angle
        best = min(best, loss)
    return best
