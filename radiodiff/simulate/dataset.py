"""Write simulated radio maps as a folder in RadioMapSeer's layout.

The folder describes itself: ``dataset.json`` holds every parameter, the constants of the
propagation models, and the city and split of each map, ``SHA256SUMS`` the digest of every file. A
map depends on the seed and its id only, so neither the number of worker processes nor an
interruption changes a single byte.

Source of the layout: C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*, arXiv:2212.11777.
"""

import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from PIL import Image
from shapely import Polygon
from shapely.geometry.polygon import orient

from radiodiff.files import is_temporary, remove_temporaries, sha256, write_atomically
from radiodiff.simulate.cars import CAR_DB_PER_M, place_cars
from radiodiff.simulate.cities import (
    ATTRIBUTION,
    CITY_NAMES,
    SPLIT_OF_CITY,
    city_tile,
    place_transmitters,
    rasterize,
)
from radiodiff.simulate.dominant_path import DominantPath, DominantPathConstants
from radiodiff.simulate.outlines import RADIOMAPSEER_SHIFT_CELLS, read_antennas, read_outlines
from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.units import cell_to_m, m_to_cell, path_gain_db_to_uint8
from radiodiff.workers import LOCK_NAME, only_writer, run_jobs

__all__ = ["VARIANTS", "Variant", "city_of_map", "simulate_dataset", "simulate_outlines"]

logger = logging.getLogger(__name__)

#: Raised whenever the same parameters would give other maps.
SIMULATOR_VERSION = 2
MANIFEST = "dataset.json"
DIGESTS = "SHA256SUMS"
#: Folders of ``gain/``: the dominant path, ray tracing with two and with four reflections, and the
#: same with cars.
Variant = Literal["DPM", "IRT2", "IRT4", "carsDPM", "carsIRT2", "carsIRT4"]
VARIANTS: tuple[Variant, ...] = ("DPM", "IRT2", "IRT4", "carsDPM", "carsIRT2", "carsIRT4")
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


