"""Predictors: a scene in, path gain [dB] out; network, engine and law look alike to who calls."""

from radiodiff.predictors.base import Predictor
from radiodiff.predictors.baselines import Baselines
from radiodiff.predictors.model import draw_maps, model_predictor
from radiodiff.predictors.physics import dominant_path_predictor

__all__ = [
    "Baselines",
    "Predictor",
    "dominant_path_predictor",
    "draw_maps",
    "model_predictor",
]
