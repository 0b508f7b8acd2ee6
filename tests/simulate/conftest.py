"""Shared by the tests of the simulator: tiles with engines, a small dataset, outlines of a city."""

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
from scipy.constants import c, epsilon_0

from radiodiff.simulate import (
    DominantPath,
    DominantPathConstants,
    RayTracing,
    RayTracingConstants,
    city_tile,
    place_transmitters,
    simulate_dataset,
)
from radiodiff.units import CARRIER_HZ, cell_to_m

from ..conftest import SHARED

SAMPLE = SHARED / "data" / "radiomapseer_sample"
FITTED = DominantPathConstants()
THEORY = RayTracingConstants(interaction_model="theory")
STREETS = dataclasses.replace(FITTED, roof_height_m=math.inf)
SMALL = {"maps": 5, "transmitters": 2, "size": 64, "cell_size_m": 2.0, "seed": 3}
WAVELENGTH_M = c / CARRIER_HZ
CONCRETE = complex(5.24, -0.185 / (2 * np.pi * CARRIER_HZ * epsilon_0))


def make_tile(
    city="munich",
    seed=1,
    size=96,
    cell_size_m=2.0,
    *,
    detail_m=None,
    transmitters=3,
    build=DominantPath,
):
    """Return buildings, engine and some transmitters [m] of a random tile."""
    rng = np.random.default_rng(seed)
    detail_m = 0.3 * cell_size_m if detail_m is None else detail_m
    buildings = city_tile(city, rng, size * cell_size_m, detail_m=detail_m)
    engine = build(buildings, size, cell_size_m)
    cells = place_transmitters(engine.building_mask, transmitters, rng, cell_size_m=cell_size_m)
    positions = [cell_to_m(cell, size=size, cell_size_m=cell_size_m) for cell in cells]
    return buildings, engine, positions


def make_rays(city="munich", seed=1, size=96, extent_m=192.0, constants=None, transmitters=3):
    """Return buildings, engine and some transmitters [m] of a random tile."""
    return make_tile(
        city,
        seed,
        size,
        extent_m / size,
        detail_m=0.5,
        transmitters=transmitters,
        build=lambda *tile: RayTracing(*tile, constants),
    )


def cell_centers(size, cell_size_m=1.0):
    """Return x and y [m] of all cell centres, each of shape (size, size)."""
    axis = (np.arange(size) + 0.5) * cell_size_m
    return np.meshgrid(axis, axis[::-1])


def digests(folder):
    """Return the SHA-256 of every file."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


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


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return simulate_dataset(tmp_path_factory.mktemp("simulate") / "one", **SMALL)


@pytest.fixture
def outlines(tmp_path):
    """Two houses and three antennas, one of them indoors, in RadioMapSeer's formats."""
    rings = [
        [[10, 10], [10, 30], [40, 30], [40, 10], [10, 10]],
        [[50, 40], [70, 40], [70, 60], [50, 60], [50, 40]],
    ]
    (tmp_path / "7.json").write_text(json.dumps(rings), encoding="utf-8")
    (tmp_path / "antennas.json").write_text(
        json.dumps([[45, 35], [20, 20], [80, 5]]), encoding="utf-8"
    )
    return tmp_path / "7.json", tmp_path / "antennas.json"