@dataclass(frozen=True)
class _Parameters:
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
    rings in cells, y up; rings of courtyards run clockwise, fill by the even-odd rule), with cars
    ``png/cars/m.png`` and ``polygon/cars/m.json``, and, last, ``antenna/m.json`` (``[x, y]`` in
    cells, y up: column x, row ``size - 1 - y``).

    A map counts as finished when its antenna file is there. Called again with the same
    parameters, the function leaves finished maps alone and makes the missing ones; when all are
    there it writes ``SHA256SUMS``, which ``sha256sum -c`` reads.

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
        FileExistsError: If ``out`` holds other files.
    """
    parameters = _check_parameters(
        maps, transmitters, size, cell_size_m, seed, workers, cities, variants
    )
    out = Path(out)
    with only_writer(out):
        _open_folder(out, parameters, commit)
        todo = [m for m in range(maps) if not _last_file(out, m).exists()]
        done = maps - len(todo)
        if todo:
            (out / DIGESTS).unlink(missing_ok=True)
            message = "%s: %d of %d maps are there; the first one may wait for the compiler"
            logger.info(message, out, done, maps)
        for _ in run_jobs(_write_map, [(out, m, parameters) for m in todo], workers):
            done += 1
            if progress is not None:
                progress(done, maps)
        if not (out / DIGESTS).exists():
            _write_digests(out)
    return out


def simulate_outlines(
    out: Path,
    outlines: Path,
    antennas: Path,
    *,
    antenna_ids: Sequence[int] | None = None,
    size: int = 256,
    cell_size_m: float = 1.0,
    shift_cells: float = RADIOMAPSEER_SHIFT_CELLS,
    variants: Sequence[Variant] = ("DPM",),
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Simulate radio maps over given outlines, in RadioMapSeer's formats and layout.

    The map's number is that of the outlines' file, ``7.json``, or 0. Besides the gains the folder
    receives copies of both files (the outlines only if they are in RadioMapSeer's coordinates),
    the raster of the buildings and the antenna pictures, so that
    `radiodiff.data.RadioMapSeer` reads it with split ``all``; other maps may follow.

    Args:
        out: Folder to write to; files of the same map and transmitter are replaced.
        outlines: Rings of buildings, see `read_outlines`.
        antennas: Positions of transmitters, see `read_antennas`.
        antenna_ids: Which of them, counted from 0; all if ``None``.
        size: Cells along each side of the map.
        cell_size_m: Side of a cell [m].
        shift_cells: Added to the outlines' coordinates [cells]; half a cell for RadioMapSeer's.
        variants: Which maps to make, out of `VARIANTS` without cars.
        progress: Called as ``progress(done, maps)`` whenever a map is written.

    Returns:
        The gain files written.

    Raises:
        FileExistsError: If ``out`` is a simulated dataset, or the one the outlines belong to.
        FileNotFoundError: If a file is missing.
        ValueError: If a file, an id, a variant or a position does not fit; names it.
    """
    out = Path(out)
    if (out / MANIFEST).exists():
        raise FileExistsError(f"{out} holds a simulated dataset; choose another folder")
    if Path(outlines).resolve().is_relative_to(out.resolve()):
        raise FileExistsError(f"{out} is where {outlines} lies; choose another folder")
    parameters = _check_parameters(1, 1, size, cell_size_m, 0, 1, CITY_NAMES, variants)
    if parameters.has_cars:
        raise ValueError(f"expected variants without cars for given outlines, got {variants}")
    buildings = read_outlines(outlines, cell_size_m=cell_size_m, shift_cells=shift_cells)
    mask = rasterize(buildings, size, cell_size_m)
    places = _read_places(antennas, antenna_ids, buildings, mask, cell_size_m)
    map_id = int(Path(outlines).stem) if Path(outlines).stem.isdecimal() else 0
    engines = _engines(buildings, parameters, None)
    _make_folders(out, parameters)
    _write(out / f"png/buildings_complete/{map_id}.png", _png_bytes(mask * np.uint8(255)))
    if cell_size_m == 1 and shift_cells == RADIOMAPSEER_SHIFT_CELLS:  # as readers take them
        _write(out / f"polygon/buildings_complete/{map_id}.json", Path(outlines).read_bytes())
    written = []
    for done, (t, (cell, place_m)) in enumerate(places.items(), start=1):
        written += _write_transmitter(out, f"{map_id}_{t}", cell, place_m, engines, parameters)
        if progress is not None:
            progress(done, len(places))
    _write(_last_file(out, map_id), Path(antennas).read_bytes())
    return written


def _read_places(
    antennas: Path,
    antenna_ids: Sequence[int] | None,
    buildings: Sequence[Polygon],
    building_mask: np.ndarray,
    cell_size_m: float,
) -> dict[int, tuple[tuple[int, int], tuple[float, float]]]:
    """Return cell and position [m] of the chosen antennas, by their numbers in the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file, a number or a position does not fit; names it.
    """
    positions = read_antennas(antennas)
    ids = range(len(positions)) if antenna_ids is None else antenna_ids
    if len(ids) == 0:
        raise ValueError(f"{antennas}: no antenna is chosen; expected a list of [x, y]")
    for t in ids:
        if not 0 <= t < len(positions):
            raise ValueError(f"{antennas} has antennas 0 to {len(positions) - 1}, not {t}")
    size, built = len(building_mask), shapely.union_all(buildings)
    places = {}
    for t in ids:
        x, y = positions[t]
        place_m = ((x + 0.5) * cell_size_m, (y + 0.5) * cell_size_m)
        row, col = m_to_cell(place_m, size=size, cell_size_m=cell_size_m)
        if not (0 <= row < size and 0 <= col < size):
            raise ValueError(f"{antennas}: antenna {t} at x={x:g}, y={y:g} lies off the map")
        if building_mask[row, col] or shapely.intersects_xy(built, *place_m):
            raise ValueError(f"{antennas}: antenna {t} at x={x:g}, y={y:g} lies inside a building")
        places[t] = (row, col), place_m
    return places


