"""Building outlines and transmitter positions in RadioMapSeer's JSON formats.

``polygon/buildings_complete/<map>.json`` lists closed rings of ``[x, y]`` in cells and
``antenna/<map>.json`` one ``[x, y]`` a transmitter, both with y pointing up. Datasets made by
`radiodiff.simulate.simulate_dataset` use the same formats with two differences, which
`dataset_outlines` knows: their corners count from the corner of the map (the real ones lie half a
cell further right and up), and rings that run clockwise are courtyards (in the real ones the
direction says nothing).
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely import Polygon

__all__ = [
    "RADIOMAPSEER_SHIFT_CELLS",
    "clear_round",
    "dataset_outlines",
    "read_antennas",
    "read_outlines",
    "trace_outlines",
]

#: Added to x and y of the real outlines. Half a cell; the thousandth moves walls off the centres
#: of cells, which are built if they lie right of or above a wall through them. So moved, the
#: outlines hold exactly the cells that carry no gain (map 0: intersection over union 1.000).
RADIOMAPSEER_SHIFT_CELLS = -0.501

#: Outlines of a raster are smoothed by so much [cells].
STEP_CELLS = 0.6


def read_outlines(
    path: Path,
    *,
    cell_size_m: float = 1.0,
    shift_cells: float = RADIOMAPSEER_SHIFT_CELLS,
    has_courtyards: bool = False,
) -> list[Polygon]:
    """Read building outlines from a JSON list of rings.

    Args:
        path: File with ``[[[x, y], ...], ...]`` in cells, y up; RadioMap3DSeer's
            ``[[ring], [height]]`` entries are read too, without the height.
        cell_size_m: Side of a cell [m].
        shift_cells: Added to all coordinates [cells].
        has_courtyards: Rings that run clockwise are holes; otherwise all rings are filled.

    Returns:
        Outlines [m], y up, not clipped to the map; overlaps are merged.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold such rings; names it.
    """
    if not math.isfinite(shift_cells):
        raise ValueError(f"expected a finite shift of the outlines [cells], got {shift_cells}")
    rings = []
    for entry in _read_list(path):
        try:
            ring = np.asarray(_ring(entry), dtype=np.float64)
            if ring.ndim != 2 or ring.shape[1] < 2:
                raise ValueError(f"a ring of shape {ring.shape}")
            ring = ring[:, :2]
            if not np.isfinite(ring).all():
                raise ValueError("a coordinate that is not finite")
            if len(np.unique(ring, axis=0)) >= 3:
                rings.append((ring + shift_cells) * cell_size_m)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise ValueError(f"{path} must be a list of rings of [x, y]: {error}") from error
    polygons = [shapely.make_valid(Polygon(ring)) for ring in rings]
    holes = [has_courtyards and not shapely.is_ccw(shapely.linearrings(ring)) for ring in rings]
    built = shapely.union_all([p for p, hole in zip(polygons, holes, strict=True) if not hole])
    courtyards = shapely.union_all([p for p, hole in zip(polygons, holes, strict=True) if hole])
    parts = shapely.get_parts(shapely.difference(built, courtyards))
    return [part for part in parts if part.geom_type == "Polygon"]


def _ring(entry: Any) -> Any:
    """Return the ring of an entry, which may be ``[[ring], [height]]``."""
    if len(entry) == 2 and np.ndim(entry[1]) == 1 and len(entry[1]) == 1:
        return entry[0]
    return entry


def read_antennas(path: Path) -> list[tuple[float, float]]:
    """Read transmitter positions: ``(x, y)`` in cells, y up; column x, row ``size - 1 - y``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold positions; names it.
    """
    try:
        positions = [(float(entry[0]), float(entry[1])) for entry in _read_list(path)]
        if not all(math.isfinite(value) for position in positions for value in position):
            raise ValueError("a coordinate that is not finite")
        return positions
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{path} must be a list of [x, y]: {error}") from error


def dataset_outlines(root: Path, map_id: int) -> Sequence[Polygon]:
    """Return the building outlines of a map of a real or simulated dataset [m], y up.

    Raises:
        FileNotFoundError: If the dataset holds no outlines of this map.
        ValueError: If they cannot be read.
    """
    path = Path(root) / "polygon" / "buildings_complete" / f"{map_id}.json"
    manifest = Path(root) / "dataset.json"
    if not manifest.is_file():
        return read_outlines(path)
    cell_size_m = json.loads(manifest.read_text(encoding="utf-8"))["parameters"]["cell_size_m"]
    return read_outlines(path, cell_size_m=cell_size_m, shift_cells=0.0, has_courtyards=True)


def trace_outlines(building_mask: np.ndarray, cell_size_m: float) -> list[Polygon]:
    """Return outlines of the buildings of a raster [m], y up: what a reader of the image can know.

    Steps of single cells are taken for slanting walls.

    Args:
        building_mask: Cells inside buildings, bool, shape ``(size, size)``.
        cell_size_m: Side of a cell [m].
    """
    size = building_mask.shape[0]
    edges = np.diff(np.pad(building_mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, stops = np.nonzero(edges == -1)
    runs = shapely.box(starts, size - 1 - rows, stops, size - rows)
    parts = shapely.get_parts(shapely.union_all(runs))
    smooth = shapely.make_valid(shapely.simplify(parts, STEP_CELLS))
    outlines = shapely.get_parts(shapely.union_all(smooth))
    scaled = shapely.transform(outlines, lambda points: points * cell_size_m)
    return [part for part in scaled if part.geom_type == "Polygon"]


def clear_round(building_mask: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """Return a raster without buildings in a cell and the eight around it.

    `trace_outlines` smooths walls, so they may reach over a transmitter close to them; traced from
    this raster they leave it room.

    Args:
        building_mask: Cells inside buildings, bool, shape ``(size, size)``.
        cell: ``(row, col)`` of the transmitter.
    """
    row, col = cell
    room = building_mask.copy()
    room[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2] = False
    return room


def _read_list(path: Path) -> list[Any]:
    """Return the list a JSON file holds."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}; fetch or make it again") from error
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list, got {type(content).__name__}")
    return content
