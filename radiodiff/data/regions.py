"""Where in a map a cell lies: in sight, in shadow, at an edge. Errors are judged by region.

A score averaged over a map hides where it comes from. The regions here need what every dataset
has, the buildings and the path gain, so the same names serve every map that knows decibels.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from scipy import ndimage
from shapely import Polygon

from radiodiff import units
from radiodiff.data.sample import RadioMapSample, path_gain_db, transmitter_cell
from radiodiff.simulate import line_of_sight_mask, trace_outlines
from radiodiff.simulate.outlines import clear_round

__all__ = ["distance_to_m", "region_masks"]


def region_masks(
    sample: RadioMapSample,
    *,
    cell_size_m: float,
    buildings: Sequence[Polygon] | None = None,
    edge_db: float = 6.0,
    deep_db: float = 30.0,
) -> dict[str, np.ndarray]:
    """Return the regions of a map by name; they overlap, and all lie outdoors.

    * ``outdoors``: every cell that counts;
    * ``line of sight``: its centre is seen from the transmitter's;
    * ``shadow``: the other outdoor cells;
    * ``deep shadow``: those of them at least ``deep_db`` below the line-of-sight law
      (eq. ``line-of-sight``);
    * ``building edge``: a building is among the eight cells around it;
    * ``shadow edge``: one of its four outdoor neighbours has lost more, or less, by at least
      ``edge_db``, measured from the same law: the steep fall beside a transmitter is no edge;
    * ``smooth``: at no edge.

    Args:
        sample: A map of path gain, shape ``(1, h, w)``.
        cell_size_m: Side of a cell [m].
        buildings: Outlines that decide what is seen [m], y up; traced from the sample's own raster
            if ``None``, which costs a cell here and there at the rim of a shadow.
        edge_db: Least step between neighbours at a shadow edge [dB].
        deep_db: Least loss beyond the line-of-sight law in deep shadow [dB].

    Returns:
        Name to cells, bool, shape ``(h, w)``.

    Raises:
        ValueError: If the map is no path gain of a known scale.
    """
    gain_db, outdoors = path_gain_db(sample), sample.outdoor_mask[0].numpy()
    row, col = transmitter_cell(sample)
    rows, cols = np.indices(outdoors.shape)
    law_db = units.line_of_sight_gain_db(np.hypot(rows - row, cols - col) * cell_size_m)
    # The files hold nothing brighter than their peak or darker than their floor.
    lost_db = law_db.clip(units.FLOOR_DB, units.PEAK_DB) - gain_db
    is_seen = outdoors & _seen(~outdoors, (row, col), cell_size_m, buildings)
    at_building = outdoors & ndimage.binary_dilation(~outdoors, np.ones((3, 3)))
    at_shadow = _has_step(np.where(outdoors, lost_db, np.nan), edge_db)
    return {
        "outdoors": outdoors,
        "line of sight": is_seen,
        "shadow": outdoors & ~is_seen,
        "deep shadow": outdoors & ~is_seen & (lost_db >= deep_db),
        "building edge": at_building,
        "shadow edge": at_shadow,
        "smooth": outdoors & ~at_building & ~at_shadow,
    }


def distance_to_m(mask: np.ndarray, cell_size_m: float) -> np.ndarray:
    """Return the distance of each cell's centre from the nearest marked one [m].

    Args:
        mask: Marked cells, bool, shape ``(h, w)``.
        cell_size_m: Side of a cell [m].

    Returns:
        Distances [m], shape ``(h, w)``; infinite if no cell is marked.
    """
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return cell_size_m * ndimage.distance_transform_edt(~mask)


def _seen(
    building_mask: np.ndarray,
    cell: tuple[int, int],
    cell_size_m: float,
    buildings: Sequence[Polygon] | None,
) -> np.ndarray:
    """Return which cells the centre of a cell sees."""
    place_m = units.cell_to_m(cell, size=len(building_mask), cell_size_m=cell_size_m)
    if buildings is None:
        buildings = trace_outlines(building_mask, cell_size_m)
        if shapely.intersects_xy(shapely.union_all(buildings), *place_m):
            buildings = trace_outlines(clear_round(building_mask, cell), cell_size_m)
    return line_of_sight_mask(buildings, place_m, building_mask.shape, cell_size_m)


def _has_step(values: np.ndarray, least: float) -> np.ndarray:
    """Return cells that differ from a neighbour by ``least`` or more; NaN differs from nothing."""
    down, right = (abs(np.diff(values, axis=axis)) >= least for axis in (0, 1))
    result = np.zeros(values.shape, dtype=bool)
    result[1:] |= down
    result[:-1] |= down
    result[:, 1:] |= right
    result[:, :-1] |= right
    return result
