"""Write simulated radio maps as a folder in RadioMapSeer's layout.

The folder describes itself: ``dataset.json`` holds every parameter, the constants of the
propagation model, and the city and split of each map. A map depends on the seed and its id only,
so neither the number of worker processes nor an interruption changes a single byte.

Source of the layout: C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*, arXiv:2212.11777.
"""

import contextlib
import fcntl
import io
import json
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import connection
from pathlib import Path

import numpy as np
from PIL import Image
from shapely import Polygon
from shapely.geometry.polygon import orient

from radiodiff.simulate.cities import (
    ATTRIBUTION,
    CITY_NAMES,
    SPLIT_OF_CITY,
    city_tile,
    place_transmitters,
)
from radiodiff.simulate.dominant_path import DominantPath, DominantPathConstants
from radiodiff.units import cell_to_m, path_gain_db_to_uint8

__all__ = ["city_of_map", "simulate_dataset"]

logger = logging.getLogger(__name__)

#: Raised whenever the same parameters would give other maps.
SIMULATOR_VERSION = 1
MANIFEST = "dataset.json"
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
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate ``maps`` tiles with ``transmitters`` path-gain maps each.

    Files per map m and transmitter t: ``gain/DPM/m_t.png`` (8-bit gray, see
    `radiodiff.units.path_gain_db_to_uint8`; buildings 0), ``png/antennas/m_t.png`` (one cell 255),
    ``png/buildings_complete/m.png`` (0 or 255), ``polygon/buildings_complete/m.json`` (closed
    rings in cells, y up; rings of courtyards run clockwise, fill by the even-odd rule) and, last,
    ``antenna/m.json`` (``[x, y]`` in cells, y up: column x, row ``size - 1 - y``).

    A map counts as finished when its antenna file is there. Called again with the same
    parameters, the function leaves finished maps alone and makes the missing ones.

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
        progress: Called as ``progress(done, maps)`` whenever a map is finished.

    Returns:
        ``out``.

    Raises:
        ValueError: If a parameter is out of range, a tile has no room for the transmitters, or
            ``out`` was begun with other parameters; names them.
        FileExistsError: If ``out`` holds other files.
    """
    parameters = _check_parameters(maps, transmitters, size, cell_size_m, seed, workers, cities)
    out = Path(out)
    with _only_writer(out):
        _open_folder(out, parameters)
        todo = [m for m in range(maps) if not _last_file(out, m).exists()]
        done = maps - len(todo)
        if todo:
            message = "%s: %d of %d maps are there; the first one may wait for the compiler"
            logger.info(message, out, done, maps)
        for _ in _write_maps(out, todo, parameters, workers):
            done += 1
            if progress is not None:
                progress(done, maps)
    return out


@contextlib.contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    """Wait until no other process fills the folder; a killed process holds nothing."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"expected {out} to be a folder, got a file; choose another path")
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_parameters(
    maps: int,
    transmitters: int,
    size: int,
    cell_size_m: float,
    seed: int,
    workers: int,
    cities: Sequence[str],
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
    ordered = tuple(city for city in CITY_NAMES if city in cities)
    return _Parameters(
        int(maps), int(transmitters), int(size), float(cell_size_m), int(seed), ordered
    )


def _manifest(parameters: _Parameters) -> dict:
    """Return the content of ``dataset.json``."""
    cities = [city_of_map(m, parameters.cities) for m in range(parameters.maps)]
    return {
        "generator": {"name": "radiodiff.simulate", "version": SIMULATOR_VERSION},
        "attribution": ATTRIBUTION,
        "parameters": asdict(parameters) | {"cities": list(parameters.cities)},
        "constants": asdict(DominantPathConstants()),
        "maps": [
            {"id": m, "city": city, "split": SPLIT_OF_CITY[city]} for m, city in enumerate(cities)
        ],
    }


def _open_folder(out: Path, parameters: _Parameters) -> None:
    """Make the folders, or check that ``out`` is ours and drop what an interruption left."""
    manifest = _manifest(parameters)
    path = out / MANIFEST
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = _differing_keys(found, manifest)
        if differing:
            raise ValueError(
                f"{out} was begun with other parameters ({'; '.join(differing)}); repeat the call "
                "with those, choose a new folder, or delete this one"
            )
    elif out.exists() and not all(_is_temporary(p) for p in out.iterdir()):
        raise FileExistsError(
            f"expected {out} to be a new or empty folder or one with {MANIFEST}, got a folder "
            "with other files; choose another folder"
        )
    folders = ("antenna", "gain/DPM", "png/antennas", "png/buildings_complete")
    for folder in (*folders, "polygon/buildings_complete"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for stray in filter(_is_temporary, out.rglob("*")):
        stray.unlink()
    if not path.exists():
        _write(path, _json_bytes(manifest, indent=1))


def _differing_keys(found: dict, wanted: dict) -> list[str]:
    """Return one phrase per parameter that the two manifests disagree on."""
    phrases = []
    for section in ("generator", "parameters", "constants"):
        old, new = found.get(section, {}), wanted[section]
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                phrases.append(f"{key}: there {old.get(key)}, now {new.get(key)}")
    return phrases


def _write_maps(
    out: Path, map_ids: Sequence[int], parameters: _Parameters, workers: int
) -> Iterator[int]:
    """Write maps, in this process or in several, and yield their ids as they are finished."""
    if workers == 1 or len(map_ids) <= 1:
        for map_id in map_ids:
            yield _write_map(out, map_id, parameters)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(map_ids)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        futures = [pool.submit(_write_map, out, map_id, parameters) for map_id in map_ids]
        for future in as_completed(futures):
            yield future.result()
    finally:
        # Interrupted at the very start, the pool has no thread to join yet and says so.
        with contextlib.suppress(RuntimeError):
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Let a worker process end at once on Ctrl-C, and when the main process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def end_with_parent() -> None:
        connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _write_map(out: Path, map_id: int, parameters: _Parameters) -> int:
    """Simulate one tile with all its transmitters, write its files and return its id."""
    size, cell_size_m = parameters.size, parameters.cell_size_m
    rng = np.random.default_rng(np.random.SeedSequence([parameters.seed, map_id]))
    buildings = city_tile(
        city_of_map(map_id, parameters.cities),
        rng,
        size * cell_size_m,
        detail_m=max(MIN_DETAIL_M, DETAIL_CELLS * cell_size_m),
    )
    engine = DominantPath(buildings, size, cell_size_m)
    mask = engine.building_mask
    cells = place_transmitters(mask, parameters.transmitters, rng, cell_size_m=cell_size_m)

    _write(out / f"png/buildings_complete/{map_id}.png", _png_bytes(mask * np.uint8(255)))
    rings = _cell_rings(buildings, cell_size_m)
    _write(out / f"polygon/buildings_complete/{map_id}.json", _json_bytes(rings))
    for t, (row, col) in enumerate(cells):
        gain = engine.path_gain_db(cell_to_m((row, col), size=size, cell_size_m=cell_size_m))
        _write(out / f"gain/DPM/{map_id}_{t}.png", _png_bytes(path_gain_db_to_uint8(gain)))
        antenna = np.zeros((size, size), np.uint8)
        antenna[row, col] = 255
        _write(out / f"png/antennas/{map_id}_{t}.png", _png_bytes(antenna))
    positions = [[int(col), int(size - 1 - row)] for row, col in cells]
    _write(_last_file(out, map_id), _json_bytes(positions))
    return map_id


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
    Image.fromarray(gray).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _json_bytes(content: list | dict, indent: int | None = None) -> bytes:
    """Return content as a JSON file."""
    return json.dumps(content, indent=indent).encode("utf-8")


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is either complete or absent under its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _is_temporary(path: Path) -> bool:
    """Whether a file is one that `_write` had not finished."""
    return path.name.startswith(".") and path.suffix == ".tmp"
