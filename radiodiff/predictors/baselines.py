"""Predictors made of training maps alone: their mean, the law of distance, the nearest."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from radiodiff import units
from radiodiff.data import RadioMapSample
from radiodiff.predictors.base import check_scale
from radiodiff.progress import show_progress
from radiodiff.scene import Scene, checked_scenes, transmitter_distance_cells

__all__ = ["DistanceLaw", "MeanMap", "NearestMap"]

_MAX_MAPS = 2000


def _chosen(dataset: Dataset[RadioMapSample]) -> list[int]:
    """Return the places of at most 2000 maps spread evenly over a dataset."""
    count = min(len(dataset), _MAX_MAPS)
    return np.linspace(0, len(dataset) - 1, count).astype(int).tolist()


def _batches(dataset: Dataset[RadioMapSample]) -> Iterator[RadioMapSample]:
    """Yield the chosen maps in batches, checked."""
    if dataset is None:
        raise ValueError("this predictor is fitted to training maps: give a dataset")
    chosen = _chosen(dataset)
    done = 0
    with show_progress("read", "training maps") as progress:
        for batch in DataLoader(Subset(dataset, chosen), batch_size=16):
            check_scale(batch)
            yield batch
            done += len(batch.name)
            progress(done, len(chosen))


@dataclass(frozen=True)
class MeanMap:
    """The mean of training maps, whatever the scene.

    Attributes:
        mean_map_db: Mean path gain of each cell over the maps where it is outdoors [dB], shape
            ``(1, h, w)``; the mean over all cells where it never is.
    """

    mean_map_db: Tensor

    @classmethod
    def fit(cls, dataset: Dataset[RadioMapSample]) -> "MeanMap":
        """Fit on at most 2000 maps spread evenly over a dataset.

        Raises:
            ValueError: If the maps are not path gain on the scale of the files.
        """
        total, seen = torch.zeros(()), torch.zeros(())
        for batch in _batches(dataset):
            gain_db = units.model_to_path_gain_db(batch.radio_map).double()
            total = total + (gain_db * batch.outdoor_mask).sum(0)
            seen = seen + batch.outdoor_mask.sum(0)
        return cls(torch.where(seen > 0, total / seen.clamp_min(1), total.sum() / seen.sum()))

    def __call__(self, scenes: Scene, *, samples: int = 1, seed: int = 0) -> Tensor:
        """Return the mean map for each scene, shape ``(b, 1, h, w)``.

        Raises:
            ValueError: If the scenes have other sides than the training maps.
        """
        scenes = checked_scenes(scenes)
        _check_sides(scenes, self.mean_map_db.shape[-2:])
        return self.mean_map_db.expand(len(scenes.building_mask), -1, -1, -1)


@dataclass(frozen=True)
class DistanceLaw:
    """Path gain as a straight line over the logarithm of distance: the best distance can do.

    Attributes:
        offset_db: Path gain at a distance of one cell [dB].
        slope_db: Change of path gain per decade of distance [dB].
    """

    offset_db: float
    slope_db: float

    @classmethod
    def fit(cls, dataset: Dataset[RadioMapSample]) -> "DistanceLaw":
        """Fit by least squares to the outdoor cells of at most 2000 maps spread evenly.

        Raises:
            ValueError: If the maps are not path gain on the scale of the files.
        """
        normal, moment = np.zeros((2, 2)), np.zeros(2)
        for batch in _batches(dataset):
            outdoor = batch.outdoor_mask[:, 0]
            gain_db = units.model_to_path_gain_db(batch.radio_map[:, 0]).double()
            x = transmitter_distance_cells(batch.scene).double().log10()[outdoor].numpy()
            design = np.stack([np.ones_like(x), x])
            normal += design @ design.T
            moment += design @ gain_db[outdoor].numpy()
        return cls(*map(float, np.linalg.solve(normal, moment)))

    def __call__(self, scenes: Scene, *, samples: int = 1, seed: int = 0) -> Tensor:
        """Return the law at the distances of each scene, shape ``(b, 1, h, w)``."""
        distance = transmitter_distance_cells(scenes).double().cpu()
        return (self.offset_db + self.slope_db * distance.log10())[:, None]


@dataclass(frozen=True, eq=False)
class NearestMap:
    """The training map whose scene is most alike, as it is.

    Two scenes are apart by ``(1 - overlap) + distance / diagonal``: the overlap is the intersection
    of their buildings over the union, the distance is that between their transmitters, the
    diagonal that of the map. So 0 are the same buildings and transmitter, 1 is no building in
    common, or a transmitter in the opposite corner.

    Attributes:
        dataset: The training maps; the one that is found is read.
        places: Place of each map that is considered in the dataset, shape ``(n,)``.
        cells: Their transmitters' ``(row, col)``, shape ``(n, 2)``.
        tiles: Which of the building masks is theirs, shape ``(n,)``.
        masks: Different building masks, eight cells a byte, shape ``(m, bytes)``.
        sides: Rows and columns of a map.
    """

    dataset: Dataset[RadioMapSample]
    places: np.ndarray
    cells: np.ndarray
    tiles: np.ndarray
    masks: np.ndarray
    sides: tuple[int, int]

    @classmethod
    def fit(cls, dataset: Dataset[RadioMapSample]) -> "NearestMap":
        """Remember the scenes of at most 2000 maps spread evenly over a dataset.

        Raises:
            ValueError: If the maps are not path gain on the scale of the files.
        """
        number: dict[bytes, int] = {}
        cells, tiles, sides = [], [], (0, 0)
        for batch in _batches(dataset):
            sides = tuple(batch.scene.building_mask.shape[-2:])
            packed = _packed(batch.scene)
            tiles += [number.setdefault(row.tobytes(), len(number)) for row in packed]
            cells.append(batch.scene.transmitter_cell.numpy())
        masks = np.stack([np.frombuffer(mask, np.uint8) for mask in number])
        places = np.array(_chosen(dataset))
        return cls(dataset, places, np.concatenate(cells), np.array(tiles), masks, sides)

    def __call__(self, scenes: Scene, *, samples: int = 1, seed: int = 0) -> Tensor:
        """Return the nearest training map of each scene, shape ``(b, 1, h, w)``.

        Raises:
            ValueError: If the scenes have other sides than the training maps.
        """
        scenes = checked_scenes(scenes)
        _check_sides(scenes, self.sides)
        found = [
            self.dataset[self.nearest(mask, cell)].radio_map
            for mask, cell in zip(
                _packed(scenes), scenes.transmitter_cell.cpu().numpy(), strict=True
            )
        ]
        return units.model_to_path_gain_db(torch.stack(found)).double()

    def nearest(self, packed_mask: np.ndarray, cell: np.ndarray) -> int:
        """Return the place in the dataset of the map whose scene is most alike."""
        common = np.bitwise_count(self.masks & packed_mask).sum(1, dtype=np.int64)
        either = np.bitwise_count(self.masks | packed_mask).sum(1, dtype=np.int64)
        overlap = np.where(either > 0, common / either.clip(1), 1.0)
        distance = np.hypot(*(self.cells - cell).T) / np.hypot(*self.sides)
        return int(self.places[np.argmin(1 - overlap[self.tiles] + distance)])


def _packed(scenes: Scene) -> np.ndarray:
    """Return the building masks of a batch, eight cells a byte, shape ``(b, bytes)``."""
    return np.packbits(scenes.building_mask.cpu().flatten(1).numpy(), axis=1)


def _check_sides(scenes: Scene, sides: tuple[int, int]) -> None:
    """Refuse scenes of other sides than the training maps'."""
    found = tuple(scenes.building_mask.shape[-2:])
    if found != tuple(sides):
        raise ValueError(
            f"expected scenes of {sides[0]} x {sides[1]} cells, as the training maps have, got "
            f"{found[0]} x {found[1]}"
        )
