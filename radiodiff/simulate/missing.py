"""Maps of a city known in part: the images ``png/buildings_missing<k>/<version>/<map>.png``.

RadioMapSeer has each map's buildings with 1 to 4 of them missing, in six versions, for networks
that shall predict the complete city's path gain out of an outdated map. Here a version is an
ordered draw of buildings, and its image with ``k`` missing lacks the first ``k``; so it lacks one
more for each ``k``, and the same building may be missing in several versions.

Source of the layout: C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*, arXiv:2212.11777;
of the use: R. Levie et al., *RadioUNet*, arXiv:1911.09002.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from shapely import Polygon

__all__ = ["MISSING_FOLDERS", "MOST_MISSING", "VERSIONS", "missing_building_masks"]

#: Most buildings that are missing in an image, and how many draws of them there are.
MOST_MISSING, VERSIONS = 4, 6
#: Folder of each number of missing buildings, 1 to 4, and each version, 1 to 6.
MISSING_FOLDERS = {
    (missing, version): f"png/buildings_missing{missing}/{version}"
    for missing in range(1, MOST_MISSING + 1)
    for version in range(1, VERSIONS + 1)
}
#: Tells these draws from the others of a map, which do not change with them.
_STREAM = 1


def missing_building_masks(
    buildings: Sequence[Polygon],
    building_mask: np.ndarray,
    cell_size_m: float,
    seed: Sequence[int],
) -> dict[tuple[int, int], np.ndarray]:
    """Return the rasters of a map with buildings missing; nothing else decides than what is given.

    Only buildings that hold the centre of a cell are drawn. Of a map that has fewer than are to be
    missing, all are: it is open ground.

    Args:
        buildings: Disjoint outlines [m], y up.
        building_mask: Their raster (`radiodiff.simulate.rasterize`), bool, shape ``(size, size)``.
        cell_size_m: Side of a cell [m].
        seed: What the map's draws depend on: whole numbers of 0 or more, such as a dataset's seed
            and the number of the map.

    Returns:
        For each ``(missing, version)`` of `MISSING_FOLDERS` the buildings that are left, bool,
        shape ``(size, size)``.
    """
    size = len(building_mask)
    held = [_cells_of(polygon, size, cell_size_m) for polygon in buildings]
    held = [cells for cells in held if len(cells)]
    rng = np.random.default_rng(np.random.SeedSequence(list(seed), spawn_key=(_STREAM,)))
    masks = {}
    for version in range(1, VERSIONS + 1):
        order = rng.permutation(len(held))
        left = building_mask.copy()
        for missing in range(1, MOST_MISSING + 1):
            for chosen in order[missing - 1 : missing]:
                left.flat[held[chosen]] = False
            masks[missing, version] = left.copy()
    return masks


def _cells_of(polygon: Polygon, size: int, cell_size_m: float) -> np.ndarray:
    """Return the cells of a map whose centre a building holds, counted along the rows."""
    x_min, y_min, x_max, y_max = np.array(polygon.bounds) / cell_size_m
    columns = np.arange(max(0, int(x_min)), min(size, int(x_max) + 1))
    ups = np.arange(max(0, int(y_min)), min(size, int(y_max) + 1))
    column, up = (cells.ravel() for cells in np.meshgrid(columns, ups))
    shapely.prepare(polygon)
    is_held = shapely.contains_xy(polygon, (column + 0.5) * cell_size_m, (up + 0.5) * cell_size_m)
    return ((size - 1 - up) * size + column)[is_held]
