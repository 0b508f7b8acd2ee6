"""Path gain as the power of many rays: reflections at walls and diffraction at one corner.

Seen from above, walls are line segments and rays stay in the plane, but power spreads in space.
A path of the unfolded length ``L`` brings ``(wavelength / 4 pi L)^2``, times the reflectance of
every wall it touches, times the gain of a corner if it bends there; a cell gets the sum of the
powers of all paths, without interference. Paths are the direct one, those with up to
``reflections`` reflections, and those that bend at one corner into its shadow, with reflections
before and after (as many in all):

* The direct path is exact, at the centres of the cells.
* Paths that only reflect come from a fan of rays round the transmitter. A ray that is ``width``
  [rad] wide adds what it carries along its length in a cell, so the result is the mean over the
  open part of the cell (eq. ``reflected-ray``).
* Waves at a corner come from the image sources of the wall sequences that the fan met, each path
  checked by one exact ray. From the corner on, what reaches a cell without another reflection is
  exact at its centre, the rest is carried on by a fan of rays round the corner (eq. ``wedge``).

Nothing here is fitted. Theory alone makes corners darker than in RadioMapSeer and than in
`radiodiff.simulate.dominant_path`: at a right-angled concrete corner with 50 m before and behind
it, a bend by 15 degrees takes 32 to 43 dB more than free space, one by 45 degrees 46 to 54 dB.
Left out are paths over roofs and into buildings, scattering at rough walls, what a corner sends
back into the light, and paths that bend at several corners.

Sources: R. Hoppe, P. Wertz, F. M. Landstorfer, G. Wölfle, *Advanced Ray-Optical Wave Propagation
Modelling for Urban and Indoor Scenarios Including Wideband Properties*, European Transactions on
Telecommunications 14, 2003 (intelligent ray tracing); R. G. Kouyoumjian, P. H. Pathak, *A Uniform
Geometrical Theory of Diffraction for an Edge in a Perfectly Conducting Surface*, Proceedings of
the IEEE 62, 1974; R. J. Luebbers, *Finite Conductivity Uniform GTD Versus Knife Edge Diffraction
in Prediction of Propagation Path Loss*, IEEE Transactions on Antennas and Propagation 32, 1984;
Recommendation ITU-R P.2040 (concrete).

All loops are compiled by Numba, in one thread and without fast-math. Compiled code is cached per
file: after a change in `radiodiff.simulate.visibility`, `dominant_path` or `cars`, delete
``__pycache__``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numba
import numpy as np
import scipy.special
import shapely
from scipy.constants import c as LIGHT_M_PER_S
from scipy.constants import epsilon_0 as VACUUM_F_PER_M
from shapely import Polygon

from radiodiff.simulate.cars import CAR_DB_PER_M, car_loss_db
from radiodiff.simulate.grid import WallGrid, first_cell, meet_wall, next_cell, wall_grid
from radiodiff.simulate.tile import Tile
from radiodiff.simulate.visibility import (
    CORNER_OFFSET_M,
    corner_spans,
    find_corners,
    nearest_walls,
    visible_spans,
)
from radiodiff.units import CARRIER_HZ

__all__ = ["RayTracing", "RayTracingConstants"]

WAVELENGTH_M = LIGHT_M_PER_S / CARRIER_HZ
#: Distance below which power grows no more, for whole paths [m].
MIN_PATH_M = 1.0
#: The same for the pieces of a path before and behind a corner [m].
MIN_PIECE_M = 0.1
#: Distances behind a corner where its wave is evaluated; between them its inverse is linear [m].
NODES_M = 4.0 ** np.arange(6)
#: Least share of a cell taken as open ground, so that slivers do not magnify single rays [1].
MIN_OPEN_SHARE = 0.05
#: Rays leave a corner from this far in front of its tip, so as not to hit its own walls [m].
TIP_M = 1e-3
#: Rounding that a hit on a wall may be off by [m].
SLACK_M = 1e-6


@dataclass(frozen=True)
class RayTracingConstants:
    """Material of the walls and fineness of the rays."""

    permittivity: float = 5.24
    """Relative permittivity of the walls [1]; concrete after ITU-R P.2040."""
    conductivity_s_per_m: float = 0.185
    """Conductivity of the walls [S/m]; concrete after ITU-R P.2040, 0.0462 f^0.7822 at 5.9 GHz."""
    polarization: Literal["vertical", "horizontal"] = "vertical"
    """Direction of the electric field: along the walls' edges, or in the plane of the map."""
    diffractions: Literal[0, 1] = 1
    """Corners that a path may bend at."""
    rays: int = 14400
    """Rays round the transmitter."""
    corner_rays: int = 2880
    """Rays round a corner, per full turn."""
    min_corner_turn_rad: float = np.pi / 18
    """Corners that turn by less diffract nothing [rad]."""
    car_db_per_m: float = CAR_DB_PER_M
    """Loss of a path per metre inside a car [dB/m]."""

    def __post_init__(self) -> None:
        if self.rays < 4 or self.corner_rays < 4:
            raise ValueError(
                f"expected 4 or more rays and corner_rays, got {self.rays} and {self.corner_rays}"
            )
        if self.polarization not in ("vertical", "horizontal"):
            raise ValueError(
                f"expected polarization 'vertical' or 'horizontal', got {self.polarization!r}"
            )
        if self.diffractions not in (0, 1):
            raise ValueError(f"expected diffractions 0 or 1, got {self.diffractions}")


