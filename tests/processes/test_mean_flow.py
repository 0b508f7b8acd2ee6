"""Mean flow: the average velocity, its identity, and the derivative along a path."""

import math

import pytest
import torch

from radiodiff.processes import AverageVelocity, MeanFlow, TimeLaw, standard_normal
from radiodiff.processes.flow_matching import straight_path
from radiodiff.processes.toy import GaussianToy
from radiodiff.sampler import sample, uniform_schedule

SHAPE = (3, 2, 4, 5)
FLOW = MeanFlow()
TOY = GaussianToy()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int = 6):
    """Points of the toy's flow, later and earlier times, in double precision."""
    x_t = standard_normal((count, 1, 2, 2), seeded(1)).double()
    t = torch.linspace(0.1, 1, count, dtype=torch.float64)
    s = t * torch.linspace(0, 1, count, dtype=torch.float64)  # from 0 to t itself
    return x_t, t, s


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.0), (0.7, 0.2), (0.2, 0.0)])
def test_one_exact_step_stays_on_the_path(t, s):
    """Eq. ``mean-flow-step``: the average velocity of a straight path is its velocity."""
    x_0, noise = standard_normal(SHAPE, seeded(1)), standard_normal(SHAPE, seeded(2))
    x_t, x_s = (straight_path(x_0, noise, torch.full((3,), time)) for time in (t, s))
    answer = AverageVelocity(noise - x_0)
    torch.testing.assert_close(FLOW.step(x_t, answer, t=t, s=s), x_s)
    torch.testing.assert_close(FLOW.x_0(x_t, answer, t=t), x_0)


def test_average_velocity_is_the_integral_of_the_velocity():
    """Eq. ``average-velocity`` and eq. ``toy-average-velocity``: 2000 small steps of the flow."""
    x_t, t, s = points()
    count, x = 2000, x_t
    total = torch.zeros_like(x_t)
    length = (t - s) / count
    for k in range(count):  # the midpoint rule, down from t
        now = t - k * length
        half = TOY.average_velocity(x, now, now) * length.view(-1, 1, 1, 1) / 2
        middle = now - length / 2
        velocity = TOY.average_velocity(x - half, middle, middle)
        x = x - velocity * length.view(-1, 1, 1, 1)
        total = total + velocity / count
    torch.testing.assert_close(TOY.average_velocity(x_t, t, s), total, atol=1e-6, rtol=1e-6)


def test_exact_average_velocity_is_its_own_target():
    """Eq. ``mean-flow-target``: with the flow's velocity the identity holds to rounding."""
    x_t, t, s = points()
    velocity = TOY.average_velocity(x_t, t, t)
    answer, target = FLOW.regression(TOY.network(FLOW), x_t, velocity, t=t, s=s)
    assert torch.equal(answer, TOY.average_velocity(x_t, t, s))
    torch.testing.assert_close(target, answer, atol=1e-12, rtol=0)


def test_exact_average_velocity_is_the_mean_of_its_targets():
    """Eq. ``mean-flow-target``: with the velocities of single paths it holds on average."""
    count = 200_000
    x_0 = TOY.draw((count, 1, 1, 1), seeded(1))
    noise = standard_normal(x_0.shape, seeded(2))
    t, s = MeanFlow(equal_share=0.3).draw_times(count, generator=seeded(3))
    x_t = straight_path(x_0, noise, t)
    answer, target = FLOW.regression(TOY.network(FLOW), x_t, noise - x_0, t=t, s=s)
    for feature in (torch.ones(count), x_t.flatten(), x_t.flatten() * s, t):
        terms = (answer - target).flatten() * feature
        assert abs(terms.mean().item()) < 5 * terms.std().item() / math.sqrt(count)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_one_step_is_as_exact_as_many(steps):
    """Eq. ``mean-flow-step``: each point keeps its quantile, whatever the steps."""
    start = standard_normal((1000, 1, 1, 1), seeded(4)).double()
    x_0 = sample(FLOW, TOY.network(FLOW), uniform_schedule(steps), start)
    torch.testing.assert_close(x_0, TOY.mean + TOY.std * start, atol=1e-12, rtol=0)


