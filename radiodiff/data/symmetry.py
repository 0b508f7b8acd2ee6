"""The symmetries of a map: radio maps turned and mirrored are radio maps."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff.data.sample import RadioMapSample
from radiodiff.scene import Scene

__all__ = ["EightSymmetries", "fitting_symmetry", "symmetry"]


def symmetry(sample: RadioMapSample, k: int) -> RadioMapSample:
    """Return a sample under a symmetry of the square, every channel alike.

    Propagation knows neither left nor north, so the result is as true a sample as the first. Its
    name stays: the map and the transmitter are the same.

    Args:
        sample: One sample, or a batch of them.
        k: Number of the symmetry: ``k % 4`` quarter turns counter-clockwise, after mirroring left
            and right if ``k >= 4``; 0 changes nothing.

    Raises:
        ValueError: If ``k`` is not in 0 ... 7.
    """
    if k not in range(8):
        raise ValueError(f"expected a symmetry k in 0 ... 7, got {k}")

    def turn(maps: Tensor) -> Tensor:
        mirrored = maps.flip(-1) if k >= 4 else maps
        return torch.rot90(mirrored, k % 4, (-2, -1))

    return sample._replace(
        radio_map=turn(sample.radio_map),
        condition=turn(sample.condition),
        scene=_turned_scene(sample.scene, k, turn),
        outdoor_mask=turn(sample.outdoor_mask),
    )


def _turned_scene(scene: Scene, k: int, turn: Callable[[Tensor], Tensor]) -> Scene:
    """Return a scene, or a batch, under a symmetry of its square."""
    height, width = scene.building_mask.shape[-2:]
    row, col = scene.transmitter_cell.unbind(-1)
    if k >= 4:
        col = width - 1 - col
    for _ in range(k % 4):  # a quarter turn counter-clockwise swaps the sides
        row, col = width - 1 - col, row
        height, width = width, height
    return scene._replace(
        building_mask=turn(scene.building_mask),
        transmitter_cell=torch.stack([row, col], dim=-1),
        cars_mask=turn(scene.cars_mask),
        measured_gain_db=turn(scene.measured_gain_db),
    )


def fitting_symmetry(k: int, height: int, width: int) -> int:
    """Return a symmetry that keeps the sides of a map: without its quarter turn if need be."""
    return k if height == width else k - k % 2


class EightSymmetries(Dataset[RadioMapSample]):
    """A dataset eight times over: item ``i`` is `symmetry` ``i % 8`` of sample ``i // 8``.

    Nothing is random: whoever draws the items draws the symmetries. Maps that are not square have
    four symmetries, each of them twice: a quarter turn would swap their sides, which fits no batch.

    Args:
        dataset: Maps.
    """

    def __init__(self, dataset: Dataset[RadioMapSample]) -> None:
        self.dataset: Any = dataset

    def __len__(self) -> int:
        """Return eight times the number of samples."""
        return 8 * len(self.dataset)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Return a sample under a symmetry that keeps its sides."""
        sample = self.dataset[index // 8]
        return symmetry(sample, fitting_symmetry(index % 8, *sample.radio_map.shape[-2:]))
