"""The files of a map in RadioMapSeer's layout: their names, and how each is written.

A folder is ours if it holds ``dataset.json``. In it, exactly the names that are written here are
ours; whatever else lies there stays as it is.
"""

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from shapely import Polygon

from radiodiff.files import shorten, write_atomically
from radiodiff.simulate.cars import CAR_DB_PER_M
from radiodiff.simulate.cities import CITY_NAMES
from radiodiff.simulate.dominant_path import DominantPath, DominantPathConstants
from radiodiff.simulate.manifest import (
    MANIFEST,
    MAX_SIZE,
    MAX_TRANSMITTERS,
    VARIANTS,
    Variant,
    is_number,
)
from radiodiff.simulate.missing import (
    MISSING_FOLDERS,
    MOST_MISSING,
    VERSIONS,
    missing_building_masks,
)
from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import path_gain_db_to_uint8
from radiodiff.workers import LOCK_NAME

__all__ = ["DIGESTS", "Parameters"]

#: Raised whenever the same parameters would give other maps; 3: empirical interactions of rays.
SIMULATOR_VERSION = 3
DIGESTS = "SHA256SUMS"
#: Most maps of a dataset; shortest and longest side of a cell [m].
MAX_MAPS, CELL_SIZES_M = 1_000_000, (1e-3, 1e3)
#: What `expected_bytes` counts with, measured on 64, 128 and 256 cells: a gain has about
#: 1.15 size^1.7 bytes; bytes of an image of buildings per cell, of one map's outlines, and of the
#: smallest piece of a disk.
_MASK_BYTES, _RINGS_BYTES, _BLOCK_BYTES = 0.1, 12_000, 4096
#: What `write` names a file before it is whole.
_TEMPORARY = re.compile(
    rf"\.(\d+\.(json|png)|\d+_\d+\.png|{re.escape(MANIFEST)}|{DIGESTS})\.[0-9a-f]+\.tmp"
)


@dataclass(frozen=True)
class Parameters:
    """What the bytes of a dataset depend on."""

    maps: int
    transmitters: int
    size: int
    cell_size_m: float
    seed: int
    cities: tuple[str, ...]
    variants: tuple[Variant, ...]

    @property
    def has_cars(self) -> bool:
        """Whether any variant has cars."""
        return any(variant.startswith("cars") for variant in self.variants)


def check_parameters(
    *,
    maps: int = 1,
    transmitters: int = 1,
    size: int,
    cell_size_m: float,
    seed: int = 0,
    workers: int = 1,
    cities: Sequence[str] = CITY_NAMES,
    variants: Sequence[Variant],
) -> Parameters:
    """Return the parameters in one form or raise ValueError."""
    for name, value, least, most in (
        ("maps", maps, 1, MAX_MAPS),
        ("transmitters", transmitters, 1, MAX_TRANSMITTERS),
        ("size", size, 16, MAX_SIZE),
        ("seed", seed, 0, math.inf),
        ("workers", workers, 1, 10_000),
    ):
        if not is_number(value) or value != int(value) or not least <= value <= most:
            limit = "" if most == math.inf else f" and <= {most:,}"
            raise ValueError(
                f"expected {name} to be a whole number >= {least}{limit}, got {shorten(value)}"
            )
    low, high = CELL_SIZES_M
    if not is_number(cell_size_m) or not low <= cell_size_m <= high:
        raise ValueError(
            f"expected cell_size_m to be {low:g} to {high:g} [m], got {shorten(cell_size_m)}"
        )
    unknown = sorted(set(cities) - set(CITY_NAMES))
    if unknown or not cities or isinstance(cities, str):
        raise ValueError(
            f"expected cities to be a list out of {', '.join(CITY_NAMES)}; got {shorten(cities)}"
        )
    if not variants or isinstance(variants, str) or set(variants) - set(VARIANTS):
        raise ValueError(
            f"expected variants to be a list out of {', '.join(VARIANTS)}; got {shorten(variants)}"
        )
    return Parameters(
        int(maps),
        int(transmitters),
        int(size),
        float(cell_size_m),
        int(seed),
        tuple(city for city in CITY_NAMES if city in cities),
        tuple(variant for variant in VARIANTS if variant in variants),
    )


def describe_engines(parameters: Parameters) -> dict[str, Any]:
    """Return the part of ``dataset.json`` that says what simulated: generator and constants.

    How many buildings are missing in how many versions is one of them.
    """
    constants: dict[str, Any] = {"missing_buildings": {"most": MOST_MISSING, "versions": VERSIONS}}
    if parameters.has_cars:
        constants["car_db_per_m"] = CAR_DB_PER_M
    if any("DPM" in variant for variant in parameters.variants):
        constants["dominant_path"] = asdict(DominantPathConstants())
    if any("IRT" in variant for variant in parameters.variants):
        constants["ray_tracing"] = asdict(RayTracingConstants())
    return {
        "generator": {"name": "radiodiff.simulate", "version": SIMULATOR_VERSION},
        "constants": constants,
    }


