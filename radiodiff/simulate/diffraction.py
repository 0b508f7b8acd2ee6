"""Waves that bend round corners: who reaches a corner, and what arrives in the shadow behind it.

Waves at a corner come from the transmitter, from its images in the wall sequences that the fan of
rays met (`radiodiff.simulate.ray_tracing` says more), and straight from other corners. Behind the
corner they go on to cell centres, to further corners, or in a fan of rays over further walls.
Compiled code is cached per file, see `radiodiff.simulate.grid`.
"""

from typing import NamedTuple

import numpy as np

from radiodiff.simulate.compiled import njit
from radiodiff.simulate.rays import (
    MIN_PATH_M,
    WAVELENGTH_M,
    Load,
    Ray,
    RayScene,
    follow_piece,
    follow_ray,
    mirror,
    reflect,
    reflection,
    transmitted_share,
)
from radiodiff.simulate.visibility import CornerSpans
from radiodiff.simulate.wedges import (
    Angle,
    Links,
    Opening,
    Wedges,
    angle_at,
    corner_loss_db,
    halved,
    lit_face,
    opening,
    wedge_gain,
)
from radiodiff.units import FLOOR_DB

__all__ = ["Wave", "diffract", "waves_at_corners"]

#: Least length of the pieces of a path before and behind a corner [m].
MIN_PIECE_M = 0.1
#: Distances behind a corner where its wave is evaluated; between them its inverse is linear [m].
NODES_M = 4.0 ** np.arange(6)
#: Finer ones, as the empirical model has more curvature near the corner [m].
EMPIRICAL_NODES_M = 2.0 ** np.arange(0, 10.5, 0.5)
#: In the empirical model waves with a path gain below this at a corner end there: 10 dB below the
#: floor, from where they lose 6 dB and more [dB].
MIN_WAVE_DB = FLOOR_DB - 10
_MIN_POWER = 10 ** (MIN_WAVE_DB / 10) * (4 * np.pi / WAVELENGTH_M) ** 2
#: Rays leave a corner from this far in front of its tip, so as not to hit its own walls [m].
TIP_M = 1e-3


class Wave(NamedTuple):
    """A wave that reaches a corner and throws a shadow there."""

    corner: int
    face: int
    """The lit face, see `radiodiff.simulate.wedges.lit_face`."""
    left: int
    """Interactions that its paths may still have behind this corner."""
    angle: Angle
    """Angle of the source, or of its image, from the lit face."""
    before_m: float
    """Length of the path up to the corner [m]."""
    share: float
    """Share of power that walls and cars left [1]."""
    near: complex
    """Reflection coefficient of the lit face at this angle."""


@njit
def diffract(
    scene: RayScene,
    wedges: Wedges,
    links: Links,
    seen: CornerSpans,
    source: np.ndarray,
    hits: np.ndarray,
    corners: int,
    rays_per_turn: int,
    power: np.ndarray,
    cell_sums: np.ndarray,
) -> None:
    """Add what corners diffract into their shadows.

    Args:
        scene: What rays can meet.
        wedges: Corners that diffract.
        links: Which corners see each other.
        seen: Cells that each corner sees.
        source: Transmitter [m], shape ``(2,)``.
        hits: Walls that rays round the transmitter met, -1 behind the last, shape
            ``(rays, interactions)``.
        corners: Most corners on one path, 1 or more.
        rays_per_turn: Rays round a corner, per full turn.
        power: Receives what arrives at cell centres without a reflection behind the corner.
        cell_sums: Receives power times area of what is reflected behind the corner.
    """
    waves = waves_at_corners(scene, wedges, source, hits)
    begin = 0
    for _ in range(corners - 1):
        end = len(waves)
        for k in range(begin, end):
            if waves[k].left > 0:
                _bend_to_corners(scene, wedges, links, waves[k], waves)
        begin = end
    order = np.array([2 * wave.corner + wave.face for wave in waves])
    waves = [waves[k] for k in np.argsort(order, kind="mergesort")]
    begin = 0
    while begin < len(waves):
        end = begin
        corner, face = waves[begin].corner, waves[begin].face
        while end < len(waves) and waves[end].corner == corner and waves[end].face == face:
            end += 1
        group = waves[begin:end]
        spans = seen.spans[seen.first_span[corner] : seen.first_span[corner + 1]]
        _bend_to_cells(scene, wedges, group, spans, power)
        left = 0
        for wave in group:
            left = max(left, wave.left)
        if left > 0:
            _bend_to_walls(scene, wedges, group, left, rays_per_turn, cell_sums)
        begin = end


