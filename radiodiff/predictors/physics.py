"""Engines of propagation as predictors: they know the city and learn nothing."""

import numpy as np
import torch
from torch import Tensor

from radiodiff.conditions import map_inputs
from radiodiff.scene import Scene, checked_scenes
from radiodiff.simulate import raster_gain_db, raster_ray_gain_db

__all__ = ["dominant_path", "ray_tracing"]


def dominant_path(scenes: Scene, *, samples: int = 1, seed: int = 0) -> Tensor:
    """Return the dominant path over the raster of the known buildings, shape ``(b, 1, h, w)``.

    On maps that the same engine made over the exact outlines its error is that of the raster.
    """
    maps = [raster_gain_db(*one) for one in map_inputs(scenes)]
    return torch.from_numpy(np.stack(maps))[:, None]


def ray_tracing(scenes: Scene, *, samples: int = 1, seed: int = 0, interactions: int = 2) -> Tensor:
    """Return the gain of traced rays over the raster of known buildings, shape ``(b, 1, h, w)``.

    Args:
        scenes: A batch; paths lose power in cars where these are known.
        samples: Ignored: nothing is drawn.
        seed: Ignored.
        interactions: Most reflections and corners on a path; 2 and 4 stand for RadioMapSeer's
            IRT2 and IRT4.
    """
    scenes = checked_scenes(scenes)
    maps = [
        raster_ray_gain_db(*one, interactions=interactions, cars_mask=cars.cpu().numpy())
        for one, cars in zip(map_inputs(scenes), scenes.cars_mask, strict=True)
    ]
    return torch.from_numpy(np.stack(maps))[:, None]
