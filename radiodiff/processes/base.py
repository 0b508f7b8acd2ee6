"""What every process is, and what several of them share: noise, times, checks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from radiodiff.noise import normal, uniform
from radiodiff.ranges import check_numbers

__all__ = [
    "Answer",
    "Generators",
    "Network",
    "Process",
    "TimeLaw",
    "as_times",
    "check_order",
    "per_map",
    "standard_normal",
]

#: One source of randomness for a whole batch, one for each map (then a map's noise does not
#: depend on the batch it is in), or the global generator.
Generators = torch.Generator | Sequence[torch.Generator] | None

#: Maps ``(x_t, t)``, or ``(x_t, t, s)`` where a process has two times, to raw outputs, one for
#: each head. What it is conditioned on is its own affair: encode a condition once, close over the
#: features, and hand in the closure.
Network = Callable[..., tuple[Tensor, ...]]

#: A process's own quantities at one time, a named tuple.
Answer = tuple[Tensor, ...]


class Process(Protocol):
    """How a clean map and noise are joined, what a network learns, and how one goes back.

    A process is a frozen dataclass; its fields are its options. Time 0 is the clean map.
    """

    heads: ClassVar[tuple[str, ...]]
    """Names of the network's outputs, in their order."""
    times: ClassVar[int]
    """Times that the network is given: 1, or 2."""
    one_step: ClassVar[bool]
    """Whether one evaluation is all there is, whatever the number of steps."""
    draws_noise: ClassVar[bool]
    """Whether steps know how to draw fresh noise."""

    def loss(
        self, network: Network, x_0: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw times and noise, and return one loss per map, shape ``(b,)``.

        Args:
            network: What is trained.
            x_0: Clean maps or latents, shape ``(b, c, h, w)``.
            generator: Source of times and noise, on the device of ``x_0``.
        """

    def start(
        self, shape: Sequence[int], generator: Generators = None, *, t: float = 1.0
    ) -> Tensor:
        """Return ``x_t`` of a clean map that is 0, shape ``shape``: at time 1, pure noise."""

    def ask(self, network: Network, x_t: Tensor, *, t: float | Tensor, s: float = 0.0) -> Answer:
        """Evaluate the network once and turn its raw outputs into the process's quantities.

        Args:
            network: What is asked.
            x_t: Maps or latents at time ``t``, shape ``(b, c, h, w)``.
            t: One time, or one for each map, shape ``(b,)``.
            s: Earlier time that the next step leads to.
        """

    def x_0(self, x_t: Tensor, answer: Answer, *, t: float | Tensor) -> Tensor:
        """Return the estimate of the clean map that an answer at ``t`` amounts to."""

    def step(
        self,
        x_t: Tensor,
        answer: Answer,
        *,
        t: float,
        s: float,
        stochastic: bool = True,
        generator: Generators = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Go from time ``t`` back to ``s``.

        Args:
            x_t: Maps or latents at time ``t``, shape ``(b, c, h, w)``.
            answer: What `ask` gave there.
            t: Current time, in ``(0, 1]``.
            s: Target time, in ``[0, t)``.
            stochastic: Draw fresh noise, if the process does at all.
            generator: Source of that noise, one or one for each map.
            noise: Noise to use instead of drawing, shape ``(b, c, h, w)``.
        """


@dataclass(frozen=True)
class TimeLaw:
    """How training times are drawn from (0, 1)."""

    kind: Literal["uniform", "logit_normal"] = "uniform"
    """``logit_normal`` draws a normal number and takes its logistic function: mostly middle times
    (Esser et al., *Scaling Rectified Flow Transformers*, arXiv:2403.03206)."""
    mean: float = 0.0
    """Mean of the normal number; below 0 for more times near the clean map [1]."""
    std: float = 1.0
    """Its standard deviation [1]."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If a number is not finite, ``std`` is not positive, or ``kind`` is unknown.
        """
        check_numbers(self, "mean")
        check_numbers(self, "std", above=0)
        if self.kind not in ("uniform", "logit_normal"):
            raise ValueError(f"kind must be uniform or logit_normal, got {self.kind!r}")

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return times, shape ``(count,)``, on the generator's device."""
        if self.kind == "logit_normal":
            return (self.mean + self.std * standard_normal((count,), generator)).sigmoid()
        return uniform(count, generator)


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
        return normal(shape, generator)
    if len(generator) != shape[0]:
        raise ValueError(f"need one generator for each of {shape[0]} maps, got {len(generator)}")
    return torch.stack([standard_normal(shape[1:], one) for one in generator])


def as_times(t: float | Tensor, x_t: Tensor) -> Tensor:
    """Return a time for each map of ``x_t``, shape ``(b,)``, of its type and on its device."""
    if isinstance(t, Tensor):
        return t
    return torch.full((len(x_t),), t, device=x_t.device, dtype=x_t.dtype)


def per_map(t: Tensor) -> Tensor:
    """Shape times ``(b,)`` so that they broadcast over ``(b, c, h, w)``."""
    return t.view(-1, 1, 1, 1)


def check_order(t: float, s: float) -> None:
    """Refuse a step that does not run down within [0, 1].

    Raises:
        ValueError: If not ``0 <= s < t <= 1``.
    """
    if not 0 <= s < t <= 1:
        raise ValueError(f"need 0 <= s < t <= 1, got t={t:g}, s={s:g}")
