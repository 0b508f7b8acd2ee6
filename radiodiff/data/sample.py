"""What every dataset gives: a radio map, the scene it answers, and the scene as channels."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from radiodiff import units
from radiodiff.scene import Scene

__all__ = ["RadioMapSample", "path_gain_db", "transmitter_cell"]


class RadioMapSample(NamedTuple):
    """One transmitter in one city tile; ``k`` condition channels, see the dataset."""

    radio_map: Tensor
    """Path gain in the range the networks see, [-1, 1], float32, shape ``(1, h, w)``."""
    condition: Tensor
    """The channels that the dataset's options list, in [0, 1], shape ``(k, h, w)``."""
    scene: Scene
    """What the channels were made of; what the prediction is asked for."""
    outdoor_mask: Tensor
    """Cells outside buildings, bool, shape ``(1, h, w)``."""
    name: str
    """``<map>_<transmitter>``, as in the file names."""
    threshold: Tensor = torch.zeros(())
    """Gray level of the files that -1 stands for (`units.thresholded`), float32, shape ``()``; NaN
    where the maps are no path gain of a known scale."""
    latent: Tensor = torch.zeros(0)
    """Mean and logarithmic variance of the map's latent where they are kept, float32, shape
    ``(2, c, h, w)``; else empty."""


def path_gain_db(sample: RadioMapSample) -> np.ndarray:
    """Return the path gain of a sample [dB], shape ``(h, w)``.

    A sample on RadioUNet's scale has nothing below its threshold: there the result is the
    threshold's path gain.

    Raises:
        ValueError: If the sample is no path gain of a known scale.
    """
    if sample.threshold.isnan():
        raise ValueError(
            f"{sample.name} has no path gain in dB: the scale of its gray levels is unknown, or "
            "they are no radio map; use units.model_to_gray(sample.radio_map)"
        )
    gain_db = units.thresholded_to_path_gain_db(sample.radio_map[0], float(sample.threshold))
    return gain_db.numpy()


def transmitter_cell(sample: RadioMapSample) -> tuple[int, int]:
    """Return the transmitter of a sample as ``(row, col)``."""
    row, col = sample.scene.transmitter_cell.tolist()
    return row, col
