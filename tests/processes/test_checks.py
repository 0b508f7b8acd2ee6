"""Checks that chapters run: they pass for the law, fail for another, and say so."""

import math

import pytest
import torch

from radiodiff.processes import standard_normal
from radiodiff.processes.checks import (
    FAULTS,
    Check,
    bridge_paths,
    check_mean,
    check_normal,
    check_uncorrelated,
    confirm,
    convergence_orders,
    law_distance,
    sample_with_fault,
)
from radiodiff.processes.toy import TwoKinds
from radiodiff.sampler import uniform_schedule

COUNT = 50_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_confirm_prints_what_holds_and_stops_at_what_does_not():
    good, bad = Check("one", 1.01, 1.0, 0.02), Check("two", 1.03, 1.0, 0.02)
    assert confirm([good]) == "one: measured 1.0100, law 1.0000 ± 0.0200, holds: True"
    with pytest.raises(AssertionError, match=r"two: measured 1\.0300.*holds: False"):
        confirm([good, bad])


def test_normal_law_is_known_by_mean_and_variance():
    values = 2 + 3 * standard_normal((COUNT,), seeded())
    assert all(c.holds for c in check_normal("", values, mean=2, variance=9, bound=5))
    mean, variance = check_normal("x ", values, mean=2.1, variance=9.5, bound=5)
    assert (mean.name, variance.name) == ("x mean", "x variance")
    assert not mean.holds
    assert not variance.holds
    assert mean.tolerance == pytest.approx(5 * math.sqrt(9.5 / COUNT))
    assert variance.tolerance == pytest.approx(5 * 9.5 * math.sqrt(2 / COUNT), rel=1e-4)


def test_mean_of_any_law():
    values = torch.rand(COUNT, generator=seeded())
    assert check_mean("uniform", values, law=0.5, bound=5).holds
    assert not check_mean("uniform", values, law=0.52, bound=5).holds


def test_correlation_is_seen():
    one, other = standard_normal((2, COUNT), seeded())
    assert check_uncorrelated("independent", one, other, bound=5).holds
    assert not check_uncorrelated("related", one, other + 0.1 * one, bound=5).holds


def test_distance_of_a_shifted_law_is_the_shift():
    values = standard_normal((1000,), seeded())
    assert law_distance(values + 0.3, values.sort().values) == pytest.approx(0.3, rel=1e-5)


def test_orders_by_hand():
    assert convergence_orders((1, 2, 8), (1.0, 0.5, 0.5 / 16)) == pytest.approx([1, 2])


def test_bridges_are_pinned_and_have_the_variance_between():
    """Eq. ``bridge``: variance ``s (1 - s)`` halfway, nothing at the ends."""
    paths = bridge_paths(1.5, -0.5, uniform_schedule(4), COUNT, generator=seeded())
    assert paths.shape == (5, COUNT)
    assert (paths[0] == -0.5).all()
    torch.testing.assert_close(paths[-1], torch.full((COUNT,), 1.5))
    halfway = check_normal("", paths[2], mean=0.5, variance=0.25, bound=5)
    assert all(check.holds for check in halfway)


def test_faults_of_a_network_do_what_they_are_said_to_do():
    """Drawn targets are exact in any number of steps; a bias stays; one head makes it worse."""
    toy = TwoKinds()
    quantiles = toy.draw((20, 20_000), seeded(9)).sort(dim=1).values.mean(0)

    def distance(fault, steps):
        keywords = {"size": 0.3, "generator": seeded(1)}
        x_0 = sample_with_fault(toy, fault, uniform_schedule(steps), 20_000, **keywords)
        return law_distance(x_0, quantiles)

    few, many = ({fault: distance(fault, steps) for fault in FAULTS} for steps in (2, 64))
    assert few["drawn"] < 0.04
    assert many["drawn"] < 0.04
    for fault in ("mean", "mean, no noise", "jittered drift"):
        assert many[fault] < few[fault] / 4
    assert many["mean"] < many["biased drift"] < many["biased drift alone"]


def test_one_step_with_the_mean_is_the_mean_of_all():
    keywords = {"size": 0.3, "generator": seeded()}
    x_0 = sample_with_fault(TwoKinds(), "mean", (1.0, 0.0), 100, **keywords)
    assert x_0.abs().max() < 1e-9
    with pytest.raises(ValueError, match="fault must be one of drawn"):
        sample_with_fault(TwoKinds(), "medium", (1.0, 0.0), 100, **keywords)
