"""What one training step means: modules whose ``forward`` is a loss.

The trainer knows only `Task`. A task is one ``nn.Module``, so that a distributed wrapper sees
every forward pass and synchronises its gradients (audit T2). Networks that are only used, not
trained, stay outside the module: they are in no checkpoint and in no average (audit V8, T10).
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from radiodiff.data import RadioMapSample

__all__ = ["StepLoss", "Task"]


class StepLoss(NamedTuple):
    """Loss of one micro-batch and the terms worth logging."""

    loss: Tensor
    """Scalar to differentiate."""
    terms: dict[str, Tensor]
    """Detached scalars, logged under their names."""


class Task(Protocol):
    """What the trainer needs to know about a stage; implementations are ``nn.Module``."""

    name: str
    """Folder of checkpoints and prefix of logged scalars."""
    passes: tuple[str, ...]
    """Names of the optimizers, in the order in which one step runs them."""

    def active_passes(self, step: int) -> tuple[str, ...]:
        """Return the passes that run at a step (0, 1, ...)."""

    frozen: tuple[nn.Module, ...]
    """Networks that are used but not trained; the trainer moves them to its device."""
    averaged: nn.Module
    """The network whose moving average is sampled from and exported."""

    def parameters_of(self, pass_name: str) -> list[nn.Parameter]:
        """Return what a pass optimises."""

    def __call__(
        self, batch: RadioMapSample, pass_name: str, step: int, generator: torch.Generator
    ) -> StepLoss:
        """Return the loss of a pass on a batch at a step (0, 1, ...)."""

    def sample(
        self, network: nn.Module, batch: RadioMapSample, generator: torch.Generator
    ) -> Tensor:
        """Return what ``network`` makes of a batch, in [-1, 1], shape ``(b, 1, h, w)``."""
