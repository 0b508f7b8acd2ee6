"""Diffraction at corners against exact wedges."""

import itertools
import math

import numpy as np
import pytest
import shapely
from scipy.special import fresnel, hankel2, jv

from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import m_to_cell

from .rays import (
    WAVENUMBER,
    cell_centers,
    free_space,
    reflection_coefficient,
    to_db,
    to_power,
)


def shadow_of_corner(extent_m=96, constants=None, transmitter_m=(40.5, 10.5), corner=(50, 40)):
    """Return what diffraction adds in the shadow of one corner, and the cells' coordinates there.

    The building fills the lower right of the tile; its corner points to the upper left.

    Returns:
        ``|D|^2`` [m] and, of the same cells, the angles of transmitter and cell from the lit face
        [rad] and their distances from the corner [m].
    """
    engine = RayTracing([shapely.box(corner[0], 0, extent_m, corner[1])], extent_m, 1.0, constants)
    x, y = (grid - start for grid, start in zip(cell_centers(extent_m), corner, strict=True))
    x_0, y_0 = np.subtract(transmitter_m, corner)
    gain = engine.path_gain_db(transmitter_m, reflections=0)
    shadow = (x * y_0 - y * x_0 < 0) & (x > 0) & (y > 0)
    power = to_power(gain)[shadow]
    x, y = x[shadow], y[shadow]
    # The lit face leads down from the corner.
    source_rad = np.arctan2(-x_0, -y_0)
    cell_rad = np.pi + np.arctan2(x, y)
    before, behind = np.hypot(x_0, y_0), np.hypot(x, y)
    squared = power / free_space(1.0) * before * behind * (before + behind)
    return squared, source_rad, cell_rad, before, behind


def transition(x):
    """Return Kouyoumjian and Pathak's transition function from scipy's Fresnel integrals."""
    s, c = fresnel(np.sqrt(2 * x / np.pi))
    tail = np.sqrt(np.pi / 2) * (0.5 * (1 - 1j) - (c - 1j * s))
    return 2j * np.sqrt(x) * np.exp(1j * x) * tail


def cotangent_term(n, distance, beta, sign):
    """Return one of the four terms of the coefficient (Kouyoumjian and Pathak 1974, eq. 25)."""
    turns = np.round((beta + sign * np.pi) / (2 * np.pi * n))
    x = WAVENUMBER * distance * 2 * np.cos((2 * np.pi * n * turns - beta) / 2) ** 2
    return transition(x) / np.tan((np.pi + sign * beta) / (2 * n))


def test_one_corner_is_the_uniform_theory():
    """Checks eq. ``wedge`` on a concrete corner, coefficient written out anew."""
    squared, source_rad, cell_rad, before, behind = shadow_of_corner()
    n, distance = 1.5, before * behind / (before + behind)
    lit = reflection_coefficient(source_rad)
    other = reflection_coefficient(n * np.pi - cell_rad)
    difference, total = cell_rad - source_rad, cell_rad + source_rad
    coefficient = (
        cotangent_term(n, distance, difference, 1)
        + cotangent_term(n, distance, difference, -1)
        + other * cotangent_term(n, distance, total, 1)
        + lit * cotangent_term(n, distance, total, -1)
    ) / (2 * n * np.sqrt(2 * np.pi * WAVENUMBER))
    assert len(squared) > 500
    np.testing.assert_allclose(to_db(squared), to_db(np.abs(coefficient) ** 2), atol=0.002)


@pytest.mark.parametrize("polarization", ["vertical", "horizontal"])
def test_metal_corner_is_the_exact_solution(polarization):
    """The field of a line source at a perfect conductor, as a series of Bessel functions.

    Source: C. A. Balanis, *Advanced Engineering Electromagnetics*, section 11.6.
    """
    constants = RayTracingConstants(conductivity_s_per_m=1e12, polarization=polarization)
    squared, source_rad, cell_rad, before, behind = shadow_of_corner(
        64, constants, transmitter_m=(34.5, 28.5), corner=(40, 40)
    )
    chosen = np.flatnonzero((behind > 2) & (behind < 10))[::2]
    n = 1.5
    exact = []
    for k in chosen:
        near, far = sorted((WAVENUMBER * before, WAVENUMBER * behind[k]))
        order = np.arange(1, n * (near + 60)) / n
        radial = jv(order, near) * hankel2(order, far)
        if polarization == "vertical":
            angular = np.sin(order * source_rad) * np.sin(order * cell_rad[k])
            field = (radial * angular).sum() / n
        else:
            angular = np.cos(order * source_rad) * np.cos(order * cell_rad[k])
            field = (0.5 * jv(0, near) * hankel2(0, far) + (radial * angular).sum()) / n
        incident = hankel2(0, WAVENUMBER * before) / 4
        exact.append(behind[k] * np.abs(field / incident) ** 2)
    assert len(exact) > 20
    np.testing.assert_allclose(to_db(squared[chosen]), to_db(np.array(exact)), atol=0.1)


def test_shadow_begins_at_minus_six_db():
    """On the edge of the shadow half of the field is left, whatever the material."""
    # Cell centres on the diagonal lie some microradians behind the shadow's edge.
    engine = RayTracing([shapely.box(40, 0, 128, 40)], 128, 1.0)
    gain = engine.path_gain_db((10.5, 10.4999), reflections=0)
    for k in range(60, 120, 10):
        cell = m_to_cell((k + 0.5, k + 0.5), size=128, cell_size_m=1.0)
        free_db = to_db(free_space(math.hypot(k - 10, k - 9.9999)))
        assert gain[cell] - free_db == pytest.approx(20 * math.log10(0.5), abs=0.1)


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
