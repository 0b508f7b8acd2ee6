"""What is visible from a point, against intersections by shapely."""

import numpy as np
import pytest
import shapely

from radiodiff.simulate import DominantPath
from radiodiff.simulate.visibility import find_walls, nearest_walls, visible_spans
from radiodiff.units import m_to_cell

from .conftest import cell_centers, make_tile


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


def test_removing_a_building_never_hides_a_cell():
    buildings, engine, positions = make_tile("procedural", seed=7)
    before = [engine.trace(position).bends == 0 for position in positions]
    for removed in range(0, len(buildings), 8):
        fewer = DominantPath(buildings[:removed] + buildings[removed + 1 :], 96, 2.0)
        for position, lit in zip(positions, before, strict=True):
            assert (fewer.trace(position).bends == 0)[lit].all()
