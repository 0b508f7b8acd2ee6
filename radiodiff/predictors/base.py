"""What a predictor is, and what the maps must be that it is fitted to or judged by."""

from collections.abc import Callable

from torch import Tensor

from radiodiff.data import RadioMapSample

__all__ = ["Predictor", "check_scale"]

#: Maps collated samples to path gain [dB], shape ``(b, 1, h, w)``.
Predictor = Callable[[RadioMapSample], Tensor]


def check_scale(batch: RadioMapSample) -> None:
    """Raise unless a batch holds path gain on the scale of the files, as all protocols need."""
    if (batch.threshold != 0).any():  # NaN is not 0 either
        raise ValueError(
            f"{batch.name[0]}: scores are defined for path gain on the scale of RadioMapSeer's "
            "files; this dataset is thresholded or has no known scale in dB (data.threshold, "
            "data.source). Use data.threshold=0, or look at samples with `radiodiff sample`"
        )
