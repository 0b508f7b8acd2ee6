"""Flow matching: straight paths between noise and map, and their mean velocity.

A clean map and noise are joined by a straight line, and a network learns the velocity of the
points on it. Where lines cross it can only learn the mean, and the mean velocities carry noise to
maps along curves that do not cross. The chapter *Choose a process* has the equations:

* eq. ``flow-path``: ``x_t = (1 - t) x_0 + t noise``, so ``x_1`` is standard normal;
* eq. ``flow-velocity``: the velocity to learn, ``noise - x_0``, by squared error;
* eq. ``flow-step``: a step back by Euler's rule, ``x_s = x_t - (t - s) velocity``; with ``s = 0``
  it is the estimate of ``x_0``.

Sources: Y. Lipman et al., *Flow Matching for Generative Modeling*, arXiv:2210.02747; X. Liu et
al., *Flow Straight and Fast*, arXiv:2209.03003.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from radiodiff.processes.base import (
    Generators,
    Network,
    TimeLaw,
    as_times,
    check_order,
    per_map,
    standard_normal,
)

__all__ = ["FlowMatching", "Velocity", "straight_path", "straight_step"]


class Velocity(NamedTuple):
    """What a network says at one time."""

    velocity: Tensor
    """Estimate of ``noise - x_0``, shape ``(b, c, h, w)``."""


@dataclass(frozen=True)
class FlowMatching:
    """Straight paths at constant velocity, and the way back along the mean velocity."""

    time_law: TimeLaw = field(default_factory=TimeLaw)
    """How training times are drawn."""

    heads = ("velocity",)
    times = 1
    one_step = False
    draws_noise = False

    def loss(
        self, network: Network, x_0: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw times and noise, and return the squared error (eq. ``flow-velocity``).

        Args:
            network: Returns the velocity.
            x_0: Clean maps or latents, shape ``(b, c, h, w)``.
            generator: Source of times, then of noise.

        Returns:
            One loss per map, shape ``(b,)``.
        """
        t = self.time_law.draw(len(x_0), generator)
        noise = standard_normal(x_0.shape, generator)
        answer = self.ask(network, straight_path(x_0, noise, t), t=t)
        return (answer.velocity - (noise - x_0)).flatten(1).square().mean(1)

    def start(
        self, shape: Sequence[int], generator: Generators = None, *, t: float = 1.0
    ) -> Tensor:
        """Return ``x_t`` of a clean map that is 0: ``t`` times noise, shape ``shape``."""
        return t * standard_normal(shape, generator)

    def ask(self, network: Network, x_t: Tensor, *, t: float | Tensor, s: float = 0.0) -> Velocity:
        """Evaluate a network once.

        Args:
            network: Returns the velocity.
            x_t: Maps or latents at time ``t``, shape ``(b, c, h, w)``.
            t: One time, or one for each map, shape ``(b,)``.
            s: Not used: the answer serves any step.

        Returns:
            The velocity, shape ``(b, c, h, w)``.
        """
        return Velocity(*network(x_t, as_times(t, x_t)))

    def x_0(self, x_t: Tensor, answer: Velocity, *, t: float | Tensor) -> Tensor:
        """Follow the velocity down to time 0 in a straight line (eq. ``flow-step``).

        Args:
            x_t: Maps or latents at time ``t``, shape ``(b, c, h, w)``.
            answer: The velocity there.
            t: One time, or one for each map, shape ``(b,)``.

        Returns:
            ``x_t - t velocity``, shape ``(b, c, h, w)``.
        """
        return x_t - per_map(as_times(t, x_t)) * answer.velocity

    def step(
        self,
        x_t: Tensor,
        answer: Velocity,
        *,
        t: float,
        s: float,
        stochastic: bool = True,
        generator: Generators = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Take a step of Euler's rule (eq. ``flow-step``).

        Args:
            x_t: Maps or latents at time ``t``, shape ``(b, c, h, w)``.
            answer: The velocity there.
            t: Current time, in ``(0, 1]``.
            s: Target time, in ``[0, t)``.
            stochastic: Not used: the start alone is random.
            generator: Not used.
            noise: Not used.

        Returns:
            ``x_t - (t - s) velocity``, shape ``(b, c, h, w)``.
        """
        return straight_step(x_t, answer.velocity, t=t, s=s)


def straight_path(x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return the points of the lines from clean maps to noise (eq. ``flow-path``).

    Args:
        x_0: Clean maps or latents, shape ``(b, c, h, w)``.
        noise: Standard normal noise, shape ``(b, c, h, w)``.
        t: Times in ``[0, 1]``, one per map, shape ``(b,)``.

    Returns:
        ``(1 - t) x_0 + t noise``, shape ``(b, c, h, w)``.

    Raises:
        ValueError: If a time lies outside ``[0, 1]``.
    """
    if t.min() < 0 or t.max() > 1:
        raise ValueError(f"t must lie in [0, 1], got [{t.min():g}, {t.max():g}]")
    t = per_map(t)
    return (1 - t) * x_0 + t * noise


def straight_step(x_t: Tensor, velocity: Tensor, *, t: float, s: float) -> Tensor:
    """Return ``x_t - (t - s) velocity``, of the shape of ``x_t``.

    Raises:
        ValueError: If not ``0 <= s < t <= 1``.
    """
    check_order(t, s)
    return x_t - (t - s) * velocity
