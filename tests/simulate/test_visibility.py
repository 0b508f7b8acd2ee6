"""Exact visibility, against segment intersection."""

import numpy as np
import pytest
import shapely

from radiodiff.simulate import (
    DominantPath,
)
from radiodiff.simulate.visibility import find_walls, nearest_walls, visible_spans
from radiodiff.units import (
    m_to_cell,
)

from .tiles import FITTED, cell_centers, make_tile


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