def _check_parameters(
    maps: int,
    transmitters: int,
    size: int,
    cell_size_m: float,
    seed: int,
    workers: int,
    cities: Sequence[str],
    variants: Sequence[Variant],
) -> _Parameters:
    """Return the parameters in one form or raise ValueError."""
    for name, value, least in (
        ("maps", maps, 1),
        ("transmitters", transmitters, 1),
        ("size", size, 16),
        ("seed", seed, 0),
        ("workers", workers, 1),
    ):
        if value != int(value) or value < least:
            raise ValueError(f"expected {name} to be a whole number >= {least}, got {value}")
    if not 0 < cell_size_m < np.inf:
        raise ValueError(f"expected cell_size_m > 0 [m], got {cell_size_m}")
    unknown = sorted(set(cities) - set(CITY_NAMES))
    if unknown or not cities or isinstance(cities, str):
        raise ValueError(
            f"expected cities to be a list out of {', '.join(CITY_NAMES)}; got {cities!r}"
        )
    if not variants or isinstance(variants, str) or set(variants) - set(VARIANTS):
        raise ValueError(
            f"expected variants to be a list out of {', '.join(VARIANTS)}; got {variants!r}"
        )
    return _Parameters(
        int(maps),
        int(transmitters),
        int(size),
        float(cell_size_m),
        int(seed),
        tuple(city for city in CITY_NAMES if city in cities),
        tuple(variant for variant in VARIANTS if variant in variants),
    )


def _manifest(parameters: _Parameters, commit: str) -> dict:
    """Return the content of ``dataset.json``."""
    constants = {"car_db_per_m": CAR_DB_PER_M} if parameters.has_cars else {}
    if any("DPM" in variant for variant in parameters.variants):
        constants["dominant_path"] = asdict(DominantPathConstants())
    if any("IRT" in variant for variant in parameters.variants):
        constants["ray_tracing"] = asdict(RayTracingConstants())
    cities = [city_of_map(m, parameters.cities) for m in range(parameters.maps)]
    return {
        "generator": {"name": "radiodiff.simulate", "version": SIMULATOR_VERSION},
        "commit": commit,
        "attribution": ATTRIBUTION,
        "parameters": asdict(parameters)
        | {"cities": list(parameters.cities), "variants": list(parameters.variants)},
        "constants": constants,
        "maps": [
            {"id": m, "city": city, "split": SPLIT_OF_CITY[city]} for m, city in enumerate(cities)
        ],
    }


def _open_folder(out: Path, parameters: _Parameters, commit: str) -> None:
    """Make the folders, or check that ``out`` is ours and drop what an interruption left."""
    manifest = _manifest(parameters, commit)
    path = out / MANIFEST
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = _differing_keys(found, manifest)
        if differing:
            raise ValueError(
                f"{out} was begun with other parameters ({'; '.join(differing)}); repeat the call "
                "with those, choose a new folder, or delete this one"
            )
    elif out.exists() and not all(is_temporary(p) or p.name == LOCK_NAME for p in out.iterdir()):
        raise FileExistsError(
            f"expected {out} to be a new or empty folder or one with {MANIFEST}, got a folder "
            "with other files; choose another folder"
        )
    _make_folders(out, parameters)
    remove_temporaries(out)
    if not path.exists():
        _write(path, _json_bytes(manifest, indent=1))


def _make_folders(out: Path, parameters: _Parameters) -> None:
    """Make the folders that the variants need."""
    shapes = ["buildings_complete", *(["cars"] if parameters.has_cars else [])]
    for folder in (
        *("antenna", "png/antennas"),
        *(f"gain/{variant}" for variant in parameters.variants),
        *(f"{kind}/{shape}" for kind in ("png", "polygon") for shape in shapes),
    ):
        (out / folder).mkdir(parents=True, exist_ok=True)


