"""Exponential moving average of a network's weights."""

from copy import deepcopy

import torch
from torch import Tensor, nn

__all__ = ["EMA"]


class EMA:
    """Averaged copy of a network, used for sampling and evaluation.

    At the first of every ``every`` steps the copy follows the network until ``start`` steps have
    passed; after that ``average += (1 - d) (network - average)`` with
    ``d = min(1 - (1 + e)^(-2/3), decay)`` and ``e`` the steps since ``start`` (eq. ``ema``): early
    averages forget fast. Source: the public RadioDiff code; unlike it, this holds only the
    network that is trained (audit T10) and is part of every checkpoint (audit T9).

    Args:
        network: Network to average; the copy is on the same device.
        decay: Largest decay [1].
        start: Steps before averaging starts.
        every: Steps between updates.

    Attributes:
        network: The averaged copy, in eval mode and without gradients.
    """

    def __init__(self, network: nn.Module, *, decay: float, start: int, every: int) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.decay, self.start, self.every = decay, start, every

    def decay_at(self, step: int) -> float:
        """Return the decay used at a step (0, 1, ...); 0 copies (eq. ``ema``)."""
        elapsed = step - self.start
        return 0.0 if elapsed <= 0 else min(1 - (1 + elapsed) ** (-2 / 3), self.decay)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards ``network`` after optimizer step ``step`` (0, 1, ...)."""
        if step % self.every:
            return
        # The first update after the start copies too.
        decay = self.decay_at(step) if step > self.start + self.every else 0.0
        current = network.state_dict()
        averages, targets = [], []
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                averages.append(average)
                targets.append(current[name].to(average))
            else:
                average.copy_(current[name])
        torch._foreach_lerp_(averages, targets, 1 - decay)  # a few kernels, not one a tensor

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights."""
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore averaged weights, strictly."""
        self.network.load_state_dict(state)
