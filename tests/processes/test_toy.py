"""The toy problems: closed forms against draws, and where samplers with them end."""

import math
from itertools import pairwise

import pytest
import torch

from radiodiff.processes import PROCESSES, ConstantSDE, FlowMatching, MeanFlow, standard_normal
from radiodiff.processes.checks import convergence_orders, exact_law, law_distance
from radiodiff.processes.toy import GaussianToy, TwoKinds
from radiodiff.sampler import sample, uniform_schedule

TOY = GaussianToy()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def missing(process, steps, *, stochastic=True, toy=TOY):
    """What the sampled variance lacks."""
    return toy.std**2 - exact_law(process, toy, uniform_schedule(steps), stochastic=stochastic)[1]


@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_estimate_is_the_posterior_mean(keep):
    """Eq. ``toy-estimate``: what it leaves unexplained is uncorrelated with ``x_t``."""
    count = 200_000
    x_0, noise = TOY.draw((count,), seeded(1)), standard_normal((count,), seeded(2))
    x_t = keep * x_0 + 0.7 * noise
    left = x_0 - TOY.estimate(x_t, torch.tensor(keep), torch.tensor(0.49))
    for feature in (torch.ones(count), x_t):
        terms = left * feature
        assert abs(terms.mean().item()) < 5 * terms.std().item() / math.sqrt(count)


@pytest.mark.parametrize("skip", ["corrected", "reference"])
def test_heads_of_the_constant_sde_are_those_that_the_skips_expect(skip):
    """Eq. ``skips`` and eq. ``toy-estimate``, at time 1 too."""
    sde = ConstantSDE(drift_skip=skip)
    x_t = standard_normal((4, 1, 3, 3), seeded()).double()
    t = torch.tensor([0.01, 0.3, 0.9, 1.0], dtype=torch.float64)
    answer = sde.ask(TOY.network(sde), x_t, t=t)
    at = t.view(-1, 1, 1, 1)
    x_0 = TOY.estimate(x_t, 1 - at, at)
    torch.testing.assert_close(answer.drift, -x_0)
    torch.testing.assert_close(sde.x_0(x_t, answer, t=t), x_0)


def test_flow_matching_has_order_1():
    """Eq. ``flow-step``: twice the steps halve the error of the variance; the mean is exact."""
    steps = (64, 128, 256, 512)
    orders = convergence_orders(steps, [missing(FlowMatching(), count) for count in steps])
    assert orders == pytest.approx([1, 1, 1], abs=0.05)
    assert orders[-1] == pytest.approx(1, abs=0.01)
    mean, _ = exact_law(FlowMatching(), TOY, uniform_schedule(3))
    assert mean == pytest.approx(TOY.mean, abs=1e-12)


