"""Checks of a process against its laws: by Monte Carlo with a bound, and exactly on a toy.

A law says that a quantity has some mean and variance; both are measured on independent draws and
must lie within so many standard errors. Chapters print what they find and stop where it fails.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import log, sqrt
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from radiodiff.processes.base import Process
from radiodiff.processes.constant_sde import ConstantSDE, Prediction
from radiodiff.processes.toy import GaussianToy, TwoKinds

__all__ = [
    "FAULTS",
    "Check",
    "Fault",
    "bridge_paths",
    "check_mean",
    "check_normal",
    "check_uncorrelated",
    "confirm",
    "convergence_orders",
    "exact_law",
    "law_distance",
    "sample_with_fault",
]


class Check(NamedTuple):
    """A measured value beside the law's."""

    name: str
    """What was measured."""
    measured: float
    """Its value."""
    law: float
    """What it should be."""
    tolerance: float
    """By how much it may differ."""

    @property
    def holds(self) -> bool:
        """Whether the value lies within the tolerance."""
        return abs(self.measured - self.law) <= self.tolerance

    def __str__(self) -> str:
        return (
            f"{self.name}: measured {self.measured:.4f}, law {self.law:.4f} ± "
            f"{self.tolerance:.4f}, holds: {self.holds}"
        )


def confirm(checks: Iterable[Check]) -> str:
    """Return one line for each check.

    Raises:
        AssertionError: If one of them does not hold; the message has all lines.
    """
    checks = list(checks)
    lines = "\n".join(map(str, checks))
    if not all(check.holds for check in checks):
        raise AssertionError(lines)
    return lines


def check_normal(
    name: str, values: Tensor, *, mean: float, variance: float, bound: float
) -> list[Check]:
    """Compare mean and variance of draws with those of a normal law.

    The mean of ``n`` draws has the standard error ``sqrt(variance / n)``, their variance, by the
    chi-square law, ``variance sqrt(2 / (n - 1))``.

    Args:
        name: What was drawn; put before ``mean`` and ``variance``.
        values: Independent draws, any shape.
        mean: The law's mean.
        variance: The law's variance.
        bound: Standard errors that a value may be off.
    """
    values = torch.as_tensor(values).flatten()
    count = len(values)
    of_variance = variance * sqrt(2 / (count - 1))
    return [
        Check(f"{name}mean", values.mean().item(), mean, bound * sqrt(variance / count)),
        Check(f"{name}variance", values.var().item(), variance, bound * of_variance),
    ]


def check_mean(name: str, values: Tensor, *, law: float, bound: float) -> Check:
    """Compare the mean of draws of any law, whose own spread gives the standard error.

    Args:
        name: What was drawn.
        values: Independent draws, any shape.
        law: What the mean should be.
        bound: Standard errors that it may be off.
    """
    values = torch.as_tensor(values).flatten()
    error = values.std().item() / sqrt(len(values))
    return Check(name, values.mean().item(), law, bound * error)


def check_uncorrelated(name: str, one: Tensor, other: Tensor, *, bound: float) -> Check:
    """Compare the correlation of two sets of draws with 0; its standard error is ``1 / sqrt(n)``.

    Args:
        name: What is correlated.
        one: Independent draws, shape ``(n,)``.
        other: Draws that belong to them, shape ``(n,)``.
        bound: Standard errors that it may be off.
    """
    pairs = torch.stack([torch.as_tensor(one), torch.as_tensor(other)])
    return Check(name, torch.corrcoef(pairs)[0, 1].item(), 0.0, bound / sqrt(pairs.shape[1]))


def law_distance(values: Tensor, quantiles: Tensor) -> float:
    """Return Wasserstein's distance of draws to a law: the mean distance between quantiles.

    Args:
        values: Draws, shape ``(n,)``.
        quantiles: The law's quantiles in rising order, shape ``(n,)``.
    """
    return (values.sort().values - quantiles).abs().mean().item()


