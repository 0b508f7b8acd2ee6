"""Corners that diffract, which of them see each other, and how much gets round one.

Two models say how much: the uniform theory for a wedge of finite conductivity (`wedge_gain`), and
an empirical loss by both angles (`corner_loss_db`).

Sources: R. G. Kouyoumjian, P. H. Pathak, *A Uniform Geometrical Theory of Diffraction for an Edge
in a Perfectly Conducting Surface*, Proceedings of the IEEE 62, 1974; R. J. Luebbers, *Finite
Conductivity Uniform GTD Versus Knife Edge Diffraction in Prediction of Propagation Path Loss*,
IEEE Transactions on Antennas and Propagation 32, 1984; manual of WinProp, "Computation of Each
Ray's Contribution" and structure ``Model_UrbanIRT`` (end points of the empirical loss).

Compiled code is cached per file, see `radiodiff.simulate.grid`.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import shapely

from radiodiff.simulate.compiled import njit
from radiodiff.simulate.rays import WAVELENGTH_M, EmpiricalLosses
from radiodiff.simulate.visibility import (
    CORNER_OFFSET_M,
    find_corners,
    is_visible,
    nearest_walls,
)

__all__ = [
    "EDGE_DB",
    "NO_LINKS",
    "Angle",
    "Links",
    "Opening",
    "Wedges",
    "angle_at",
    "corner_loss_db",
    "find_links",
    "find_wedges",
    "halved",
    "lit_face",
    "opening",
    "wedge_gain",
]


#: Loss on the edge of a shadow, where half of the field is left [dB].
EDGE_DB = 6.0


class Wedges(NamedTuple):
    """Corners that diffract; ``n`` of them."""

    points: np.ndarray
    """Positions [m], 5 cm in front of the tip, shape ``(n, 2)``."""
    tips: np.ndarray
    """Positions [m], shape ``(n, 2)``."""
    backward: np.ndarray
    """Unit vectors along the face that ends in the corner, away from it, shape ``(n, 2)``."""
    forward: np.ndarray
    """Unit vectors along the face that begins in the corner, away from it, shape ``(n, 2)``."""
    open_rad: np.ndarray
    """Angle of the open ground between the faces [rad], pi to 2 pi, shape ``(n,)``."""


class Links(NamedTuple):
    """Straight pieces between corners that can be in each other's shadow, in compressed rows."""

    first_link: np.ndarray
    """Where the links of each corner begin in the next field, shape ``(n + 1,)``."""
    targets: np.ndarray
    """The corner that each link leads to, shape ``(links,)``."""


NO_LINKS = Links(np.zeros(1, np.int64), np.zeros(0, np.int64))


class Opening(NamedTuple):
    """The open angle of a wedge, n pi, and what `wedge_gain` needs of it."""

    rad: float
    cos: float
    sin: float
    edge_cos: float
    """Cosine of pi over 2 n."""
    edge_sin: float
    """Sine of pi over 2 n."""


class Angle(NamedTuple):
    """An angle at a corner, and what `wedge_gain` needs of it; n pi is the open angle."""

    rad: float
    half_cos: float
    """Cosine of its half."""
    half_sin: float
    """Sine of its half."""
    scaled_cos: float
    """Cosine of its half over n."""
    scaled_sin: float
    """Sine of its half over n."""


def find_wedges(
    geometry: shapely.MultiPolygon, extents_m: tuple[float, float], min_turn_rad: float
) -> Wedges:
    """Return the corners of `find_corners` that turn by more than an angle [rad]."""
    points, backward, forward = find_corners(geometry, extents_m)
    inward = backward + forward
    cross = backward[:, 0] * forward[:, 1] - backward[:, 1] * forward[:, 0]
    inside_rad = np.arctan2(np.abs(cross), (backward * forward).sum(1))
    keep = np.pi - inside_rad > min_turn_rad
    inward = inward[keep] / np.hypot(*inward[keep].T)[:, None]
    return Wedges(
        points=points[keep],
        tips=points[keep] + CORNER_OFFSET_M * inward,
        backward=backward[keep],
        forward=forward[keep],
        open_rad=2 * np.pi - inside_rad[keep],
    )


@njit
def find_links(walls: np.ndarray, wedges: Wedges) -> Links:
    """Return which corners see each other, both throwing a shadow if lit by the other.

    Args:
        walls: Segments from `radiodiff.simulate.visibility.find_walls`, shape ``(walls, 4)``.
        wedges: Corners that diffract.
    """
    points = wedges.points
    n = len(points)
    first_link = np.zeros(n + 1, np.int64)
    targets = np.empty(8 * n + 16, np.int64)
    used = 0
    for c in range(n):
        angles, sectors = nearest_walls(walls, points[c, 0], points[c, 1])
        for t in range(n):
            if t == c or lit_face(wedges, c, points[t, 0], points[t, 1])[0] < 0:
                continue
            if lit_face(wedges, t, points[c, 0], points[c, 1])[0] < 0:
                continue
            if not is_visible(walls, angles, sectors, points[c], points[t]):
                continue
            if used == len(targets):
                targets = np.concatenate((targets, targets))
            targets[used] = t
            used += 1
        first_link[c + 1] = used
    return Links(first_link, targets[:used].copy())


