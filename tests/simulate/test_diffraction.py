"""Waves that bend, with reflections before and behind the corner."""

import itertools
import math

import numpy as np
import shapely

from radiodiff.simulate.ray_tracing import RayTracing
from radiodiff.units import m_to_cell

from .conftest import cell_centers, free_space, reflection_coefficient, to_db, to_power


def test_cells_exactly_on_the_edge_of_a_shadow():
    """Transmitter, corner and cells on one line: rounding decides, but no cell stays dark."""
    gain = RayTracing([shapely.box(40, 0, 128, 40)], 128, 1.0).path_gain_db(
        (10.5, 10.5), reflections=2
    )
    lit, in_shadow, both = 0.0, to_db(1 / 4), to_db(1 + 1 / 4)
    for k in range(41, 128):
        cell = m_to_cell((k + 0.5, k + 0.5), size=128, cell_size_m=1.0)
        relative_db = gain[cell] - to_db(free_space((k - 10) * math.sqrt(2)))
        assert np.abs(relative_db - [lit, in_shadow, both]).min() < 0.15


def test_reflected_then_bent_is_bent_from_the_image():
    """A wall behind the transmitter acts on a corner like a second transmitter behind it."""
    corner = shapely.box(50, 0, 96, 40)
    mirror = shapely.box(20, 0, 28, 96)
    x_0, y_0 = 42.5, 10.5
    with_mirror = RayTracing([corner, mirror], 96, 1.0)
    once, never = (to_power(with_mirror.path_gain_db((x_0, y_0), reflections=r)) for r in (1, 0))
    image_x = 2 * 28 - x_0
    bent = to_power(RayTracing([corner], 96, 1.0).path_gain_db((image_x, y_0), reflections=0))
    x, y = cell_centers(96)
    # Keep a metre away from the edge of the image's shadow, where cells are partly lit.
    slope = (40 - y_0) / (50 - image_x)
    shadow = (x > 51) & (y > 40) & (y + 1.5 < 40 + slope * (x - 50))
    assert shadow.sum() > 300
    angle = np.arctan2(50 - image_x, 40 - y_0)
    expected = bent * np.abs(reflection_coefficient(angle)) ** 2
    np.testing.assert_allclose(to_db(once - never)[shadow], to_db(expected)[shadow], atol=0.01)
    # Cells that the image lights are in the transmitter's shadow alone: no bend from the image.
    lit = (x > 51) & (y > 41) & (y - 1.5 > 40 + slope * (x - 50))
    lit &= y + 1.5 < 40 + (40 - y_0) / (50 - x_0) * (x - 50)
    coefficient = reflection_coefficient(np.arctan2(x - image_x, y - y_0))
    expected = free_space(np.hypot(x - image_x, y - y_0)) * np.abs(coefficient) ** 2
    assert lit.sum() > 300
    np.testing.assert_allclose(to_db(once - never)[lit], to_db(expected)[lit], atol=0.2)


def test_bent_then_reflected_is_the_mirrored_shadow():
    """A wall that ends the shadow gives back what would have gone on behind it."""
    # A long building along the lower edge, with its corner 30 m farther right in the second tile.
    with_wall = RayTracing([shapely.box(0, 0, 40, 40), shapely.box(0, 40, 6, 126)], 126, 1.0)
    once, never = (to_power(with_wall.path_gain_db((88.5, 20.5), reflections=r)) for r in (1, 0))
    without_wall = RayTracing([shapely.box(0, 0, 70, 40)], 126, 1.0)
    bent = to_power(without_wall.path_gain_db((118.5, 20.5), reflections=0))
    x, y = cell_centers(126)
    cols, image_cols = np.arange(7, 38), 41 - np.arange(7, 38)
    x, y, once, never = x[:, cols], y[:, cols], once[:, cols], never[:, cols]
    image_x = 12 - x
    # Nearer to the building the power rises steeply within a cell.
    shadow = (y > 42) & (y + 1.5 < 40 + (40 - image_x) * 19.5 / 48.5)
    assert shadow.sum() > 300
    coefficient = reflection_coefficient(np.arctan2(40 - image_x, y - 40))
    expected = bent[:, image_cols] * np.abs(coefficient) ** 2
    error_db = to_db(once - never)[shadow] - to_db(expected)[shadow]
    assert np.abs(np.median(error_db)) < 0.05
    assert np.abs(error_db).mean() < 0.1
    assert np.abs(error_db).max() < 1


def test_reflections_before_and_behind_a_corner_count_together():
    """What needs three walls, by inclusion and exclusion, takes three reflections."""
    corner = shapely.box(0, 0, 80, 40)
    walls = [
        shapely.box(110, 0, 126, 126),  # beside the transmitter
        shapely.box(0, 50, 126, 126),  # along the street in the shadow
        shapely.box(0, 40, 6, 126),  # at its end
    ]
    x, y = cell_centers(126)
    shadow = (x > 7) & (x < 78) & (y > 41) & (y < 49)
    for reflections in (2, 3):
        with_all = np.zeros(shadow.sum())
        for count in range(4):
            for some in itertools.combinations(walls, count):
                engine = RayTracing([corner, *some], 126, 1.0)
                power = to_power(engine.path_gain_db((100.5, 20.5), reflections=reflections))
                with_all -= (-1) ** count * power[shadow]
                scale = power[shadow]  # in the end with all walls
        assert ((with_all / scale > 1e-9).mean() > 0.5) == (reflections == 3)
        assert (np.abs(with_all / scale) < 1e-9).all() == (reflections == 2)