@njit
def waves_at_corners(
    scene: RayScene, wedges: Wedges, source: np.ndarray, hits: np.ndarray
) -> list[Wave]:
    """Return the waves that reach corners and throw a shadow there, directly or by reflection.

    Neighbouring rays that met the same walls form a beam with one image source. A corner in the
    beam is mirrored back to the side of the transmitter, and one ray aimed at its image decides.

    Args:
        scene: What rays can meet.
        wedges: Corners that diffract.
        source: Transmitter [m], shape ``(2,)``.
        hits: Walls that rays round the transmitter met, shape ``(rays, interactions)``. In the
            empirical model the corner counts as one of the interactions of a path, in theory it
            comes on top.
    """
    rays, interactions = hits.shape
    left = interactions - 1 if scene.is_empirical else interactions
    waves = [Wave(0, 0, 0, halved(0.0, np.pi), 0.0, 0.0, 0j)]  # tells the compiler the type
    waves.pop()
    ahead = np.zeros((2, 2))
    if left < 0:
        return waves
    no_walls = hits[0, :0]
    for corner in range(len(wedges.points)):
        target = wedges.points[corner]
        _add_wave(scene, wedges, source, no_walls, source, target, corner, left, waves)
    for count in range(1, left + 1):
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
                _add_waves(scene, wedges, source, walls, ahead, left - count, waves)
            first = last + 1
    return waves


@njit
def _add_waves(
    scene: RayScene,
    wedges: Wedges,
    source: np.ndarray,
    walls: np.ndarray,
    ahead: np.ndarray,
    left: int,
    waves: list[Wave],
) -> None:
    """Append what a beam between two directions, over a sequence of walls, brings to corners."""
    image = source.copy()
    for wall in walls:
        image[0], image[1] = mirror(scene.grid.walls, wall, image[0], image[1])
    # Mirroring back is affine: three points give it.
    origin, unit_x, unit_y = np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    for wall in walls[::-1]:
        origin[0], origin[1] = mirror(scene.grid.walls, wall, origin[0], origin[1])
        unit_x[0], unit_x[1] = mirror(scene.grid.walls, wall, unit_x[0], unit_x[1])
        unit_y[0], unit_y[1] = mirror(scene.grid.walls, wall, unit_y[0], unit_y[1])
    unit_x -= origin
    unit_y -= origin
    target = np.empty(2)
    for corner in range(len(wedges.points)):
        px, py = wedges.points[corner]
        x = origin[0] + px * unit_x[0] + py * unit_y[0] - source[0]
        y = origin[1] + px * unit_x[1] + py * unit_y[1] - source[1]
        if ahead[0, 0] * y - ahead[0, 1] * x > 0 and x * ahead[1, 1] - y * ahead[1, 0] >= 0:
            target[0], target[1] = source[0] + x, source[1] + y
            _add_wave(scene, wedges, source, walls, image, target, corner, left, waves)