def exact_law(
    process: Process, toy: GaussianToy, schedule: Sequence[float], *, stochastic: bool = True
) -> tuple[float, float]:
    """Return mean and variance of what a sampler makes of a Gaussian toy, without drawing.

    With the toy's best network every step is linear in ``x_t`` and in the fresh noise. Three probes
    of a step give its constant and its two factors, and these carry mean and variance along.

    Args:
        process: What is sampled.
        toy: What its network was trained on.
        schedule: Times from 1 down to 0.
        stochastic: Whether steps draw fresh noise.

    Returns:
        Mean and variance at the end of the schedule, in double precision.
    """
    network = toy.network(process)
    probes = torch.tensor([0, 1, 0], dtype=torch.float64).view(3, 1, 1, 1)
    fresh = torch.tensor([0, 0, 1], dtype=torch.float64).view(3, 1, 1, 1)
    draws = stochastic and process.draws_noise
    mean, variance = 0.0, 1.0
    for t, s in pairwise(schedule):
        answer = process.ask(network, probes, t=t, s=s)
        noise = fresh if draws and s > 0 else None
        moved = process.step(probes, answer, t=t, s=s, stochastic=stochastic, noise=noise)
        constant, one, other = moved.flatten().tolist()
        mean = constant + (one - constant) * mean
        variance = (one - constant) ** 2 * variance + (other - constant) ** 2
    return mean, variance


def convergence_orders(steps: Sequence[int], errors: Sequence[float]) -> list[float]:
    """Return the order at which errors fall, between each two numbers of steps.

    Args:
        steps: Rising numbers of steps.
        errors: A positive error for each.

    Returns:
        ``-log(error ratio) / log(step ratio)``: 1 where twice the steps halve the error.
    """
    pairs = zip(pairwise(errors), pairwise(steps), strict=True)
    return [-log(later / earlier) / log(more / few) for (earlier, later), (few, more) in pairs]


#: Networks for the two kinds, from exact targets to one head that is always wrong.
Fault = Literal[
    "drawn", "mean", "mean, no noise", "jittered drift", "biased drift", "biased drift alone"
]
#: The faults that `sample_with_fault` knows.
FAULTS: tuple[str, ...] = get_args(Fault)


def sample_with_fault(
    toy: TwoKinds,
    fault: Fault,
    schedule: Sequence[float],
    count: int,
    *,
    size: float,
    generator: torch.Generator,
) -> Tensor:
    """Sample the two kinds by the constant-drift diffusion with a network of a known fault.

    Args:
        toy: The law to be sampled.
        fault: ``drawn`` draws ``x_0`` from its posterior at each step; ``mean`` and ``mean, no
            noise`` answer with posterior means; the others add an error to the drift, drawn afresh
            at each step or always the same, and the last has no second head: its noise is what the
            drift implies.
        schedule: Times from 1 down to 0.
        count: Number of samples.
        size: Standard deviation of the drawn error, and the size of the constant one.
        generator: Source of everything random.

    Returns:
        Samples, shape ``(count,)``, in double precision.

    Raises:
        ValueError: If there is no such fault.
    """
    if fault not in FAULTS:
        raise ValueError(f"fault must be one of {', '.join(FAULTS)}, got {fault!r}")
    sde, keywords = ConstantSDE(), {"generator": generator, "dtype": torch.float64}
    x_t = torch.randn(count, **keywords)
    for t, s in pairwise(schedule):
        fresh = torch.randn(count, **keywords)
        if fault == "drawn":
            chance = (1 + toy.mean_kind(x_t, t)) / 2 - torch.rand(count, **keywords)
            x_0 = toy.estimate(x_t, t, torch.sign(chance))
            x_0 = x_0 + toy.width * (t / toy.variance(t)) ** 0.5 * fresh
        else:
            x_0 = toy.estimate(x_t, t)
        noise = (x_t - (1 - t) * x_0) / t**0.5
        error = {"jittered drift": size * fresh, "biased drift": size, "biased drift alone": size}
        drift = error.get(fault, 0.0) - x_0
        if fault == "biased drift alone":
            noise = (x_t + (1 - t) * drift) / t**0.5
        pair = Prediction(t * drift + t**0.5 * noise - x_t, noise)
        if fault == "mean, no noise":
            x_t = sde.deterministic_step(x_t, pair, t=t, s=s)
        else:
            x_t = sde.reverse_step(x_t, pair, t=t, s=s, generator=generator)
    return x_t


def bridge_paths(
    clean: float, start: float, times: Sequence[float], count: int, *, generator: torch.Generator
) -> Tensor:
    """Draw Brownian bridges by reverse steps with exact targets.

    Args:
        clean: Where all of them end, at time 0.
        start: Where all of them begin.
        times: Decreasing times, ``k`` of them.
        count: Number of bridges.
        generator: Source of the noise.

    Returns:
        Values at all times, shape ``(k, count)``.
    """
    sde, points = ConstantSDE(), [torch.full((count, 1, 1, 1), start)]
    for t, s in pairwise(times):
        pair = Prediction(torch.tensor(-clean), (points[-1] - (1 - t) * clean) / t**0.5)
        points.append(sde.reverse_step(points[-1], pair, t=t, s=s, generator=generator))
    return torch.stack(points).flatten(1)