class _Scene(NamedTuple):
    """What a ray can meet on a tile."""

    grid: WallGrid  # without the sides of the tile
    cars: np.ndarray  # (size, size) bool, or (0, 0)
    car_db_per_m: float
    permittivity: complex
    is_vertical: bool


class _Wedges(NamedTuple):
    """Corners that diffract; ``n`` of them."""

    points: np.ndarray  # (n, 2) [m], 5 cm in front of the tip
    tips: np.ndarray  # (n, 2) [m]
    backward: np.ndarray  # (n, 2), unit vectors along the faces, away from the tip
    forward: np.ndarray  # (n, 2)
    open_rad: np.ndarray  # (n,), angle of the open ground between the faces, pi to 2 pi


class RayTracing(Tile):
    """Ray tracing on one tile; built once, then asked for many transmitters.

    Args:
        buildings: Outlines [m], y up; clipped to the tile, overlaps are merged.
        size: Cells along each side of the tile.
        cell_size_m: Side of a cell [m].
        constants: Material of the walls and fineness of the rays.
        cars: Cells inside cars, bool, shape ``(size, size)``; paths lose
            ``constants.car_db_per_m`` in them (eq. ``car-loss``).

    Raises:
        ValueError: If ``size`` or ``cell_size_m`` is not positive, or ``cars`` is no such mask.
    """

    def __init__(
        self,
        buildings: Sequence[Polygon],
        size: int,
        cell_size_m: float,
        constants: RayTracingConstants | None = None,
        *,
        cars: np.ndarray | None = None,
    ) -> None:
        super().__init__(buildings, size, cell_size_m)
        if cars is not None and (cars.dtype != bool or cars.shape != (size, size)):
            raise ValueError(
                f"expected cars to be a bool mask of shape {(size, size)}, got {cars.dtype} of "
                f"shape {cars.shape}; rasterize the outlines of the cars on this tile"
            )
        self.constants = constants or RayTracingConstants()
        self._wedges = _find_wedges(
            self._geometry, self.extent_m, self.constants.min_corner_turn_rad
        )
        self._spans = corner_spans(self._walls, self._wedges.points, size, self.cell_size_m)
        walls = self._walls[:-4].copy()
        self._open_share = _open_share(walls, size, self.cell_size_m)
        loss_factor = self.constants.conductivity_s_per_m / (
            2 * np.pi * CARRIER_HZ * VACUUM_F_PER_M
        )
        self._scene = _Scene(
            grid=wall_grid(walls, size, self.cell_size_m),
            cars=cars.copy() if cars is not None and cars.any() else np.zeros((0, 0), bool),
            car_db_per_m=float(self.constants.car_db_per_m),
            permittivity=complex(self.constants.permittivity, -loss_factor),
            is_vertical=self.constants.polarization == "vertical",
        )

    def path_gain_db(self, transmitter_m: tuple[float, float], *, reflections: int) -> np.ndarray:
        """Return the path gain [dB] of every cell, shape ``(size, size)``.

        Args:
            transmitter_m: Position ``(x, y)`` [m].
            reflections: Most walls that a path may touch; 2 and 4 stand for RadioMapSeer's IRT2
                and IRT4.

        Returns:
            Path gain [dB], float64; NaN in buildings, -inf where nothing arrives.

        Raises:
            ValueError: If the transmitter lies in a building or outside the tile, or if
                ``reflections`` is negative.
        """
        if reflections < 0:
            raise ValueError(f"expected reflections >= 0, got {reflections}; 2 gives IRT2, 4 IRT4")
        source = self._source(transmitter_m)
        hits, cell_sums = _shoot(self._scene, source, self.constants.rays, reflections)
        power = _direct(self._scene, self._walls, source)
        if self.constants.diffractions:
            waves = _waves_at_corners(self._scene, self._wedges, source, hits)
            _bend(
                self._scene,
                self._wedges,
                *self._spans,
                waves,
                reflections,
                self.constants.corner_rays,
                power,
                cell_sums,
            )
        power += cell_sums / (self._open_share * self.cell_size_m**2)
        with np.errstate(divide="ignore"):
            path_gain_db = 10 * np.log10(power) + 20 * np.log10(WAVELENGTH_M / (4 * np.pi))
        path_gain_db[self.building_mask] = np.nan
        return path_gain_db