@njit
def _add_wave(
    scene: RayScene,
    wedges: Wedges,
    source: np.ndarray,
    walls: np.ndarray,
    image: np.ndarray,
    target: np.ndarray,
    corner: int,
    left: int,
    waves: list[Wave],
) -> None:
    """Append the wave from an image source to a corner if its path exists and throws a shadow."""
    face, angle = lit_face(wedges, corner, image[0], image[1])
    x, y = source
    length = np.hypot(target[0] - x, target[1] - y)
    if face < 0 or length == 0:
        return
    ray = Ray(x, y, (target[0] - x) / length, (target[1] - y) / length, -1)
    share, rest = 1.0, length
    nodes = np.array([0.0, 1.0])
    nowhere, nothing = np.zeros((0, 0)), Load(0.0, 0.0, nodes, nodes)
    for count in range(len(walls) + 1):
        piece, wall, transmitted = follow_piece(scene, ray, rest, nowhere, nothing)
        share *= transmitted
        if wall != (walls[count] if count < len(walls) else -1):
            return
        if wall >= 0:
            ray, reflectance = reflect(scene, ray, piece, wall)
            share *= reflectance
            rest -= piece
    before = np.hypot(image[0] - wedges.tips[corner, 0], image[1] - wedges.tips[corner, 1])
    before = max(MIN_PIECE_M, before)
    if scene.is_empirical and share < _MIN_POWER * before**2:
        return
    near = reflection(np.sin(angle), scene.permittivity, scene.is_vertical)
    halves = halved(angle, wedges.open_rad[corner])
    waves.append(Wave(corner, face, left, halves, before, share, near))


@njit
def _bend_to_corners(
    scene: RayScene, wedges: Wedges, links: Links, wave: Wave, waves: list[Wave]
) -> None:
    """Append what a wave brings to the corners that lie in its shadow, in the empirical model."""
    corner = wave.corner
    open_rad = wedges.open_rad[corner]
    px, py = wedges.points[corner]
    tx, ty = wedges.tips[corner]
    for k in range(links.first_link[corner], links.first_link[corner + 1]):
        target = links.targets[k]
        x, y = wedges.points[target]
        angle = angle_at(wedges, corner, wave.face, x, y)
        if angle < np.pi + wave.angle.rad - 1e-9:
            continue
        length = np.hypot(wedges.tips[target, 0] - tx, wedges.tips[target, 1] - ty)
        before = wave.before_m + max(MIN_PIECE_M, length)
        loss_db = corner_loss_db(wave.angle.rad, angle, open_rad, scene.losses)
        share = wave.share * 10 ** (-loss_db / 10)
        if share < _MIN_POWER * before**2:
            continue
        share *= transmitted_share(scene, px, py, x, y)
        face, source_rad = lit_face(wedges, target, px, py)
        ahead = halved(source_rad, wedges.open_rad[target])
        waves.append(Wave(target, face, wave.left - 1, ahead, before, share, 0j))


@njit
def _bend_to_cells(
    scene: RayScene, wedges: Wedges, waves: list[Wave], spans: np.ndarray, power: np.ndarray
) -> None:
    """Add what a corner brings to the centres of the cells it sees, for all waves on one face."""
    size, cell_size_m = scene.grid.size, scene.grid.cell_size_m
    corner, face = waves[0].corner, waves[0].face
    open_rad = wedges.open_rad[corner]
    px, py = wedges.points[corner]
    tx, ty = wedges.tips[corner]
    shape = opening(open_rad)
    flattest = np.inf
    for wave in waves:
        flattest = min(flattest, wave.angle.rad)
    least_rad = np.pi + flattest - 1e-9
    for row, start, stop in spans:
        y = (size - row - 0.5) * cell_size_m
        for col in range(start, stop):
            x = (col + 0.5) * cell_size_m
            angle = angle_at(wedges, corner, face, x, y)
            if not least_rad < angle < open_rad:
                continue
            behind = max(MIN_PIECE_M, np.hypot(x - tx, y - ty))
            far = reflection(np.sin(open_rad - angle), scene.permittivity, scene.is_vertical)
            target = halved(angle, open_rad)
            total = 0.0
            for wave in waves:
                total += _bent(scene, shape, wave, target, behind, far) / behind
            power[row, col] += total * transmitted_share(scene, px, py, x, y)