def _differing_keys(found: dict, wanted: dict) -> list[str]:
    """Return one phrase per parameter that the two manifests disagree on."""
    phrases = []
    for section in ("generator", "parameters", "constants"):
        old, new = found.get(section, {}), wanted[section]
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                phrases.append(f"{key}: there {old.get(key)}, now {new.get(key)}")
    return phrases


def _write_map(out: Path, map_id: int, parameters: _Parameters) -> None:
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
    shapes = {"buildings_complete": (buildings, mask)}
    car_mask = None
    if parameters.has_cars:
        cars = place_cars(buildings, size * cell_size_m, rng, avoid_m=places_m)
        car_mask = rasterize(cars, size, cell_size_m)
        shapes["cars"] = (cars, car_mask)
    for name, (polygons, raster) in shapes.items():
        _write(out / f"png/{name}/{map_id}.png", _png_bytes(raster * np.uint8(255)))
        rings = _cell_rings(polygons, cell_size_m)
        _write(out / f"polygon/{name}/{map_id}.json", _json_bytes(rings))
    engines = _engines(buildings, parameters, car_mask)
    for t, (cell, place_m) in enumerate(zip(cells, places_m, strict=True)):
        _write_transmitter(out, f"{map_id}_{t}", cell, place_m, engines, parameters)
    positions = [[int(col), int(size - 1 - row)] for row, col in cells]
    _write(_last_file(out, map_id), _json_bytes(positions))


def _engines(
    buildings: Sequence[Polygon], parameters: _Parameters, car_mask: np.ndarray | None
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


def _write_transmitter(
    out: Path,
    name: str,
    cell: tuple[int, int],
    place_m: tuple[float, float],
    engines: dict[str, DominantPath | RayTracing],
    parameters: _Parameters,
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
            gains[variant] = engine.path_gain_db(place_m, reflections=int(variant[-1]))
        paths.append(out / f"gain/{variant}/{name}.png")
        _write(paths[-1], _png_bytes(path_gain_db_to_uint8(gains[variant])))
    antenna = np.zeros((parameters.size, parameters.size), np.uint8)
    antenna[tuple(cell)] = 255
    _write(out / f"png/antennas/{name}.png", _png_bytes(antenna))
    return paths


def _write_digests(out: Path) -> None:
    """Write the SHA-256 digest of every file of the dataset, in the form of ``sha256sum``."""
    folders = ("antenna", "gain", "png", "polygon")  # others may hold packs and caches
    files = [path for folder in folders for path in (out / folder).rglob("*") if path.is_file()]
    names = sorted(path.relative_to(out).as_posix() for path in [out / MANIFEST, *files])
    lines = [f"{sha256(out / name)}  {name}\n" for name in names]
    _write(out / DIGESTS, "".join(lines).encode())


def _last_file(out: Path, map_id: int) -> Path:
    """Return the file whose presence says that a map is complete."""
    return out / f"antenna/{map_id}.json"


def _cell_rings(buildings: Sequence[Polygon], cell_size_m: float) -> list[list[list[float]]]:
    """Return all rings, outlines counter-clockwise and courtyards clockwise, in cells, y up."""
    rings = []
    for polygon in map(orient, buildings):
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.array(ring.coords) / cell_size_m
            rings.append([[round(x, 3), round(y, 3)] for x, y in points.tolist()])
    return rings


def _png_bytes(gray: np.ndarray) -> bytes:
    """Return an 8-bit gray image, shape ``(size, size)``, as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, format="PNG")
    return buffer.getvalue()


def _json_bytes(content: list | dict, indent: int | None = None) -> bytes:
    """Return content as a JSON file."""
    return json.dumps(content, indent=indent).encode("utf-8")


def _write(path: Path, content: bytes) -> None:
    """Write one of the many files; after a crash the same call makes them again."""
    write_atomically(path, content, use_fsync=False)
