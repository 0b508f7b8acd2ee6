"""Predictors: a scene in, path gain [dB] out; network, engine and law look alike to who calls.

Another one is a module and a line in `PREDICTORS`.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import Dataset

from radiodiff.data import RadioMapSample
from radiodiff.predictors.base import Predictor, check_scale, mean_of_samples
from radiodiff.predictors.baselines import DistanceLaw, MeanMap, NearestMap
from radiodiff.predictors.kriging import Kriging
from radiodiff.predictors.model import PipelinePredictor, dataset_conditions, draw_maps
from radiodiff.predictors.physics import dominant_path, ray_tracing
from radiodiff.predictors.pipeline import RadioDiffPipeline

__all__ = [
    "PREDICTORS",
    "DistanceLaw",
    "Kriging",
    "MeanMap",
    "NearestMap",
    "PipelinePredictor",
    "Predictor",
    "RadioDiffPipeline",
    "check_scale",
    "dataset_conditions",
    "dominant_path",
    "draw_maps",
    "make_predictor",
    "mean_of_samples",
    "ray_tracing",
]

Training = Dataset[RadioMapSample] | None

#: Name to what makes the predictor from training maps, which only some look at.
PREDICTORS: dict[str, Callable[[Training], Predictor]] = {
    "mean_training_map": MeanMap.fit,
    "distance_law": DistanceLaw.fit,
    "nearest_training_map": NearestMap.fit,
    "dominant_path": lambda training: dominant_path,
    "ray_tracing": lambda training: ray_tracing,
    "kriging": lambda training: Kriging(),
}


def make_predictor(
    name: str | Path, training: Training = None, *, device: str | torch.device | None = None
) -> Predictor:
    """Return a predictor by its name in `PREDICTORS`, or that of a trained run by its folder.

    Args:
        name: Name or folder of a run.
        training: Maps that ``mean_training_map``, ``distance_law`` and ``nearest_training_map``
            are fitted to.
        device: Where the networks of a run live; a GPU if there is one.

    Raises:
        ValueError: If it is neither, or is fitted and there are no training maps.
        FileNotFoundError: If the run has not finished.
    """
    if name in PREDICTORS:
        return PREDICTORS[name](training)
    if not Path(name).is_dir():
        raise ValueError(
            f"expected the folder of a run or one of {', '.join(PREDICTORS)}; got {name}"
        )
    return PipelinePredictor(RadioDiffPipeline.from_run(Path(name), device=device))
