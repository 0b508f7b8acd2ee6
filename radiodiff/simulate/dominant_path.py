"""Path gain along the one dominant path to every cell: the engine behind our simulated maps.

The dominant path model replaces the many rays of a ray tracer by the single path with the least
loss. With line of sight that is the straight line; elsewhere it is a string pulled tight round
building corners, and every corner costs a fixed loss plus one that grows with the angle it bends
the path by. Source: R. Wahl et al., *Dominant Path Prediction Model for Urban Scenarios*, IST
Mobile and Wireless Communications Summit 2005; the loss terms here were fitted to RadioMapSeer by
``experiments/calibrate_dominant_path.py``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from shapely import Polygon

from radiodiff.simulate.roofs import RoofLosses, find_roofs, improve_over_roofs, roof_edges
from radiodiff.simulate.streets import (
    NO_CARS,
    BendLosses,
    find_streets,
    lose_in_cars,
    trace_streets,
)
from radiodiff.simulate.tile import Tile
from radiodiff.simulate.visibility import find_corners
from radiodiff.units import REFERENCE_LOSS_DB, line_of_sight_gain_db

__all__ = ["DominantPath", "DominantPathConstants", "PathMap"]


@dataclass(frozen=True)
class DominantPathConstants:
    """Loss of a path without line of sight.

    A path of total length l [m] that bends by the angles a_i [rad] has the loss

        47.86 + bent_db + 10 exponent log10(l)
        + sum_i (corner_db + angle_db_per_rad min(a_i, angle_limit_rad))

    in dB (eq. ``bent-path``). It bends round corners of buildings, or twice over their roofs, in
    space then and with constants of its own (eq. ``roof-path``). All but the height, which is the
    dataset's own, were fitted to the DPM gains of seven transmitters of RadioMapSeer's map 0 by
    ``experiments/calibrate_dominant_path.py``, over cells above the noise and over all.
    """

    exponent: float = 2.88
    """Path-loss exponent of the whole bent path [1]; with line of sight it is 2.5."""
    bent_db: float = -1.09
    """Added once to the loss of every path that bends [dB]."""
    corner_db: float = 1.74
    """Loss of a bend however small its angle [dB]."""
    angle_db_per_rad: float = 9.24
    """Further loss of a bend per angle [dB/rad]."""
    angle_limit_rad: float = 1.22
    """Angle beyond which a bend costs no more [rad]."""
    roof_height_m: float = 23.5
    """Height of the roofs above the antennas [m]; infinite for no paths over roofs."""
    roof_bend_db: float = 3.28
    """Loss of a bend over a roof however small its angle [dB]."""
    roof_angle_db_per_rad: float = 6.8
    """Further loss of a bend over a roof per angle [dB/rad]."""
    roof_limit_rad: float = 1.17
    """Angle beyond which a bend over a roof costs no more [rad]."""
    street_db: float = 4.4
    """Loss of a path over roofs per street it crosses after the first [dB]."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            may_be_zero = name in ("corner_db", "roof_bend_db", "street_db")
            if name != "bent_db" and not (value > 0 or (may_be_zero and value == 0)):
                least = "0 or more" if may_be_zero else "above 0"
                raise ValueError(f"expected {name} to be {least}, got {value}")


class PathMap(NamedTuple):
    """What `DominantPath.trace` finds for one transmitter."""

    path_gain_db: np.ndarray
    """Path gain [dB], shape ``(rows, columns)``; NaN in buildings, -inf where no path leads."""
    bends: np.ndarray
    """Bends of the dominant path, shape ``(rows, columns)``; 0 with line of sight, 2 over roofs,
    -1 without a path and in buildings."""
    over_roofs: np.ndarray
    """Whether the dominant path leads over roofs, bool, shape ``(rows, columns)``."""


