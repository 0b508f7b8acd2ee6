"""Toy problems whose posterior is known, and the best network of each process for them.

`GaussianToy` has normal clean values: every expectation is linear, so the best network of each
process is in closed form (eq. ``toy-estimate``, eq. ``toy-average-velocity`` of the chapter *Choose
a process*). `TwoKinds` is the mixture of the chapter *Derive the constant-drift diffusion*, where
they are not linear.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from radiodiff.processes.base import Generators, Network, Process, per_map, standard_normal
from radiodiff.processes.constant_sde import ConstantSDE, Prediction
from radiodiff.processes.flow_matching import FlowMatching
from radiodiff.processes.mean_flow import MeanFlow
from radiodiff.processes.regression import Regression

__all__ = ["GaussianToy", "TwoKinds"]


@dataclass(frozen=True)
class GaussianToy:
    """Clean values that are normal, each cell by itself, and the best networks for them."""

    mean: float = 0.8
    """Mean of a clean value [1]."""
    std: float = 0.5
    """Its standard deviation [1]."""

    def draw(self, shape: Sequence[int], generator: Generators = None) -> Tensor:
        """Return clean maps, shape ``shape``."""
        return self.mean + self.std * standard_normal(shape, generator)

    def estimate(self, x_t: Tensor, keep: Tensor, noise_variance: Tensor) -> Tensor:
        """Return the posterior's mean (eq. ``toy-estimate``).

        Args:
            x_t: ``keep x_0`` plus noise, any shape.
            keep: Factor of the clean value, broadcast to ``x_t``.
            noise_variance: Variance of the noise, likewise.

        Returns:
            ``E[x_0 | x_t]``, of the shape of ``x_t``.
        """
        variance = self.std**2
        gain = keep * variance / (keep**2 * variance + noise_variance)
        return self.mean + gain * (x_t - keep * self.mean)

    def average_velocity(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Return the mean velocity of the flow from ``s`` to ``t`` (eq. ``toy-average-velocity``).

        A point of the flow keeps its quantile, so it moves with the mean ``(1 - t) m`` and its
        distance from the mean in proportion to the standard deviation. Written without a
        difference of times below the line, the formula holds for ``s = t`` too, where it is the
        velocity.

        Args:
            x_t: Points of the flow, shape ``(b, c, h, w)``.
            t: Later times, shape ``(b,)``.
            s: Earlier times, shape ``(b,)``.

        Returns:
            The average velocity, shape ``(b, c, h, w)``.
        """
        t, s, variance = per_map(t), per_map(s), self.std**2
        later, earlier = (((1 - r) ** 2 * variance + r**2).sqrt() for r in (t, s))
        rate = (t + s - variance * (2 - t - s)) / (later + earlier)
        return rate / later * (x_t - (1 - t) * self.mean) - self.mean

    def network(self, process: Process) -> Network:
        """Return the network that training would end at if it could.

        Args:
            process: Which of the processes of this package the network is for.

        Returns:
            Maps what the process gives a network to the raw outputs that it expects.

        Raises:
            ValueError: If the process is none of these.
        """
        if isinstance(process, ConstantSDE):
            return lambda x_t, t: self._heads(process, x_t, t)
        if isinstance(process, FlowMatching):
            return lambda x_t, t: (self.average_velocity(x_t, t, t),)
        if isinstance(process, MeanFlow):
            return lambda x_t, t, s: (self.average_velocity(x_t, t, s),)
        if isinstance(process, Regression):
            return lambda x_t, t: (torch.full_like(x_t, self.mean),)
        raise ValueError(f"no closed form for a {type(process).__name__}: give it one here")

    def _heads(self, process: ConstantSDE, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw heads that the skips of eq. ``skips`` turn into posterior means."""
        t = per_map(t)
        x_0 = self.estimate(x_t, 1 - t, t)
        noise = (x_t - (1 - t) * x_0) / t.sqrt()
        sign = 1.0 if process.drift_skip == "reference" else -1.0
        norm = (t * t + 1).sqrt()
        first = (-x_0 - sign * (1 - t) * x_t) * norm / t
        # At time 1 the skip alone is the noise, and what the head says counts for nothing.
        second = (noise - t.sqrt() * x_t) * norm / (1 - t).sqrt().clamp_min(1e-30)
        return first, second


@dataclass(frozen=True)
class TwoKinds:
    """Clean values of two kinds with equal chances, ``±centre``, plus some variety."""

    centre: float = 1.0
    """Distance of either kind from 0 [1]."""
    width: float = 0.25
    """Standard deviation within a kind [1]."""

    def variance(self, t: float | Tensor) -> float | Tensor:
        """Return the variance of ``x_t`` within a kind, under the constant-drift diffusion."""
        return (1 - t) ** 2 * self.width**2 + t

    def mean_kind(self, x_t: Tensor, t: float) -> Tensor:
        """Return ``E[S | x_t]``, of the shape of ``x_t``; ``S`` is 1 or -1."""
        return torch.tanh(self.centre * (1 - t) * x_t / self.variance(t))

    def estimate(self, x_t: Tensor, t: float, kind: Tensor | None = None) -> Tensor:
        """Return ``E[x_0 | x_t]``, or ``E[x_0 | x_t, S]`` for given kinds ``S``."""
        kind = self.mean_kind(x_t, t) if kind is None else kind
        return ((1 - t) * self.width**2 * x_t + t * self.centre * kind) / self.variance(t)

    def prediction(self, x_t: Tensor, t: float) -> Prediction:
        """Return the drift and the noise of a perfectly trained network."""
        x_0 = self.estimate(x_t, t)
        return Prediction(-x_0, (x_t - (1 - t) * x_0) / t**0.5)

    def density(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Return the density of ``x_t`` at ``x``; times broadcast with ``x``."""
        v = self.variance(t)
        sides = (
            torch.exp(-((x - sign * (1 - t) * self.centre) ** 2) / (2 * v)) for sign in (-1, 1)
        )
        return sum(sides) / (2 * torch.pi * v) ** 0.5 / 2

    def share_below(self, x: Tensor) -> Tensor:
        """Return the share of the clean values below ``x``, of the shape of ``x``."""
        normal = torch.special.ndtr
        sides = (normal((x - sign * self.centre) / self.width) for sign in (1, -1))
        return sum(sides) / 2

    def draw(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Return clean values, shape ``shape``, in double precision."""
        keywords = {"generator": generator, "dtype": torch.float64}
        coins = torch.sign(torch.rand(*shape, **keywords) - 0.5)
        return self.centre * coins + self.width * torch.randn(*shape, **keywords)

    def flow(self, start: Tensor, schedule: Sequence[float]) -> Tensor:
        """Follow the probability flow of the constant-drift diffusion by steps without noise.

        Args:
            start: Values at the first time, shape ``(n,)``.
            schedule: Decreasing times, ``k`` of them.

        Returns:
            Values at all times, shape ``(k, n)``.
        """
        sde, points = ConstantSDE(), [start]
        for t, s in pairwise(schedule):
            pair = self.prediction(points[-1], t)
            points.append(sde.deterministic_step(points[-1], pair, t=t, s=s))
        return torch.stack(points)
