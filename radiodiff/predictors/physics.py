"""Engines of propagation as predictors: they know the city and learn nothing."""

import functools

import numpy as np
import torch
from torch import Tensor

from radiodiff import units
from radiodiff.data import RadioMapSample
from radiodiff.predictors.base import Predictor
from radiodiff.simulate import DominantPath, trace_outlines
from radiodiff.simulate.outlines import clear_round

__all__ = ["dominant_path_predictor"]


def dominant_path_predictor(cell_size_m: float) -> Predictor:
    """Return the simulator's dominant path over the buildings that the network sees as a predictor.

    It knows the raster of the buildings and the transmitter, nothing else, and learns nothing: on
    maps that the same engine made over the exact outlines its error is that of the raster.

    Args:
        cell_size_m: Side of a cell of the judged maps [m].
    """

    @functools.lru_cache(maxsize=4)
    def engine(mask: bytes, size: int) -> DominantPath:
        building_mask = np.frombuffer(mask, dtype=bool).reshape(size, size)
        return DominantPath(trace_outlines(building_mask, cell_size_m), size, cell_size_m)

    def predict(batch: RadioMapSample) -> Tensor:
        size = batch.condition.shape[-1]
        maps = []
        for buildings, transmitter in batch.condition[:, :2].numpy() > 0:
            cell = np.unravel_index(transmitter.argmax(), transmitter.shape)
            place_m = units.cell_to_m(cell, size=size, cell_size_m=cell_size_m)
            try:
                gain = engine(buildings.tobytes(), size).path_gain_db(place_m)
            except ValueError:  # smoothed outlines may reach the transmitter: leave it room
                room = clear_round(buildings, cell)
                gain = engine(room.tobytes(), size).path_gain_db(place_m)
            maps.append(np.nan_to_num(gain, nan=units.FLOOR_DB, neginf=units.FLOOR_DB))
        return torch.from_numpy(np.stack(maps))[:, None]

    return predict
