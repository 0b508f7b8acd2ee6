"""Tiles, engines and digests that the tests of the simulator share."""

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np

from radiodiff.simulate import (
    DominantPath,
    DominantPathConstants,
    city_tile,
    place_transmitters,
)
from radiodiff.units import (
    cell_to_m,
)

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT.parent / "shared" / "data" / "radiomapseer_sample"
FITTED = DominantPathConstants()
STREETS = dataclasses.replace(FITTED, roof_height_m=math.inf)
SMALL = {"maps": 5, "transmitters": 2, "size": 64, "cell_size_m": 2.0, "seed": 3}


def make_tile(city="munich", seed=1, size=96, cell_size_m=2.0):
    """Return buildings, engine and three transmitters [m] of a random tile."""
    rng = np.random.default_rng(seed)
    buildings = city_tile(city, rng, size * cell_size_m, detail_m=0.3 * cell_size_m)
    engine = DominantPath(buildings, size, cell_size_m)
    cells = place_transmitters(engine.building_mask, 3, rng, cell_size_m=cell_size_m)
    positions = [cell_to_m(cell, size=size, cell_size_m=cell_size_m) for cell in cells]
    return buildings, engine, positions


def cell_centers(size, cell_size_m):
    """Return x and y [m] of all cell centres, each of shape (size, size)."""
    axis = (np.arange(size) + 0.5) * cell_size_m
    return np.meshgrid(axis, axis[::-1])


def digests(folder):
    """Return the SHA-256 of every file."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
