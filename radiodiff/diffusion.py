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

__all__ = [
    "ConstantSDE",
    "DiffusionConfig",
    "Prediction",
    "diffusion_loss",
    "loss_weights",
    "predict",
    "scale_latents",
    "standard_normal",
    "unscale_latents",
]

#: Largest absolute value that is mapped back from softsign.
SOFTSIGN_LIMIT = 0.987654321

#: One source of randomness for a whole batch, one for each map (then a map's noise does not
#: depend on the batch it is in), or the global generator.
Generators = torch.Generator | Sequence[torch.Generator] | None


class Prediction(NamedTuple):
    """What a denoiser returns at one time."""

    drift: Tensor
    """Estimate of ``-x_0``, shape ``(b, c, h, w)``."""
    noise: Tensor
    """Estimate of the normal noise in ``x_t``, shape ``(b, c, h, w)``."""


@dataclass(frozen=True)
class DiffusionConfig:
    """Choices of the diffusion stage that are not the network's."""

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
    latent_scaling: Literal["factor", "softsign"] = "factor"
    """How latents become ``x_0``: times a factor, or ``z / (1 + |z|)`` into (-1, 1)."""
    latent_scale: float | None = None
    """Factor that brings latents to unit variance [1]; ``null`` measures it on training maps."""
    latent_scale_maps: int = 256
    """Maps it is measured on; the public code takes its first micro-batch alone."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If ``t_min`` lies outside (0, 1) or ``latent_scale_maps`` is below 1.
        """
        if not 0 < self.t_min < 1:
            raise ValueError(f"t_min must lie between 0 and 1, got {self.t_min:g}")
        if self.latent_scale_maps < 1:
            raise ValueError(f"latent_scale_maps must be at least 1, got {self.latent_scale_maps}")


def standard_normal(shape: Sequence[int], generator: Generators = None) -> Tensor:
    """Draw standard normal noise on the generator's device.

    Args:
        shape: Shape of the result, ``(b, ...)``.
        generator: One generator, or one for each of the ``b`` maps.

    Returns:
        Noise, shape ``shape``.

    Raises:
        ValueError: If there are several generators, but not one for each map.
    """
    if generator is None or isinstance(generator, torch.Generator):
        device = generator.device if generator is not None else None
        return torch.randn(tuple(shape), generator=generator, device=device)
    if len(generator) != shape[0]:
        raise ValueError(f"need one generator for each of {shape[0]} maps, got {len(generator)}")
    return torch.stack([standard_normal(shape[1:], one) for one in generator])


def _per_map(t: Tensor) -> Tensor:
    """Shape times ``(b,)`` so that they broadcast over ``(b, c, h, w)``."""
    return t.view(-1, 1, 1, 1)


def _check_order(t: float, s: float) -> None:
    """Refuse a step that does not run down within [0, 1]."""
    if not 0 <= s < t <= 1:
        raise ValueError(f"need 0 <= s < t <= 1, got t={t:g}, s={s:g}")