def refuse_other_parameters(out: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise ValueError, naming them, if a folder was begun with other parameters."""
    differing: dict[str, str] = {}
    for section in ("generator", "parameters", "constants"):
        old, new = found[section], wanted[section]
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                there, now = shorten(old.get(key), 30), shorten(new.get(key), 30)
                differing[key] = f"{shorten(key, 30)}: there {there}, now {now}"
    if not differing and found["maps"] != wanted["maps"]:
        differing["maps"] = "maps: there other cities or splits"
    if differing:
        first, *others = differing
        more = f"; {shorten(', '.join(others))} too" if others else ""
        raise ValueError(
            f"{out} was begun with other parameters ({differing[first]}{more}); repeat the call "
            "with those, choose a new folder, or delete this one"
        )


def refuse_foreign_files(out: Path) -> None:
    """Raise FileExistsError, naming some, if a folder without ``dataset.json`` holds files."""
    if (out / MANIFEST).exists() or not out.exists():
        return
    names = {path.name for path in out.iterdir()} - {LOCK_NAME}
    foreign = sorted(name for name in names if not _TEMPORARY.fullmatch(name))
    if foreign:
        named = shorten(", ".join(foreign[:3]), 80) + (", ..." if len(foreign) > 3 else "")
        raise FileExistsError(
            f"expected {out} to be a new or empty folder or one with {MANIFEST}, got a folder "
            f"with other files ({named}), which stay as they are; choose another folder"
        )


def make_folders(out: Path, parameters: Parameters) -> None:
    """Make the folders that the variants need."""
    for folder in folders_of(parameters):
        (out / folder).mkdir(parents=True, exist_ok=True)


def folders_of(parameters: Parameters) -> tuple[str, ...]:
    """Return the folders that the variants need, below the dataset's."""
    shapes = ["buildings_complete", *(["cars"] if parameters.has_cars else [])]
    return (
        *("antenna", "png/antennas"),
        *(f"gain/{variant}" for variant in parameters.variants),
        *(f"{kind}/{shape}" for kind in ("png", "polygon") for shape in shapes),
        *MISSING_FOLDERS.values(),
    )


def remove_leftovers(out: Path, parameters: Parameters) -> None:
    """Remove what an interruption left half-written: names of `write`, no others."""
    for folder in ("", *folders_of(parameters)):
        for path in (out / folder).iterdir():
            if _TEMPORARY.fullmatch(path.name):
                path.unlink()


def expected_bytes(parameters: Parameters, maps: int) -> int:
    """Return about how much disk so many maps with all their transmitters take [bytes]."""
    cells = parameters.size**2
    shapes = 2 if parameters.has_cars else 1
    gains = len(parameters.variants) * _on_disk(1.15 * parameters.size**1.7)
    mask = _on_disk(_MASK_BYTES * cells)
    tile = shapes * (mask + _on_disk(_RINGS_BYTES)) + len(MISSING_FOLDERS) * mask + _BLOCK_BYTES
    return maps * (parameters.transmitters * (gains + _BLOCK_BYTES) + tile)


def _on_disk(size: float) -> int:
    """Return the size of a file in whole pieces of a disk [bytes]."""
    return _BLOCK_BYTES * math.ceil(size / _BLOCK_BYTES)


def build_engines(
    buildings: Sequence[Polygon], parameters: Parameters, car_mask: np.ndarray | None
) -> dict[str, DominantPath | RayTracing]:
    """Return the engines that the variants need: ``DPM``, ``IRT``, ``carsIRT``."""
    raster = (buildings, parameters.size, parameters.cell_size_m)
    engines: dict[str, DominantPath | RayTracing] = {}
    for variant in parameters.variants:
        if variant.endswith("DPM"):
            engines["DPM"] = engines.get("DPM") or DominantPath(*raster, cars=car_mask)
        elif variant[:-1] not in engines:
            cars = car_mask if variant.startswith("cars") else None
            engines[variant[:-1]] = RayTracing(*raster, cars=cars)
    return engines


def write_transmitter(
    out: Path,
    name: str,
    cell: tuple[int, int],
    place_m: tuple[float, float],
    engines: dict[str, DominantPath | RayTracing],
    parameters: Parameters,
) -> list[Path]:
    """Write the maps of one transmitter and its picture; return the gain files."""
    paths = []
    gains = {}
    if {"DPM", "carsDPM"} & set(parameters.variants):
        without, with_cars = engines["DPM"].trace_without_and_with_cars(place_m)
        gains |= {"DPM": without.path_gain_db, "carsDPM": with_cars.path_gain_db}
    for variant in parameters.variants:
        if variant not in gains:
            engine = engines[variant[:-1]]
            gains[variant] = engine.path_gain_db(place_m, interactions=int(variant[-1]))
        paths.append(out / f"gain/{variant}/{name}.png")
        write(paths[-1], png_bytes(path_gain_db_to_uint8(gains[variant])))
    antenna = np.zeros((parameters.size, parameters.size), np.uint8)
    antenna[tuple(cell)] = 255
    write(out / f"png/antennas/{name}.png", png_bytes(antenna))
    return paths


def write_buildings(
    out: Path,
    map_id: int,
    buildings: Sequence[Polygon],
    mask: np.ndarray,
    cell_size_m: float,
    seed: Sequence[int],
) -> None:
    """Write the picture of all buildings of a map, and those with some of them missing."""
    masks = missing_building_masks(buildings, mask, cell_size_m, seed)
    pictures = {"png/buildings_complete": mask}
    pictures |= {MISSING_FOLDERS[which]: left for which, left in masks.items()}
    for folder, picture in pictures.items():
        write(out / f"{folder}/{map_id}.png", png_bytes(picture * np.uint8(255)))


def last_file(out: Path, map_id: int) -> Path:
    """Return the file whose presence says that a map is complete."""
    return out / f"antenna/{map_id}.json"


def png_bytes(gray: np.ndarray) -> bytes:
    """Return an 8-bit gray image, shape ``(size, size)``, as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, format="PNG")
    return buffer.getvalue()


def json_bytes(content: list | dict, indent: int | None = None) -> bytes:
    """Return content as a JSON file."""
    return json.dumps(content, indent=indent).encode("utf-8")


def write(path: Path, content: bytes) -> None:
    """Write one of the many files; after a crash the same call makes them again.

    Raises:
        OSError: If it cannot be written; names it.
    """
    write_atomically(path, content, use_fsync=False)
