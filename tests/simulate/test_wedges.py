"""One corner against the uniform theory written out anew and the exact solution for metal."""

import dataclasses
import math

import numpy as np
import pytest
import shapely
from scipy.special import fresnel, hankel2, jv

from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.simulate.rays import EmpiricalLosses
from radiodiff.simulate.wedges import corner_loss_db
from radiodiff.units import m_to_cell

from .conftest import (
    THEORY,
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
    engine = RayTracing(
        [shapely.box(corner[0], 0, extent_m, corner[1])], extent_m, 1.0, constants or THEORY
    )
    x, y = (grid - start for grid, start in zip(cell_centers(extent_m), corner, strict=True))
    x_0, y_0 = np.subtract(transmitter_m, corner)
    gain = engine.path_gain_db(transmitter_m, interactions=0)
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
    constants = dataclasses.replace(THEORY, conductivity_s_per_m=1e12, polarization=polarization)
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
    engine = RayTracing([shapely.box(40, 0, 128, 40)], 128, 1.0, THEORY)
    gain = engine.path_gain_db((10.5, 10.4999), interactions=0)
    for k in range(60, 120, 10):
        cell = m_to_cell((k + 0.5, k + 0.5), size=128, cell_size_m=1.0)
        free_db = to_db(free_space(math.hypot(k - 10, k - 9.9999)))
        assert gain[cell] - free_db == pytest.approx(20 * math.log10(0.5), abs=0.1)


# --- Empirical loss -------------------------------------------------------------------------------

#: With a wide range of losses by incidence, which the fitted constants lack.
LOSSES = EmpiricalLosses(14.0, 15.0, 30.0, 8.0)
OPEN_RAD = np.pi * np.array([1.1, 1.5, 1.9, 2.0])


def shadow_losses(open_rad, steps=25):
    """Return losses [dB] with rows by the source's angle, columns by the bend; NaN in the light."""
    rads = np.linspace(0, open_rad - np.pi, steps)
    return np.array(
        [
            [
                corner_loss_db(source, np.pi + target, open_rad, LOSSES)
                if target >= source
                else np.nan
                for target in rads
            ]
            for source in rads
        ]
    )


@pytest.mark.parametrize("open_rad", OPEN_RAD)
def test_empirical_loss_is_reciprocal(open_rad):
    found = shadow_losses(open_rad)
    np.testing.assert_allclose(found, found[::-1, ::-1].T, atol=1e-9)


@pytest.mark.parametrize("open_rad", OPEN_RAD)
def test_empirical_loss_is_monotone_and_continuous(open_rad):
    """It grows as the receiver goes deeper and as the source comes nearer to its face."""
    steps = 200
    found = shadow_losses(open_rad, steps)
    per_step = 40 * (open_rad - np.pi) / steps
    for axis, sign in ((1, 1), (0, -1)):
        change = sign * np.diff(found, axis=axis)
        change = change[~np.isnan(change)]
        assert (change > 0).all()
        assert (change < per_step).all()


def test_end_points_of_the_empirical_loss():
    """Half of the field on the edge of the shadow; all losses round a thin wall, along both sides.

    Checks eq. ``empirical-corner``.
    """
    for open_rad in OPEN_RAD:
        edge = np.diag(shadow_losses(open_rad))
        np.testing.assert_allclose(edge, 6, atol=1e-9)
    highest = LOSSES.max_incidence_db + LOSSES.diffraction_db
    assert corner_loss_db(0.0, 2 * np.pi, 2 * np.pi, LOSSES) == pytest.approx(highest)
    assert max(np.nanmax(shadow_losses(open_rad)) for open_rad in OPEN_RAD) <= highest + 1e-9
    # A right angle, with both rays at 22.5 degrees to their faces.
    incidence_db = 30 - 15 * np.sin(np.pi / 8)
    found = corner_loss_db(np.pi / 8, 11 / 8 * np.pi, 1.5 * np.pi, LOSSES)
    expected = 6 + (incidence_db - 6) * np.sin(np.pi / 4) + 8 / 4
    assert found == pytest.approx(expected)


def test_empirical_shadow_begins_at_minus_six_db():
    engine = RayTracing([shapely.box(40, 0, 128, 40)], 128, 1.0, RayTracingConstants())
    gain = engine.path_gain_db((10.5, 10.4999), interactions=1)
    for k in range(60, 120, 10):
        cell = m_to_cell((k + 0.5, k + 0.5), size=128, cell_size_m=1.0)
        free_db = to_db(free_space(math.hypot(k - 10, k - 9.9999)))
        assert gain[cell] - free_db == pytest.approx(-6, abs=0.01)