@dataclass(frozen=True)
class ConstantSDE:
    """The forward process ``dx = -x_0 dt + dw`` and its exact reverse step.

    Source: Y. Huang et al., *Decoupled Diffusion Models*, arXiv:2306.13720.

    Attributes:
        t_min: Smallest time that training draws [1].
    """

    t_min: float = 1e-4

    def draw_times(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw training times, uniform in ``[t_min, 1)``.

        Args:
            count: Number of times.
            generator: Source of randomness; its device is the result's.

        Returns:
            Times, shape ``(count,)``.
        """
        device = generator.device if generator is not None else None
        return self.times(torch.rand(count, generator=generator, device=device))

    def times(self, uniform: Tensor) -> Tensor:
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
        t = _per_map(t)
        return (1 - t) * x_0 + t.sqrt() * noise

    def predict_x_0(self, x_t: Tensor, prediction: Prediction, t: Tensor) -> Tensor:
        """Solve the marginal for the clean latents (eq. ``inversion``).

        Args:
            x_t: Latents at times ``t``, shape ``(b, c, h, w)``.
            prediction: Drift and noise, each shape ``(b, c, h, w)``.
            t: Times, one per map, shape ``(b,)``.

        Returns:
            ``x_t - t drift - sqrt(t) noise``, shape ``(b, c, h, w)``.
        """
        t = _per_map(t)
        return x_t - t * prediction.drift - t.sqrt() * prediction.noise

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
        return -prediction.noise / _per_map(t).sqrt()

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
        _check_order(t, s)
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
        _check_order(t, s)
        return x_t - (t - s) * prediction.drift - (sqrt(t) - sqrt(s)) * prediction.noise


def predict(
    outputs: tuple[Tensor, Tensor],
    x_t: Tensor,
    t: Tensor,
    *,
    drift_skip: Literal["corrected", "reference"] = "corrected",
) -> Prediction:
    """Turn the two raw heads of a network into drift and noise (eq. ``skips``).

    ``drift = -+(1 - t) x_t + t / sqrt(t^2 + 1) F_1`` and
    ``noise = sqrt(t) x_t + sqrt(1 - t) / sqrt(t^2 + 1) F_2``. At ``t = 1`` the noise is ``x_1``
    itself whatever the network says. Source: the public RadioDiff code; its sign of the drift's
    skip is wrong (audit D1), ``corrected`` turns it.

    Args:
        outputs: Raw heads ``(F_1, F_2)``, each shape ``(b, c, h, w)``.
        x_t: Latents the heads were computed from, shape ``(b, c, h, w)``.
        t: Times, one per map, shape ``(b,)``.
        drift_skip: Sign convention of the drift's skip.

    Returns:
        Drift and noise, each shape ``(b, c, h, w)``.
    """
    first, second = outputs
    t = _per_map(t)
    sign = 1.0 if drift_skip == "reference" else -1.0
    norm = (t * t + 1).sqrt()
    drift = sign * (1 - t) * x_t + t / norm * first
    noise = t.sqrt() * x_t + (1 - t).clamp_min(0).sqrt() / norm * second
    return Prediction(drift, noise)


def loss_weights(t: Tensor, config: DiffusionConfig) -> tuple[Tensor, Tensor]:
    """Return the weights of the drift and the noise error at times ``t`` (eq. ``weights``).

    Args:
        t: Times, shape ``(b,)``.
        config: Its ``weighting`` and ``t_min`` are used.

    Returns:
        Two tensors of shape ``(b,)``.
    """
    if config.weighting == "exponential":
        return 2 * torch.exp(1 - t), torch.exp(t.sqrt())
    if config.weighting == "inverse_sqrt":
        return (t + 1) / t.sqrt(), (2 - t).sqrt() / (1 - t + config.t_min).sqrt()
    return torch.ones_like(t), torch.ones_like(t)


def diffusion_loss(
    prediction: Prediction, x_0: Tensor, noise: Tensor, t: Tensor, config: DiffusionConfig
) -> Tensor:
    """Weighted regression of drift and noise on their targets (eq. ``regression``).

    Args:
        prediction: Drift and noise estimated at ``t``, each shape ``(b, c, h, w)``.
        x_0: Clean latents, shape ``(b, c, h, w)``; the drift's target is ``-x_0``.
        noise: Noise that made ``x_t``, shape ``(b, c, h, w)``.
        t: Times, shape ``(b,)``.
        config: Weighting, and which errors are averaged.

    Returns:
        One loss per map, shape ``(b,)``.
    """
    drift_weight, noise_weight = loss_weights(t, config)
    drift_error = (prediction.drift + x_0).flatten(1)
    noise_error = (prediction.noise - noise).flatten(1)
    squared = drift_weight * drift_error.square().mean(1)
    squared = squared + noise_weight * noise_error.square().mean(1)
    if config.error == "squared":
        return squared
    absolute = drift_weight * drift_error.abs().mean(1) + noise_weight * noise_error.abs().mean(1)
    return absolute if config.error == "absolute" else (squared + absolute) / 2


def scale_latents(latents: Tensor, scale: float, config: DiffusionConfig) -> Tensor:
    """Return ``x_0`` of an autoencoder's latents (eq. ``latent-scaling``).

    Args:
        latents: Latents, shape ``(b, c, h, w)``.
        scale: The factor; not used by ``softsign``.
        config: Its ``latent_scaling`` is used.
    """
    if config.latent_scaling == "softsign":
        return latents / (1 + latents.abs())
    return scale * latents


def unscale_latents(x_0: Tensor, scale: float, config: DiffusionConfig) -> Tensor:
    """Undo `scale_latents`; ``softsign`` holds values within 0.987654321, as the public code."""
    if config.latent_scaling == "softsign":
        x_0 = x_0.clamp(-SOFTSIGN_LIMIT, SOFTSIGN_LIMIT)
        return x_0 / (1 - x_0.abs())
    return x_0 / scale
