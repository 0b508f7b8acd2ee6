"""Building outlines: tiles of four real cities and of invented ones, and transmitter places.

Outlines are shapely polygons in metres, x to the right and y up; a tile is the square
``[0, extent_m]^2``. Rasters index ``(row, col)`` with row 0 at the largest y.

Source: OpenStreetMap, through the scenes that ship with Sionna RT (Apache-2.0); the outlines are
"(c) OpenStreetMap contributors", ODbL 1.0. ``CITIES.md`` beside this file says more.
"""

import functools
from collections.abc import Sequence
from importlib import resources

import numpy as np
import shapely
import shapely.affinity
from scipy import ndimage
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

__all__ = [
    "ATTRIBUTION",
    "CITY_NAMES",
    "SPLIT_OF_CITY",
    "city_tile",
    "load_city",
    "place_transmitters",
    "procedural_tile",
    "rasterize",
]

#: What every split may draw from; no city is in two of them.
SPLIT_OF_CITY = {
    "munich": "train",
    "san_francisco": "train",
    "procedural": "train",
    "paris": "val",
    "florence": "test",
}
#: Four real cities and ``"procedural"``, invented ones.
CITY_NAMES = tuple(SPLIT_OF_CITY)
#: Must be shown with every map or dataset made from the real cities.
ATTRIBUTION = "Building outlines (c) OpenStreetMap contributors, Open Database License (ODbL) 1.0"

#: Share of a tile that buildings cover; RadioMapSeer's map 0 has 0.25 [1].
BUILT_FRACTION = (0.2, 0.75)
#: Least share that buildings cover in each quarter of a tile of a real city [1].
QUARTER_FRACTION = 0.12
#: Random crops that `city_tile` looks at before it gives up.
MAX_CROPS = 100
MIN_BUILDING_M2 = 9.0
MIN_COURTYARD_M2 = 16.0


@functools.cache
def load_city(name: str) -> tuple[Polygon, ...]:
    """Return all building outlines of a city [m], centred near the origin, y up.

    Args:
        name: One of `CITY_NAMES`, but not ``"procedural"``.

    Returns:
        Disjoint polygons, some with courtyards. They are "(c) OpenStreetMap contributors", ODbL.

    Raises:
        ValueError: If there are no outlines of such a city.
    """
    if name not in CITY_NAMES or name == "procedural":
        real_cities = ", ".join(city for city in CITY_NAMES if city != "procedural")
        raise ValueError(f"expected one of the real cities {real_cities}; got {name!r}")
    with resources.files("radiodiff.simulate").joinpath("cities.npz").open("rb") as file:
        arrays = np.load(file)
        points = arrays[f"{name}_points"] * float(arrays["unit_m"])
        ring_sizes = arrays[f"{name}_ring_sizes"].astype(np.int64)
        polygon_rings = arrays[f"{name}_polygon_rings"].astype(np.int64)
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(ring_sizes)), ring_sizes))
    firsts = np.cumsum(polygon_rings) - polygon_rings
    return tuple(
        Polygon(rings[first], rings[first + 1 : first + count])
        for first, count in zip(firsts, polygon_rings, strict=True)
    )


def city_tile(
    name: str, rng: np.random.Generator, extent_m: float, *, detail_m: float = 0.3
) -> list[Polygon]:
    """Cut a random square out of a city, turned and perhaps mirrored.

    Crops are drawn until buildings cover 20 to 75 % of the tile and at least 12 % of each quarter,
    so that the unmapped surroundings of the city stay outside.

    Args:
        name: One of `CITY_NAMES`; ``"procedural"`` stands for `procedural_tile`.
        rng: Source of all randomness; the same state gives the same tile.
        extent_m: Side of the tile [m].
        detail_m: Outlines are thinned to this tolerance [m]; gaps and walls narrower than twice
            this are closed and removed.

    Returns:
        Disjoint building outlines within ``[0, extent_m]^2`` [m], y up.

    Raises:
        ValueError: If there is no such city, or if it is too small for such a tile.
    """
    if name == "procedural":
        return procedural_tile(rng, extent_m, detail_m=detail_m)
    polygons = load_city(name)
    tree = _city_index(name)
    x_min, y_min, x_max, y_max = shapely.total_bounds(np.array(polygons))
    half = extent_m / 2
    is_large_enough = sum(p.area for p in polygons) >= BUILT_FRACTION[0] * extent_m**2
    for _ in range(MAX_CROPS if is_large_enough else 0):
        angle = rng.uniform(0, 2 * np.pi)
        is_mirrored = rng.integers(2) == 1
        center = rng.uniform((x_min, y_min), (x_max, y_max))
        nearby = tree.query(shapely.Point(center), "dwithin", half * np.sqrt(2))
        if len(nearby) == 0:
            continue
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        if is_mirrored:
            turn[:, 0] *= -1
        tile = shapely.transform(
            shapely.union_all([polygons[i] for i in np.sort(nearby)]),
            lambda points, turn=turn, center=center: (points - center) @ turn + half,
        )
        if not _is_well_built(tile, extent_m):
            continue
        buildings = _clean(tile, extent_m, detail_m)
        if _is_well_built(shapely.MultiPolygon(buildings), extent_m):
            return buildings
    raise ValueError(
        f"found no built-up square of {extent_m:g} m in {name}, which measures "
        f"{x_max - x_min:.0f} m x {y_max - y_min:.0f} m; choose a smaller tile (size x cell size) "
        "or another city, for example 'procedural'"
    )


