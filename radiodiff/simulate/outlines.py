"""Building outlines and transmitter positions in RadioMapSeer's JSON formats.

``polygon/buildings_complete/<map>.json`` lists closed rings of ``[x, y]`` in cells and
``antenna/<map>.json`` one ``[x, y]`` a transmitter, both with y pointing up; `antenna_cell` is
the one rule of which cell a transmitter stands in. Datasets made by
`radiodiff.simulate.simulate_dataset` use the same formats with two differences, which
`dataset_outlines` knows: their corners count from the corner of the map (the real ones lie half a
cell further right and up), and rings that run clockwise are courtyards (in the real ones the
direction says nothing).
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from PIL import Image
from shapely import Polygon

from radiodiff.files import FileError, read_json, shorten
from radiodiff.simulate.manifest import cell_size_of, is_number, read_manifest

__all__ = [
    "RADIOMAPSEER_SHIFT_CELLS",
    "antenna_cell",
    "check_extent",
    "clear_round",
    "dataset_outlines",
    "read_antennas",
    "read_outlines",
    "trace_outlines",
]

logger = logging.getLogger(__name__)

#: Added to x and y of the real outlines. Half a cell; the thousandth moves walls off the centres
#: of cells, which are built if they lie right of or above a wall through them. So moved, the
#: outlines hold exactly the cells that carry no gain (map 0: intersection over union 1.000).
RADIOMAPSEER_SHIFT_CELLS = -0.501

#: Largest coordinate [cells] and most corners that a file may hold; a city has some 100,000.
MAX_COORDINATE, MAX_CORNERS = 1e9, 1_000_000
#: Outlines that are all narrower than this [cells] are not given in cells.
MIN_SIDE_CELLS = 0.1
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
    rings = [np.array(ring, dtype=np.float64) for ring in _read_rings(path)]
    whole = [ring for ring in rings if len(np.unique(ring, axis=0)) >= 3]
    if len(whole) < len(rings):
        logger.info(
            "%s: %d rings with fewer than 3 corners hold nothing", path, len(rings) - len(whole)
        )
    rings = [(ring + shift_cells) * cell_size_m for ring in whole]
    try:
        polygons = [shapely.make_valid(Polygon(ring)) for ring in rings]
        holes = [has_courtyards and not shapely.is_ccw(shapely.linearrings(ring)) for ring in rings]
        built = shapely.union_all([p for p, hole in zip(polygons, holes, strict=True) if not hole])
        courtyards = shapely.union_all([p for p, hole in zip(polygons, holes, strict=True) if hole])
        parts = shapely.get_parts(shapely.difference(built, courtyards))
    except shapely.errors.ShapelyError as error:
        raise FileError(f"{path}: its rings are no polygons: {shorten(str(error))}") from error
    return [part for part in parts if part.geom_type == "Polygon"]


def _read_rings(path: Path) -> list[list[tuple[float, float]]]:
    """Return the rings of a file as they stand there."""
    rings, corners = [], 0
    for number, entry in enumerate(_read_list(path)):
        ring = _ring(entry)
        if not isinstance(ring, list) or not ring:
            raise FileError(
                f"{path} must be a list of rings of [x, y]: entry {number} is {shorten(entry)}"
            )
        points = [_point(point) for point in ring]
        if None in points:
            wrong = shorten(ring[points.index(None)])
            raise FileError(
                f"{path} must be a list of rings of [x, y]: ring {number} holds {wrong}, no two "
                f"numbers up to {MAX_COORDINATE:g}"
            )
        rings.append(points)
        corners += len(points)
        if corners > MAX_CORNERS:
            raise FileError(f"{path} has more than {MAX_CORNERS:,} corners: cut the map out of it")
    return rings


def _ring(entry: Any) -> Any:
    """Return the ring of an entry, which may be ``[[ring], [height]]``."""
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], list):
        ring, height = entry
        if len(height) == 1 and is_number(height[0]):
            return ring
    return entry


def _point(point: Any) -> tuple[float, float] | None:
    """Return x and y of a point that may have more entries; ``None`` if it is no point."""
    if not isinstance(point, list) or len(point) < 2:
        return None
    for value in point[:2]:
        if isinstance(value, bool) or not is_number(value) or abs(value) > MAX_COORDINATE:
            return None
    return float(point[0]), float(point[1])


def check_extent(
    path: Path, buildings: Sequence[Polygon], *, size: int, cell_size_m: float, shift_cells: float
) -> None:
    """Refuse outlines that do not lie on a map; warn where some of them do not.

    Args:
        path: File they were read from.
        buildings: Its outlines [m], y up, see `read_outlines`.
        size: Cells along each side of the map.
        cell_size_m: Side of a cell [m].
        shift_cells: What was added to the file's coordinates [cells].

    Raises:
        ValueError: If none of several outlines lies on the map, or all are far smaller than a
            cell, as in degrees; says which extent they have and the map has.
    """
    if not buildings:
        return
    bounds = shapely.bounds(np.array(buildings, dtype=object)) / cell_size_m  # (n, 4)
    (x_0, y_0), (x_1, y_1) = bounds[:, :2].min(0) - shift_cells, bounds[:, 2:].max(0) - shift_cells
    extents = (
        f"{path} spans x {x_0:.7g} to {x_1:.7g}, y {y_0:.7g} to {y_1:.7g}, "
        f"the map 0 to {size} cells"
    )
    to_cells = f"subtract the map's lower left corner, divide by the cell size, {cell_size_m:g} m"
    if (bounds[:, 2:] - bounds[:, :2]).max() < MIN_SIDE_CELLS:
        raise ValueError(
            f"{extents}: these look like degrees of longitude and latitude; project them to metres "
            f"(UTM, say), {to_cells}"
        )
    lies_off = (bounds[:, :2] >= size).any(1) | (bounds[:, 2:] <= 0).any(1)
    if lies_off.all():
        raise ValueError(f"{extents}: no outline lies on it; of projected metres, {to_cells}")
    if lies_off.any():
        logger.warning(
            "%s: %d of %d outlines lie off it and do not count",
            extents,
            lies_off.sum(),
            len(buildings),
        )


def read_antennas(path: Path) -> list[tuple[float, float]]:
    """Read transmitter positions: ``(x, y)`` in cells, y up, see `antenna_cell`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold positions; names it.
    """
    entries = _read_list(path)
    positions = [_point(entry) for entry in entries]
    if None in positions:
        number = positions.index(None)
        wrong = shorten(entries[number])
        raise FileError(
            f"{path} must be a list of [x, y]: entry {number} is {wrong}, no two numbers up to "
            f"{MAX_COORDINATE:g}"
        )
    return positions


def antenna_cell(position: tuple[float, float], shape: tuple[int, int]) -> tuple[int, int]:
    """Return the cell of a transmitter of an antenna list: the rule of all who write or read one.

    Lists count from the centre of the lower left cell, in cells, y up. So whole numbers ``(x, y)``
    are the centre of column ``x`` and row ``h - 1 - y``. Any other position lies in the cell whose
    centre is nearest, and, half way between two, in the one to the right or above: column
    ``floor(x + 1/2)``, row ``h - 1 - floor(y + 1/2)``. The map holds x from -1/2 up to, but
    without, ``w - 1/2``, and y likewise.

    Args:
        position: ``(x, y)`` [cells].
        shape: Rows and columns of the map, ``(h, w)``.

    Returns:
        Row and column.

    Raises:
        ValueError: If the position lies off the map.
    """
    (x, y), (rows, cols) = position, shape
    row, col = rows - 1 - math.floor(y + 0.5), math.floor(x + 0.5)
    if not (0 <= row < rows and 0 <= col < cols):
        raise ValueError(
            f"x={x:g}, y={y:g} lies off the map, which holds x from -0.5 to {cols - 0.5:g} and y "
            f"from -0.5 to {rows - 0.5:g}"
        )
    return row, col


def dataset_outlines(root: Path, map_id: int) -> Sequence[Polygon]:
    """Return the building outlines of a map of a real or simulated dataset [m], y up.

    Raises:
        FileNotFoundError: If the dataset holds no outlines of this map.
        ValueError: If they cannot be read.
    """
    path = Path(root) / "polygon" / "buildings_complete" / f"{map_id}.json"
    manifest = read_manifest(root)
    picture = Path(root) / "png" / "buildings_complete" / f"{map_id}.png"
    cell_size_m = cell_size_of(root, manifest, _shape(picture) if manifest is None else None)
    if manifest is None or not manifest["generator"]:
        return read_outlines(path, cell_size_m=cell_size_m)
    shift_cells = manifest["parameters"].get("shift_cells")
    if shift_cells is not None:  # given outlines, copied as they were
        return read_outlines(path, cell_size_m=cell_size_m, shift_cells=shift_cells)
    return read_outlines(path, cell_size_m=cell_size_m, shift_cells=0.0, has_courtyards=True)


def _shape(picture: Path) -> tuple[int, int] | None:
    """Return rows and columns of a picture; ``None`` if it is not there or no picture."""
    try:
        with Image.open(picture) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


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
        content = read_json(path, object)
    except FileError as error:
        reason = str(error).removeprefix(f"{path} ")
        raise FileError(f"cannot read {path}: {reason}; fetch or make it again") from error
    if not isinstance(content, list):
        hint = "" if not isinstance(content, dict) else " (GeoJSON? its rings alone, in cells)"
        raise FileError(f"{path} must hold a list, got {type(content).__name__}{hint}")
    return content
