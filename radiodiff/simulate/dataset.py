"""Write simulated radio maps as a folder in RadioMapSeer's layout.

The folder describes itself: ``dataset.json`` holds every parameter, the constants of the
propagation models, and the city and split of each map, ``SHA256SUMS`` the digest of every file. A
map depends on the seed and its id only, so neither the number of worker processes nor an
interruption changes a single byte.

Source of the layout: C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*, arXiv:2212.11777.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from shapely import Polygon
from shapely.geometry.polygon import orient

from radiodiff.files import sha256
from radiodiff.simulate.cars import place_cars
from radiodiff.simulate.cities import (
    ATTRIBUTION,
    CITY_NAMES,
    SPLIT_OF_CITY,
    city_tile,
    place_transmitters,
    rasterize,
)
from radiodiff.simulate.layout import (
    DIGESTS,
    Parameters,
    build_engines,
    check_parameters,
    describe_engines,
    expected_bytes,
    folders_of,
    json_bytes,
    last_file,
    make_folders,
    png_bytes,
    refuse_foreign_files,
    refuse_other_parameters,
    remove_leftovers,
    write,
    write_buildings,
    write_transmitter,
)
from radiodiff.simulate.manifest import MANIFEST, Variant, origin, read_manifest
from radiodiff.units import cell_to_m
from radiodiff.workers import only_writer, run_jobs

__all__ = ["city_of_map", "simulate_dataset"]

logger = logging.getLogger(__name__)

#: Maps take their cities from this cycle in turn: 35 % munich, 20 % san_francisco and
#: procedural, 10 % paris, 15 % florence. The first eight hold all five, hence all three splits.
CITY_CYCLE = (
    *("munich", "san_francisco", "procedural", "florence", "paris"),
    *("munich", "san_francisco", "munich", "procedural", "munich"),
    *("florence", "san_francisco", "munich", "procedural", "munich"),
    *("paris", "florence", "munich", "san_francisco", "procedural"),
)
#: Level of detail of the outlines in cells: gaps and walls of 0.6 cells and more stay.
DETAIL_CELLS = 0.3
#: Finest level of detail [m]; the outlines hold no more.
MIN_DETAIL_M = 0.3
_GO_ON = "%d of %d maps are finished, and the same call goes on from there"


def city_of_map(map_id: int, cities: Sequence[str] = CITY_NAMES) -> str:
    """Return which city a map is cut from.

    Args:
        map_id: Number of the map, 0 or more.
        cities: Cities to use, out of `CITY_NAMES`; their order does not matter.
    """
    cycle = [city for city in CITY_CYCLE if city in cities]
    return cycle[map_id % len(cycle)]


def simulate_dataset(
    out: Path,
    *,
    maps: int,
    transmitters: int,
    size: int = 256,
    cell_size_m: float = 1.0,
    seed: int = 0,
    workers: int = 1,
    cities: Sequence[str] = CITY_NAMES,
    variants: Sequence[Variant] = ("DPM",),
    commit: str = "unknown",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate ``maps`` tiles with ``transmitters`` path-gain maps each.

    Files per map m and transmitter t: ``gain/<variant>/m_t.png`` (8-bit gray, see
    `radiodiff.units.path_gain_db_to_uint8`; buildings 0), ``png/antennas/m_t.png`` (one cell 255),
    ``png/buildings_complete/m.png`` (0 or 255), ``polygon/buildings_complete/m.json`` (closed
    rings in cells, y up; rings of courtyards run clockwise, fill by the even-odd rule),
    ``png/buildings_missing<k>/<version>/m.png`` (the same with k of the buildings missing, see
    `radiodiff.simulate.missing`; the gains are always those of all of them), with cars
    ``png/cars/m.png`` and ``polygon/cars/m.json``, and, last, ``antenna/m.json`` (``[x, y]`` in
    cells, y up: column x, row ``size - 1 - y``).

    A map counts as finished when all its files are there. Called again with the same parameters,
    the function leaves finished maps alone and makes the missing ones; when all are there it writes
    ``SHA256SUMS``, which ``sha256sum -c`` reads. Other files in the folder stay as they are.

    Args:
        out: Folder to fill; must be new, empty or begun by this function.
        maps: Number of tiles.
        transmitters: Transmitters on each tile.
        size: Cells along each side of a tile.
        cell_size_m: Side of a cell [m].
        seed: Start of all randomness, 0 or more.
        workers: Processes; the result does not depend on it. Callers with more than one need the
            usual ``if __name__ == "__main__"`` guard, as processes are spawned.
        cities: Cities to use, out of `CITY_NAMES`.
        variants: Which maps to make, out of `VARIANTS`; buildings, transmitters and what a
            variant holds do not depend on the others.
        commit: Commit of the code, for ``dataset.json``; the one that began counts.
        progress: Called as ``progress(done, maps)`` whenever a map is finished.

    Returns:
        ``out``.

    Raises:
        ValueError: If a parameter is out of range, a tile has no room for the transmitters, or
            ``out`` was begun with other parameters; names them.
        FileExistsError: If ``out`` holds other files and no ``dataset.json``; names some.
        OSError: If a file cannot be written: a full disk, a folder that is read-only. No file is
            left half-written, and the same call goes on.
    """
    parameters = check_parameters(
        maps=maps,
        transmitters=transmitters,
        size=size,
        cell_size_m=cell_size_m,
        seed=seed,
        workers=workers,
        cities=cities,
        variants=variants,
    )
    out, maps = Path(out), parameters.maps
    with only_writer(out):
        _open_folder(out, parameters, commit)
        todo = _unfinished_maps(out, parameters)
        done = maps - len(todo)
        if todo:
            (out / DIGESTS).unlink(missing_ok=True)
            megabytes = expected_bytes(parameters, len(todo)) / 1e6
            message = (
                "%s: %d of %d maps are there, the others take about %.1f MB; "
                "the first one may wait for the compiler"
            )
            logger.info(message, out, done, maps, megabytes)
        try:
            for _ in run_jobs(_write_map, [(out, m, parameters) for m in todo], int(workers)):
                done += 1
                if progress is not None:
                    progress(done, maps)
            if not (out / DIGESTS).exists():
                _write_digests(out, parameters)
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}; {_GO_ON % (done, maps)}", error.filename
            ) from error
        except BrokenExecutor as error:
            raise OSError(
                f"{out}: a worker process was killed (out of memory?), so use fewer workers; "
                + _GO_ON % (done, maps)
            ) from error
    return out