@functools.cache
def _city_index(name: str) -> shapely.STRtree:
    """Return a spatial index over the outlines of `load_city`."""
    return shapely.STRtree(load_city(name))


def _is_well_built(geometry: BaseGeometry, extent_m: float) -> bool:
    """Whether buildings cover a city-like share of the tile and some of each quarter."""
    half = extent_m / 2
    quarters = [shapely.box(x, y, x + half, y + half) for x in (0, half) for y in (0, half)]
    fractions = shapely.area(shapely.intersection(geometry, quarters)) / half**2
    low, high = BUILT_FRACTION
    return bool(low <= fractions.mean() <= high and fractions.min() >= QUARTER_FRACTION)


def _clean(geometry: BaseGeometry, extent_m: float, detail_m: float) -> list[Polygon]:
    """Clip to the tile, close slivers, thin outlines and drop specks; sorted, disjoint polygons."""
    tile = shapely.box(0, 0, extent_m, extent_m)
    # The margin keeps the offsets below from rounding corners where the tile cuts a building.
    geometry = geometry.intersection(tile.buffer(8 * detail_m, join_style="mitre"))
    geometry = geometry.buffer(detail_m, join_style="mitre")
    geometry = geometry.buffer(-2 * detail_m, join_style="mitre")
    geometry = geometry.buffer(detail_m, join_style="mitre")
    geometry = shapely.make_valid(geometry.simplify(detail_m))
    geometry = geometry.intersection(tile)
    geometry = shapely.union_all(shapely.get_parts(geometry)).normalize()
    buildings = []
    for part in shapely.get_parts(geometry):
        if part.geom_type == "Polygon" and part.area >= MIN_BUILDING_M2:
            holes = [r for r in part.interiors if Polygon(r).area >= MIN_COURTYARD_M2]
            buildings.append(Polygon(part.exterior, holes))
    return buildings


def procedural_tile(
    rng: np.random.Generator, extent_m: float, *, detail_m: float = 0.3
) -> list[Polygon]:
    """Invent a tile: streets cut a plane into blocks, blocks are built up in several styles.

    A tile has one main style (closed perimeter blocks with courtyards, dense lots, detached
    houses, or slabs), which some of its blocks depart from; a few blocks stay open.

    Args:
        rng: Source of all randomness; the same state gives the same tile.
        extent_m: Side of the tile [m].
        detail_m: Outlines are thinned to this tolerance [m]; gaps and walls narrower than twice
            this are closed and removed.

    Returns:
        Disjoint building outlines within ``[0, extent_m]^2`` [m], y up; 20 to 75 % are built.
    """
    low, high = BUILT_FRACTION
    while True:
        parts: list[BaseGeometry] = []
        main_style = rng.integers(len(_BLOCK_STYLES))
        for block in _city_blocks(rng, extent_m):
            style = main_style if rng.random() < 0.7 else rng.integers(len(_BLOCK_STYLES))
            if rng.random() > 0.06:
                parts += _BLOCK_STYLES[style](block, rng)
        buildings = _clean(shapely.union_all(parts), extent_m, detail_m)
        if low <= sum(p.area for p in buildings) / extent_m**2 <= high:
            return buildings


