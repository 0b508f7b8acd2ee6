"""The eight symmetries of the square: radio maps turned and mirrored are radio maps."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff.data.radiomapseer import RadioMapSample

__all__ = ["EightSymmetries", "symmetry"]


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
        outdoor_mask=turn(sample.outdoor_mask),
    )


class EightSymmetries(Dataset[RadioMapSample]):
    """A dataset eight times over: item ``i`` is `symmetry` ``i % 8`` of sample ``i // 8``.

    Nothing is random: whoever draws the items draws the symmetries.

    Args:
        dataset: Square maps.
    """

    def __init__(self, dataset: Dataset[RadioMapSample]) -> None:
        self.dataset: Any = dataset

    def __len__(self) -> int:
        """Return eight times the number of samples."""
        return 8 * len(self.dataset)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Return a sample under a symmetry.

        Raises:
            ValueError: If its map is not square, so that a quarter turn would not fit a batch.
        """
        sample = self.dataset[index // 8]
        height, width = sample.radio_map.shape[-2:]
        if height != width:
            raise ValueError(
                f"{sample.name} is {height} x {width}: only square maps can be turned, set "
                "data.augment to false"
            )
        return symmetry(sample, index % 8)