@pytest.mark.parametrize(("stochastic", "limit"), [(True, 1.0), (False, 0.25)])
@pytest.mark.parametrize("std", [0.5, 1.5])
def test_constant_sde_loses_a_logarithm_over_n(stochastic, limit, std):
    """Eq. ``bridge`` and eq. ``deterministic`` with means: ``q (ln n) / n``, q as derived."""
    toy = GaussianToy(std=std)
    counts = [4**k for k in range(1, 7)]
    lost = [
        count * missing(ConstantSDE(), count, stochastic=stochastic, toy=toy) for count in counts
    ]
    growth = [(later - earlier) / math.log(4) for earlier, later in pairwise(lost)]
    assert growth[-1] == pytest.approx(limit, rel=0.1)
    assert abs(growth[-1] - limit) < abs(growth[-2] - limit) < abs(growth[-3] - limit)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_mean_flow_is_exact_in_any_number_of_steps(steps):
    """Eq. ``mean-flow-step`` and eq. ``toy-average-velocity``."""
    mean, variance = exact_law(MeanFlow(), TOY, uniform_schedule(steps))
    assert mean == pytest.approx(TOY.mean, abs=1e-12)
    assert variance == pytest.approx(TOY.std**2, abs=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_exact_law_is_the_law_of_samples(name):
    """Draws of 7 steps against the closed form, within 5 standard errors."""
    process, count, schedule = PROCESSES[name](), 100_000, uniform_schedule(7)
    start = process.start((count, 1, 1, 1), seeded(1))
    x_0 = sample(process, TOY.network(process), schedule, start, generator=seeded(2))
    mean, variance = exact_law(process, TOY, schedule)
    assert x_0.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(variance / count) + 1e-6)
    assert x_0.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / count), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "steps"), [("constant_sde", 500), ("flow_matching", 500), ("mean_flow", 1)]
)
def test_limit_is_the_law_of_the_data(name, steps):
    """Within 5 standard errors of a draw, and the error that so many steps leave by the law."""
    process, count = PROCESSES[name](), 50_000
    start = process.start((count, 1, 1, 1), seeded(1))
    schedule = uniform_schedule(steps)
    x_0 = sample(process, TOY.network(process), schedule, start, generator=seeded(2))
    variance = TOY.std**2
    rest = abs(missing(process, steps))
    assert rest < 0.04 * variance
    assert x_0.mean().item() == pytest.approx(TOY.mean, abs=5 * math.sqrt(variance / count))
    bound = 5 * variance * math.sqrt(2 / count) + rest
    assert x_0.var().item() == pytest.approx(variance, abs=bound)


def test_unknown_process_has_no_closed_form():
    with pytest.raises(ValueError, match="no closed form for a object"):
        TOY.network(object())


def test_two_kinds_flow_keeps_quantiles():
    """Eq. ``probability-flow``: the share of the law below a trajectory never changes."""
    toy = TwoKinds()
    start = torch.linspace(-2.2, 2.2, 23, dtype=torch.float64)
    points = toy.flow(start, uniform_schedule(2000))
    assert points.shape == (2001, 23)
    below = torch.special.ndtr(start)
    assert (toy.share_below(points[-1]) - below).abs().max() < 0.005


def test_two_kinds_density_is_that_of_the_forward_process():
    """Eq. ``marginal``: histogram of draws at a time."""
    toy, t, count = TwoKinds(), 0.3, 200_000
    x_t = (1 - t) * toy.draw((count,), seeded(1)) + t**0.5 * standard_normal((count,), seeded(2))
    edges = torch.linspace(-2, 2, 9, dtype=torch.float64)
    for low, high in pairwise(edges.tolist()):
        grid = torch.linspace(low, high, 101, dtype=torch.float64)
        share = torch.trapezoid(toy.density(grid, t), grid).item()
        found = ((x_t >= low) & (x_t < high)).double().mean().item()
        assert found == pytest.approx(share, abs=5 * math.sqrt(share / count))


def test_two_kinds_estimate_is_the_posterior_mean():
    """Eq. ``inversion``: the pair fits ``x_t``, and the residual is uncorrelated with it."""
    toy, t, count = TwoKinds(), 0.3, 200_000
    x_0 = toy.draw((count,), seeded(1))
    x_t = (1 - t) * x_0 + t**0.5 * standard_normal((count,), seeded(2))
    drift, noise = toy.prediction(x_t, t)
    torch.testing.assert_close(x_t - t * drift - t**0.5 * noise, toy.estimate(x_t, t))
    for feature in (torch.ones(count), x_t, x_t.square(), x_t.sin()):
        terms = (x_0 - toy.estimate(x_t, t)) * feature
        assert abs(terms.mean().item()) < 5 * terms.std().item() / math.sqrt(count)


def test_draws_of_the_law_are_near_its_quantiles():
    toy = TwoKinds()
    truth = toy.draw((20, 5000), seeded()).sort(dim=1).values
    quantiles = truth.mean(0)
    assert law_distance(toy.draw((5000,), seeded(1)), quantiles) < 0.05
    assert toy.share_below(quantiles).diff().min() >= 0
