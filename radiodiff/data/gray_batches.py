"""Batches of RadioMapSeer as bytes: a sixth of what the float samples move between processes.

At 256 x 256 a `radiodiff.data.RadioMapSample` is 832 kB of floats, and filling and moving them
costs a loader process more than decoding the images does. `GrayBatches` reads packed images and
hands out the bytes of a whole batch; `to_samples` makes the floats of them, on the GPU if the
bytes are there:

    batches = BatchSampler(RandomSampler(dataset), batch_size=64, drop_last=True)
    loader = DataLoader(GrayBatches(dataset), batch_size=None, sampler=batches, num_workers=1)
    for batch in loader:
        samples = to_samples(send_to_device(batch, "cuda"))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff import units
from radiodiff.data.images import DatasetError
from radiodiff.data.radiomapseer import RadioMapSample, RadioMapSeer

__all__ = ["GrayBatch", "GrayBatches", "to_samples"]


class GrayBatch(NamedTuple):
    """The images of ``b`` samples as stored."""

    radio_map: Tensor
    """Gray levels of the path gain, uint8, shape ``(b, h, w)``."""
    masks: Tensor
    """Buildings, and cars if used, over 127 where there are any, uint8, shape ``(b, k, h, w)``."""
    transmitter: Tensor
    """Cell of the transmitter, counted along the rows, int64, shape ``(b,)``."""
    name: Sequence[str]
    """``<map>_<transmitter>``, as in the file names."""


class GrayBatches(Dataset[GrayBatch]):
    """The samples of a dataset as batches of bytes; an index is a list of indices.

    Args:
        dataset: Its image folders must be packed, see `pack_dataset`.

    Raises:
        DatasetError: If a folder is not packed.
        ValueError: If the dataset draws or computes something: only images as stored are bytes.
    """

    def __init__(self, dataset: RadioMapSeer) -> None:
        used = _computed(dataset)
        if used:
            raise ValueError(f"bytes hold images as stored, not {', '.join(used)}: use the dataset")
        folders = _folders(dataset)
        for folder in folders:
            if folder not in dataset.packs:
                raise DatasetError(f"{folder} is not packed: `radiodiff data pack {dataset.root}`")
        self.dataset = dataset
        self._gains, *self._masks = (dataset.packs[folder] for folder in folders)
        self._cells: dict[int, int] = {}

    @staticmethod
    def serve(dataset: Dataset) -> bool:
        """Return whether a dataset is RadioMapSeer's, packed, with nothing to draw or compute."""
        if not isinstance(dataset, RadioMapSeer) or _computed(dataset):
            return False
        return all(folder in dataset.packs for folder in _folders(dataset))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, indices: Sequence[int]) -> GrayBatch:
        """Read a batch.

        Raises:
            DatasetError: If an image or a transmitter is missing, or sizes differ; names the file.
        """
        pairs = [self.dataset.pairs[index] for index in indices]
        names = [f"{map_id}_{transmitter}" for map_id, transmitter in pairs]
        gains = self._gains.read_many([f"{name}.png" for name in names])
        maps = [f"{map_id}.png" for map_id, _ in pairs]
        masks = np.empty((len(pairs), len(self._masks), *gains.shape[1:]), np.uint8)
        for channel, pack in enumerate(self._masks):
            if pack.shape[1:] != gains.shape[1:]:
                raise DatasetError(
                    f"{self._gains.path} holds images of {gains.shape[1:]}, {pack.path} of "
                    f"{pack.shape[1:]}"
                )
            masks[:, channel] = pack.read_many(maps)
        cells = [self._cell(index, gains.shape[1:]) for index in indices]
        return GrayBatch(
            torch.from_numpy(gains), torch.from_numpy(masks), torch.tensor(cells), names
        )

    def _cell(self, index: int, shape: tuple[int, int]) -> int:
        """Return the transmitter's cell of a sample, kept."""
        if index not in self._cells:
            map_id, transmitter = self.dataset.pairs[index]
            transmitter_map = self.dataset.transmitter_map(map_id, transmitter, shape)
            self._cells[index] = int(transmitter_map.argmax())
        return self._cells[index]


def _computed(dataset: RadioMapSeer) -> list[str]:
    """Return the options of a dataset that images as stored cannot serve."""
    computed = {
        "simulation mix": dataset.mixed_in,
        "missing_buildings": dataset.missing_dirs,
        "measurements": dataset.measurements,
        "k2_channels": dataset.k2_channels,
        "threshold": dataset.threshold,
    }
    return [name for name, value in computed.items() if value]


def _folders(dataset: RadioMapSeer) -> list[Path]:
    """Return the image folders of a sample."""
    cars = [dataset.cars_dir] if dataset.shows_cars else []
    return [dataset.gain_dir, dataset.building_dir, *cars]


def to_samples(batch: GrayBatch) -> RadioMapSample:
    """Return a batch as the dataset's samples collated: the same bits, on the batch's device."""
    count, channels, height, width = batch.masks.shape
    is_there = batch.masks > 127
    condition = torch.empty(
        (count, channels + 1, height, width), device=batch.masks.device, dtype=torch.float32
    )
    condition[:, 0] = is_there[:, 0]
    condition[:, 1] = 0
    condition[:, 1].view(count, -1).scatter_(1, batch.transmitter[:, None], 1.0)
    condition[:, 2:] = is_there[:, 1:]
    return RadioMapSample(
        radio_map=units.gray_to_model(batch.radio_map.float() / 255)[:, None],
        condition=condition,
        outdoor_mask=~is_there[:, :1],
        name=tuple(batch.name),
        threshold=torch.zeros(count, device=batch.masks.device),
    )
