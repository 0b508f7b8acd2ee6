"""The constant-drift diffusion: forward marginal, exact reverse step, network skips, loss.

An image is driven to zero at constant speed while Brownian noise of unit variance per unit time
is added, ``dx = -x_0 dt + dw``. Everything else follows; the chapter *Derive the constant-drift
diffusion* of the book proves and checks each equation under the label given here:

* eq. ``marginal``: ``x_t = (1 - t) x_0 + sqrt(t) noise``, so ``x_1`` is standard normal;
* eq. ``inversion``: ``x_0 = x_t - t drift - sqrt(t) noise`` with ``drift = -x_0``;
* eq. ``bridge``: given ``x_t`` and ``x_0``, ``x_s`` is normal with mean
  ``x_t - (t - s) drift - (t - s) / sqrt(t) noise`` and variance ``s (t - s) / t``, for any
  ``0 <= s < t``: with exact targets the number of steps changes nothing;
* eq. ``score`` and eq. ``probability-flow``: the same two targets give the score and the velocity
  of the ordinary differential equation with the same marginals, eq. ``deterministic`` its step.

Sources: Y. Huang et al., *Decoupled Diffusion Models*, arXiv:2306.13720; X. Wang et al.,
*RadioDiff*, arXiv:2408.08593.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from radiodiff.noise import uniform
from radiodiff.processes.base import (
    Generators,
    Network,
    as_times,
    check_order,
    per_map,
    standard_normal,
)

__all__ = ["ConstantSDE", "Prediction"]


class Prediction(NamedTuple):
    """What a network says at one time."""

    drift: Tensor
    """Estimate of ``-x_0``, shape ``(b, c, h, w)``."""
    noise: Tensor
    """Estimate of the normal noise in ``x_t``, shape ``(b, c, h, w)``."""


@dataclass(frozen=True)
class ConstantSDE:
    """The forward process ``dx = -x_0 dt + dw`` and its exact reverse step.

    Source: Y. Huang et al., *Decoupled Diffusion Models*, arXiv:2306.13720.
    """

    t_min: float = 1e-4
    """Smallest time drawn in training [1]; the noise target is ill-conditioned at 0."""
    drift_skip: Literal["corrected", "reference"] = "corrected"
    """Sign of the input skip in the drift head: ``reference`` adds ``(1 - t) x_t`` to an estimate
    of ``-x_0``, which the network must undo as t goes to 0; ``corrected`` subtracts it (D1)."""
    weighting: Literal["uniform", "exponential", "inverse_sqrt"] = "exponential"
    """Weights of the drift and the noise error over time: ``uniform`` is 1 and 1, ``exponential``
    is ``2 exp(1 - t)`` and ``exp(sqrt t)`` (public code of 2025), ``inverse_sqrt`` is
    ``(t + 1) / sqrt t`` and ``sqrt((2 - t) / (1 - t + t_min))`` (public code of 2024)."""
    error: Literal["both", "squared", "absolute"] = "both"
    """What is averaged over a map; ``both`` is the mean of squared and absolute error."""

    heads = ("drift", "noise")
    times = 1
    one_step = False
    draws_noise = True

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If ``t_min`` lies outside (0, 1).
        """
        if not 0 < self.t_min < 1:
            raise ValueError(f"t_min must lie between 0 and 1, got {self.t_min:g}")

    def loss(
        self, network: Network, x_0: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw times and noise, and return the loss of a network (eq. ``regression``).

        Args:
            network: Returns the two raw heads.
            x_0: Clean latents, shape ``(b, c, h, w)``.
            generator: Source of times, then of noise.

        Returns:
            One loss per map, shape ``(b,)``.
        """
        t = self.draw_times(len(x_0), generator=generator)
        noise = standard_normal(x_0.shape, generator)
        x_t = self.perturb(x_0, noise, t)
        return self.regression_loss(self.ask(network, x_t, t=t), x_0, noise, t)

    def start(
        self, shape: Sequence[int], generator: Generators = None, *, t: float = 1.0
    ) -> Tensor:
        """Return ``x_t`` of a clean map that is 0: noise times ``sqrt(t)``, shape ``shape``."""
        return sqrt(t) * standard_normal(shape, generator)

    def ask(
        self, network: Network, x_t: Tensor, *, t: float | Tensor, s: float = 0.0
    ) -> Prediction:
        """Evaluate a network once (eq. ``skips``).

        Args:
            network: Returns the two raw heads.
            x_t: Latents at time ``t``, shape ``(b, c, h, w)``.
            t: One time, or one for each map, shape ``(b,)``.
            s: Not used: the answer serves any step.

        Returns:
            Drift and noise, each shape ``(b, c, h, w)``.
        """
        times = as_times(t, x_t)
        return self.predict(network(x_t, times), x_t, times)

    def draw_times(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw training times, uniform in ``[t_min, 1)``.

        Args:
            count: Number of times.
            generator: Source of randomness; its device is the result's.

        Returns:
            Times, shape ``(count,)``.
        """
        return self.training_times(uniform(count, generator))

    def training_times(self, uniform: Tensor) -> Tensor:
        """Return the times of numbers uniform in [0, 1), any shape: uniform in [t_min, 1)."""
        return uniform * (1 - self.t_min) + self.t_min

    def perturb(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Draw ``x_t`` from the forward marginal (eq. ``marginal``).

        Args:
            x_0: Clean latents, shape ``(b, c, h, w)``.
            noise: Standard normal noise, shape ``(b, c, h, w)``.
            t: Times in ``[0, 1]``, one per map, shape ``(b,)``.

        Returns:
            Noisy latents ``(1 - t) x_0 + sqrt(t) noise``, shape ``(b, c, h, w)``.

        Raises:
            ValueError: If a time lies outside ``[0, 1]``.
        """
        if t.min() < 0 or t.max() > 1:
            raise ValueError(f"t must lie in [0, 1], got [{t.min():g}, {t.max():g}]")
        t = per_map(t)
        return (1 - t) * x_0 + t.sqrt() * noise

    def x_0(self, x_t: Tensor, answer: Prediction, *, t: float | Tensor) -> Tensor:
        """Solve the marginal for the clean latents (eq. ``inversion``).

        Args:
            x_t: Latents at time ``t``, shape ``(b, c, h, w)``.
            answer: Drift and noise, each shape ``(b, c, h, w)``.
            t: One time, or one for each map, shape ``(b,)``.

        Returns:
            ``x_t - t drift - sqrt(t) noise``, shape ``(b, c, h, w)``.
        """
        t = per_map(as_times(t, x_t))
        return x_t - t * answer.drift - t.sqrt() * answer.noise

    def step(
        self,
        x_t: Tensor,
        answer: Prediction,
        *,
        t: float,
        s: float,
        stochastic: bool = True,
        generator: Generators = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Go from ``t`` to ``s`` by `reverse_step` or `deterministic_step`.

        The two answers give one estimate of ``x_0`` (eq. ``inversion``); the step then uses the
        drift ``-x_0`` of that estimate, as the public RadioDiff code does.

        Args:
            x_t: Latents at time ``t``, shape ``(b, c, h, w)``.
            answer: Estimates of ``-x_0`` and of the noise in ``x_t``.
            t: Current time, in ``(0, 1]``.
            s: Target time, in ``[0, t)``.
            stochastic: Draw fresh noise (eq. ``bridge``) or none (eq. ``deterministic``).
            generator: Source of the bridge noise, one or one for each map.
            noise: Bridge noise to use instead of drawing, shape ``(b, c, h, w)``.

        Returns:
            Latents at time ``s``, shape ``(b, c, h, w)``.
        """
        pair = Prediction(-self.x_0(x_t, answer, t=t), answer.noise)
        if not stochastic:
            return self.deterministic_step(x_t, pair, t=t, s=s)
        return self.reverse_step(x_t, pair, t=t, s=s, generator=generator, noise=noise)

    def score(self, prediction: Prediction, t: Tensor) -> Tensor:
        """Return the score, the gradient of ``log p_t`` (eq. ``score``).

        Args:
            prediction: Its noise, shape ``(b, c, h, w)``, is used.
            t: Times in ``(0, 1]``, one per map, shape ``(b,)``.

        Returns:
            ``-noise / sqrt(t)``, shape ``(b, c, h, w)``.

        Raises:
            ValueError: If a time is not positive.
        """
        if t.min() <= 0:
            raise ValueError(f"t must be positive, got {t.min():g}: at 0 there is no noise")
        return -prediction.noise / per_map(t).sqrt()

    def velocity(self, prediction: Prediction, t: Tensor) -> Tensor:
        """Return the velocity of the probability flow (eq. ``probability-flow``).

        Args:
            prediction: Drift and noise, each shape ``(b, c, h, w)``.
            t: Times in ``(0, 1]``, one per map, shape ``(b,)``.

        Returns:
            ``drift + noise / (2 sqrt(t))``, shape ``(b, c, h, w)``.

        Raises:
            ValueError: If a time is not positive.
        """
        return prediction.drift - self.score(prediction, t) / 2

    def reverse_step(
        self,
        x_t: Tensor,
        prediction: Prediction,
        *,
        t: float,
        s: float,
        generator: Generators = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw ``x_s`` from the Brownian bridge between ``x_t`` and ``x_0`` (eq. ``bridge``).

        Args:
            x_t: Latents at time ``t``, shape ``(b, c, h, w)``.
            prediction: Estimates of ``-x_0`` and of the noise in ``x_t``.
            t: Current time, in ``(0, 1]``.
            s: Target time, in ``[0, t)``; at 0 the step is deterministic.
            generator: Source of the bridge noise, one or one for each map.
            noise: Bridge noise to use instead of drawing, shape ``(b, c, h, w)``.

        Returns:
            Latents at time ``s``, shape ``(b, c, h, w)``.

        Raises:
            ValueError: If not ``0 <= s < t <= 1``.
        """
        check_order(t, s)
        mean = x_t - (t - s) * prediction.drift - (t - s) / sqrt(t) * prediction.noise
        if s == 0:
            return mean
        if noise is None:
            noise = standard_normal(x_t.shape, generator)
        return mean + sqrt(s * (t - s) / t) * noise.to(x_t)

    def deterministic_step(
        self, x_t: Tensor, prediction: Prediction, *, t: float, s: float
    ) -> Tensor:
        """Move ``x_t`` to time ``s`` and draw no noise (eq. ``deterministic``).

        The noise in ``x_t`` is kept and only shrunk; this is DDIM for the constant drift. With a
        pair that fits ``x_t`` (eq. ``inversion``) the result is ``(1 - s) x_0 + sqrt(s) noise``.

        Args:
            x_t: Latents at time ``t``, shape ``(b, c, h, w)``.
            prediction: Estimates of ``-x_0`` and of the noise in ``x_t``.
            t: Current time, in ``(0, 1]``.
            s: Target time, in ``[0, t)``; at 0 the step is the one of `reverse_step`.

        Returns:
            Latents at time ``s``, shape ``(b, c, h, w)``.

        Raises:
            ValueError: If not ``0 <= s < t <= 1``.
        """
        check_order(t, s)
        return x_t - (t - s) * prediction.drift - (sqrt(t) - sqrt(s)) * prediction.noise

    def predict(self, outputs: tuple[Tensor, ...], x_t: Tensor, t: Tensor) -> Prediction:
        """Turn the two raw heads of a network into drift and noise (eq. ``skips``).

        ``drift = -+(1 - t) x_t + t / sqrt(t^2 + 1) F_1`` and
        ``noise = sqrt(t) x_t + sqrt(1 - t) / sqrt(t^2 + 1) F_2``. At ``t = 1`` the noise is
        ``x_1`` itself whatever the network says. Source: the public RadioDiff code; its sign of
        the drift's skip is wrong (audit D1), ``corrected`` turns it.

        Args:
            outputs: Raw heads ``(F_1, F_2)``, each shape ``(b, c, h, w)``.
            x_t: Latents the heads were computed from, shape ``(b, c, h, w)``.
            t: Times, one per map, shape ``(b,)``.

        Returns:
            Drift and noise, each shape ``(b, c, h, w)``.
        """
        first, second = outputs
        t = per_map(t)
        sign = 1.0 if self.drift_skip == "reference" else -1.0
        norm = (t * t + 1).sqrt()
        drift = sign * (1 - t) * x_t + t / norm * first
        noise = t.sqrt() * x_t + (1 - t).clamp_min(0).sqrt() / norm * second
        return Prediction(drift, noise)

    def loss_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of the drift and the noise error (eq. ``weights``).

        Args:
            t: Times, shape ``(b,)``.

        Returns:
            Two tensors of shape ``(b,)``.
        """
        if self.weighting == "exponential":
            return 2 * torch.exp(1 - t), torch.exp(t.sqrt())
        if self.weighting == "inverse_sqrt":
            return (t + 1) / t.sqrt(), (2 - t).sqrt() / (1 - t + self.t_min).sqrt()
        return torch.ones_like(t), torch.ones_like(t)

    def regression_loss(
        self, prediction: Prediction, x_0: Tensor, noise: Tensor, t: Tensor
    ) -> Tensor:
        """Weighted regression of drift and noise on their targets (eq. ``regression``).

        Args:
            prediction: Drift and noise estimated at ``t``, each shape ``(b, c, h, w)``.
            x_0: Clean latents, shape ``(b, c, h, w)``; the drift's target is ``-x_0``.
            noise: Noise that made ``x_t``, shape ``(b, c, h, w)``.
            t: Times, shape ``(b,)``.

        Returns:
            One loss per map, shape ``(b,)``.
        """
        drift_weight, noise_weight = self.loss_weights(t)
        drift_error = (prediction.drift + x_0).flatten(1)
        noise_error = (prediction.noise - noise).flatten(1)
        squared = drift_weight * drift_error.square().mean(1)
        squared = squared + noise_weight * noise_error.square().mean(1)
        if self.error == "squared":
            return squared
        absolute = drift_weight * drift_error.abs().mean(1)
        absolute = absolute + noise_weight * noise_error.abs().mean(1)
        return absolute if self.error == "absolute" else (squared + absolute) / 2
