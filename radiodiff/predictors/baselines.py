"""Predictors that know no buildings: the mean map and the law of distance."""

import dataclasses

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from radiodiff import units
from radiodiff.data import RadioMapSample
from radiodiff.predictors.base import Predictor, check_scale

__all__ = ["Baselines", "transmitter_distance_cells"]

_MAX_BASELINE_MAPS = 2000


def transmitter_distance_cells(condition: Tensor) -> Tensor:
    """Return the distance of each cell to the transmitter, held at 1 or more [cells].

    Args:
        condition: Second channel is one at the transmitter, shape ``(b, k, h, w)``.

    Returns:
        Distances, shape ``(b, 1, h, w)``.
    """
    b, _, h, w = condition.shape
    place = condition[:, 1].reshape(b, -1).argmax(1)
    rows = torch.arange(h).view(1, h, 1) - (place // w).view(b, 1, 1)
    cols = torch.arange(w).view(1, 1, w) - (place % w).view(b, 1, 1)
    return (rows.square() + cols.square()).sqrt().clamp_min(1)[:, None]


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Predictors that know no buildings, fitted on training maps.

    Attributes:
        mean_map_db: Mean path gain of each cell over the maps where it is outdoors [dB], shape
            ``(1, h, w)``; the mean over all cells where it never is.
        offset_db: Path gain at a distance of one cell [dB].
        slope_db: Change of path gain per decade of distance [dB].
    """

    mean_map_db: Tensor
    offset_db: float
    slope_db: float

    @classmethod
    def fit(cls, dataset: Dataset[RadioMapSample]) -> "Baselines":
        """Fit on at most 2000 maps spread evenly over a dataset.

        The distance law ``offset + slope log10(distance)`` is the least-squares fit over outdoor
        cells: the best that distance alone can do.

        Raises:
            ValueError: If the maps are not path gain on the scale of the files.
        """
        count = min(len(dataset), _MAX_BASELINE_MAPS)
        chosen = np.linspace(0, len(dataset) - 1, count).astype(int)
        total, seen, normal, moment = 0, 0, np.zeros((2, 2)), np.zeros(2)
        for batch in DataLoader(Subset(dataset, chosen.tolist()), batch_size=16):
            check_scale(batch)
            gain_db = units.model_to_path_gain_db(batch.radio_map).double()
            outdoor = batch.outdoor_mask
            total = total + (gain_db * outdoor).sum(0)
            seen = seen + outdoor.sum(0)
            x = transmitter_distance_cells(batch.condition).double().log10()[outdoor].numpy()
            design = np.stack([np.ones_like(x), x])
            normal += design @ design.T
            moment += design @ gain_db[outdoor].numpy()
        offset, slope = np.linalg.solve(normal, moment)
        mean_map_db = torch.where(seen > 0, total / seen.clamp_min(1), total.sum() / seen.sum())
        return cls(mean_map_db, float(offset), float(slope))

    def predictors(self) -> dict[str, Predictor]:
        """Return the baselines by name."""
        return {
            "mean training map": lambda batch: self.mean_map_db.expand_as(batch.radio_map),
            "distance law": lambda batch: (
                self.offset_db
                + self.slope_db * transmitter_distance_cells(batch.condition).double().log10()
            ),
        }
