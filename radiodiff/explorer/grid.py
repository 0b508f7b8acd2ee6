"""Predictions and simulations of one tile for any transmitter in it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from radiodiff import units
from radiodiff.predictors import Predictor, RadioDiffPipeline, make_predictor
from radiodiff.sampler import SamplerConfig
from radiodiff.scene import (
    Scene,
    as_cell,
    as_mask,
    check_cell_size,
    make_scene,
    stack_scenes,
)
from radiodiff.scoring import rmse
from radiodiff.simulate import DominantPath, trace_outlines

__all__ = [
    "ExplorerTile",
    "TransmitterGrid",
    "covered_share",
    "nearest_transmitter",
    "predict_grid",
    "spread_cells",
]

logger = logging.getLogger(__name__)

#: Transmitters that go through the network at once.
_BATCH = 8
#: Transmitters between two lines of progress.
_LOG_EVERY = 25


class TransmitterGrid(NamedTuple):
    """Radio maps of several transmitters of one tile, predicted and simulated."""

    building_mask: np.ndarray
    """True inside buildings, shape ``(h, w)``."""
    cell_size_m: float
    """Side of a cell [m]."""
    samples: int
    """Samples behind each mean and each standard deviation."""
    cells: np.ndarray
    """Transmitters' cells ``(row, col)``, shape ``(n, 2)``."""
    mean_db: np.ndarray
    """Mean of the predicted path gain [dB], NaN in buildings, shape ``(n, h, w)``."""
    std_db: np.ndarray
    """Standard deviation of the samples [dB], NaN in buildings, shape ``(n, h, w)``."""
    truth_db: np.ndarray
    """Simulated path gain [dB], held at the floor, NaN in buildings, shape ``(n, h, w)``."""
    rmse_db: np.ndarray
    """Error of the mean over the outdoor cells of each map [dB], shape ``(n,)``."""


def covered_share(path_gain_db: np.ndarray, threshold_db: float) -> np.ndarray:
    """Return the share of outdoor cells at or above a threshold [1] (eq. ``covered-share``).

    Args:
        path_gain_db: Path gain [dB], NaN in buildings, shape ``(..., h, w)``.
        threshold_db: Least path gain that counts as covered [dB].

    Returns:
        One share a map, shape ``(...)``.

    Raises:
        ValueError: If a map has no outdoor cell.
    """
    values = np.asarray(path_gain_db)
    outdoors = ~np.isnan(values)
    if not outdoors.any((-2, -1)).all():
        raise ValueError("expected an outdoor cell in each map, got NaN everywhere")
    covered = outdoors & (values >= threshold_db)
    return covered.sum((-2, -1)) / outdoors.sum((-2, -1))


