"""``dataset.json``: what a folder of maps says of itself, and how long a cell is where none does.

Every folder that `radiodiff.simulate` writes holds one. Of its keys, readers need ``parameters``
(``cell_size_m`` above all), ``maps`` (``id``, and ``city``, ``split`` or ``gains`` where they are
known) and ``origin``: where the coordinates of ``polygon/`` and ``antenna/`` begin, in cells from
the lower left corner of the map. The real RadioMapSeer has no such file.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from radiodiff.files import FileError, read_json, shorten

__all__ = [
    "MANIFEST",
    "VARIANTS",
    "Variant",
    "cell_size_of",
    "is_number",
    "origin",
    "read_manifest",
]

MANIFEST = "dataset.json"
#: Folders of ``gain/``: the dominant path, ray tracing with two and with four reflections, and the
#: same with cars.
Variant = Literal["DPM", "IRT2", "IRT4", "carsDPM", "carsIRT2", "carsIRT4"]
VARIANTS: tuple[Variant, ...] = ("DPM", "IRT2", "IRT4", "carsDPM", "carsIRT2", "carsIRT4")
#: Most cells along a side and most transmitters of a map that a folder may claim.
MAX_SIZE, MAX_TRANSMITTERS = 4096, 10_000
#: Largest number of a map; a city of one's own may have any that its file is named by.
MAX_ID = 10**12
_SPLITS = ("train", "val", "test")
#: Rows, columns and cell size [m] of RadioMapSeer, which does not state them in its folder.
_RADIOMAPSEER = (256, 256), 1.0


def origin(shift_cells: float = 0.0) -> dict[str, Any]:
    """Return what a manifest says of its coordinates.

    Args:
        shift_cells: What is added to the outlines' coordinates [cells].
    """
    return {
        "counted": "in cells from the lower left corner of the map, x to the right, y up",
        "polygon": [shift_cells, shift_cells],
        "antenna": [0.5, 0.5],
    }


def read_manifest(root: Path) -> dict[str, Any] | None:
    """Return the content of ``dataset.json``, checked; ``None`` where there is none.

    ``maps`` is a list of rows, empty where the file does not list them.

    Raises:
        FileError: If it is no JSON object, lists what is no map, or claims parameters without
            meaning; names the file.
    """
    path = Path(root) / MANIFEST
    try:
        manifest = read_json(path)
    except FileNotFoundError:
        return None
    for key in ("generator", "parameters", "constants", "origin"):
        if not isinstance(manifest.setdefault(key, {}), dict):
            raise FileError(f"{path} must give {key} as a section of keys")
    reason = _fault_of_parameters(manifest["parameters"])
    if reason is None:
        silent = manifest["parameters"].get("cell_size_m") is None
        reason = _fault_of_maps(manifest.setdefault("maps", None if silent else []))
    if reason is not None:
        raise FileError(f"{path} {reason}")
    return manifest


def _fault_of_parameters(parameters: dict[str, Any]) -> str | None:
    """Say what is wrong with the parameters, if anything is."""
    counts = {
        "transmitters": ("how many transmitters a map has", MAX_TRANSMITTERS),
        "size": ("how many cells a side has", MAX_SIZE),
    }
    for key, (what, most) in counts.items():
        value = parameters.get(key, 1)
        if type(value) is not int or not 1 <= value <= most:
            return f"must say {what}, 1 to {most:,}, says {shorten(value)}"
    variants = parameters.get("variants", ["DPM"])
    if not isinstance(variants, list) or not variants or set(map(str, variants)) - set(VARIANTS):
        return f"must list variants out of {', '.join(VARIANTS)}, says {shorten(variants)}"
    length, shift = parameters.get("cell_size_m", 1), parameters.get("shift_cells", 0)
    if type(length) not in (int, float) or not is_number(length) or not length > 0:
        return f"must say how long a cell is [m], says {shorten(length)}"
    if type(shift) not in (int, float) or not is_number(shift):
        return f"must say how far outlines are shifted [cells], says {shorten(shift)}"
    return None


def _fault_of_maps(rows: Any) -> str | None:
    """Say what is wrong with the list of maps, if anything is."""
    if not isinstance(rows, list):
        return f"must list maps, says {shorten(rows)}"
    for row in rows:
        number = row.get("id") if isinstance(row, dict) else None
        if type(number) is not int or not 0 <= number <= MAX_ID:
            return f"lists what is no map with an id of 0 or more: {shorten(row)}"
        if row.get("split", "train") not in _SPLITS or type(row.get("city", "")) is not str:
            return f"has a map whose split is none of {', '.join(_SPLITS)}: {shorten(row)}"
        if not _are_gains(row.get("gains", {})):
            return f"has a map whose gains are no lists of transmitters: {shorten(row)}"
    if len({"split" in row for row in rows}) > 1:
        return "gives some maps a split and others none"
    return None


def _are_gains(gains: Any) -> bool:
    """Whether a value names transmitters by variant."""
    return isinstance(gains, dict) and all(
        isinstance(ids, list) and all(type(t) is int and t >= 0 for t in ids)
        for ids in gains.values()
    )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; an integer beyond the range of floats is none."""
    try:
        return isinstance(value, int | float | np.number) and math.isfinite(value)
    except OverflowError:
        return False


def cell_size_of(
    root: Path, manifest: Mapping[str, Any] | None, shape: tuple[int, int] | None
) -> float:
    """Return the side of a cell of a folder of maps [m].

    ``dataset.json`` tells it. A folder without one is RadioMapSeer, 1 m, if its maps have 256 x 256
    cells; of any other folder nothing is assumed.

    Args:
        root: The folder.
        manifest: Content of its ``dataset.json``, see `read_manifest`.
        shape: Rows and columns of its maps; ``None`` if they are not known.

    Raises:
        FileError: If the folder does not tell; says how it can.
    """
    stated = (manifest or {}).get("parameters", {}).get("cell_size_m")
    if stated is not None:
        return float(stated)
    path = Path(root) / MANIFEST
    if manifest is not None:
        raise FileError(
            f'{path} does not say how long a cell is: add "cell_size_m" [m] to its "parameters"'
        )
    size, cell_size_m = _RADIOMAPSEER
    if shape is not None and tuple(shape) != size:
        raise FileError(
            f"{root} has maps of {shape[0]} x {shape[1]} cells, so it is not RadioMapSeer, and no "
            f"{MANIFEST}: how long is a cell [m]? Write that file, with, for 2 m, "
            '{"parameters": {"cell_size_m": 2.0}}'
        )
    return cell_size_m