def _city_blocks(rng: np.random.Generator, extent_m: float) -> list[Polygon]:
    """Return the blocks between the streets of a plane a little larger than the tile."""
    angle = rng.uniform(0, np.pi / 2)
    plane = shapely.affinity.rotate(
        shapely.box(-0.3 * extent_m, -0.3 * extent_m, 1.3 * extent_m, 1.3 * extent_m),
        angle,
        use_radians=True,
    )
    block_m2 = rng.uniform(2500, 9000)
    skew = rng.uniform(0, 0.15)  # [rad]: 0 gives a strict grid
    width_m = rng.uniform(9, 15)
    tile = shapely.box(0, 0, extent_m, extent_m)
    blocks, pending = [], [(plane, rng.uniform(18, 28))]
    while pending:
        part, street_m = pending.pop()
        if not part.intersects(tile):
            continue
        if part.area < block_m2 * rng.uniform(0.8, 1.6):
            blocks.append(part)
            continue
        halves = _split(part, rng, street_m=street_m, skew=skew)
        pending += [(half, max(0.8 * street_m, width_m * rng.uniform(0.8, 1.2))) for half in halves]
    return blocks


def _split(
    part: Polygon, rng: np.random.Generator, *, street_m: float, skew: float
) -> list[Polygon]:
    """Cut a polygon across its longer side and take a street out of the cut."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(part))[:3]
    sides = np.diff(corners, axis=0)
    lengths = np.hypot(*sides.T)
    long = int(lengths[1] > lengths[0])
    along = sides[long] / lengths[long]
    across = np.array([-along[1], along[0]])
    turn = rng.normal(0, skew)
    across = np.cos(turn) * across + np.sin(turn) * along
    fractions = np.array([0.5, 0.5])
    fractions[long] = rng.uniform(0.38, 0.62)
    middle = corners[0] + fractions @ sides
    reach = 2 * lengths.sum()
    street = shapely.LineString([middle - reach * across, middle + reach * across])
    street = street.buffer(street_m / 2, cap_style="flat")
    rest = shapely.get_parts(part.difference(street))
    return [p for p in rest if p.area > 60.0]


def _lots(block: Polygon, rng: np.random.Generator, lot_m2: float, gap_m: float) -> list[Polygon]:
    """Divide a block into lots of about ``lot_m2`` [m^2] with ``gap_m`` [m] between them."""
    lots, pending = [], [block]
    while pending:
        part = pending.pop()
        if part.area < lot_m2 * rng.uniform(0.8, 1.8):
            lots.append(part)
        else:
            pending += _split(part, rng, street_m=gap_m, skew=0.02)
    return lots


def _perimeter_block(block: Polygon, rng: np.random.Generator) -> list[BaseGeometry]:
    """A ring of houses round a courtyard, with wings, and often with passages."""
    depth_m = rng.uniform(10, 15)
    court = block.buffer(-depth_m, join_style="mitre")
    ring = block.difference(court)
    parts: list[BaseGeometry] = []
    if court.area > 300:
        # Lots of the court stand for the wings and sheds in it.
        wings = _lots(court, rng, lot_m2=rng.uniform(150, 400), gap_m=rng.uniform(1.0, 5.0))
        parts += [wing for wing in wings if rng.random() < 0.35]
    for _ in range(rng.integers(4)):
        # A passage from the court to the street.
        start = shapely.get_coordinates(block.centroid)[0]
        angle = rng.uniform(0, 2 * np.pi)
        end = start + 200 * np.array([np.cos(angle), np.sin(angle)])
        passage = shapely.LineString([start, end]).buffer(rng.uniform(1.5, 4), cap_style="flat")
        ring = ring.difference(passage)
    return [*parts, ring]


def _dense_block(block: Polygon, rng: np.random.Generator) -> list[BaseGeometry]:
    """Wall-to-wall houses of differing depth; some lots stay open as yards."""
    parts: list[BaseGeometry] = []
    for lot in _lots(block, rng, lot_m2=rng.uniform(250, 700), gap_m=0.01):
        if rng.random() < 0.85:
            back_m = rng.uniform(0, 3) if rng.random() < 0.5 else 0.0
            parts.append(lot.buffer(-back_m, join_style="mitre"))
    return parts


def _detached_block(block: Polygon, rng: np.random.Generator) -> list[BaseGeometry]:
    """Single houses on their lots; some L-shaped."""
    parts: list[BaseGeometry] = []
    for lot in _lots(block, rng, lot_m2=rng.uniform(350, 900), gap_m=rng.uniform(1, 4)):
        house = lot.buffer(-rng.uniform(0.5, 3.0), join_style="mitre")
        if rng.random() < 0.4 and house.area > 100 and house.geom_type == "Polygon":
            corner = shapely.get_coordinates(house.exterior)[rng.integers(4)]
            side_m = rng.uniform(0.35, 0.55) * np.sqrt(house.area)
            bite = shapely.Point(corner).buffer(side_m, cap_style="square")
            long_side = shapely.get_coordinates(shapely.minimum_rotated_rectangle(house))
            edge = long_side[1] - long_side[0]
            bite = shapely.affinity.rotate(bite, np.arctan2(edge[1], edge[0]), use_radians=True)
            house = house.difference(bite)
        parts.append(house)
    return parts


def _slab_block(block: Polygon, rng: np.random.Generator) -> list[BaseGeometry]:
    """Parallel bars, or a row of towers when the bars are cut."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(block))
    edge = corners[1] - corners[0]
    angle = np.arctan2(edge[1], edge[0]) + np.pi / 2 * rng.integers(2)
    depth_m, gap_m = rng.uniform(11, 16), rng.uniform(9, 18)
    bar_m = rng.uniform(18, 70)
    reach = np.hypot(*edge) + np.hypot(*(corners[2] - corners[1]))
    x, y = shapely.get_coordinates(block.centroid)[0]
    parts: list[BaseGeometry] = []
    for y_0 in np.arange(-reach, reach, depth_m + gap_m):
        for x_0 in np.arange(-reach + rng.uniform(0, bar_m), reach, bar_m + 8.0):
            bar = shapely.box(x + x_0, y + y_0, x + x_0 + bar_m, y + y_0 + depth_m)
            bar = shapely.affinity.rotate(bar, angle, origin=(x, y), use_radians=True)
            bar = bar.intersection(block)
            if bar.area > 80.0:
                parts.append(bar)
    return parts


