"""Radio maps of a city of one's own: given outlines and transmitters in, a folder of maps out."""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely import Polygon

from radiodiff.simulate.cities import rasterize
from radiodiff.simulate.layout import (
    Parameters,
    build_engines,
    check_parameters,
    describe_engines,
    json_bytes,
    last_file,
    make_folders,
    refuse_foreign_files,
    refuse_other_parameters,
    remove_leftovers,
    write,
    write_buildings,
    write_transmitter,
)
from radiodiff.simulate.manifest import MANIFEST, Variant, origin, read_manifest
from radiodiff.simulate.outlines import (
    RADIOMAPSEER_SHIFT_CELLS,
    antenna_cell,
    check_extent,
    read_antennas,
    read_outlines,
)
from radiodiff.workers import only_writer

__all__ = ["simulate_outlines"]

logger = logging.getLogger(__name__)


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
    commit: str = "unknown",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Simulate radio maps over given outlines, in RadioMapSeer's formats and layout.

    The map's number is that of the outlines' file, ``7.json``, or 0. Besides the gains the folder
    receives copies of both files, the raster of the buildings, the same with some of them missing
    (`radiodiff.simulate.missing`, drawn by the map's number), the antenna pictures, and
    ``dataset.json``, which says how long a cell is and where the coordinates begin, so that
    `radiodiff.data.RadioMapSeer` reads it with split ``all``; other maps of the same parameters may
    follow.

    Args:
        out: Folder to write to; files of the same map and transmitter are replaced.
        outlines: Rings of buildings, see `read_outlines`.
        antennas: Positions of transmitters, see `read_antennas`.
        antenna_ids: Which of them, counted from 0; all if ``None``.
        size: Cells along each side of the map.
        cell_size_m: Side of a cell [m].
        shift_cells: Added to the outlines' coordinates [cells]; half a cell for RadioMapSeer's.
        variants: Which maps to make, out of `VARIANTS` without cars.
        commit: Commit of the code, for ``dataset.json``.
        progress: Called as ``progress(done, maps)`` whenever a map is written.

    Returns:
        The gain files written.

    Raises:
        FileExistsError: If ``out`` is a simulated dataset, the one the outlines belong to, or a
            folder of other files.
        FileNotFoundError: If a file is missing.
        ValueError: If a file, an id, a variant or a position does not fit, the outlines do not lie
            on the map, or ``out`` was begun with other parameters; names it.
        OSError: If a file cannot be written.
    """
    out, outlines, antennas = Path(out), Path(outlines), Path(antennas)
    found = read_manifest(out)
    if found is not None and "shift_cells" not in found["parameters"]:
        raise FileExistsError(f"{out} holds a simulated dataset; choose another folder")
    if outlines.resolve().is_relative_to(out.resolve()):
        raise FileExistsError(f"{out} is where {outlines} lies; choose another folder")
    refuse_foreign_files(out)
    parameters = check_parameters(size=size, cell_size_m=cell_size_m, variants=variants)
    if parameters.has_cars:
        raise ValueError(f"expected variants without cars for given outlines, got {variants}")
    size, cell_size_m = parameters.size, parameters.cell_size_m
    buildings = read_outlines(outlines, cell_size_m=cell_size_m, shift_cells=shift_cells)
    grid = {"size": size, "cell_size_m": cell_size_m}
    check_extent(outlines, buildings, **grid, shift_cells=shift_cells)
    mask = rasterize(buildings, size, cell_size_m)
    if buildings and not mask.any():
        logger.warning("%s: no outline holds the centre of a cell: the map is open", outlines)
    places = _read_places(antennas, antenna_ids, buildings, mask, cell_size_m)
    map_id = int(outlines.stem) if re.fullmatch("[0-9]{1,12}", outlines.stem) else 0
    row = {
        "id": map_id,
        "city": outlines.stem,
        "gains": {variant: sorted(places) for variant in parameters.variants},
    }
    manifest = _manifest(parameters, float(shift_cells), commit, row)
    engines = build_engines(buildings, parameters, None)
    with only_writer(out):
        _open_folder(out, parameters, manifest)
        write_buildings(out, map_id, buildings, mask, cell_size_m, (0, map_id))
        write(out / f"polygon/buildings_complete/{map_id}.json", outlines.read_bytes())
        written = []
        for done, (t, (cell, place_m)) in enumerate(places.items(), start=1):
            written += write_transmitter(out, f"{map_id}_{t}", cell, place_m, engines, parameters)
            if progress is not None:
                progress(done, len(places))
        write(last_file(out, map_id), antennas.read_bytes())
    return written


def _manifest(
    parameters: Parameters, shift_cells: float, commit: str, row: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of ``dataset.json`` with one map."""
    engines = describe_engines(parameters)
    return {
        "generator": engines["generator"],
        "commit": commit,
        "parameters": {
            "size": parameters.size,
            "cell_size_m": parameters.cell_size_m,
            "shift_cells": shift_cells,
        },
        "origin": origin(shift_cells),
        "constants": engines["constants"],
        "maps": [row],
    }


def _open_folder(out: Path, parameters: Parameters, manifest: dict[str, Any]) -> None:
    """Make the folders and say in ``dataset.json`` which map is to come; keep the maps there."""
    found = read_manifest(out)
    if found is not None:
        constants = found["constants"] | manifest["constants"]
        wanted = {"constants": constants, "maps": found["maps"]}
        known = {"constants": manifest["constants"] | found["constants"]}
        refuse_other_parameters(out, found | known, manifest | wanted)
        (new,) = manifest["maps"]
        rows = {row["id"]: row for row in found["maps"]}
        gains = rows.get(new["id"], {}).get("gains", {})
        for variant, ids in gains.items():
            new["gains"][variant] = sorted({*ids, *new["gains"].get(variant, ())})
        rows[new["id"]] = new
        manifest = found | {"constants": constants, "maps": [rows[m] for m in sorted(rows)]}
    write(out / MANIFEST, json_bytes(manifest, indent=1))  # first: it says that the folder is ours
    make_folders(out, parameters)
    remove_leftovers(out, parameters)


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
        try:
            row, col = antenna_cell((x, y), (size, size))
        except ValueError as error:
            raise ValueError(f"{antennas}: antenna {t} at {error}") from error
        place_m = ((x + 0.5) * cell_size_m, (y + 0.5) * cell_size_m)
        if not all(0 < value < size * cell_size_m for value in place_m):
            raise ValueError(
                f"{antennas}: antenna {t} at x={x:g}, y={y:g} lies on the edge of the map"
            )
        if building_mask[row, col] or shapely.intersects_xy(built, *place_m):
            raise ValueError(f"{antennas}: antenna {t} at x={x:g}, y={y:g} lies inside a building")
        places[t] = (row, col), place_m
    return places
