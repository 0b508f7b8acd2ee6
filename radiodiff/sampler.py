"""Few-step integration of the reverse process over any denoiser callable."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from radiodiff.diffusion import ConstantSDE, Generators, Prediction

__all__ = ["Denoiser", "sample", "uniform_schedule"]

#: Maps latents ``(b, c, h, w)`` and times ``(b,)`` to drift and noise. What it is conditioned on
#: is its own affair: encode a condition once, close over the features, and hand in the closure.
Denoiser = Callable[[Tensor, Tensor], Prediction]


def uniform_schedule(steps: int) -> tuple[float, ...]:
    """Return ``steps + 1`` equally spaced times from 1 down to 0.

    Raises:
        ValueError: If ``steps`` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return (*(1 - k / steps for k in range(steps)), 0.0)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    schedule: Sequence[float],
    start: Tensor,
    *,
    generator: Generators = None,
    callback: Callable[[float, Tensor, Prediction], None] | None = None,
) -> Tensor:
    """Integrate the reverse process from noise to a clean latent (eq. ``bridge``).

    At each time the denoiser's two answers give one estimate of ``x_0`` (eq. ``inversion``); the
    step then uses the drift ``-x_0`` of that estimate, as the public RadioDiff code does.

    Args:
        denoiser: Maps ``(x_t, t)`` to a :class:`~radiodiff.diffusion.Prediction`.
        schedule: Times from 1 strictly down to 0; ``len(schedule) - 1`` denoiser calls.
        start: Latents at time 1, shape ``(b, c, h, w)``: standard normal noise.
        generator: Source of the noise of the steps, one or one for each map.
        callback: Called as ``callback(t, x_t, prediction)`` before each step.

    Returns:
        Clean latents at unit variance, shape ``(b, c, h, w)``.

    Raises:
        ValueError: If the schedule does not run strictly down from 1 to 0.
    """
    if schedule[0] != 1 or schedule[-1] != 0 or any(s >= t for t, s in pairwise(schedule)):
        raise ValueError(f"schedule must decrease strictly from 1 to 0, got {list(schedule)}")
    sde = ConstantSDE()
    x_t = start
    for t, s in pairwise(schedule):
        times = torch.full((len(x_t),), t, device=x_t.device, dtype=x_t.dtype)
        prediction = denoiser(x_t, times)
        if callback is not None:
            callback(t, x_t, prediction)
        x_0 = sde.predict_x_0(x_t, prediction, times)
        x_t = sde.reverse_step(
            x_t, Prediction(-x_0, prediction.noise), t=t, s=s, generator=generator
        )
    return x_t
