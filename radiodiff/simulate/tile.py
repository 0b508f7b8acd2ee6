"""The buildings of one tile, as both engines need them."""

from collections.abc import Sequence

import numpy as np
import shapely
from shapely import Polygon

from radiodiff.simulate.cities import rasterize
from radiodiff.simulate.visibility import find_walls

__all__ = ["Tile"]


class Tile:
    """Buildings clipped to a tile, their raster and their walls; the engines build on it.

    The engines work on a square grid. A tile that is longer than wide, or wider, fills its lower
    left part; walls round the tile keep every path inside, so the rest costs memory alone.

    Args:
        buildings: Outlines [m], y up; clipped to the tile, overlaps are merged.
        size: Cells along each side of the tile, or its rows and columns.
        cell_size_m: Side of a cell [m].

    Attributes:
        shape: Rows and columns.
        size: Cells along each side of the square grid.
        building_mask: Cells inside buildings, bool, of the shape.

    Raises:
        ValueError: If ``size`` or ``cell_size_m`` is not positive.
    """

    def __init__(
        self, buildings: Sequence[Polygon], size: int | tuple[int, int], cell_size_m: float
    ) -> None:
        rows, columns = size if isinstance(size, tuple) else (size, size)
        if min(rows, columns) < 1 or not cell_size_m > 0:
            raise ValueError(
                f"expected size >= 1 and cell_size_m > 0, got {size} and {cell_size_m}; "
                "give the cells along a side and the side of a cell in metres"
            )
        self.shape = (rows, columns)
        self.size = max(rows, columns)
        self.cell_size_m = float(cell_size_m)
        self.extents_m = (columns * self.cell_size_m, rows * self.cell_size_m)
        tile = shapely.box(0, 0, *self.extents_m)
        geometry = shapely.union_all(list(buildings)).intersection(tile)
        parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon"]
        self._geometry = shapely.MultiPolygon(parts)
        shapely.prepare(self._geometry)
        self._grid_mask = rasterize(parts, self.size, self.cell_size_m)
        self.building_mask = self._cut(self._grid_mask)
        self._walls = find_walls(self._geometry, self.extents_m)

    def _cut(self, values: np.ndarray) -> np.ndarray:
        """Return the part of values on the square grid that the tile fills."""
        return values[self.size - self.shape[0] :, : self.shape[1]]

    def _on_grid(self, cells: np.ndarray) -> np.ndarray:
        """Return marked cells of the tile on the square grid, bool."""
        marked = np.zeros((self.size, self.size), dtype=bool)
        self._cut(marked)[...] = cells
        return marked

    def _source(self, transmitter_m: tuple[float, float]) -> np.ndarray:
        """Return the position of a transmitter [m], shape ``(2,)``.

        Raises:
            ValueError: If it lies in a building or outside the tile.
        """
        source = np.array(transmitter_m, np.float64)
        if not ((source > 0) & (source < self.extents_m)).all():
            raise ValueError(
                f"expected a transmitter between 0 and {self.extents_m[0]:g} m in x and "
                f"{self.extents_m[1]:g} m in y, got "
                f"({source[0]:g}, {source[1]:g}); give metres from the lower left corner"
            )
        if shapely.intersects_xy(self._geometry, *source):
            raise ValueError(
                f"expected a transmitter outdoors, got ({source[0]:g}, {source[1]:g}) m inside or "
                "on the wall of a building; choose a cell with place_transmitters"
            )
        return source
