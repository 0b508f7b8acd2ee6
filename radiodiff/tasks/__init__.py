"""Tasks: what a training step of each stage means."""

from radiodiff.tasks.autoencoder import AutoencoderTask
from radiodiff.tasks.base import StepLoss, Task
from radiodiff.tasks.generative import GenerativeTask, measure_scale
from radiodiff.tasks.toy import ScalarLatents, scalar_optimum, train_scalar_autoencoders

__all__ = [
    "AutoencoderTask",
    "GenerativeTask",
    "ScalarLatents",
    "StepLoss",
    "Task",
    "measure_scale",
    "scalar_optimum",
    "train_scalar_autoencoders",
]