def _open_share(walls: np.ndarray, size: int, cell_size_m: float) -> np.ndarray:
    """Return the share of every cell outside buildings [1], shape ``(size, size)``.

    What is built lies to the right of walls that lead down and not of those that lead up, so the
    signed areas to the right of all walls add up to the built area.
    """
    built_m2 = np.zeros((size, size))
    to_the_right_m2 = np.zeros((size, size + 1))
    for ax, ay, bx, by in walls:
        # Cut the wall where it passes from cell to cell.
        cuts = [np.array([0.0, 1.0])]
        for a, b in ((ax, bx), (ay, by)):
            if a != b:
                low, high = sorted((a / cell_size_m, b / cell_size_m))
                lines = np.arange(np.floor(low) + 1, np.ceil(high)) * cell_size_m
                cuts.append((lines - a) / (b - a))
        at = np.sort(np.concatenate(cuts))
        middle = (at[1:] + at[:-1]) / 2
        x, y = ax + middle * (bx - ax), ay + middle * (by - ay)
        col = np.minimum((x / cell_size_m).astype(int), size - 1)
        row = size - 1 - np.minimum((y / cell_size_m).astype(int), size - 1)
        down = (ay - by) * np.diff(at)
        np.add.at(built_m2, (row, col), down * ((col + 1) * cell_size_m - x))
        np.add.at(to_the_right_m2, (row, col + 1), down * cell_size_m)
    built_m2 += np.cumsum(to_the_right_m2, axis=1)[:, :-1]
    return np.maximum(1 - built_m2 / cell_size_m**2, MIN_OPEN_SHARE)


def _find_wedges(geometry: shapely.MultiPolygon, extent_m: float, min_turn_rad: float) -> _Wedges:
    """Return the corners of `find_corners` that turn by more than an angle [rad]."""
    points, backward, forward = find_corners(geometry, extent_m)
    inward = backward + forward
    cross = backward[:, 0] * forward[:, 1] - backward[:, 1] * forward[:, 0]
    inside_rad = np.arctan2(np.abs(cross), (backward * forward).sum(1))
    keep = np.pi - inside_rad > min_turn_rad
    inward = inward[keep] / np.hypot(*inward[keep].T)[:, None]
    return _Wedges(
        points=points[keep],
        tips=points[keep] + CORNER_OFFSET_M * inward,
        backward=backward[keep],
        forward=forward[keep],
        open_rad=2 * np.pi - inside_rad[keep],
    )


