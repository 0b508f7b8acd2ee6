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
from accelerate.utils import concatenate, recursively_apply
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff import units
from radiodiff.conditions import CHANNELS, make_condition
from radiodiff.data.images import DatasetError
from radiodiff.data.latent_cache import WithLatents
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.data.sample import RadioMapSample
from radiodiff.data.symmetry import EightSymmetries, fitting_symmetry, symmetry
from radiodiff.scene import Scene

__all__ = ["GrayBatch", "GrayBatches", "to_samples"]


class GrayBatch(NamedTuple):
    """The images of ``b`` samples as stored."""

    radio_map: Tensor
    """Gray levels of the path gain, uint8, shape ``(b, h, w)``."""
    masks: Tensor
    """Buildings, and cars if used, over 127 where there are any, uint8, shape ``(b, k, h, w)``."""
    transmitter_cell: Tensor
    """Row and column of the transmitter, int64, shape ``(b, 2)``."""
    cell_size_m: Tensor
    """Side of a cell [m], float32, shape ``(b,)``."""
    symmetry: Tensor
    """Number of the symmetry to return each sample under (`symmetry`), int64, shape ``(b,)``."""
    channels: Sequence[str]
    """Channels of the condition."""
    name: Sequence[str]
    """``<map>_<transmitter>``, as in the file names."""
    latent: Tensor
    """Kept latents, shape ``(b, 2, c, h, w)``; ``(b, 0)`` without."""


class GrayBatches(Dataset[GrayBatch]):
    """The samples of a dataset as batches of bytes; an index is a list of indices.

    Args:
        dataset: RadioMapSeer, also under `EightSymmetries` and `WithLatents`. Its image folders
            must be packed, see `pack_dataset`.

    Raises:
        DatasetError: If a folder is not packed.
        ValueError: If the dataset draws or computes something: only images as stored are bytes.
    """

    def __init__(self, dataset: RadioMapSeer | EightSymmetries | WithLatents) -> None:
        self.latents = dataset.latents if isinstance(dataset, WithLatents) else None
        dataset = dataset.dataset if isinstance(dataset, WithLatents) else dataset
        self.is_turned = isinstance(dataset, EightSymmetries)
        self.dataset = dataset = dataset.dataset if self.is_turned else dataset
        used = _computed(dataset)
        if used:
            raise ValueError(f"bytes hold images as stored, not {', '.join(used)}: use the dataset")
        folders = _folders(dataset)
        for folder in folders:
            if folder not in dataset.packs:
                raise DatasetError(f"{folder} is not packed: `radiodiff data pack {dataset.root}`")
        self._gains, *self._masks = (dataset.packs[folder] for folder in folders)
        self._cells: dict[int, tuple[int, int]] = {}

    @staticmethod
    def serve(dataset: Dataset) -> bool:
        """Return whether a dataset is RadioMapSeer's, packed, with nothing to draw or compute.

        Under `EightSymmetries` it is served too; the maps are turned where the floats are made.
        """
        for wrapper in (WithLatents, EightSymmetries):
            dataset = dataset.dataset if isinstance(dataset, wrapper) else dataset
        if not isinstance(dataset, RadioMapSeer) or _computed(dataset):
            return False
        return all(folder in dataset.packs for folder in _folders(dataset))

    def __len__(self) -> int:
        """Return the number of samples."""
        return (8 if self.is_turned else 1) * len(self.dataset)

    def __getitem__(self, indices: Sequence[int]) -> GrayBatch:
        """Read a batch.

        Raises:
            DatasetError: If an image or a transmitter is missing, or sizes differ; names the file.
        """
        latent = torch.zeros(len(indices), 0)
        if self.latents is not None:
            latent = torch.stack([self.latents[index] for index in indices])
        symmetries = [index % 8 if self.is_turned else 0 for index in indices]
        indices = [index // 8 if self.is_turned else index for index in indices]
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
            radio_map=torch.from_numpy(gains),
            masks=torch.from_numpy(masks),
            transmitter_cell=torch.tensor(cells),
            cell_size_m=torch.full((len(pairs),), self.dataset.cell_size_m),
            symmetry=torch.tensor([fitting_symmetry(k, *gains.shape[1:]) for k in symmetries]),
            channels=self.dataset.channels,
            name=names,
            latent=latent,
        )

    def _cell(self, index: int, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the transmitter's cell of a sample, kept."""
        if index not in self._cells:
            map_id, transmitter = self.dataset.pairs[index]
            self._cells[index] = self.dataset.transmitter_cell(map_id, transmitter, shape)
        return self._cells[index]


def _computed(dataset: RadioMapSeer) -> list[str]:
    """Return the options of a dataset that images as stored cannot serve."""
    options = dataset.options
    computed = {
        "simulation mix": dataset.mixed_in,
        "missing_buildings": dataset.missing_dirs,
        "measurements": options.measurements,
        "withheld_share": options.withheld_share,
        "threshold": options.threshold,
        **{f"channel {name}": CHANNELS[name].make is None for name in dataset.channels},
    }
    return [name for name, value in computed.items() if value]


def _folders(dataset: RadioMapSeer) -> list[Path]:
    """Return the image folders of a sample."""
    cars = [dataset.cars_dir] if dataset.shows_cars else []
    return [dataset.gain_dir, dataset.building_dir, *cars]


def to_samples(batch: GrayBatch) -> RadioMapSample:
    """Return a batch as the dataset's samples collated: the same bits, on the batch's device."""
    is_there = batch.masks > 127
    buildings = is_there[:, 0]
    has_cars = is_there.shape[1] > 1
    scene = Scene(
        building_mask=buildings,
        transmitter_cell=batch.transmitter_cell,
        cell_size_m=batch.cell_size_m,
        cars_mask=is_there[:, 1] if has_cars else torch.zeros_like(buildings),
        cars_known=torch.full_like(batch.symmetry, has_cars, dtype=torch.bool),
        measured_gain_db=torch.full_like(buildings, torch.nan, dtype=torch.float64),
        name=list(batch.name),
    )
    samples = RadioMapSample(
        radio_map=units.gray_to_model(batch.radio_map.float() / 255)[:, None],
        condition=make_condition(scene, batch.channels),
        scene=scene,
        outdoor_mask=~is_there[:, :1],
        name=tuple(batch.name),
        threshold=torch.zeros_like(batch.cell_size_m),
        latent=batch.latent,
    )
    return _turned(samples, batch.symmetry)


def _turned(samples: RadioMapSample, symmetries: Tensor) -> RadioMapSample:
    """Return each sample of a batch under its own symmetry, one that keeps the sides."""
    kinds = symmetries.unique().tolist()
    if kinds == [0]:
        return samples
    nameless = samples._replace(name=(), scene=samples.scene._replace(name=()))
    places = [(symmetries == k).nonzero()[:, 0] for k in kinds]
    parts = [
        symmetry(recursively_apply(lambda x, chosen=chosen: x[chosen], nameless), k)
        for chosen, k in zip(places, kinds, strict=True)
    ]
    order = torch.cat(places).argsort()
    turned = recursively_apply(lambda x: x[order], concatenate(parts))
    return turned._replace(name=samples.name, scene=turned.scene._replace(name=samples.scene.name))