def _open_folder(out: Path, parameters: Parameters, commit: str) -> None:
    """Make the folders, or check that ``out`` is ours and drop what an interruption left."""
    manifest = _manifest(parameters, commit)
    refuse_foreign_files(out)
    found = read_manifest(out)
    if found is not None:
        refuse_other_parameters(out, found, manifest)
    else:  # first of all: it says that the folder is ours
        write(out / MANIFEST, json_bytes(manifest, indent=1))
    make_folders(out, parameters)
    remove_leftovers(out, parameters)


def _manifest(parameters: Parameters, commit: str) -> dict[str, Any]:
    """Return the content of ``dataset.json``."""
    engines = describe_engines(parameters)
    cities = [city_of_map(m, parameters.cities) for m in range(parameters.maps)]
    return {
        "generator": engines["generator"],
        "commit": commit,
        "attribution": ATTRIBUTION,
        "parameters": asdict(parameters)
        | {"cities": list(parameters.cities), "variants": list(parameters.variants)},
        "origin": origin(),
        "constants": engines["constants"],
        "maps": [
            {"id": m, "city": city, "split": SPLIT_OF_CITY[city]} for m, city in enumerate(cities)
        ],
    }


def _names(parameters: Parameters, map_id: int) -> list[str]:
    """Return the files of a map, below the dataset's folder."""
    names = []
    for folder in folders_of(parameters):
        suffix = ".json" if folder.startswith(("antenna", "polygon")) else ".png"
        if folder.startswith("gain/") or folder == "png/antennas":
            names += [f"{folder}/{map_id}_{t}{suffix}" for t in range(parameters.transmitters)]
        else:
            names.append(f"{folder}/{map_id}{suffix}")
    return names


def _unfinished_maps(out: Path, parameters: Parameters) -> list[int]:
    """Return the maps that lack a file."""
    there = {
        f"{folder}/{path.name}"
        for folder in folders_of(parameters)
        for path in (out / folder).iterdir()
    }
    return [m for m in range(parameters.maps) if not there.issuperset(_names(parameters, m))]


def _write_map(out: Path, map_id: int, parameters: Parameters) -> None:
    """Simulate one tile with all its transmitters and write its files."""
    size, cell_size_m = parameters.size, parameters.cell_size_m
    rng = np.random.default_rng(np.random.SeedSequence([parameters.seed, map_id]))
    buildings = city_tile(
        city_of_map(map_id, parameters.cities),
        rng,
        size * cell_size_m,
        detail_m=max(MIN_DETAIL_M, DETAIL_CELLS * cell_size_m),
    )
    mask = rasterize(buildings, size, cell_size_m)
    cells = place_transmitters(mask, parameters.transmitters, rng, cell_size_m=cell_size_m)
    places_m = [cell_to_m(cell, size=size, cell_size_m=cell_size_m) for cell in cells]
    write_buildings(out, map_id, buildings, mask, cell_size_m, (parameters.seed, map_id))
    shapes = {"buildings_complete": buildings}
    car_mask = None
    if parameters.has_cars:
        cars = place_cars(buildings, size * cell_size_m, rng, avoid_m=places_m)
        car_mask = rasterize(cars, size, cell_size_m)
        write(out / f"png/cars/{map_id}.png", png_bytes(car_mask * np.uint8(255)))
        shapes["cars"] = cars
    for name, polygons in shapes.items():
        rings = _cell_rings(polygons, cell_size_m)
        write(out / f"polygon/{name}/{map_id}.json", json_bytes(rings))
    engines = build_engines(buildings, parameters, car_mask)
    for t, (cell, place_m) in enumerate(zip(cells, places_m, strict=True)):
        write_transmitter(out, f"{map_id}_{t}", cell, place_m, engines, parameters)
    positions = [[int(col), int(size - 1 - row)] for row, col in cells]
    write(last_file(out, map_id), json_bytes(positions))


def _write_digests(out: Path, parameters: Parameters) -> None:
    """Write the SHA-256 digest of every file of the dataset, in the form of ``sha256sum``."""
    names = [name for m in range(parameters.maps) for name in _names(parameters, m)]
    lines = [f"{sha256(out / name)}  {name}\n" for name in sorted([MANIFEST, *names])]
    write(out / DIGESTS, "".join(lines).encode())


def _cell_rings(buildings: Sequence[Polygon], cell_size_m: float) -> list[list[list[float]]]:
    """Return all rings, outlines counter-clockwise and courtyards clockwise, in cells, y up."""
    rings = []
    for polygon in map(orient, buildings):
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.array(ring.coords) / cell_size_m
            rings.append([[round(x, 3), round(y, 3)] for x, y in points.tolist()])
    return rings
