"""Path gain as the power of many rays: reflections at walls and diffraction at corners.

Seen from above, walls are line segments and rays stay in the plane, but power spreads in space.
A path of the unfolded length ``L`` brings ``(wavelength / 4 pi L)^2``, less what every wall it
touches and every corner it bends at take; a cell gets the sum of the powers of all paths, without
interference. Two models say what an interaction takes:

* ``empirical`` (the default): a reflection takes a constant, and a bend 6 dB on the edge of the
  shadow and more the sharper and the more grazing it is (eq. ``empirical-corner``). The end points
  are those of the empirical model in WinProp, which made RadioMapSeer's IRT maps; the constants are
  fitted to real gains (`experiments/calibrate_ray_tracing.py`). A path has up to ``interactions``
  reflections and corners in all, up to ``corners`` of them corners.
* ``theory``: Fresnel's reflection (eq. ``fresnel``) and the uniform theory of diffraction (eq.
  ``wedge``). Nothing is fitted, and corners are far darker than in RadioMapSeer and in
  `radiodiff.simulate.dominant_path`: at a right-angled concrete corner with 50 m before and behind
  it, a bend by 15 degrees takes 32 to 43 dB more than free space, one by 45 degrees 46 to 54 dB. A
  path has up to ``interactions`` reflections, and bends at one corner besides.

Paths are the direct one, those that only reflect, and those that bend into the shadow of a corner,
with reflections before the first corner and behind the last:

* The direct path is exact, at the centres of the cells.
* Paths that only reflect come from a fan of rays round the transmitter. A ray that is ``width``
  [rad] wide adds what it carries along its length in a cell, so the result is the mean over the
  open part of the cell (eq. ``reflected-ray``).
* Waves at a corner come from the image sources of the wall sequences that the fan met, each path
  checked by one exact ray, and in the empirical model from other corners in sight. From the corner
  on, what reaches a cell without another reflection is exact at its centre, the rest is carried on
  by a fan of rays round the corner.

Left out are paths over roofs and into buildings, scattering at rough walls, what a corner sends
back into the light, reflections between two corners, and waves that reach a corner 10 dB below the
floor of the gray levels or lower (empirical model).

Sources: R. Hoppe, P. Wertz, F. M. Landstorfer, G. Wölfle, *Advanced Ray-Optical Wave Propagation
Modelling for Urban and Indoor Scenarios Including Wideband Properties*, European Transactions on
Telecommunications 14, 2003 (intelligent ray tracing); R. G. Kouyoumjian, P. H. Pathak, *A Uniform
Geometrical Theory of Diffraction for an Edge in a Perfectly Conducting Surface*, Proceedings of
the IEEE 62, 1974; R. J. Luebbers, *Finite Conductivity Uniform GTD Versus Knife Edge Diffraction
in Prediction of Propagation Path Loss*, IEEE Transactions on Antennas and Propagation 32, 1984;
Recommendation ITU-R P.2040 (concrete); manual of WinProp, "Computation of Each Ray's Contribution"
and structure ``Model_UrbanIRT`` (empirical model).

All loops are compiled by Numba, in one thread and without fast-math. Rays are in
`radiodiff.simulate.rays`, what a corner does to them in `wedges` and `diffraction` beside it.
Compiled code is cached per file: after a change in one of them, delete ``__pycache__``.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.constants import epsilon_0 as VACUUM_F_PER_M
from shapely import Polygon

from radiodiff.simulate.cars import CAR_DB_PER_M
from radiodiff.simulate.compiled import njit
from radiodiff.simulate.diffraction import diffract
from radiodiff.simulate.grid import wall_grid
from radiodiff.simulate.rays import (
    MIN_PATH_M,
    WAVELENGTH_M,
    EmpiricalLosses,
    Ray,
    RayScene,
    follow_ray,
    transmitted_share,
)
from radiodiff.simulate.tile import Tile
from radiodiff.simulate.visibility import corner_spans, nearest_walls, visible_spans
from radiodiff.simulate.wedges import EDGE_DB, NO_LINKS, Links, find_links, find_wedges
from radiodiff.units import CARRIER_HZ

__all__ = ["RayTracing", "RayTracingConstants"]

#: Least share of a cell taken as open ground, so that slivers do not magnify single rays [1].
MIN_OPEN_SHARE = 0.05


@dataclass(frozen=True)
class RayTracingConstants:
    """What interactions cost, material of the walls and fineness of the rays.

    The empirical losses are fitted to seven transmitters of one real map. They are sums of what
    all paths bring, so the fit cannot tell the two losses by incidence apart and makes them equal.
    """

    interaction_model: Literal["empirical", "theory"] = "empirical"
    """Fitted losses, or Fresnel's reflection and the uniform theory of diffraction."""
    reflection_db: float = 16.7
    """Empirical model: loss of a reflection [dB]."""
    min_incidence_db: float = 25.6
    """Empirical model: loss of a sharp bend at a right angle to the faces of a corner [dB]."""
    max_incidence_db: float = 25.6
    """Empirical model: loss of a sharp bend at grazing incidence [dB]."""
    diffraction_db: float = 6.0
    """Empirical model: further loss of a bend by half a turn, less in proportion [dB]."""
    corners: int = 4
    """Most corners that a path may bend at; in theory it never bends at more than one."""
    permittivity: float = 5.24
    """Relative permittivity of the walls [1]; concrete after ITU-R P.2040."""
    conductivity_s_per_m: float = 0.185
    """Conductivity of the walls [S/m]; concrete after ITU-R P.2040, 0.0462 f^0.7822 at 5.9 GHz."""
    polarization: Literal["vertical", "horizontal"] = "vertical"
    """Direction of the electric field: along the walls' edges, or in the plane of the map."""
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
        if self.interaction_model not in ("empirical", "theory"):
            raise ValueError(
                "expected interaction_model 'empirical' or 'theory', got "
                f"{self.interaction_model!r}"
            )
        if self.corners < 0:
            raise ValueError(f"expected corners to be 0 or more, got {self.corners}")
        for name in ("reflection_db", "diffraction_db"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"expected {name} to be 0 or more, got {getattr(self, name)}")
        if not EDGE_DB <= self.min_incidence_db <= self.max_incidence_db:
            raise ValueError(
                f"expected min_incidence_db and max_incidence_db to be {EDGE_DB:g} or more, in "
                f"this order, got {self.min_incidence_db} and {self.max_incidence_db}"
            )