@njit
def _bent(
    scene: RayScene, shape: Opening, wave: Wave, target: Angle, behind: float, far: complex
) -> float:
    """Return the power of a bent wave times its distance from the corner [1/m]; 0 if not in shadow.

    With the distance s' before and s behind the corner that is the share left, times
    ``|D|^2 / (s' (s + s'))`` (eq. ``wedge``), or in the empirical model times ``s / (s + s')^2``
    and what the bend leaves (eq. ``empirical-corner``).
    """
    # Cells exactly on the edge must not fall between light and shadow.
    if target.rad < np.pi + wave.angle.rad - 1e-9:
        return 0.0
    before, total = wave.before_m, wave.before_m + behind
    if scene.is_empirical:
        loss_db = corner_loss_db(wave.angle.rad, target.rad, shape.rad, scene.losses)
        return wave.share * 10 ** (-loss_db / 10) * behind / max(MIN_PATH_M, total) ** 2
    gain = wedge_gain(shape, wave.angle, target, before * behind / total, wave.near, far)
    return wave.share * gain / (before * max(MIN_PATH_M, total))


@njit
def _bend_to_walls(
    scene: RayScene,
    wedges: Wedges,
    waves: list[Wave],
    reflections: int,
    rays_per_turn: int,
    cell_sums: np.ndarray,
) -> None:
    """Add what a corner brings to cells over further reflections, for all waves on one face."""
    nodes = EMPIRICAL_NODES_M if scene.is_empirical else NODES_M
    corner, face = waves[0].corner, waves[0].face
    open_rad = wedges.open_rad[corner]
    shape = opening(open_rad)
    # The whole of any possible shadow, so that the rays do not depend on the waves.
    rays = int(np.ceil((open_rad - np.pi) / (2 * np.pi) * rays_per_turn))
    width = (open_rad - np.pi) / rays
    if face == 0:
        face_rad = np.arctan2(wedges.forward[corner, 1], wedges.forward[corner, 0])
    else:
        face_rad = np.arctan2(wedges.backward[corner, 1], wedges.backward[corner, 0])
    inverse = np.empty((reflections + 1, len(nodes)))
    hits = np.empty(reflections, np.int32)
    for ray in range(rays):
        angle = np.pi + (ray + 0.5) * width
        far = reflection(np.sin(open_rad - angle), scene.permittivity, scene.is_vertical)
        pieces = _invert_densities(
            scene, shape, waves, halved(angle, open_rad), far, nodes, inverse
        )
        direction = face_rad - angle if face == 0 else face_rad + angle
        ux, uy = np.cos(direction), np.sin(direction)
        x, y = wedges.tips[corner, 0] + TIP_M * ux, wedges.tips[corner, 1] + TIP_M * uy
        begin = Ray(x, y, ux, uy, -1)
        follow_ray(scene, begin, width, TIP_M, nodes, inverse[:pieces], cell_sums, hits)


@njit
def _invert_densities(
    scene: RayScene,
    shape: Opening,
    waves: list[Wave],
    target: Angle,
    far: complex,
    nodes: np.ndarray,
    inverse: np.ndarray,
) -> int:
    """Write what waves bring behind a corner in one direction, inverted, at the nodes.

    Args:
        scene: What rays can meet.
        shape: Open angle of the corner.
        waves: Waves on one face.
        target: Direction, as an angle from the lit face.
        far: Reflection coefficient of the other face in this direction.
        nodes: Distances behind the corner [m], shape ``(nodes,)``.
        inverse: Receives one row before each reflection, shape ``(reflections + 1, nodes)``.

    Returns:
        Rows that hold anything: pieces of a ray that are worth following.
    """
    reflections = len(inverse) - 1
    inverse[:] = 0.0
    # Waves with few interactions before the corner may have many behind it.
    for wave in waves:
        for node in range(len(nodes) if wave.left > 0 else 0):
            bent = _bent(scene, shape, wave, target, nodes[node], far)
            for count in range(wave.left + 1):
                inverse[count, node] += bent
    for count in range(reflections + 1):
        if inverse[count, 0] == 0:
            return count
        for node in range(len(nodes)):
            inverse[count, node] = 1 / inverse[count, node]
    return reflections + 1