_BLOCK_STYLES = (_perimeter_block, _dense_block, _detached_block, _slab_block)


def rasterize(buildings: Sequence[Polygon], size: int, cell_size_m: float) -> np.ndarray:
    """Return which cells have their centre inside a building.

    Args:
        buildings: Outlines [m], y up.
        size: Cells along each side.
        cell_size_m: Side of a cell [m].

    Returns:
        Boolean ``building_mask``, shape ``(size, size)``; row 0 lies at the largest y.
    """
    centers = (np.arange(size) + 0.5) * cell_size_m
    x, y = np.meshgrid(centers, centers[::-1])
    geometry = shapely.union_all(list(buildings))
    shapely.prepare(geometry)
    return shapely.contains_xy(geometry, x, y)


def place_transmitters(
    building_mask: np.ndarray,
    count: int,
    rng: np.random.Generator,
    *,
    cell_size_m: float = 1.0,
    central_fraction: float = 0.58,
    wall_distance_m: float = 2.0,
) -> np.ndarray:
    """Choose distinct outdoor cells for transmitters, as RadioMapSeer does: near the middle.

    Cells lie in the central part of the largest connected outdoor region, with
    ``wall_distance_m`` (at least one cell) of open ground on all sides. Where that leaves too few
    cells, first the distance to walls shrinks to one cell, then the central part grows.

    Args:
        building_mask: Cells inside buildings, shape ``(size, size)``, bool.
        count: Number of transmitters.
        rng: Source of all randomness; the same state gives the same cells.
        cell_size_m: Side of a cell [m].
        central_fraction: Side of the central square as a share of the tile [1]; transmitters of
            RadioMapSeer's map 0 lie in cells 54 to 201 of 256.
        wall_distance_m: Wanted distance to the nearest building [m].

    Returns:
        Cells ``(row, col)``, shape ``(count, 2)``, int64.

    Raises:
        ValueError: If the main outdoor region holds fewer than ``count`` such cells.
    """
    size = building_mask.shape[0]
    labels, _ = ndimage.label(~building_mask)
    region_sizes = np.bincount(labels.ravel())
    region_sizes[0] = 0
    main_region = (labels == region_sizes.argmax()) & ~building_mask
    # Distance between cell centres; the wall is about half a cell nearer than the built cell.
    if building_mask.any():
        distance = ndimage.distance_transform_edt(~building_mask) - 0.5
    else:
        distance = np.full(building_mask.shape, np.inf)
    wanted = max(1.0, wall_distance_m / cell_size_m)
    offset = np.abs(np.arange(size) + 0.5 - size / 2)
    found = 0
    for fraction, cells in ((central_fraction, wanted), (central_fraction, 1.0), (1.0, 1.0)):
        is_central = offset <= fraction * size / 2
        candidates = np.argwhere(
            main_region & (distance >= cells) & is_central[:, None] & is_central[None, :]
        )
        found = len(candidates)
        if found >= count:
            return candidates[rng.choice(found, size=count, replace=False)]
    raise ValueError(
        f"expected room for {count} transmitters, got {found} outdoor cells at least one cell "
        "away from walls; ask for fewer transmitters or use a larger or less built-up tile"
    )
