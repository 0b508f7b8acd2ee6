"""Rays in the streets: straight on to the next wall, weaker behind cars, and back from the wall.

`radiodiff.simulate.ray_tracing` sends them round a transmitter, `radiodiff.simulate.diffraction`
round corners. Compiled code is cached per file, see `radiodiff.simulate.grid`.
"""

from typing import NamedTuple

import numpy as np
from scipy.constants import c as LIGHT_M_PER_S

from radiodiff.simulate.cars import car_loss_db
from radiodiff.simulate.compiled import njit
from radiodiff.simulate.grid import WallGrid, first_cell, meet_wall, next_cell
from radiodiff.units import CARRIER_HZ

__all__ = [
    "MIN_PATH_M",
    "WAVELENGTH_M",
    "EmpiricalLosses",
    "Load",
    "Ray",
    "RayScene",
    "follow_piece",
    "follow_ray",
    "mirror",
    "reflect",
    "reflection",
    "transmitted_share",
]

WAVELENGTH_M = LIGHT_M_PER_S / CARRIER_HZ
#: Distance below which power grows no more, for whole paths [m].
MIN_PATH_M = 1.0
#: Rounding that a hit on a wall may be off by [m].
SLACK_M = 1e-6


class EmpiricalLosses(NamedTuple):
    """What interactions cost in the empirical model."""

    reflection_db: float
    """Loss of a reflection [dB]."""
    min_incidence_db: float
    """Loss of a sharp bend at a right angle to a face [dB]."""
    max_incidence_db: float
    """Loss of a sharp bend at grazing incidence [dB]."""
    diffraction_db: float
    """Further loss of a bend by half a turn [dB]; in proportion to the angle."""


class RayScene(NamedTuple):
    """What a ray can meet on a tile."""

    grid: WallGrid
    """Walls without the sides of the tile."""
    cars: np.ndarray
    """Cells inside cars, bool, shape ``(size, size)``, or ``(0, 0)`` for none."""
    car_db_per_m: float
    """Loss of a path per metre inside a car [dB/m]."""
    permittivity: complex
    """Complex relative permittivity of the walls."""
    is_vertical: bool
    """Whether the electric field is parallel to the walls' edges."""
    is_empirical: bool
    """Whether interactions cost ``losses`` instead of what theory says of the material."""
    losses: EmpiricalLosses


class Ray(NamedTuple):
    """Begin and direction of a straight piece of a ray."""

    x: float
    """Begin [m], in open ground or on ``last_wall``."""
    y: float
    ux: float
    """Direction, a unit vector."""
    uy: float
    last_wall: int
    """Wall that the ray comes from, or -1."""


class Load(NamedTuple):
    """What a ray leaves in the cells it passes: ``weight * length / inverse``."""

    weight: float
    """What the ray carries at its begin; 0 leaves nothing."""
    travelled: float
    """Length of the path before this piece [m]."""
    nodes: np.ndarray
    """Lengths of paths [m], ascending, two or more."""
    inverse: np.ndarray
    """Density that a path brings, inverted, at these lengths; linear between them."""


@njit
def transmitted_share(scene: RayScene, x0: float, y0: float, x1: float, y1: float) -> float:
    """Return the share of power that cars leave to a straight path [1]."""
    if len(scene.cars) == 0:
        return 1.0
    loss_db = car_loss_db(scene.cars, scene.grid.cell_size_m, x0, y0, x1, y1, scene.car_db_per_m)
    return 10 ** (-loss_db / 10)


@njit
def follow_piece(
    scene: RayScene, ray: Ray, reach: float, cell_sums: np.ndarray, load: Load
) -> tuple[float, int, float]:
    """Follow a ray to the next wall and leave in every cell what it carries there.

    Args:
        scene: What the ray can meet.
        ray: Begin and direction.
        reach: Where the ray ends at the latest [m].
        cell_sums: Receives what the ray leaves in the cells passed.
        load: What it leaves there.

    Returns:
        Length of this piece [m], the wall that ends it or -1, and the share of power that cars
        left to it [1].
    """
    grid = scene.grid
    size = grid.size
    x, y, ux, uy, last_wall = ray
    weight, travelled, nodes, inverse = load
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


@njit
def follow_ray(
    scene: RayScene,
    ray: Ray,
    width: float,
    travelled: float,
    nodes: np.ndarray,
    inverse: np.ndarray,
    cell_sums: np.ndarray,
    hits: np.ndarray,
) -> None:
    """Follow a ray through its reflections; behind the first it leaves power in the cells.

    Args:
        scene: What the ray can meet.
        ray: Begin and direction.
        width: Width of the ray [rad].
        travelled: Length of the path before the ray [m].
        nodes: See `Load`.
        inverse: See `Load`; before the first reflection, before the second and so on, shape
            ``(pieces, len(nodes))``. The ray ends with the last piece.
        cell_sums: Receives power times area.
        hits: Receives the walls met, shape ``(pieces - 1,)`` or more.
    """
    share = 1.0
    for count in range(len(inverse)):
        weight = width * share if count > 0 else 0.0
        load = Load(weight, travelled, nodes, inverse[count])
        length, wall, transmitted = follow_piece(scene, ray, np.inf, cell_sums, load)
        if wall < 0 or count + 1 == len(inverse):
            break
        hits[count] = wall
        ray, reflectance = reflect(scene, ray, length, wall)
        share *= transmitted * reflectance
        travelled += length


@njit
def reflection(sine: float, permittivity: complex, is_vertical: bool) -> complex:
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


@njit
def reflect(scene: RayScene, ray: Ray, length: float, wall: int) -> tuple[Ray, float]:
    """Return the ray behind its reflection by a wall, and the reflectance of power [1]."""
    walls = scene.grid.walls
    dx, dy = walls[wall, 2] - walls[wall, 0], walls[wall, 3] - walls[wall, 1]
    wall_m = np.hypot(dx, dy)
    nx, ny = dy / wall_m, -dx / wall_m
    x, y, ux, uy, _ = ray
    sine = -(ux * nx + uy * ny)
    if scene.is_empirical:
        reflectance = 10 ** (-scene.losses.reflection_db / 10)
    else:
        reflectance = abs(reflection(sine, scene.permittivity, scene.is_vertical)) ** 2
    ahead = Ray(x + length * ux, y + length * uy, ux + 2 * sine * nx, uy + 2 * sine * ny, wall)
    return ahead, reflectance


@njit
def mirror(walls: np.ndarray, wall: int, x: float, y: float) -> tuple[float, float]:
    """Return the image of a point [m] behind a wall."""
    dx, dy = walls[wall, 2] - walls[wall, 0], walls[wall, 3] - walls[wall, 1]
    twice = 2 * ((x - walls[wall, 0]) * dy - (y - walls[wall, 1]) * dx) / (dx * dx + dy * dy)
    return x - twice * dy, y + twice * dx
