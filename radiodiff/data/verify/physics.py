"""Do images, transmitters and outlines of a map agree, and do its gains obey the law?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely

from radiodiff import units
from radiodiff.data.images import decode_png
from radiodiff.data.verify.folder import DatasetFolder, parse_name
from radiodiff.simulate.manifest import MANIFEST, cell_size_of
from radiodiff.simulate.outlines import antenna_cell, dataset_outlines
from radiodiff.simulate.visibility import line_of_sight_mask

__all__ = [
    "building_fit",
    "check_line_of_sight",
    "peak_distance",
    "summarise_fits",
    "summarise_peaks",
]

#: A transmitter this far from the brightest cell, or this share of the building cells with a
#: gain, is a fault: the files belong to different maps. Real maps: 1 cell, 6 %.
MAX_PEAK_CELLS = 10
MAX_BUILDING_GAIN_SHARE = 0.5
#: Maps and transmitters of each on which the line-of-sight law is tried.
LAW_MAPS, LAW_TRANSMITTERS = 4, 2
#: Agreement with the law [dB]: one gray level is 0.39 dB.
LAW_TOLERANCE_DB = 0.5
#: Least share of visible cells that agree; 99.6 % on the real map 0.
MIN_LAW_SHARE = 0.5


def peak_distance(data: DatasetFolder, gray: np.ndarray, folder: str, name: str) -> int | None:
    """Return how far the brightest cell is from the listed transmitter [cells], if there is one."""
    map_id, *rest = parse_name(name)
    positions = data.antennas.get(map_id)
    if positions is None or not rest:
        return None
    if rest[0] >= len(positions):
        listed = f"antenna/{map_id}.json lists {len(positions)}"
        data.fault(f"{folder}/{name}", f"has no transmitter: {listed}")
        return None
    row, column = antenna_cell(positions[rest[0]], gray.shape)
    rows, columns = np.nonzero(gray == gray.max())
    distance = int(np.maximum(abs(rows - row), abs(columns - column)).min())
    if distance > MAX_PEAK_CELLS:
        reason = f"is brightest {distance} cells from its transmitter, row {row}, column {column}"
        data.fault(f"{folder}/{name}", reason)
    return distance


def summarise_peaks(peaks: dict[str, int]) -> dict[str, Any]:
    """Return how many maps are brightest at their transmitter."""
    distances = np.array(list(peaks.values()), int)
    worst = max(peaks, key=lambda name: peaks[name]) if peaks else None
    return {
        "compared": len(peaks),
        "exact": int((distances == 0).sum()),
        "within_1": int((distances == 1).sum()),
        "worse": int((distances > 1).sum()),
        "worst": {"name": worst, "cells": peaks[worst]} if worst and peaks[worst] else None,
    }


def building_fit(
    data: DatasetFolder, folder: str, map_id: int, silent: np.ndarray
) -> tuple[float, float] | None:
    """Compare the buildings of a map with its cells that are 0 in all targets.

    Args:
        data: The dataset.
        folder: Folder of the targets.
        map_id: The map.
        silent: Cells that are 0 in all targets, bool, shape ``(h, w)``.

    Returns:
        Intersection over union, and the share of building cells that carry gain; ``None`` if the
        buildings cannot be read.
    """
    buildings = data.building_mask(map_id)
    if buildings is None or buildings.shape != silent.shape:
        return None
    path = f"png/buildings_complete/{map_id}.png"
    if not buildings.any() and _has_rings(data, map_id):
        data.fault(path, "is empty, but the map's outlines hold buildings")
    carrying = (buildings & ~silent).sum() / max(1, buildings.sum())
    if carrying > MAX_BUILDING_GAIN_SHARE:
        data.fault(path, f"does not fit {folder}: {carrying:.0%} of it carries gain")
    return (buildings & silent).sum() / max(1, (buildings | silent).sum()), carrying


def _has_rings(data: DatasetFolder, map_id: int) -> bool:
    """Whether the outlines of a map can be read and hold any."""
    try:
        return len(dataset_outlines(data.root, map_id)) > 0
    except Exception:  # `check_polygons` tells why not
        return False


def summarise_fits(fits: dict[int, tuple[float, float]]) -> dict[str, Any] | None:
    """Return how buildings agree with the cells that are 0 in all targets of their map."""
    if not fits:
        return None
    worst = min(fits, key=lambda map_id: fits[map_id][0])
    overlap, carrying = np.array(list(fits.values())).T
    return {
        "maps": len(fits),
        "mean_iou": round(float(overlap.mean()), 4),
        "worst": {"map": worst, "iou": round(float(overlap.min()), 4)},
        "building_cells_with_gain": round(float(carrying.mean()), 4),
    }


def check_line_of_sight(data: DatasetFolder, folder: str) -> dict[str, Any]:
    """Try the line-of-sight law on a few maps (eq. ``line-of-sight``)."""
    faulty = {row["file"] for row in data.faults}
    try:
        told = {"parameters": data.parameters} if data.parameters else None
        cell_size_m = cell_size_of(data.root, told, data.size)
    except ValueError:
        cell_size_m = None
    if MANIFEST in faulty or cell_size_m is None:
        return {"skipped": f"{MANIFEST} does not tell the size of a cell"}
    polygons = {parse_name(name)[0] for name in data.names("polygon/buildings_complete")}
    pairs: dict[int, list[int]] = {}
    for name in data.names(folder):
        map_id, *rest = parse_name(name)
        files = f"{folder}/{name}", f"polygon/buildings_complete/{map_id}.json"
        if rest and map_id in data.antennas and map_id in polygons and not faulty & {*files}:
            pairs.setdefault(map_id, []).append(rest[0])
    if not pairs:
        return {"skipped": "no map has outlines in polygon/buildings_complete and transmitters"}
    if data.size is None or data.size[0] != data.size[1]:
        return {"skipped": "the maps are not square"}
    maps = sorted(pairs)
    maps = [maps[k] for k in np.unique(np.linspace(0, len(maps) - 1, LAW_MAPS).round().astype(int))]
    errors = []
    for map_id in maps:
        try:
            outlines = dataset_outlines(data.root, map_id)
            for transmitter in pairs[map_id][:LAW_TRANSMITTERS]:
                place = map_id, transmitter
                errors.append(_law_errors_db(data, folder, place, outlines, cell_size_m))
        except Exception as error:  # outlines can be wrong in any way
            data.fault(f"polygon/buildings_complete/{map_id}.json", error)
    together = np.concatenate([*errors, np.empty(0)])
    if not len(together):
        return {"skipped": "no cell of the maps tried has line of sight"}
    matched = float((abs(together) <= LAW_TOLERANCE_DB).mean())
    if folder == "gain/DPM" and matched < MIN_LAW_SHARE:
        text = f"follow the line-of-sight law, expected {MIN_LAW_SHARE:.0%} or more"
        data.fault(folder, f"{matched:.0%} of the visible cells {text}: wrong units or positions")
    return {
        "maps": maps,
        "targets": len(errors),
        "cells": len(together),
        "share_within_half_db": round(matched, 4),
        "median_db": round(float(np.median(together)), 3),
    }


def _law_errors_db(
    data: DatasetFolder,
    folder: str,
    place: tuple[int, int],
    outlines: Sequence[Any],
    cell_size_m: float,
) -> np.ndarray:
    """Return path gain minus the law [dB] at the outdoor cells that a transmitter sees."""
    size, (map_id, transmitter) = data.size[0], place
    path = data.root / folder / f"{map_id}_{transmitter}.png"
    gray = decode_png(path.read_bytes(), data.size)
    cell = antenna_cell(data.antennas[map_id][transmitter], data.size)
    x_m, y_m = units.cell_to_m(cell, size=size, cell_size_m=cell_size_m)
    if shapely.contains_xy(shapely.union_all(list(outlines)), x_m, y_m):
        return np.empty(0)
    seen = line_of_sight_mask(outlines, (x_m, y_m), size, cell_size_m)
    buildings = data.building_mask(map_id)
    if buildings is not None:
        seen &= ~buildings
    rows, columns = np.mgrid[:size, :size]
    distance_m = cell_size_m * np.hypot(rows - cell[0], columns - cell[1])
    law_db = units.line_of_sight_gain_db(distance_m)
    seen &= law_db > units.FLOOR_DB
    return (units.gray_to_path_gain_db(gray / 255) - law_db)[seen]