class RayTracing(Tile):
    """Ray tracing on one tile; built once, then asked for many transmitters.

    Args:
        buildings: Outlines [m], y up; clipped to the tile, overlaps are merged.
        size: Cells along each side of the tile, or its rows and columns.
        cell_size_m: Side of a cell [m].
        constants: What interactions cost, material of the walls and fineness of the rays.
        cars: Cells inside cars, bool, shape ``(rows, columns)``; paths lose
            ``constants.car_db_per_m`` in them (eq. ``car-loss``).

    Raises:
        ValueError: If ``size`` or ``cell_size_m`` is not positive, or ``cars`` is no such mask.
    """

    def __init__(
        self,
        buildings: Sequence[Polygon],
        size: int | tuple[int, int],
        cell_size_m: float,
        constants: RayTracingConstants | None = None,
        *,
        cars: np.ndarray | None = None,
    ) -> None:
        super().__init__(buildings, size, cell_size_m)
        if cars is not None and (cars.dtype != bool or cars.shape != self.shape):
            raise ValueError(
                f"expected cars to be a bool mask of shape {self.shape}, got {cars.dtype} of "
                f"shape {cars.shape}; rasterize the outlines of the cars on this tile"
            )
        self.constants = constants or RayTracingConstants()
        self._wedges = find_wedges(
            self._geometry, self.extents_m, self.constants.min_corner_turn_rad
        )
        self._spans = corner_spans(self._walls, self._wedges.points, self.size, self.cell_size_m)
        walls = self._walls[:-4].copy()
        self._open_share = _open_share(walls, self.size, self.cell_size_m)
        self._wall_grid = wall_grid(walls, self.size, self.cell_size_m)
        has_cars = cars is not None and cars.any()
        self._grid_cars = self._on_grid(cars) if has_cars else np.zeros((0, 0), bool)

    @property
    def _scene(self) -> RayScene:
        constants = self.constants
        loss_factor = constants.conductivity_s_per_m / (2 * np.pi * CARRIER_HZ * VACUUM_F_PER_M)
        losses = (float(getattr(constants, name)) for name in EmpiricalLosses._fields)
        return RayScene(
            grid=self._wall_grid,
            cars=self._grid_cars,
            car_db_per_m=float(constants.car_db_per_m),
            permittivity=complex(constants.permittivity, -loss_factor),
            is_vertical=constants.polarization == "vertical",
            is_empirical=constants.interaction_model == "empirical",
            losses=EmpiricalLosses(*losses),
        )

    @functools.cached_property
    def _links(self) -> Links:
        return find_links(self._walls, self._wedges)

    def path_gain_db(self, transmitter_m: tuple[float, float], *, interactions: int) -> np.ndarray:
        """Return the path gain [dB] of every cell, shape ``(rows, columns)``.

        Args:
            transmitter_m: Position ``(x, y)`` [m].
            interactions: Most reflections and corners on a path, in theory most reflections; 2
                and 4 stand for RadioMapSeer's IRT2 and IRT4.

        Returns:
            Path gain [dB], float64; NaN in buildings, -inf where nothing arrives.

        Raises:
            ValueError: If the transmitter lies in a building or outside the tile, or if
                ``interactions`` is negative.
        """
        if interactions < 0:
            raise ValueError(f"expected interactions >= 0, got {interactions}; 2 is IRT2, 4 IRT4")
        source = self._source(transmitter_m)
        scene, corners = self._scene, self.constants.corners
        if not scene.is_empirical:
            corners = min(corners, 1)
        hits, cell_sums = _shoot(scene, source, self.constants.rays, interactions)
        power = _direct(scene, self._walls, source)
        if corners > 0:
            diffract(
                scene,
                self._wedges,
                self._links if corners > 1 else NO_LINKS,
                self._spans,
                source,
                hits,
                corners,
                self.constants.corner_rays,
                power,
                cell_sums,
            )
        power += cell_sums / (self._open_share * self.cell_size_m**2)
        with np.errstate(divide="ignore"):
            path_gain_db = 10 * np.log10(power) + 20 * np.log10(WAVELENGTH_M / (4 * np.pi))
        path_gain_db[self._grid_mask] = np.nan
        return self._cut(path_gain_db)


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


