"""What a predictor is, and what the maps must be that it is fitted to or judged by."""

from typing import Protocol

import torch
from torch import Tensor

from radiodiff.data import RadioMapSample
from radiodiff.scene import Scene

__all__ = ["Predictor", "check_scale", "mean_of_samples"]


class Predictor(Protocol):
    """Answers scenes with path gain: a network, an engine, a law."""

    def __call__(self, scenes: Scene, *, samples: int = 1, seed: int = 0) -> Tensor:
        """Return samples of the path gain of each scene.

        Args:
            scenes: A batch of ``b`` scenes.
            samples: Samples of each; a predictor that draws nothing gives one.
            seed: With a scene's name and a sample's number it decides the noise of that sample,
                so that none depends on the batch.

        Returns:
            Path gain [dB], float64, shape ``(b, k, h, w)``, on the CPU; any finite number inside
            buildings.
        """


def mean_of_samples(path_gain_db: Tensor) -> Tensor:
    """Return the mean of the samples of each scene, shape ``(b, 1, h, w)``.

    Scene by scene, so that not even the last digit depends on the batch.

    Args:
        path_gain_db: What a predictor gives, shape ``(b, k, h, w)``.
    """
    return torch.stack([samples.mean(0, keepdim=True) for samples in path_gain_db])


def check_scale(batch: RadioMapSample) -> None:
    """Raise unless a batch holds path gain on the scale of the files, as all protocols need."""
    if (batch.threshold != 0).any():  # NaN is not 0 either
        raise ValueError(
            f"{batch.name[0]}: scores are defined for path gain on the scale of RadioMapSeer's "
            "files; this dataset is thresholded or has no known scale in dB (data.threshold, "
            "data.source). Use data.threshold=0, or look at samples with `radiodiff sample`"
        )
