"""Mean flow: the average velocity between two times, which needs one evaluation.

The paths are those of flow matching. The average velocity of the flow from time ``s`` to ``t``
is ``u(x_t, s, t)``, so one step back over any length is exact. Differentiating its definition
along the flow gives an identity that a network can be trained by, without ever following a path.
The chapter *Choose a process* has the equations:

* eq. ``average-velocity``: ``(t - s) u(x_t, s, t)`` is the integral of the velocity from ``s``
  to ``t``, along the flow;
* eq. ``mean-flow-target``: ``u = v - (t - s) du/dt``, where ``d/dt`` moves ``x_t`` at the velocity
  ``v`` and holds ``s``;
* eq. ``mean-flow-step``: ``x_s = x_t - (t - s) u``.

Source: Z. Geng et al., *Mean Flows for One-step Generative Modeling*, arXiv:2505.13447.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from radiodiff.noise import uniform
from radiodiff.processes.base import (
    Generators,
    Network,
    TimeLaw,
    as_times,
    per_map,
    standard_normal,
)
from radiodiff.processes.flow_matching import straight_path, straight_step
from radiodiff.ranges import check_numbers

__all__ = ["AverageVelocity", "MeanFlow"]


class AverageVelocity(NamedTuple):
    """What a network says of a step."""

    average_velocity: Tensor
    """Estimate of the mean velocity of the flow over the step, shape ``(b, c, h, w)``."""


@dataclass(frozen=True)
class MeanFlow:
    """Straight paths, and the way back in one step along the average velocity.

    Training differentiates the network along a path, time included. A network whose answer turns
    quickly with time makes that derivative large and noisy: give it slow time features
    (``fourier_scale`` of about 1 in the configuration of the U-Net). The time of the path enters
    by its logarithm, whose derivative grows as ``1 / t``, but the target multiplies it by
    ``t - s``, which is at most ``t``. The network is trained in single precision, in a training of
    mixed precision too.
    """

    time_law: TimeLaw = field(default_factory=lambda: TimeLaw("logit_normal", -0.4, 1.0))
    """How the two times of a step are drawn; the later one is ``t``."""
    equal_share: float = 0.75
    """Share of the maps of a batch with ``s = t``, where the average velocity is the velocity."""
    weight_power: float = 1.0
    """Maps are weighted by their squared error to minus this power, as constants: 0 is the plain
    squared error, 1 makes the loss of nearly every map 1 and its gradient that of a logarithm."""
    weight_floor: float = 1e-3
    """Added to the squared error in the weight, so that a perfect map has a finite one."""

    heads = ("average_velocity",)
    times = 2
    one_step = False
    draws_noise = False

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If ``equal_share`` lies outside [0, 1], ``weight_power`` is negative, or
                ``weight_floor`` is not positive.
        """
        if not 0 <= self.equal_share <= 1:
            raise ValueError(f"equal_share must lie in [0, 1], got {self.equal_share:g}")
        check_numbers(self, "weight_power", least=0)
        check_numbers(self, "weight_floor", above=0)

    def loss(
        self, network: Network, x_0: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw two times and noise, and return the weighted squared error of the average velocity.

        Args:
            network: Returns the average velocity; the bare module, not a wrapper of it.
            x_0: Clean maps or latents, shape ``(b, c, h, w)``.
            generator: Source of times, of who has two equal ones, then of noise.

        Returns:
            One loss per map, shape ``(b,)``.
        """
        t, s = self.draw_times(len(x_0), generator=generator)
        noise = standard_normal(x_0.shape, generator)
        x_t = straight_path(x_0, noise, t)
        average, target = self.regression(network, x_t, noise - x_0, t=t, s=s)
        # Paper: the sum over a map; the mean leaves losses comparable between sizes.
        squared = (average - target).flatten(1).square().mean(1)
        return squared / (squared.detach() + self.weight_floor) ** self.weight_power

    def draw_times(
        self, count: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return later and earlier times, each shape ``(count,)``; a share of them are equal."""
        one, other = self.time_law.draw(2 * count, generator).chunk(2)
        later, earlier = torch.maximum(one, other), torch.minimum(one, other)
        chance = uniform(count, generator, device=later.device)
        return later, torch.where(chance < self.equal_share, later, earlier)

    def regression(
        self, network: Network, x_t: Tensor, velocity: Tensor, *, t: Tensor, s: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return a network's average velocity and what it should be (eq. ``mean-flow-target``).

        Both come from one evaluation, so that dropout is the same in the answer and in its
        derivative. The derivative is linear in the velocity: with the velocity of one path it is
        on average that of the flow.

        Args:
            network: Returns the average velocity.
            x_t: Points of the paths, shape ``(b, c, h, w)``.
            velocity: Velocities there, shape ``(b, c, h, w)``.
            t: Later times, shape ``(b,)``.
            s: Earlier times, shape ``(b,)``.

        Returns:
            The answer, and the target, which passes no gradient; each of the shape of ``x_t``.
        """
        directions = (velocity, torch.ones_like(t), torch.zeros_like(s))
        # Fused attention has no forward-mode derivative, and mixed precision does not mix with it.
        with sdpa_kernel(SDPBackend.MATH), torch.autocast(x_t.device.type, enabled=False):
            average, slope = torch.func.jvp(
                lambda *inputs: network(*inputs)[0], (x_t, t, s), directions
            )
        return average, velocity - per_map(t - s) * slope.detach()

    def start(
        self, shape: Sequence[int], generator: Generators = None, *, t: float = 1.0
    ) -> Tensor:
        """Return ``x_t`` of a clean map that is 0: ``t`` times noise, shape ``shape``."""
        return t * standard_normal(shape, generator)

    def ask(
        self, network: Network, x_t: Tensor, *, t: float | Tensor, s: float | Tensor = 0.0
    ) -> AverageVelocity:
        """Evaluate a network once, for a step from ``t`` to ``s``.

        Args:
            network: Returns the average velocity.
            x_t: Maps or latents at time ``t``, shape ``(b, c, h, w)``.
            t: One time, or one for each map, shape ``(b,)``.
            s: Earlier end of the step, likewise.

        Returns:
            The average velocity over the step, shape ``(b, c, h, w)``.
        """
        return AverageVelocity(*network(x_t, as_times(t, x_t), as_times(s, x_t)))

    def x_0(self, x_t: Tensor, answer: AverageVelocity, *, t: float | Tensor) -> Tensor:
        """Follow an average velocity down to time 0; exact if it was asked for with ``s = 0``.

        Args:
            x_t: Maps or latents at time ``t``, shape ``(b, c, h, w)``.
            answer: Average velocity of a step from there.
            t: One time, or one for each map, shape ``(b,)``.

        Returns:
            ``x_t - t u``, shape ``(b, c, h, w)``.
        """
        return x_t - per_map(as_times(t, x_t)) * answer.average_velocity

    def step(
        self,
        x_t: Tensor,
        answer: AverageVelocity,
        *,
        t: float,
        s: float,
        stochastic: bool = True,
        generator: Generators = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Go back from ``t`` to ``s`` in one piece (eq. ``mean-flow-step``).

        Args:
            x_t: Maps or latents at time ``t``, shape ``(b, c, h, w)``.
            answer: Average velocity between the same two times.
            t: Current time, in ``(0, 1]``.
            s: Target time, in ``[0, t)``.
            stochastic: Not used: the start alone is random.
            generator: Not used.
            noise: Not used.

        Returns:
            ``x_t - (t - s) u``, shape ``(b, c, h, w)``.
        """
        return straight_step(x_t, answer.average_velocity, t=t, s=s)
