"""Tasks: what a training step of each stage means."""

from radiodiff.tasks.autoencoder import AutoencoderTask
from radiodiff.tasks.base import StepLoss, Task
from radiodiff.tasks.generative import GenerativeTask, measure_scale

__all__ = ["AutoencoderTask", "GenerativeTask", "StepLoss", "Task", "measure_scale"]