@njit
def _direct(scene: RayScene, walls: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return the power of the direct path at the cell centres, ``1 / L^2``, shape as the map."""
    size, cell_size_m = scene.grid.size, scene.grid.cell_size_m
    power = np.zeros((size, size))
    _, sectors = nearest_walls(walls, source[0], source[1])
    for row, start, stop in visible_spans(walls, sectors, source, size, cell_size_m):
        y = (size - row - 0.5) * cell_size_m
        for col in range(start, stop):
            x = (col + 0.5) * cell_size_m
            length = max(MIN_PATH_M, np.hypot(x - source[0], y - source[1]))
            transmitted = transmitted_share(scene, source[0], source[1], x, y)
            power[row, col] = transmitted / length**2
    return power


@njit
def _shoot(
    scene: RayScene, source: np.ndarray, rays: int, reflections: int
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
    inverse = np.empty((reflections + 1, 2))  # the density falls as one over the length
    inverse[:] = nodes
    width = 2 * np.pi / rays
    for ray in range(rays if reflections > 0 else 0):
        angle = (ray + 0.5) * width
        begin = Ray(source[0], source[1], np.cos(angle), np.sin(angle), -1)
        follow_ray(scene, begin, width, 0.0, nodes, inverse, cell_sums, hits[ray])
    return hits, cell_sums
