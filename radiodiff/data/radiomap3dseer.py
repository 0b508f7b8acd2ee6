"""RadioMap3DSeer's folder layout: buildings with heights, transmitters on roofs."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from radiodiff import units
from radiodiff.data.images import DatasetError, check_size, list_pairs, read_gray
from radiodiff.data.sample import RadioMapSample
from radiodiff.data.splits import Split, Splits, split_maps
from radiodiff.scene import Scene

__all__ = ["RadioMap3DSeer", "building_height_m"]

#: Side of a cell [m].
CELL_SIZE_M = 1.0

#: Heights of gray level 1 and of 256, one beyond the last [m].
_LOWEST_M, _HIGHEST_M = 6.6, 19.8


def building_height_m(gray: np.ndarray) -> np.ndarray:
    """Return the heights [m] of 8-bit gray levels of a building or antenna image.

    ``h = 6.6 + 13.2 (gray - 1) / 255``; 0 m where the level is 0, without a building. In an
    antenna image the level is the height of the roof; the antenna stands 3 m above it. Measured
    on the dataset's outlines, which list heights.
    """
    height = _LOWEST_M + (np.asarray(gray, dtype=float) - 1) * (_HIGHEST_M - _LOWEST_M) / 255
    return np.where(np.asarray(gray) > 0, height, 0.0)


class RadioMap3DSeer(Dataset[RadioMapSample]):
    """Radio maps at street level of transmitters on roofs, in RadioMap3DSeer's folder layout.

    The dataset has the 701 tiles of RadioMapSeer, 256 x 256 cells of 1 m, with 80 transmitters
    each; IRT2 at 3.5 GHz. Source: C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*,
    arXiv:2212.11777.

    What path gain a gray level stands for is not known to us for certain, so samples are gray
    levels in [-1, 1] and have no path gain in dB. The condition's channels are the height of the
    buildings, as gray level in [0, 1] (see `building_height_m`), and the transmitter, whose cell
    is one of a building.

    Args:
        root: Folder that holds ``gain/`` and ``png/``.
        split: Which tiles, see `split_maps`; they are numbered as RadioMapSeer's.
        splits: Where the dataset is cut, see `split_maps`.
        max_maps: Use only the first so many tiles of the split; all if ``None``.

    Raises:
        DatasetError: If a folder is missing or holds no map of the split.
    """

    def __init__(
        self, root: Path, split: Split, *, splits: Splits = "city", max_maps: int | None = None
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.gain_dir = self.root / "gain"
        self.building_dir = self.root / "png" / "buildingsWHeight"
        self.antenna_dir = self.root / "png" / "antennasWHeight"
        for folder in (self.gain_dir, self.building_dir, self.antenna_dir):
            if not folder.is_dir():
                raise DatasetError(
                    f"no folder {folder}: {self.root} must hold RadioMap3DSeer's layout, unpack "
                    "the dataset there"
                )
        pairs = list_pairs(self.gain_dir)
        self.maps = split_maps(self.root, split, sorted({m for m, _ in pairs}), splits=splits)
        self.maps = self.maps[:max_maps]
        if not self.maps:
            raise DatasetError(
                f"no {split} map among the {len(pairs)} files of {self.gain_dir}: the folder is "
                "incomplete, or holds RadioMapSeer, whose gains lie one folder deeper"
            )
        kept = set(self.maps)
        self.pairs = sorted(pair for pair in pairs if pair[0] in kept)
        self._shape: tuple[int, ...] | None = None

    @property
    def names(self) -> list[str]:
        """Names of all samples, in order."""
        return [f"{map_id}_{transmitter}" for map_id, transmitter in self.pairs]

    def __len__(self) -> int:
        """Return the number of maps: tiles times transmitters."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Read one sample.

        Raises:
            DatasetError: If a file is missing, unreadable or of another size, or an antenna image
                is empty; names the file.
        """
        map_id, transmitter = self.pairs[index]
        name = f"{map_id}_{transmitter}"
        paths = (
            self.gain_dir / f"{name}.png",
            self.building_dir / f"{map_id}.png",
            self.antenna_dir / f"{name}.png",
        )
        gray, heights, antenna = images = [read_gray(path) for path in paths]
        first = self.gain_dir / "{}_{}.png".format(*self.pairs[0])
        if self._shape is None:
            self._shape = gray.shape if index == 0 else read_gray(first).shape
        check_size(paths[0], gray.shape, first, self._shape)
        for path, image in zip(paths, images, strict=True):
            if image.shape != gray.shape:
                raise DatasetError(f"{paths[0]} is {gray.shape}, but {path} is {image.shape}")
        if not antenna.any():
            raise DatasetError(f"{paths[2]} shows no antenna: expected one cell above 0")
        transmitter_map = np.zeros(gray.shape, np.float32)
        cell = np.unravel_index(antenna.argmax(), gray.shape)
        transmitter_map[cell] = 1
        condition = np.stack([heights.astype(np.float32) / 255, transmitter_map])
        return RadioMapSample(
            radio_map=units.gray_to_model(torch.from_numpy(gray).float() / 255)[None],
            condition=torch.from_numpy(condition),
            scene=Scene(
                building_mask=torch.from_numpy(heights > 0),
                transmitter_cell=torch.tensor([int(place) for place in cell]),
                cell_size_m=torch.tensor(CELL_SIZE_M),
                cars_mask=torch.zeros(gray.shape, dtype=torch.bool),
                cars_known=torch.tensor(False),
                measured_gain_db=torch.full(gray.shape, torch.nan, dtype=torch.float64),
                name=name,
            ),
            outdoor_mask=torch.from_numpy(heights == 0)[None],
            name=name,
            threshold=torch.tensor(torch.nan),
        )