class DominantPath(Tile):
    """Dominant-path propagation on one tile; built once, then asked for many transmitters.

    A path is a tight string round corners, and each corner passes on the string that reached it
    with the least loss alone. Because loss is logarithmic in the total length, another one with
    less loss at corners may have won farther on; the real maps are matched better without it
    below the noise, and as well above it.

    Args:
        buildings: Outlines [m], y up; clipped to the tile, overlaps are merged.
        size: Cells along each side of the tile, or its rows and columns.
        cell_size_m: Side of a cell [m].
        constants: Loss of bent paths.
        cars: Cells inside cars, bool, shape ``(rows, columns)``; paths along the streets lose
            ``CAR_DB_PER_M`` in them (eq. ``car-loss``). Paths over the roofs climb out of their
            way, and a path with line of sight goes straight even if it would pay to go round.

    Raises:
        ValueError: If ``size`` or ``cell_size_m`` is not positive, or ``cars`` has another shape.
    """

    def __init__(
        self,
        buildings: Sequence[Polygon],
        size: int | tuple[int, int],
        cell_size_m: float,
        constants: DominantPathConstants | None = None,
        *,
        cars: np.ndarray | None = None,
    ) -> None:
        super().__init__(buildings, size, cell_size_m)
        if cars is not None and np.shape(cars) != self.shape:
            raise ValueError(f"expected cars of shape {self.shape}, got {np.shape(cars)}")
        self.constants = constants or DominantPathConstants()
        has_cars = cars is not None and np.any(cars)
        self.cars = self._on_grid(cars) if has_cars else np.zeros((0, 0), bool)
        corners = find_corners(self._geometry, self.extents_m)
        self._streets = find_streets(self._walls, corners, self.size, self.cell_size_m)
        self._in_cars = lose_in_cars(self._streets, self.cars) if has_cars else NO_CARS
        self._roofs = None
        if np.isfinite(self.constants.roof_height_m):
            walls = self._walls[:-4]  # without the sides of the tile
            self._roofs = find_roofs(walls, self._grid_mask, self.cell_size_m)

    def path_gain_db(self, transmitter_m: tuple[float, float]) -> np.ndarray:
        """Return the path gain [dB] of every cell centre, shape ``(rows, columns)``.

        Args:
            transmitter_m: Position ``(x, y)`` [m].

        Returns:
            Path gain [dB], float64; NaN in buildings, -inf where no path leads.

        Raises:
            ValueError: If the transmitter lies in a building or outside the tile.
        """
        return self.trace(transmitter_m).path_gain_db

    def trace(self, transmitter_m: tuple[float, float]) -> PathMap:
        """Return the path gain [dB] and the number of bends of every cell centre.

        Args:
            transmitter_m: Position ``(x, y)`` [m].

        Raises:
            ValueError: If the transmitter lies in a building or outside the tile.
        """
        return self._path_maps(transmitter_m, [True])[0]

    def trace_without_and_with_cars(
        self, transmitter_m: tuple[float, float]
    ) -> tuple[PathMap, PathMap]:
        """Return what `trace` would without the cars and with them, in little more than its time.

        Args:
            transmitter_m: Position ``(x, y)`` [m].

        Raises:
            ValueError: If the transmitter lies in a building or outside the tile.
        """
        without, with_cars = self._path_maps(transmitter_m, [False, True])
        return without, with_cars

    def _path_maps(
        self, transmitter_m: tuple[float, float], with_cars: Sequence[bool]
    ) -> list[PathMap]:
        """Return one result without or with cars for each entry; the roofs are searched once."""
        source = self._source(transmitter_m)
        centers = (np.arange(self.size) + 0.5) * self.cell_size_m
        distance_m = np.hypot(centers - source[0], centers[::-1, None] - source[1])
        streets = [
            trace_streets(
                self._streets, self._in_cars if cars else NO_CARS, source, self._corner_losses
            )
            for cars in with_cars
        ]
        # Nothing beats line of sight; elsewhere the roofs must beat the dearest of the maps.
        bent = [np.where(bends == 0, -np.inf, loss_db) for loss_db, bends in streets]
        roofs_db = np.maximum.reduce(bent)
        improved = self._improve_over_roofs(roofs_db, source)
        result = []
        for bent_db, (loss_db, bends) in zip(bent, streets, strict=True):
            over_roofs = improved & (roofs_db < bent_db)
            bent_db = np.where(over_roofs, roofs_db, bent_db)
            bends[over_roofs] = 2
            # Where a cell is visible the search leaves what is lost in cars.
            path_gain_db = np.where(
                bends == 0,
                line_of_sight_gain_db(distance_m) - loss_db,
                -(REFERENCE_LOSS_DB + self.constants.bent_db + bent_db),
            )
            path_gain_db[self._grid_mask] = np.nan
            bends[self._grid_mask] = -1
            result.append(PathMap(*map(self._cut, (path_gain_db, bends, over_roofs))))
        return result

    @property
    def _corner_losses(self) -> BendLosses:
        """Loss of paths along the streets."""
        c = self.constants
        losses = (c.exponent, c.corner_db, c.angle_db_per_rad, c.angle_limit_rad)
        return BendLosses(*map(float, losses))

    def _improve_over_roofs(self, loss_db: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Lower losses where a path over the roofs is better; return where, bool."""
        if self._roofs is None:
            return np.zeros(loss_db.shape, dtype=bool)
        c = self.constants
        bends = (c.exponent, c.roof_bend_db, c.roof_angle_db_per_rad, c.roof_limit_rad)
        losses = RoofLosses(*map(float, (c.roof_height_m, c.street_db, *bends)))
        source_edges = roof_edges(self._roofs.grid, source[None])
        return improve_over_roofs(loss_db, self._roofs, source, source_edges, losses)
