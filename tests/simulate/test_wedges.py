"""One corner against the uniform theory written out anew and the exact solution for metal."""

import math

import numpy as np
import pytest
import shapely
from scipy.special import fresnel, hankel2, jv

from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import m_to_cell

from .conftest import (
    WAVELENGTH_M,
    cell_centers,
    free_space,
    reflection_coefficient,
    to_db,
    to_power,
)

WAVENUMBER = 2 * np.pi / WAVELENGTH_M


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
