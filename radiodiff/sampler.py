"""Few-step integration of the reverse process over any denoiser callable."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from radiodiff.diffusion import ConstantSDE, Generators, Prediction

__all__ = [
    "Callback",
    "Denoiser",
    "make_schedule",
    "reference_schedule",
    "sample",
    "sample_windows",
    "uniform_schedule",
]

#: Maps latents ``(b, c, h, w)`` and times ``(b,)`` to drift and noise. What it is conditioned on
#: is its own affair: encode a condition once, close over the features, and hand in the closure.
Denoiser = Callable[[Tensor, Tensor], Prediction]

#: Called before each step with the time, ``x_t`` and what the denoiser said there.
Callback = Callable[[float, Tensor, Prediction], None]


def uniform_schedule(steps: int) -> tuple[float, ...]:
    """Return ``steps + 1`` equally spaced times from 1 down to 0 (eq. ``times``).

    Raises:
        ValueError: If ``steps`` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return (*(1 - k / steps for k in range(steps)), 0.0)


def reference_schedule(
    steps: int, *, t_min: float = 1e-4, final_step: bool = True
) -> tuple[float, ...]:
    """Return the times of the public code, rounding included (audit D6, D11).

    ``steps`` equal steps of which the last ends at ``t_min``, then one more to 0: ``steps + 1``
    denoiser calls. Times are counted down in single precision, as the public code does.

    Args:
        steps: What the public code calls ``sampling_timesteps``.
        t_min: Time at which the final step starts.
        final_step: Without it the last of ``steps`` equal steps ends at 0.

    Returns:
        Times from 1 down to 0, ``steps + 2`` of them, or ``steps + 1`` without the final step.

    Raises:
        ValueError: If ``steps`` is less than 1 or too many for ``t_min``.
    """
    if steps < 1 or steps * t_min >= 1:
        raise ValueError(f"steps must lie between 1 and 1 / t_min, got {steps}, t_min {t_min:g}")
    lengths = [1 / steps] * (steps - 1) + ([1 / steps - t_min] if final_step else [])
    times = [np.float32(1)]
    for length in lengths:
        times.append(times[-1] - np.float32(length))
    return (*map(float, times), 0.0)


def make_schedule(
    kind: Literal["uniform", "reference"], steps: int, *, t_min: float
) -> tuple[float, ...]:
    """Return `uniform_schedule` or `reference_schedule`."""
    if kind == "reference":
        return reference_schedule(steps, t_min=t_min)
    return uniform_schedule(steps)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    schedule: Sequence[float],
    start: Tensor,
    *,
    stochastic: bool = True,
    generator: Generators = None,
    noise: Sequence[Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Integrate the reverse process from noise to a clean latent (eq. ``bridge``).

    At each time the denoiser's two answers give one estimate of ``x_0`` (eq. ``inversion``); the
    step then uses the drift ``-x_0`` of that estimate, as the public RadioDiff code does. Without
    fresh noise (eq. ``deterministic``) the start alone decides the result.

    Args:
        denoiser: Maps ``(x_t, t)`` to a :class:`~radiodiff.diffusion.Prediction`.
        schedule: Times from 1 strictly down to 0; ``len(schedule) - 1`` denoiser calls.
        start: Latents at time 1, shape ``(b, c, h, w)``: standard normal noise.
        stochastic: Draw fresh noise in every step but the last; without, nothing is drawn.
        generator: Source of the noise of the steps, one or one for each map.
        noise: Noise to use instead of drawing, one ``(b, c, h, w)`` for each step but the last,
            which needs none.
        callback: Called as ``callback(t, x_t, prediction)`` before each step.

    Returns:
        Clean latents at unit variance, shape ``(b, c, h, w)``.

    Raises:
        ValueError: If the schedule does not run strictly down from 1 to 0, there is too little
            noise for it, or noise is given that would not be used.
    """
    if schedule[0] != 1 or schedule[-1] != 0 or any(s >= t for t, s in pairwise(schedule)):
        raise ValueError(f"schedule must decrease strictly from 1 to 0, got {list(schedule)}")
    if noise is not None and not stochastic:
        raise ValueError("got noise for steps that draw none: use stochastic=True or noise=None")
    if noise is not None and len(noise) < len(schedule) - 2:
        raise ValueError(f"need noise for {len(schedule) - 2} steps, got {len(noise)}")
    sde = ConstantSDE()
    x_t = start
    for step, (t, s) in enumerate(pairwise(schedule)):
        times = torch.full((len(x_t),), t, device=x_t.device, dtype=x_t.dtype)
        prediction = denoiser(x_t, times)
        if callback is not None:
            callback(t, x_t, prediction)
        x_0 = sde.predict_x_0(x_t, prediction, times)
        if not stochastic:
            x_t = sde.deterministic_step(x_t, Prediction(-x_0, prediction.noise), t=t, s=s)
            continue
        x_t = sde.reverse_step(
            x_t,
            Prediction(-x_0, prediction.noise),
            t=t,
            s=s,
            generator=generator,
            noise=noise[step] if noise is not None and s > 0 else None,
        )
    return x_t


def sample_windows(
    draw: Callable[[Tensor], Tensor],
    condition: Tensor,
    window: tuple[int, int],
    stride: tuple[int, int],
) -> Tensor:
    """Draw maps of a large condition window by window and average where windows overlap.

    Each window is drawn on its own; the last one of an axis is moved back to end at the border.
    Source: the slide sampling of the public RadioDiff code.

    Args:
        draw: Maps a window of the condition ``(b, k, *window)`` to maps ``(b, c, *window)``.
        condition: Condition, shape ``(b, k, h, w)``.
        window: Sides of a window [cells]; a side longer than the map's is cut to it.
        stride: Distance between windows [cells].

    Returns:
        Maps, shape ``(b, c, h, w)``.

    Raises:
        ValueError: If a side or a stride is not positive, or a stride is longer than its side.
    """
    if min(*window, *stride) < 1 or any(s > w for w, s in zip(window, stride, strict=True)):
        raise ValueError(
            f"need 1 <= stride <= window on both axes, got stride {stride}, window {window}"
        )
    size = condition.shape[-2:]
    sides = [min(side, length) for side, length in zip(window, size, strict=True)]

    def starts(length: int, side: int, step: int) -> list[int]:
        count = (length - side + step - 1) // step + 1
        return [min(k * step, length - side) for k in range(count)]

    rows, columns = map(starts, size, sides, stride)
    total: Tensor | None = None
    covered = torch.zeros(size, device=condition.device)
    for row in rows:
        for column in columns:
            place = (..., slice(row, row + sides[0]), slice(column, column + sides[1]))
            maps = draw(condition[place])
            if total is None:
                total = maps.new_zeros(*maps.shape[:2], *size)
            total[place] += maps
            covered[place] += 1
    return total / covered