@njit
def lit_face(wedges: Wedges, corner: int, x: float, y: float) -> tuple[int, float]:
    """Return which face of a corner a source lights, and its angle from that face [rad].

    Face 0 is the wall that begins in the corner, face 1 the one that ends in it. If the source
    lights both, the corner has no shadow and the face is -1.
    """
    open_rad = wedges.open_rad[corner]
    angle = angle_at(wedges, corner, 0, x, y)
    if angle < open_rad - np.pi:
        return 0, angle
    if np.pi < angle <= open_rad:
        return 1, open_rad - angle
    return -1, 0.0


@njit
def angle_at(wedges: Wedges, corner: int, face: int, x: float, y: float) -> float:
    """Return the angle of a point [m] at a corner, from a face into the open [rad], 0 to 2 pi."""
    x, y = x - wedges.tips[corner, 0], y - wedges.tips[corner, 1]
    if face == 0:
        fx, fy = wedges.forward[corner]
        return np.arctan2(fy * x - fx * y, fx * x + fy * y) % (2 * np.pi)
    fx, fy = wedges.backward[corner]
    return np.arctan2(fx * y - fy * x, fx * x + fy * y) % (2 * np.pi)


def _transition_table() -> np.ndarray:
    """Return Kouyoumjian and Pathak's transition function at the squares of `_ROOTS`."""
    s, c = scipy.special.fresnel(np.sqrt(2 / np.pi) * _ROOTS)
    tail = np.sqrt(np.pi / 2) * ((0.5 - c) - 1j * (0.5 - s))
    return 2j * _ROOTS * np.exp(1j * _ROOTS**2) * tail


_ROOTS_PER_UNIT = 512
_ROOTS = np.arange(4 * _ROOTS_PER_UNIT + 2) / _ROOTS_PER_UNIT
_TRANSITION = _transition_table()


@njit
def _transition(root: float) -> complex:
    """Return the transition function of a square (Kouyoumjian and Pathak 1974, eq. 26)."""
    if root >= 4:
        inverse = 1 / (root * root)
        return 1 - 0.75 * inverse**2 + 0.5j * inverse * (1 - 3.75 * inverse**2)
    position = root * _ROOTS_PER_UNIT
    k = int(position)
    return _TRANSITION[k] + (position - k) * (_TRANSITION[k + 1] - _TRANSITION[k])


@njit
def opening(open_rad: float) -> Opening:
    """Return the open angle of a wedge [rad] with its functions."""
    edge = np.pi / 2 * np.pi / open_rad
    return Opening(open_rad, np.cos(open_rad), np.sin(open_rad), np.cos(edge), np.sin(edge))


@njit
def halved(rad: float, open_rad: float) -> Angle:
    """Return an angle at a corner [rad] with its functions, for an open angle [rad]."""
    scaled = rad / 2 * np.pi / open_rad
    return Angle(rad, np.cos(rad / 2), np.sin(rad / 2), np.cos(scaled), np.sin(scaled))


@njit
def wedge_gain(
    shape: Opening,
    source: Angle,
    target: Angle,
    length: float,
    near: complex,
    far: complex,
) -> float:
    """Return the squared diffraction coefficient of a wedge [m] (eq. ``wedge``).

    Each of its four terms belongs to the edge of a shadow or of a reflection: if ``delta`` is the
    angle to that edge, ``cot(delta / 2n) F(2 k length sin^2(delta / 2))``, where ``delta`` is
    taken modulo 2 n pi, nearest to zero. Sums of angles are formed without a further sine.

    Args:
        shape: Open angle of the wedge.
        source: The source's angle from the lit face. Only measured so are Luebbers' coefficients
            the same in both directions.
        target: The receiver's angle from the lit face.
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
        beta = target.rad + sign * source.rad
        half_cos = target.half_cos * source.half_cos - sign * target.half_sin * source.half_sin
        half_sin = target.half_sin * source.half_cos + sign * target.half_cos * source.half_sin
        scaled_cos = target.scaled_cos * source.scaled_cos
        scaled_cos -= sign * target.scaled_sin * source.scaled_sin
        scaled_sin = target.scaled_sin * source.scaled_cos
        scaled_sin += sign * target.scaled_cos * source.scaled_sin
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


@njit
def corner_loss_db(
    source_rad: float, target_rad: float, open_rad: float, losses: EmpiricalLosses
) -> float:
    """Return the loss of a bend into the shadow of a corner [dB] (eq. ``empirical-corner``).

    It is 6 dB where the ray goes straight on, on the edge of the shadow, grows with the angle
    between both rays and as either ray becomes grazing, up to ``max_incidence_db +
    diffraction_db``, and stays the same with source and target exchanged. These end points are
    WinProp's; the shape between them is ours, as WinProp's curves are not published in numbers.

    Args:
        source_rad: The source's angle from the lit face [rad].
        target_rad: The receiver's angle from the lit face [rad], in the shadow: pi or more beyond
            the source.
        open_rad: Open angle of the wedge [rad].
        losses: End points of the loss.
    """
    bend_rad = max(0.0, target_rad - source_rad - np.pi)
    # How near each ray is to the face on its own side: 1 along it, 0 at a right angle or more.
    grazing = 1 - 0.5 * np.sin(min(source_rad, np.pi / 2))
    grazing -= 0.5 * np.sin(min(open_rad - target_rad, np.pi / 2))
    spread_db = losses.max_incidence_db - losses.min_incidence_db
    incidence_db = losses.min_incidence_db + spread_db * grazing
    bent = np.sin(min(bend_rad, np.pi / 2))
    return EDGE_DB + (incidence_db - EDGE_DB) * bent + losses.diffraction_db * bend_rad / np.pi
