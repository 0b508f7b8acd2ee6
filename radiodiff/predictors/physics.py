"""Engines of propagation as predictors: they know the city and learn nothing."""

import numpy as np
import torch
from torch import Tensor

from radiodiff.conditions import map_inputs
from radiodiff.data import RadioMapSample
from radiodiff.predictors.base import Predictor
from radiodiff.simulate import raster_gain_db

__all__ = ["dominant_path_predictor"]


def dominant_path_predictor(cell_size_m: float) -> Predictor:
    """Return the simulator's dominant path over the buildings that the network sees as a predictor.

    It knows the raster of the buildings and the transmitter, nothing else, and learns nothing: on
    maps that the same engine made over the exact outlines its error is that of the raster.

    Args:
        cell_size_m: Side of a cell of the judged maps [m].
    """

    def predict(batch: RadioMapSample) -> Tensor:
        maps = [
            raster_gain_db(mask, cell, cell_size_m) for mask, cell, _ in map_inputs(batch.scene)
        ]
        return torch.from_numpy(np.stack(maps))[:, None]

    return predict
