"""One training loop for every task: resumable, over one process or many."""

from radiodiff.trainer.loop import NonFiniteLossError, OnCheckpoint, Validate, train
from radiodiff.trainer.schedule import batch_indices, learning_rate

__all__ = [
    "NonFiniteLossError",
    "OnCheckpoint",
    "Validate",
    "batch_indices",
    "learning_rate",
    "train",
]
