"""The buildings of one square tile, as both engines need them."""

from collections.abc import Sequence

import numpy as np
import shapely
from shapely import Polygon

from radiodiff.simulate.cities import rasterize
from radiodiff.simulate.visibility import find_walls

__all__ = ["Tile"]


class Tile:
    """Buildings clipped to a tile, their raster and their walls; the engines build on it.

    Args:
        buildings: Outlines [m], y up; clipped to the tile, overlaps are merged.
        size: Cells along each side of the tile.
        cell_size_m: Side of a cell [m].

    Raises:
        ValueError: If ``size`` or ``cell_size_m`` is not positive.
    """

    def __init__(self, buildings: Sequence[Polygon], size: int, cell_size_m: float) -> None:
        if size < 1 or not cell_size_m > 0:
            raise ValueError(
                f"expected size >= 1 and cell_size_m > 0, got {size} and {cell_size_m}; "
                "give the cells along a side and the side of a cell in metres"
            )
        self.size = size
        self.cell_size_m = float(cell_size_m)
        self.extent_m = size * self.cell_size_m
        tile = shapely.box(0, 0, self.extent_m, self.extent_m)
        geometry = shapely.union_all(list(buildings)).intersection(tile)
        parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon"]
        self._geometry = shapely.MultiPolygon(parts)
        shapely.prepare(self._geometry)
        self.building_mask = rasterize(parts, size, self.cell_size_m)
        self._walls = find_walls(self._geometry, self.extent_m)

    def _source(self, transmitter_m: tuple[float, float]) -> np.ndarray:
        """Return the position of a transmitter [m], shape ``(2,)``.

        Raises:
            ValueError: If it lies in a building or outside the tile.
        """
        source = np.array(transmitter_m, np.float64)
        if not ((source > 0) & (source < self.extent_m)).all():
            raise ValueError(
                f"expected a transmitter between 0 and {self.extent_m:g} m in x and y, got "
                f"({source[0]:g}, {source[1]:g}); give metres from the lower left corner"
            )
        if shapely.intersects_xy(self._geometry, *source):
            raise ValueError(
                f"expected a transmitter outdoors, got ({source[0]:g}, {source[1]:g}) m inside or "
                "on the wall of a building; choose a cell with place_transmitters"
            )
        return source