def test_target_of_a_network_by_hand():
    """Eq. ``mean-flow-target`` for ``u = 3 x_t + 5 t + 7 s``: du/dt is ``3 v + 5``."""

    def network(x_t, t, s):
        t, s = (time.view(-1, 1, 1, 1) for time in (t, s))
        return (3 * x_t + 5 * t + 7 * s,)

    x_t, velocity = standard_normal(SHAPE, seeded(1)), standard_normal(SHAPE, seeded(2))
    t, s = torch.tensor([0.9, 0.5, 0.5]), torch.tensor([0.1, 0.2, 0.5])
    answer, target = FLOW.regression(network, x_t, velocity, t=t, s=s)
    torch.testing.assert_close(answer, network(x_t, t, s)[0])
    expected = velocity - (t - s).view(-1, 1, 1, 1) * (3 * velocity + 5)
    torch.testing.assert_close(target, expected)
    torch.testing.assert_close(target[2], velocity[2])  # s = t: flow matching


def test_target_passes_no_gradient():
    weight = torch.tensor(0.5, requires_grad=True)
    x_t, t, s = (x.float() for x in points())
    answer, target = FLOW.regression(lambda x, *_: (weight * x,), x_t, x_t, t=t, s=s)
    assert answer.requires_grad
    assert not target.requires_grad


@pytest.mark.parametrize("equal_share", [0.0, 1.0])
def test_loss_vanishes_at_the_average_velocity_of_one_path(equal_share):
    """Eq. ``mean-flow-target``: on a straight line it is the velocity, and has no derivative."""
    flow = MeanFlow(TimeLaw("logit_normal"), equal_share, weight_power=0.0)
    x_0 = standard_normal(SHAPE, seeded(1))

    def network(x_t, t, s):
        return ((x_t - x_0) / t.view(-1, 1, 1, 1),)

    assert flow.loss(network, x_0, generator=seeded(2)).max() < 1e-8


@pytest.mark.parametrize(("power", "expected"), [(0.0, 4.0), (1.0, 4 / 4.001), (0.5, 4 / 2.0002)])
def test_weights_by_hand(power, expected):
    """A squared error of 4 over ``(4 + 0.001)`` to the power."""
    flow = MeanFlow(TimeLaw(), equal_share=1.0, weight_power=power)

    def network(x_t, t, s):  # the velocity of the path from a clean map of 0, and 2 more
        return (x_t / t.view(-1, 1, 1, 1) + 2,)

    losses = flow.loss(network, torch.zeros(SHAPE), generator=seeded())
    torch.testing.assert_close(losses, torch.full((3,), expected), rtol=1e-4, atol=0)


def test_weights_are_constants():
    """The gradient of a map's loss is that of its squared error, divided by the weight."""
    flow = MeanFlow(TimeLaw(), equal_share=1.0, weight_power=1.0)
    shift = torch.tensor(2.0, requires_grad=True)

    def network(x_t, t, s):
        return (x_t / t.view(-1, 1, 1, 1) + shift,)

    flow.loss(network, torch.zeros(SHAPE), generator=seeded()).mean().backward()
    assert shift.grad.item() == pytest.approx(2 * 2 / 4.001, rel=1e-4)


def test_times_are_in_order_and_a_share_is_equal():
    t, s = FLOW.draw_times(20_000, generator=seeded())
    assert (s <= t).all()
    assert s.min() > 0
    assert t.max() < 1
    assert (s == t).float().mean().item() == pytest.approx(0.75, abs=0.02)
    t, s = MeanFlow(TimeLaw(), equal_share=0.0).draw_times(20_000, generator=seeded())
    assert t.mean().item() == pytest.approx(2 / 3, abs=0.01)  # the larger of two uniform numbers
    assert s.mean().item() == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize(
    "fault", [{"equal_share": 1.5}, {"weight_power": -1.0}, {"weight_floor": 0.0}]
)
def test_options_without_meaning_are_refused(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        MeanFlow(**fault)
