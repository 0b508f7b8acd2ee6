"""Closed forms and tiles that the tests of ray tracing share."""

import numpy as np
from scipy.constants import c, epsilon_0

from radiodiff.simulate import city_tile, place_transmitters
from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import CARRIER_HZ, cell_to_m

WAVELENGTH_M = c / CARRIER_HZ
WAVENUMBER = 2 * np.pi / WAVELENGTH_M
CONCRETE = complex(5.24, -0.185 / (2 * np.pi * CARRIER_HZ * epsilon_0))
NO_DIFFRACTION = RayTracingConstants(diffractions=0)


def cell_centers(size):
    """Return x and y [m] of the centres of 1 m cells, each of shape (size, size)."""
    axis = np.arange(size) + 0.5
    return np.meshgrid(axis, axis[::-1])


def free_space(length_m):
    """Return the power gain of Friis' formula between isotropic antennas [1]."""
    return (WAVELENGTH_M / (4 * np.pi * np.maximum(length_m, 1.0))) ** 2


def reflection_coefficient(from_wall_rad, polarization="vertical"):
    """Return Fresnel's coefficient of concrete from the angles on both sides (Snell's law)."""
    index = np.sqrt(CONCRETE)
    cos_in = np.sin(from_wall_rad)
    cos_out = np.sqrt(1 - (np.cos(from_wall_rad) / index) ** 2)
    if polarization == "vertical":
        return (cos_in - index * cos_out) / (cos_in + index * cos_out)
    return (index * cos_in - cos_out) / (index * cos_in + cos_out)


def to_power(path_gain_db):
    """Return linear gains [1]."""
    return 10 ** (path_gain_db / 10)


def to_db(power):
    """Return decibels; minus infinity of zero."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power)


def make_tile(city="munich", seed=1, size=96, extent_m=192.0, constants=None, transmitters=3):
    """Return buildings, engine and some transmitters [m] of a random tile."""
    rng = np.random.default_rng(seed)
    cell_size_m = extent_m / size
    buildings = city_tile(city, rng, extent_m, detail_m=0.5)
    engine = RayTracing(buildings, size, cell_size_m, constants)
    cells = place_transmitters(engine.building_mask, transmitters, rng, cell_size_m=cell_size_m)
    positions = [cell_to_m(cell, size=size, cell_size_m=cell_size_m) for cell in cells]
    return buildings, engine, positions
