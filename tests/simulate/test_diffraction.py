"""Waves that bend, with reflections before and behind the corner."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import shapely

from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import m_to_cell

from .conftest import THEORY, cell_centers, free_space, reflection_coefficient, to_db, to_power

EMPIRICAL = RayTracingConstants()


def corner_counts(constants):
    """Return the interactions that a corner takes."""
    return int(constants.interaction_model == "empirical")


def reflectance(constants, from_wall_rad):
    """Return what a wall reflects [1]."""
    if constants.interaction_model == "empirical":
        return 10 ** (-constants.reflection_db / 10)
    return np.abs(reflection_coefficient(from_wall_rad)) ** 2


def bend_db(from_face, to_face, bend):
    """Return the loss of a bend at a right-angled corner [dB] (eq. ``empirical-corner``).

    Angles [degrees] between the faces and the rays on their side, and between both rays.
    """
    assert from_face + to_face + bend == pytest.approx(90, abs=0.01)
    low, high = EMPIRICAL.min_incidence_db, EMPIRICAL.max_incidence_db
    steep = (math.sin(math.radians(from_face)) + math.sin(math.radians(to_face))) / 2
    sharp = (high - steep * (high - low) - 6) * math.sin(math.radians(bend))
    return 6 + sharp + EMPIRICAL.diffraction_db * bend / 180


def test_cells_exactly_on_the_edge_of_a_shadow():
    """Transmitter, corner and cells on one line: rounding decides, but no cell stays dark."""
    gain = RayTracing([shapely.box(40, 0, 128, 40)], 128, 1.0, THEORY).path_gain_db(
        (10.5, 10.5), interactions=2
    )
    lit, in_shadow, both = 0.0, to_db(1 / 4), to_db(1 + 1 / 4)
    for k in range(41, 128):
        cell = m_to_cell((k + 0.5, k + 0.5), size=128, cell_size_m=1.0)
        relative_db = gain[cell] - to_db(free_space((k - 10) * math.sqrt(2)))
        assert np.abs(relative_db - [lit, in_shadow, both]).min() < 0.15


@pytest.mark.parametrize("constants", [EMPIRICAL, THEORY], ids=["empirical", "theory"])
def test_reflected_then_bent_is_bent_from_the_image(constants):
    """A wall behind the transmitter acts on a corner like a second transmitter behind it."""
    bend = corner_counts(constants)
    corner = shapely.box(50, 0, 96, 40)
    mirror = shapely.box(20, 0, 28, 96)
    x_0, y_0 = 42.5, 10.5
    with_mirror = RayTracing([corner, mirror], 96, 1.0, constants)
    straight = RayTracing([corner, mirror], 96, 1.0, dataclasses.replace(constants, corners=0))
    once, never, after, before = (
        to_power(engine.path_gain_db((x_0, y_0), interactions=n))
        for engine in (with_mirror, straight)
        for n in (bend + 1, bend)
    )
    image_x = 2 * 28 - x_0
    alone = RayTracing([corner], 96, 1.0, constants)
    bent = to_power(alone.path_gain_db((image_x, y_0), interactions=bend))
    x, y = cell_centers(96)
    # Keep a metre away from the edge of the image's shadow, where cells are partly lit.
    slope = (40 - y_0) / (50 - image_x)
    shadow = (x > 51) & (y > 40) & (y + 1.5 < 40 + slope * (x - 50))
    assert shadow.sum() > 300
    angle = np.arctan2(50 - image_x, 40 - y_0)
    expected = bent * reflectance(constants, angle)
    np.testing.assert_allclose(
        to_db((once - never - (after - before))[shadow]), to_db(expected)[shadow], atol=0.01
    )
    if bend:  # the direct bend comes with the first reflection, and no map tells them apart
        return
    # Cells that the image lights are in the transmitter's shadow alone: no bend from the image.
    lit = (x > 51) & (y > 41) & (y - 1.5 > 40 + slope * (x - 50))
    lit &= y + 1.5 < 40 + (40 - y_0) / (50 - x_0) * (x - 50)
    expected = free_space(np.hypot(x - image_x, y - y_0))
    expected *= reflectance(constants, np.arctan2(x - image_x, y - y_0))
    assert lit.sum() > 300
    np.testing.assert_allclose(to_db(once - never)[lit], to_db(expected)[lit], atol=0.2)


@pytest.mark.parametrize("constants", [EMPIRICAL, THEORY], ids=["empirical", "theory"])
def test_bent_then_reflected_is_the_mirrored_shadow(constants):
    """A wall that ends the shadow gives back what would have gone on behind it."""
    # A long building along the lower edge, with its corner 30 m farther right in the second tile.
    bend = corner_counts(constants)
    blocks = [shapely.box(0, 0, 40, 40), shapely.box(0, 40, 6, 126)]
    with_wall = RayTracing(blocks, 126, 1.0, constants)
    once, never = (
        to_power(with_wall.path_gain_db((88.5, 20.5), interactions=n)) for n in (bend + 1, bend)
    )
    without_wall = RayTracing([shapely.box(0, 0, 70, 40)], 126, 1.0, constants)
    bent = to_power(without_wall.path_gain_db((118.5, 20.5), interactions=bend))
    x, y = cell_centers(126)
    cols, image_cols = np.arange(7, 38), 41 - np.arange(7, 38)
    x, y, once, never = x[:, cols], y[:, cols], once[:, cols], never[:, cols]
    image_x = 12 - x
    # Nearer to the building the power rises steeply within a cell.
    shadow = (y > 42) & (y + 1.5 < 40 + (40 - image_x) * 19.5 / 48.5)
    assert shadow.sum() > 300
    expected = bent[:, image_cols] * reflectance(constants, np.arctan2(40 - image_x, y - 40))
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
                engine = RayTracing([corner, *some], 126, 1.0, THEORY)
                power = to_power(engine.path_gain_db((100.5, 20.5), interactions=reflections))
                with_all -= (-1) ** count * power[shadow]
                scale = power[shadow]  # in the end with all walls
        assert ((with_all / scale > 1e-9).mean() > 0.5) == (reflections == 3)
        assert (np.abs(with_all / scale) < 1e-9).all() == (reflections == 2)


def test_round_a_block_a_path_bends_twice():
    """Known answer from lengths and both losses; a path has no more interactions than allowed."""
    block, there, back = [shapely.box(40, 0, 60, 40)], (20.5, 10.5), (80.5, 20.5)
    cell, start = (m_to_cell(place, size=96, cell_size_m=1.0) for place in (back, there))
    engine = RayTracing(block, 96, 1.0)
    length = math.hypot(19.5, 29.5) + 20 + math.hypot(20.5, 19.5)
    first, last = (math.degrees(math.atan2(*leg)) for leg in ((19.5, 29.5), (20.5, 19.5)))
    expected_db = to_db(free_space(length))
    expected_db -= bend_db(first, 0, 90 - first) + bend_db(0, last, 90 - last)
    assert engine.path_gain_db(there, interactions=1)[cell] == -np.inf
    for interactions in (2, 3):
        gain_db = engine.path_gain_db(there, interactions=interactions)[cell]
        assert gain_db == pytest.approx(expected_db, abs=0.1)
    reverse_db = engine.path_gain_db(back, interactions=2)[start]
    assert reverse_db == pytest.approx(gain_db, abs=1e-9)
    for constants in (THEORY, dataclasses.replace(EMPIRICAL, corners=1)):
        once = RayTracing(block, 96, 1.0, constants)
        assert once.path_gain_db(there, interactions=4)[cell] == -np.inf


def test_a_street_that_winds_takes_four_corners():
    """Up over the first block and down under the second."""
    blocks = [shapely.box(40, 0, 60, 40), shapely.box(90, 30, 110, 128)]
    engine = RayTracing(blocks, 128, 1.0)
    there, back = (20.5, 10.5), (120.5, 60.5)
    cell, start = (m_to_cell(place, size=128, cell_size_m=1.0) for place in (back, there))
    legs = [(19.5, 29.5), (20, 0), (30, 10), (20, 0), (10.5, 30.5)]
    expected_db = to_db(free_space(sum(math.hypot(*leg) for leg in legs)))
    first, down, last = (math.degrees(math.atan2(*leg)) for leg in (legs[0], (10, 30), legs[4]))
    expected_db -= bend_db(first, 0, 90 - first) + bend_db(0, last, 90 - last)
    expected_db -= 2 * bend_db(0, 90 - down, down)
    assert engine.path_gain_db(there, interactions=3)[cell] == -np.inf
    gain_db = engine.path_gain_db(there, interactions=4)[cell]
    assert gain_db == pytest.approx(expected_db, abs=0.15)
    reverse_db = engine.path_gain_db(back, interactions=4)[start]
    assert reverse_db == pytest.approx(gain_db, abs=1e-9)
