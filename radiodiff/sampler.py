"""The loop over steps: any process, any network, any decreasing times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from radiodiff.processes import Answer, Generators, Network, Process
from radiodiff.ranges import MAX_SIDE, check_numbers

__all__ = [
    "SCHEDULES",
    "Callback",
    "SamplerConfig",
    "make_schedule",
    "reference_schedule",
    "sample",
    "sample_windows",
    "uniform_schedule",
]

#: Most evaluations of a network for one sample.
MAX_STEPS = 100_000

#: Called before each step with the time, ``x_t`` and what the process said there.
Callback = Callable[[float, Tensor, Answer], None]


@dataclass(frozen=True)
class SamplerConfig:
    """How a trained process is asked."""

    steps: int = 5
    """Evaluations of the network per sample."""
    schedule: str = "uniform"
    """Times of these evaluations: ``uniform``, or ``reference``, which makes one more and ends as
    the public code (D6)."""
    stochastic: bool = True
    """Draw fresh noise in every step but the last; without, the start alone is random."""
    window: tuple[int, int] | None = None
    """Draw larger maps window by window of these sides [cells]; ``null`` draws them whole."""
    stride: tuple[int, int] | None = None
    """Distance between windows [cells]; their sides if ``null``."""
    start: float = 1.0
    """Time of the first evaluation [1]; below 1 the way back begins at noise around 0, the mean of
    residuals."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If ``steps`` or a side lies outside its range, ``schedule`` is unknown,
                ``start`` lies outside (0, 1], or window and stride do not go together.
        """
        check_numbers(self, "steps", least=1, most=MAX_STEPS)
        check_numbers(self, "window", "stride", most=MAX_SIDE)
        if self.schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise ValueError(f"schedule must be one of {known}, got {self.schedule!r}")
        if not 0 < self.start <= 1:
            raise ValueError(f"start must lie in (0, 1], got {self.start:g}")
        if self.stride is not None and self.window is None:
            raise ValueError(f"stride {self.stride} needs a window: set one, or stride to null")
        if self.window is not None:
            check_windows(self.window, self.stride or self.window)


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


def make_schedule(sampler: SamplerConfig, process: Process) -> tuple[float, ...]:
    """Return the times at which a process is asked, from ``sampler.start`` down to 0.

    Args:
        sampler: Rule, steps and start.
        process: What the times are for; one that knows no steps has 1 and 0.

    Raises:
        ValueError: If the rule does not suit the process or the number of steps.
    """
    if process.one_step:
        return (1.0, 0.0)
    times = SCHEDULES[sampler.schedule](sampler, process)
    return tuple(sampler.start * t for t in times)


def _reference_times(sampler: SamplerConfig, process: Process) -> tuple[float, ...]:
    """Return the public code's times, which are those of one process."""
    t_min = getattr(process, "t_min", None)
    if t_min is None:
        raise ValueError(
            f"schedule 'reference' is that of the constant SDE, not of {type(process).__name__}: "
            "use 'uniform'"
        )
    return reference_schedule(sampler.steps, t_min=t_min)


#: Rules for the times by the names that a configuration gives them: each returns times from 1
#: strictly down to 0.
SCHEDULES: dict[str, Callable[[SamplerConfig, Process], tuple[float, ...]]] = {
    "uniform": lambda sampler, process: uniform_schedule(sampler.steps),
    "reference": _reference_times,
}


@torch.no_grad()
def sample(
    process: Process,
    network: Network,
    schedule: Sequence[float],
    start: Tensor,
    *,
    start_time: float = 1.0,
    stochastic: bool = True,
    generator: Generators = None,
    noise: Sequence[Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Go back from noise to clean maps or latents, step by step.

    Without fresh noise the start alone decides the result.

    Args:
        process: Turns the network's outputs into steps.
        network: Maps ``(x_t, t)``, or ``(x_t, t, s)``, to the process's raw outputs.
        schedule: Times from ``start_time`` strictly down to 0; ``len(schedule) - 1`` evaluations.
        start: What `Process.start` gave, shape ``(b, c, h, w)``: at time 1, standard normal noise.
        start_time: Time of ``start`` [1].
        stochastic: Draw fresh noise in every step but the last, if the process does at all;
            without, nothing is drawn.
        generator: Source of the noise of the steps, one or one for each map.
        noise: Noise to use instead of drawing, one ``(b, c, h, w)`` for each step but the last,
            which needs none.
        callback: Called as ``callback(t, x_t, answer)`` before each step.

    Returns:
        ``x_0``, shape ``(b, c, h, w)``.

    Raises:
        ValueError: If the schedule does not run strictly down from the start's time to 0, there is
            too little noise for it, or noise is given that would not be used.
    """
    if schedule[0] != start_time or schedule[-1] != 0 or any(s >= t for t, s in pairwise(schedule)):
        raise ValueError(
            f"schedule must decrease strictly from {start_time:g} to 0, got {list(schedule)}"
        )
    if noise is not None and not (stochastic and process.draws_noise):
        raise ValueError("got noise for steps that draw none: use stochastic=True or noise=None")
    if noise is not None and len(noise) < len(schedule) - 2:
        raise ValueError(f"need noise for {len(schedule) - 2} steps, got {len(noise)}")
    x_t = start
    for step, (t, s) in enumerate(pairwise(schedule)):
        answer = process.ask(network, x_t, t=t, s=s)
        if callback is not None:
            callback(t, x_t, answer)
        x_t = process.step(
            x_t,
            answer,
            t=t,
            s=s,
            stochastic=stochastic,
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
    check_windows(window, stride)
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


def check_windows(window: tuple[int, int], stride: tuple[int, int]) -> None:
    """Refuse windows that leave gaps.

    Raises:
        ValueError: If a side or a stride is not positive, or a stride is longer than its side.
    """
    if min(*window, *stride) < 1 or any(s > w for w, s in zip(window, stride, strict=True)):
        raise ValueError(
            f"need 1 <= stride <= window on both axes, got stride {stride}, window {window}"
        )