def spread_cells(building_mask: np.ndarray, count: int) -> np.ndarray:
    """Return outdoor cells spread over a tile, each as far from those before as can be.

    The first is the outdoor cell nearest to the middle. There is no chance in it: the first cells
    of a longer list are the shorter list.

    Args:
        building_mask: True inside buildings, shape ``(h, w)``.
        count: Number of cells.

    Returns:
        Cells ``(row, col)``, shape ``(count, 2)``, int64.

    Raises:
        ValueError: If there are fewer than ``count`` outdoor cells, or ``count`` is below 1.
    """
    mask = np.asarray(building_mask, dtype=bool)
    cells = np.argwhere(~mask)
    if not 1 <= count <= len(cells):
        raise ValueError(
            f"expected a count between 1 and the {len(cells)} outdoor cells, got {count}"
        )
    middle = (np.array(mask.shape) - 1) / 2
    chosen = [int(((cells - middle) ** 2).sum(1).argmin())]
    nearest = np.full(len(cells), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, ((cells - cells[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(nearest.argmax()))
    return cells[chosen]


def nearest_transmitter(cells: np.ndarray, cell: tuple[int, int]) -> int:
    """Return the index of the cell nearest to another; the first of several.

    Args:
        cells: Cells ``(row, col)``, shape ``(n, 2)``.
        cell: ``(row, col)``.

    Raises:
        ValueError: If there are no cells.
    """
    if len(cells) == 0:
        raise ValueError("expected at least one cell to choose from, got none")
    return int(((np.asarray(cells) - np.asarray(cell)) ** 2).sum(1).argmin())


class ExplorerTile:
    """One tile with the network and the simulator, ready for any transmitter.

    Every transmitter gets the same noise, so that a map changes by the transmitter alone and going
    back gives the same map again.

    Args:
        predictor: A pipeline of a run that was told of buildings and transmitter only, or any
            other predictor of scenes; or a name or a folder for `make_predictor`.
        buildings: Outlines [m], y up, or the cells inside buildings, shape ``(h, w)``; from cells
            the simulator's outlines are traced.
        cell_size_m: Side of a cell [m].
        size: Cells along a side, or rows and columns; needed with outlines.
        sampler: Steps and the like; the run's if ``None``.
        samples: Samples per transmitter, 2 or more: one has no spread.
        seed: Seed of the noise.

    Raises:
        ValueError: If the buildings are no map, or are everywhere, or ``size`` is missing or
            another than that of the map, or ``samples`` is below 2, or the run does not suit.
    """

    def __init__(
        self,
        predictor: RadioDiffPipeline | Predictor | str | Path,
        buildings: Sequence[Polygon] | ArrayLike,
        cell_size_m: float,
        *,
        size: int | tuple[int, int] | None = None,
        sampler: SamplerConfig | None = None,
        samples: int = 4,
        seed: int = 0,
    ) -> None:
        if samples < 2:
            raise ValueError(f"expected 2 samples or more, for their spread; got {samples}")
        cell_size_m = check_cell_size(cell_size_m)
        shape = (size, size) if isinstance(size, int) else size
        mask, outlines = None, buildings
        if not _are_outlines(buildings):
            mask = as_mask(buildings, "buildings").numpy()
            if mask.ndim != 2 or shape not in (None, mask.shape):
                raise ValueError(
                    f"expected buildings as a map of {shape or '(rows, columns)'} cells, got shape "
                    f"{mask.shape}"
                )
            shape, outlines = mask.shape, trace_outlines(mask, cell_size_m)
        if shape is None:
            raise ValueError("expected size, the cells along a side, with outlines; got none")
        self.engine = DominantPath(outlines, tuple(shape), cell_size_m)
        self.building_mask = self.engine.building_mask if mask is None else mask
        if self.building_mask.all():
            raise ValueError("expected an outdoor cell for the transmitter, got buildings only")
        if isinstance(predictor, str | Path):
            predictor = make_predictor(predictor)
        self.predictor, self.cell_size_m = predictor, float(cell_size_m)
        self.sampler, self.samples, self.seed = sampler, samples, seed
        if isinstance(predictor, RadioDiffPipeline):
            # Its own checks: of the run, of the map's sides, of the cells.
            predictor(self.scene(self.first_cell), sampler=sampler)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.building_mask.shape

    @property
    def first_cell(self) -> tuple[int, int]:
        """Outdoor cell nearest to the middle."""
        row, col = spread_cells(self.building_mask, 1)[0]
        return int(row), int(col)

    def scene(self, cell: tuple[int, int]) -> Scene:
        """Return the tile with a transmitter in a cell."""
        return make_scene(self.building_mask, cell, cell_size_m=self.cell_size_m)

    def check(self, cell: tuple[int, int]) -> None:
        """Raise unless a transmitter may stand in a cell.

        Raises:
            ValueError: If the cell lies outside the tile or inside a building.
        """
        row, col = as_cell(cell)
        rows, columns = self.shape
        if not (0 <= row < rows and 0 <= col < columns):
            raise ValueError(
                f"expected a transmitter between row 0 and {rows - 1}, column 0 and {columns - 1}, "
                f"got row {row}, column {col}"
            )
        if self.building_mask[row, col]:
            raise ValueError(f"row {row}, column {col} is inside a building: choose a street")

    def maps(self, cells: Sequence[tuple[int, int]]) -> TransmitterGrid:
        """Predict and simulate the radio maps of transmitters.

        Args:
            cells: ``(row, col)`` of each.

        Raises:
            ValueError: If one lies outside the tile or inside a building.
        """
        for cell in cells:
            self.check(cell)
        mean_db, std_db = self._predict(np.asarray(cells))
        truth_db = np.stack([self._simulate(cell) for cell in cells])
        outdoors = torch.from_numpy(~self.building_mask).expand(len(cells), 1, -1, -1)
        predicted, simulated = (torch.from_numpy(x)[:, None] for x in (mean_db, truth_db))
        error_db = rmse(predicted, simulated, outdoors)
        return TransmitterGrid(
            building_mask=self.building_mask,
            cell_size_m=self.cell_size_m,
            samples=self.samples,
            cells=np.asarray(cells),
            mean_db=mean_db,
            std_db=std_db,
            truth_db=truth_db,
            rmse_db=error_db.numpy(),
        )

    def _predict(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the samples [dB], each ``(n, h, w)``."""
        scenes = stack_scenes([self.scene(cell) for cell in cells])
        if not isinstance(self.predictor, RadioDiffPipeline):
            drawn = self.predictor(scenes, samples=self.samples, seed=self.seed).float()
            drawn[:, :, self.building_mask] = torch.nan
            return drawn.mean(1).numpy(), drawn.std(1, correction=drawn.shape[1] > 1).numpy()
        condition = self.predictor.condition(scenes)
        seeds = range(self.seed, self.seed + self.samples)
        radio_maps = self.predictor.radio_maps(
            condition.repeat_interleave(self.samples, 0),
            sampler=self.sampler,
            generator=[torch.Generator().manual_seed(seed) for _ in cells for seed in seeds],
        )
        path_gain_db = self.predictor.path_gain_db(radio_maps[:, 0].cpu())
        path_gain_db[:, self.building_mask] = torch.nan
        samples = path_gain_db.unflatten(0, (len(cells), self.samples))
        return samples.mean(1).numpy(), samples.std(1).numpy()

    def _simulate(self, cell: tuple[int, int]) -> np.ndarray:
        """Return the simulator's path gain [dB], held at floor and peak, ``(h, w)``."""
        row, col = int(cell[0]), int(cell[1])
        position_m = units.cell_to_m((row, col), size=self.shape[0], cell_size_m=self.cell_size_m)
        path_gain_db = self.engine.path_gain_db(position_m)
        # Traced outlines cut the corners of cells off: such a cell counts as the mask says.
        path_gain_db[np.isnan(path_gain_db)] = units.FLOOR_DB
        path_gain_db[self.building_mask] = np.nan
        return path_gain_db.clip(units.FLOOR_DB, units.PEAK_DB).astype(np.float32)


def _are_outlines(buildings: object) -> bool:
    """Whether buildings are polygons, none at all among them, and not cells."""
    is_list = isinstance(buildings, Sequence) and not isinstance(buildings, str)
    return is_list and all(isinstance(entry, BaseGeometry) for entry in buildings)


def predict_grid(
    predictor: RadioDiffPipeline | Predictor | str | Path,
    buildings: Sequence[Polygon] | ArrayLike,
    cell_size_m: float,
    *,
    size: int | tuple[int, int] | None = None,
    transmitters: int = 100,
    sampler: SamplerConfig | None = None,
    samples: int = 4,
    seed: int = 0,
) -> TransmitterGrid:
    """Predict and simulate the radio maps of transmitters spread over a tile.

    Progress goes to the package's log.

    Args:
        predictor: A pipeline of a run that was told of buildings and transmitter only, or any
            other predictor of scenes; or a name or a folder for `make_predictor`.
        buildings: Outlines [m], y up, or the cells inside buildings, shape ``(h, w)``.
        cell_size_m: Side of a cell [m].
        size: Cells along a side, or rows and columns; needed with outlines.
        transmitters: Number of transmitters, see `spread_cells`.
        sampler: Steps and the like; the run's if ``None``.
        samples: Samples per transmitter, 2 or more.
        seed: Seed of the noise, the same for every transmitter.

    Raises:
        ValueError: If there are too few outdoor cells, or the arguments do not suit; see
            `RadioMapExplorer`.
    """
    tile = ExplorerTile(
        predictor, buildings, cell_size_m, size=size, sampler=sampler, samples=samples, seed=seed
    )
    cells = spread_cells(tile.building_mask, transmitters)
    parts = []
    for start in range(0, transmitters, _BATCH):
        parts.append(tile.maps(cells[start : start + _BATCH]))
        done = min(start + _BATCH, transmitters)
        if done == transmitters or done // _LOG_EVERY > start // _LOG_EVERY:
            logger.info("%d of %d transmitters", done, transmitters)
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("cells", "mean_db", "std_db", "truth_db", "rmse_db")
    }
    return parts[0]._replace(**joined)
