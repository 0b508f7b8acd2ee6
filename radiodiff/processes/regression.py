"""Regression: no noise, one evaluation, and the mean (or the median) of what is possible.

The network is given zeros at time 1, so that the network of any other process serves. Trained by
squared error it answers with the mean of the maps that fit its condition (eq. ``mean-answer`` of
the chapter *Choose a process*), by absolute error with their median, cell by cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from radiodiff.processes.base import Generators, Network, as_times

__all__ = ["Mean", "Regression"]


class Mean(NamedTuple):
    """What a network says, at any time."""

    mean: Tensor
    """Estimate of the mean (or the median) of ``x_0``, shape ``(b, c, h, w)``."""


@dataclass(frozen=True)
class Regression:
    """The map itself as the answer, without noise and without steps."""

    error: Literal["both", "squared", "absolute"] = "squared"
    """What is averaged over a map; ``both`` is the mean of squared and absolute error."""

    heads = ("mean",)
    times = 1
    one_step = True
    draws_noise = False

    def loss(
        self, network: Network, x_0: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the error of the answer (eq. ``mean-answer``); nothing is drawn.

        Args:
            network: Returns the mean.
            x_0: Clean maps or latents, shape ``(b, c, h, w)``.
            generator: Not used.

        Returns:
            One loss per map, shape ``(b,)``.
        """
        error = (self.ask(network, x_0, t=1.0).mean - x_0).flatten(1)
        squared, absolute = error.square().mean(1), error.abs().mean(1)
        return {"squared": squared, "absolute": absolute, "both": (squared + absolute) / 2}[
            self.error
        ]

    def start(
        self, shape: Sequence[int], generator: Generators = None, *, t: float = 1.0
    ) -> Tensor:
        """Return zeros of shape ``shape``; nothing is drawn."""
        return torch.zeros(tuple(shape))

    def ask(self, network: Network, x_t: Tensor, *, t: float | Tensor, s: float = 0.0) -> Mean:
        """Evaluate a network once, on zeros at time 1.

        Args:
            network: Returns the mean.
            x_t: Its shape, type and device are used, shape ``(b, c, h, w)``.
            t: Not used.
            s: Not used.

        Returns:
            The mean, shape ``(b, c, h, w)``.
        """
        return Mean(*network(torch.zeros_like(x_t), as_times(1.0, x_t)))

    def x_0(self, x_t: Tensor, answer: Mean, *, t: float | Tensor) -> Tensor:
        """Return the mean, whatever ``x_t`` and ``t``."""
        return answer.mean

    def step(
        self,
        x_t: Tensor,
        answer: Mean,
        *,
        t: float,
        s: float,
        stochastic: bool = True,
        generator: Generators = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return the mean: any step is the only one.

        Args:
            x_t: Not used.
            answer: The mean, shape ``(b, c, h, w)``.
            t: Not used.
            s: Not used.
            stochastic: Not used: nothing is random.
            generator: Not used.
            noise: Not used.
        """
        return answer.mean