@numba.njit(cache=True)
def _direct(scene: _Scene, walls: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return the power of the direct path at the cell centres, ``1 / L^2``, shape as the map."""
    size, cell_size_m = scene.grid.size, scene.grid.cell_size_m
    power = np.zeros((size, size))
    _, sectors = nearest_walls(walls, source[0], source[1])
    for row, start, stop in visible_spans(walls, sectors, source, size, cell_size_m):
        y = (size - row - 0.5) * cell_size_m
        for col in range(start, stop):
            x = (col + 0.5) * cell_size_m
            length = max(MIN_PATH_M, np.hypot(x - source[0], y - source[1]))
            transmitted = _transmitted(scene, source[0], source[1], x, y)
            power[row, col] = transmitted / length**2
    return power


@numba.njit(cache=True)
def _transmitted(scene: _Scene, x0: float, y0: float, x1: float, y1: float) -> float:
    """Return the share of power that cars leave to a straight path [1]."""
    if len(scene.cars) == 0:
        return 1.0
    loss_db = car_loss_db(scene.cars, scene.grid.cell_size_m, x0, y0, x1, y1, scene.car_db_per_m)
    return 10 ** (-loss_db / 10)


@numba.njit(cache=True)
def _follow(
    scene: _Scene,
    x: float,
    y: float,
    ux: float,
    uy: float,
    last_wall: int,
    reach: float,
    cell_sums: np.ndarray,
    weight: float,
    travelled: float,
    nodes: np.ndarray,
    inverse: np.ndarray,
) -> tuple[float, int, float]:
    """Follow a ray to the next wall and leave in every cell what it carries there.

    Args:
        scene: What the ray can meet.
        x: Begin of the ray [m], in open ground or on ``last_wall``.
        y: Begin of the ray [m].
        ux: Direction of the ray, a unit vector.
        uy: Direction of the ray.
        last_wall: Wall that the ray comes from, or -1.
        reach: Where the ray ends at the latest [m].
        cell_sums: Receives ``weight * length / inverse`` in the cells passed.
        weight: What the ray carries at its begin; 0 leaves nothing.
        travelled: Length of the path before this piece [m].
        nodes: Lengths of paths [m], ascending, two or more.
        inverse: Density that a path brings, inverted, at these lengths; linear between them.

    Returns:
        Length of this piece [m], the wall that ends it or -1, and the share of power that cars
        left to it [1].
    """
    grid = scene.grid
    size = grid.size
    has_cars = len(scene.cars) > 0
    decay = scene.car_db_per_m * np.log(10) / 10
    transmitted = 1.0
    node = 0
    slope = (inverse[1] - inverse[0]) / (nodes[1] - nodes[0])
    at = 0.0
    walk = first_cell(x, y, ux, uy, grid.cell_size_m)
    while 0 <= walk.col < size and 0 <= walk.up < size:
        row, col = size - 1 - walk.up, walk.col
        stop, wall = min(walk.next_x, walk.next_y, reach), -1
        cell = row * size + col
        for k in range(grid.first_wall[cell], grid.first_wall[cell + 1]):
            w = grid.wall_ids[k]
            if w == last_wall:
                continue
            distance, along = meet_wall(grid.walls, w, x, y, ux, uy)
            if -SLACK_M < distance <= stop and -1e-9 <= along <= 1 + 1e-9:
                stop, wall = distance, w
        length = max(0.0, stop - at)
        left = weight * transmitted
        if has_cars and scene.cars[row, col] and length > 0:
            passed = np.exp(-decay * length)
            transmitted *= passed
            if decay > 0:
                left *= (1 - passed) / (decay * length)
        if weight > 0:
            middle = max(MIN_PATH_M, travelled + at + length / 2)
            while middle > nodes[node + 1] and node + 2 < len(nodes):
                node += 1
                slope = (inverse[node + 1] - inverse[node]) / (nodes[node + 1] - nodes[node])
            cell_sums[row, col] += left * length / (inverse[node] + slope * (middle - nodes[node]))
        at = stop
        if wall >= 0 or at >= reach:
            return at, wall, transmitted
        walk = next_cell(walk)
    return at, -1, transmitted


@numba.njit(cache=True)
def _reflection(sine: float, permittivity: complex, is_vertical: bool) -> complex:
    """Return Fresnel's reflection coefficient of a wall (eq. ``fresnel``).

    Args:
        sine: Sine of the angle between ray and wall [1].
        permittivity: Complex relative permittivity of the wall.
        is_vertical: Whether the electric field is parallel to the wall.
    """
    root = np.sqrt(permittivity - (1 - sine * sine))
    if is_vertical:
        return (sine - root) / (sine + root)
    return (permittivity * sine - root) / (permittivity * sine + root)


@numba.njit(cache=True)
def _reflect(scene: _Scene, wall: int, ux: float, uy: float) -> tuple[float, float, float]:
    """Return the direction of a ray after its reflection and the reflectance of power [1]."""
    walls = scene.grid.walls
    dx, dy = walls[wall, 2] - walls[wall, 0], walls[wall, 3] - walls[wall, 1]
    length = np.hypot(dx, dy)
    nx, ny = dy / length, -dx / length
    sine = -(ux * nx + uy * ny)
    reflectance = abs(_reflection(sine, scene.permittivity, scene.is_vertical)) ** 2
    return ux + 2 * sine * nx, uy + 2 * sine * ny, reflectance


@numba.njit(cache=True)
def _shoot(
    scene: _Scene, source: np.ndarray, rays: int, reflections: int
) -> tuple[np.ndarray, np.ndarray]:
    """Send rays round the transmitter and follow them through their reflections.

    Returns:
        ``hits``: walls that each ray met, -1 behind the last, shape ``(rays, reflections)``;
        ``cell_sums``: power times area that reflected rays left in the cells, shape
        ``(size, size)``.
    """
    hits = np.full((rays, reflections), -1, np.int32)
    cell_sums = np.zeros((scene.grid.size, scene.grid.size))
    nodes = np.array([0.0, 1.0])
    width = 2 * np.pi / rays
    for ray in range(rays if reflections > 0 else 0):
        angle = (ray + 0.5) * width
        x, y, ux, uy = source[0], source[1], np.cos(angle), np.sin(angle)
        share, travelled, wall = 1.0, 0.0, -1
        for count in range(reflections + 1):
            weight = width * share if count > 0 else 0.0
            length, wall, transmitted = _follow(
                scene, x, y, ux, uy, wall, np.inf, cell_sums, weight, travelled, nodes, nodes
            )
            if wall < 0 or count == reflections:
                break
            hits[ray, count] = wall
            x, y = x + length * ux, y + length * uy
            ux, uy, reflectance = _reflect(scene, wall, ux, uy)
            share *= transmitted * reflectance
            travelled += length
    return hits, cell_sums


@numba.njit(cache=True)
def _mirror(walls: np.ndarray, wall: int, x: float, y: float) -> tuple[float, float]:
    """Return the image of a point [m] behind a wall."""
    dx, dy = walls[wall, 2] - walls[wall, 0], walls[wall, 3] - walls[wall, 1]
    twice = 2 * ((x - walls[wall, 0]) * dy - (y - walls[wall, 1]) * dx) / (dx * dx + dy * dy)
    return x - twice * dy, y + twice * dx


@numba.njit(cache=True)
def _lit_face(wedges: _Wedges, corner: int, x: float, y: float) -> tuple[int, float]:
    """Return which face of a corner a source lights, and its angle from that face [rad].

    Face 0 is the wall that begins in the corner, face 1 the one that ends in it. If the source
    lights both, the corner has no shadow and the face is -1.
    """
    open_rad = wedges.open_rad[corner]
    angle = _angle(wedges, corner, 0, x, y)
    if angle < open_rad - np.pi:
        return 0, angle
    if np.pi < angle <= open_rad:
        return 1, open_rad - angle
    return -1, 0.0


@numba.njit(cache=True)
def _angle(wedges: _Wedges, corner: int, face: int, x: float, y: float) -> float:
    """Return the angle of a point [m] at a corner, from a face into the open [rad], 0 to 2 pi."""
    x, y = x - wedges.tips[corner, 0], y - wedges.tips[corner, 1]
    if face == 0:
        fx, fy = wedges.forward[corner]
        return np.arctan2(fy * x - fx * y, fx * x + fy * y) % (2 * np.pi)
    fx, fy = wedges.backward[corner]
    return np.arctan2(fx * y - fy * x, fx * x + fy * y) % (2 * np.pi)


@numba.njit(cache=True)
def _waves_at_corners(
    scene: _Scene, wedges: _Wedges, source: np.ndarray, hits: np.ndarray
) -> np.ndarray:
    """Return the waves that reach corners and throw a shadow there, directly or by reflection.

    Neighbouring rays that met the same walls form a beam with one image source. A corner in the
    beam is mirrored back to the side of the transmitter, and one ray aimed at its image decides.

    Args:
        scene: What rays can meet.
        wedges: Corners that diffract.
        source: Transmitter [m], shape ``(2,)``.
        hits: From `_shoot`, shape ``(rays, reflections)``.

    Returns:
        Corner, lit face, number of reflections, angle from the lit face [rad], length [m] and
        remaining share of power [1], sorted by corner and face, shape ``(waves, 6)``.
    """
    rays, reflections = hits.shape
    waves = [(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    waves.pop()
    ahead = np.zeros((2, 2))
    no_walls = hits[0, :0]
    for corner in range(len(wedges.points)):
        _add_wave(scene, wedges, source, no_walls, source, wedges.points[corner], corner, waves)
    for count in range(1, reflections + 1):
        # Begin where a beam begins.
        begin = 0
        while begin < rays and (hits[begin - 1, :count] == hits[begin, :count]).all():
            begin += 1
        first = 0
        while first < rays:
            walls = hits[(begin + first) % rays, :count]
            last = first
            while last + 1 < rays and (hits[(begin + last + 1) % rays, :count] == walls).all():
                last += 1
            if walls[count - 1] >= 0:
                # The beam may reach up to its neighbours.
                for side, ray in enumerate((begin + first - 1, begin + last + 1)):
                    angle = (ray + 0.5) * 2 * np.pi / rays
                    ahead[side, 0], ahead[side, 1] = np.cos(angle), np.sin(angle)
                _add_waves(scene, wedges, source, walls, ahead, waves)
            first = last + 1
    found = np.empty((len(waves), 6))
    for k in range(len(waves)):
        for column in range(6):
            found[k, column] = waves[k][column]
    return found[np.argsort(2 * found[:, 0] + found[:, 1], kind="mergesort")]


@numba.njit(cache=True)
def _add_waves(
    scene: _Scene,
    wedges: _Wedges,
    source: np.ndarray,
    walls: np.ndarray,
    ahead: np.ndarray,
    waves: list[tuple[float, float, float, float, float, float]],
) -> None:
    """Append what a beam between two directions, over a sequence of walls, brings to corners."""
    image = source.copy()
    for wall in walls:
        image[0], image[1] = _mirror(scene.grid.walls, wall, image[0], image[1])
    # Mirroring back is affine: three points give it.
    origin, unit_x, unit_y = np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    for wall in walls[::-1]:
        origin[0], origin[1] = _mirror(scene.grid.walls, wall, origin[0], origin[1])
        unit_x[0], unit_x[1] = _mirror(scene.grid.walls, wall, unit_x[0], unit_x[1])
        unit_y[0], unit_y[1] = _mirror(scene.grid.walls, wall, unit_y[0], unit_y[1])
    unit_x -= origin
    unit_y -= origin
    target = np.empty(2)
    for corner in range(len(wedges.points)):
        px, py = wedges.points[corner]
        x = origin[0] + px * unit_x[0] + py * unit_y[0] - source[0]
        y = origin[1] + px * unit_x[1] + py * unit_y[1] - source[1]
        if ahead[0, 0] * y - ahead[0, 1] * x > 0 and x * ahead[1, 1] - y * ahead[1, 0] >= 0:
            target[0], target[1] = source[0] + x, source[1] + y
            _add_wave(scene, wedges, source, walls, image, target, corner, waves)


@numba.njit(cache=True)
def _add_wave(
    scene: _Scene,
    wedges: _Wedges,
    source: np.ndarray,
    walls: np.ndarray,
    image: np.ndarray,
    target: np.ndarray,
    corner: int,
    waves: list[tuple[float, float, float, float, float, float]],
) -> None:
    """Append the wave from an image source to a corner if its path exists and throws a shadow."""
    face, angle = _lit_face(wedges, corner, image[0], image[1])
    x, y = source
    length = np.hypot(target[0] - x, target[1] - y)
    if face < 0 or length == 0:
        return
    ux, uy = (target[0] - x) / length, (target[1] - y) / length
    share, rest, last_wall = 1.0, length, -1
    nowhere, nodes = np.zeros((0, 0)), np.array([0.0, 1.0])
    for count in range(len(walls) + 1):
        piece, wall, transmitted = _follow(
            scene, x, y, ux, uy, last_wall, rest, nowhere, 0.0, 0.0, nodes, nodes
        )
        share *= transmitted
        if wall != (walls[count] if count < len(walls) else -1):
            return
        if wall >= 0:
            x, y = x + piece * ux, y + piece * uy
            ux, uy, reflectance = _reflect(scene, wall, ux, uy)
            share *= reflectance
            rest -= piece
            last_wall = wall
    before = np.hypot(image[0] - wedges.tips[corner, 0], image[1] - wedges.tips[corner, 1])
    before = max(MIN_PIECE_M, before)
    waves.append((float(corner), float(face), float(len(walls)), angle, before, share))


def _transition_table() -> np.ndarray:
    """Return Kouyoumjian and Pathak's transition function at the squares of `_ROOTS`."""
    s, c = scipy.special.fresnel(np.sqrt(2 / np.pi) * _ROOTS)
    tail = np.sqrt(np.pi / 2) * ((0.5 - c) - 1j * (0.5 - s))
    return 2j * _ROOTS * np.exp(1j * _ROOTS**2) * tail


_ROOTS_PER_UNIT = 512
_ROOTS = np.arange(4 * _ROOTS_PER_UNIT + 2) / _ROOTS_PER_UNIT
_TRANSITION = _transition_table()


@numba.njit(cache=True)
def _transition(root: float) -> complex:
    """Return the transition function of a square (Kouyoumjian and Pathak 1974, eq. 26)."""
    if root >= 4:
        inverse = 1 / (root * root)
        return 1 - 0.75 * inverse**2 + 0.5j * inverse * (1 - 3.75 * inverse**2)
    position = root * _ROOTS_PER_UNIT
    k = int(position)
    return _TRANSITION[k] + (position - k) * (_TRANSITION[k + 1] - _TRANSITION[k])


@numba.njit(cache=True)
def _shape(open_rad: float) -> tuple[float, float, float, float, float]:
    """Return the open angle of a wedge, n pi [rad], and what `_wedge_gain` needs of it.

    Its cosine and sine, and those of pi over 2 n.
    """
    edge = np.pi / 2 * np.pi / open_rad
    return open_rad, np.cos(open_rad), np.sin(open_rad), np.cos(edge), np.sin(edge)


@numba.njit(cache=True)
def _halves(angle: float, open_rad: float) -> tuple[float, float, float, float, float]:
    """Return an angle at a corner [rad] and what `_wedge_gain` needs of it.

    Cosine and sine of its half, and of its half over n, where n pi is the open angle.
    """
    scaled = angle / 2 * np.pi / open_rad
    return angle, np.cos(angle / 2), np.sin(angle / 2), np.cos(scaled), np.sin(scaled)


@numba.njit(cache=True)
def _wedge_gain(
    shape: tuple[float, float, float, float, float],
    source: tuple[float, float, float, float, float],
    target: tuple[float, float, float, float, float],
    length: float,
    near: complex,
    far: complex,
) -> float:
    """Return the squared diffraction coefficient of a wedge [m] (eq. ``wedge``).

    Each of its four terms belongs to the edge of a shadow or of a reflection: if ``delta`` is the
    angle to that edge, ``cot(delta / 2n) F(2 k length sin^2(delta / 2))``, where ``delta`` is
    taken modulo 2 n pi, nearest to zero. Sums of angles are formed without a further sine.

    Args:
        shape: `_shape` of the wedge.
        source: `_halves` of the source's angle from the lit face. Only measured so are Luebbers'
            coefficients the same in both directions.
        target: `_halves` of the receiver's angle from the lit face.
        length: Distance parameter s s' / (s + s') [m].
        near: Reflection coefficient of the lit face, at the angle of the source.
        far: Reflection coefficient of the other face, at the angle of the receiver.
    """
    open_rad, open_cos, open_sin, edge_cos, edge_sin = shape
    n = open_rad / np.pi
    wavenumber = 2 * np.pi / WAVELENGTH_M
    root = np.sqrt(2 * wavenumber * length)
    total = 0j
    for sign in (-1, 1):
        # The sum or the difference beta of both angles: its half, and its half over n.
        beta = target[0] + sign * source[0]
        half_cos = target[1] * source[1] - sign * target[2] * source[2]
        half_sin = target[2] * source[1] + sign * target[1] * source[2]
        scaled_cos = target[3] * source[3] - sign * target[4] * source[4]
        scaled_sin = target[4] * source[3] + sign * target[3] * source[4]
        for side in (-1, 1):
            delta = np.pi + side * beta
            sine = half_cos
            if abs(delta) > open_rad:
                turn = 1 if delta > 0 else -1
                delta -= turn * 2 * open_rad
                sine = half_cos * open_cos + turn * side * half_sin * open_sin
            if abs(delta) < 1e-9:
                # Limit of the term on the edge.
                term = np.sqrt(np.pi / 2) * (1 + 1j) * n * root * (1 if delta > 0 else -1)
            else:
                cot = (edge_cos * scaled_cos - side * edge_sin * scaled_sin) / (
                    edge_sin * scaled_cos + side * edge_cos * scaled_sin
                )
                term = cot * _transition(root * abs(sine))
            if sign > 0:
                term *= far if side > 0 else near
            total += term
    return (total.real**2 + total.imag**2) / (8 * np.pi * wavenumber * n * n)


@numba.njit(cache=True)
def _bend(
    scene: _Scene,
    wedges: _Wedges,
    first_span: np.ndarray,
    spans: np.ndarray,
    waves: np.ndarray,
    reflections: int,
    rays_per_turn: int,
    power: np.ndarray,
    cell_sums: np.ndarray,
) -> None:
    """Add what corners diffract into their shadows.

    Args:
        scene: What rays can meet.
        wedges: Corners that diffract.
        first_span: Cells that each corner sees, as from `corner_spans`.
        spans: Cells that each corner sees.
        waves: From `_waves_at_corners`, shape ``(waves, 6)``.
        reflections: Most walls that a path may touch, before and behind the corner together.
        rays_per_turn: Rays round a corner, per full turn.
        power: Receives what arrives at cell centres without a reflection behind the corner.
        cell_sums: Receives power times area of what is reflected behind the corner.
    """
    begin = 0
    while begin < len(waves):
        end = begin
        corner, face = int(waves[begin, 0]), int(waves[begin, 1])
        while end < len(waves) and waves[end, 0] == corner and waves[end, 1] == face:
            end += 1
        group = waves[begin:end]
        near = np.empty(len(group), np.complex128)
        halves = np.empty((len(group), 5))
        for k in range(len(group)):
            near[k] = _reflection(np.sin(group[k, 3]), scene.permittivity, scene.is_vertical)
            halves[k] = _halves(group[k, 3], wedges.open_rad[corner])
        mine = spans[first_span[corner] : first_span[corner + 1]]
        _bend_to_cells(scene, wedges, corner, face, group, halves, near, mine, power)
        if reflections > 0:
            _bend_to_walls(
                scene,
                wedges,
                corner,
                face,
                group,
                halves,
                near,
                reflections,
                rays_per_turn,
                cell_sums,
            )
        begin = end


@numba.njit(cache=True)
def _bend_to_cells(
    scene: _Scene,
    wedges: _Wedges,
    corner: int,
    face: int,
    waves: np.ndarray,
    halves: np.ndarray,
    near: np.ndarray,
    spans: np.ndarray,
    power: np.ndarray,
) -> None:
    """Add what a corner brings to the centres of the cells it sees, for all waves on one face."""
    size, cell_size_m = scene.grid.size, scene.grid.cell_size_m
    open_rad = wedges.open_rad[corner]
    px, py = wedges.points[corner]
    tx, ty = wedges.tips[corner]
    shape = _shape(open_rad)
    least_rad = np.pi + waves[:, 3].min() - 1e-9
    for row, start, stop in spans:
        y = (size - row - 0.5) * cell_size_m
        for col in range(start, stop):
            x = (col + 0.5) * cell_size_m
            angle = _angle(wedges, corner, face, x, y)
            if not least_rad < angle < open_rad:
                continue
            behind = max(MIN_PIECE_M, np.hypot(x - tx, y - ty))
            far = _reflection(np.sin(open_rad - angle), scene.permittivity, scene.is_vertical)
            target = _halves(angle, open_rad)
            total = 0.0
            for k in range(len(waves)):
                total += _bent(shape, waves[k], halves[k], target, behind, near[k], far) / behind
            power[row, col] += total * _transmitted(scene, px, py, x, y)


@numba.njit(cache=True)
def _bent(
    shape: tuple[float, float, float, float, float],
    wave: np.ndarray,
    source: np.ndarray,
    target: tuple[float, float, float, float, float],
    behind: float,
    near: complex,
    far: complex,
) -> float:
    """Return the power of a bent wave times its distance from the corner [1/m]; 0 if not in shadow.

    With the distance s' before and s behind the corner that is the share left, times
    ``|D|^2 / (s' (s + s'))`` (eq. ``wedge``).
    """
    before, share = wave[4], wave[5]
    # Cells exactly on the edge must not fall between light and shadow.
    if target[0] < np.pi + source[0] - 1e-9:
        return 0.0
    total = before + behind
    gain = _wedge_gain(shape, source, target, before * behind / total, near, far)
    return share * gain / (before * max(MIN_PATH_M, total))


@numba.njit(cache=True)
def _bend_to_walls(
    scene: _Scene,
    wedges: _Wedges,
    corner: int,
    face: int,
    waves: np.ndarray,
    halves: np.ndarray,
    near: np.ndarray,
    reflections: int,
    rays_per_turn: int,
    cell_sums: np.ndarray,
) -> None:
    """Add what a corner brings to cells over further reflections, for all waves on one face."""
    open_rad = wedges.open_rad[corner]
    shape = _shape(open_rad)
    # The whole of any possible shadow, so that the rays do not depend on the waves.
    rays = int(np.ceil((open_rad - np.pi) / (2 * np.pi) * rays_per_turn))
    width = (open_rad - np.pi) / rays
    if face == 0:
        face_rad = np.arctan2(wedges.forward[corner, 1], wedges.forward[corner, 0])
    else:
        face_rad = np.arctan2(wedges.backward[corner, 1], wedges.backward[corner, 0])
    inverse = np.empty((reflections + 1, len(NODES_M)))
    for ray in range(rays):
        angle = np.pi + (ray + 0.5) * width
        far = _reflection(np.sin(open_rad - angle), scene.permittivity, scene.is_vertical)
        target = _halves(angle, open_rad)
        # Waves with few reflections before the corner may have many behind it.
        inverse[:] = 0.0
        for k in range(len(waves)):
            before = int(waves[k, 2])
            for node in range(len(NODES_M) if before < reflections else 0):
                bent = _bent(shape, waves[k], halves[k], target, NODES_M[node], near[k], far)
                for count in range(reflections - before + 1):
                    inverse[count, node] += bent
        direction = face_rad - angle if face == 0 else face_rad + angle
        ux, uy = np.cos(direction), np.sin(direction)
        x, y = wedges.tips[corner, 0] + TIP_M * ux, wedges.tips[corner, 1] + TIP_M * uy
        share, travelled, wall = 1.0, TIP_M, -1
        for count in range(reflections + 1):
            if inverse[count, 0] == 0:
                break
            for node in range(len(NODES_M)):
                inverse[count, node] = 1 / inverse[count, node]
            weight = width * share if count > 0 else 0.0
            length, wall, transmitted = _follow(
                scene,
                x,
                y,
                ux,
                uy,
                wall,
                np.inf,
                cell_sums,
                weight,
                travelled,
                NODES_M,
                inverse[count],
            )
            if wall < 0:
                break
            x, y = x + length * ux, y + length * uy
            ux, uy, reflectance = _reflect(scene, wall, ux, uy)
            share *= transmitted * reflectance
            travelled += length
