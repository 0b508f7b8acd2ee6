"""Flow matching: straight paths, their velocity, Euler's steps."""

import math

import pytest
import torch

from radiodiff.processes import FlowMatching, TimeLaw, Velocity, standard_normal
from radiodiff.processes.flow_matching import straight_path
from radiodiff.processes.toy import GaussianToy
from radiodiff.sampler import sample, uniform_schedule

SHAPE = (3, 2, 4, 5)
FLOW = FlowMatching()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair():
    return standard_normal(SHAPE, seeded(1)), standard_normal(SHAPE, seeded(2))


def test_path_ends():
    """Eq. ``flow-path``: clean at 0, pure noise at 1, and its law at a time between."""
    x_0, noise = pair()
    assert torch.equal(straight_path(x_0, noise, torch.zeros(3)), x_0)
    assert torch.equal(straight_path(x_0, noise, torch.ones(3)), noise)
    count, t = 200_000, 0.3
    drawn = standard_normal((count, 1, 1, 1), seeded(3))
    x_t = straight_path(torch.full_like(drawn, 1.7), drawn, torch.full((count,), t))
    assert x_t.mean().item() == pytest.approx((1 - t) * 1.7, abs=5 * t / math.sqrt(count))
    assert x_t.var().item() == pytest.approx(t**2, rel=5 * math.sqrt(2 / count))


def test_path_refuses_times_outside():
    x_0, noise = pair()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        straight_path(x_0, noise, torch.tensor([0.0, 0.5, 1.5]))


@pytest.mark.parametrize("t", [1.0, 0.6, 0.01])
def test_one_exact_step_recovers_x_0(t):
    """Eq. ``flow-step`` and eq. ``flow-velocity``: the velocity of a path leads to its end."""
    x_0, noise = pair()
    x_t = straight_path(x_0, noise, torch.full((3,), t))
    answer = Velocity(noise - x_0)
    torch.testing.assert_close(FLOW.step(x_t, answer, t=t, s=0.0), x_0)
    torch.testing.assert_close(FLOW.x_0(x_t, answer, t=t), x_0)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_any_number_of_exact_steps_recovers_x_0(steps):
    """Eq. ``flow-step``: on a straight path every step lands on the path."""
    x_0, noise = pair()
    seen = []
    result = sample(
        FLOW,
        lambda x_t, t: (noise - x_0,),
        uniform_schedule(steps),
        noise,
        callback=lambda t, x_t, answer: seen.append((t, x_t)),
    )
    torch.testing.assert_close(result, x_0, atol=1e-5, rtol=0)
    for t, x_t in seen:
        path = straight_path(x_0, noise, torch.full((3,), t))
        torch.testing.assert_close(x_t, path, atol=1e-5, rtol=0)


def test_loss_vanishes_only_at_the_velocity():
    """Eq. ``flow-velocity``: mean squared error of ``noise - x_0``, one number a map."""
    x_0, _ = pair()

    def exact(x_t, t):  # of x_0 alone: the noise follows from the point and the time
        t = t.view(-1, 1, 1, 1)
        return ((x_t - x_0) / t,)

    assert FLOW.loss(exact, x_0, generator=seeded(4)).abs().max() < 1e-6
    off = FLOW.loss(lambda x_t, t: (exact(x_t, t)[0] + 2,), x_0, generator=seeded(4))
    torch.testing.assert_close(off, torch.full((3,), 4.0))


def test_times_come_before_noise_and_both_from_the_generator():
    x_0, _ = pair()
    seen = []
    FLOW.loss(lambda *inputs: seen.append(inputs) or (x_0,), x_0, generator=seeded(6))
    generator = seeded(6)
    t = torch.rand(3, generator=generator)
    noise = standard_normal(SHAPE, generator)
    assert torch.equal(seen[0][1], t)
    assert torch.equal(seen[0][0], straight_path(x_0, noise, t))


def test_best_network_leaves_residuals_that_nothing_predicts():
    """Eq. ``flow-velocity``: the posterior's mean of ``noise - x_0`` is the best answer."""
    toy, count = GaussianToy(), 200_000
    x_0, noise = toy.draw((count, 1, 1, 1), seeded(1)), standard_normal((count, 1, 1, 1), seeded(2))
    t = TimeLaw().draw(count, seeded(3))
    x_t = straight_path(x_0, noise, t)
    (velocity,) = toy.network(FLOW)(x_t, t)
    for feature in (torch.ones(count), x_t.flatten(), x_t.flatten() * t, t):
        terms = (velocity - (noise - x_0)).flatten() * feature
        assert abs(terms.mean().item()) < 5 * terms.std().item() / math.sqrt(count)


def test_start_below_time_1_is_the_path_of_a_clean_map_of_0():
    start, full = FLOW.start(SHAPE, seeded(), t=0.25), FLOW.start(SHAPE, seeded())
    assert torch.equal(full, standard_normal(SHAPE, seeded()))
    zero = torch.zeros(SHAPE)
    torch.testing.assert_close(start, straight_path(zero, full, torch.full((3,), 0.25)))


@pytest.mark.parametrize(("t", "s"), [(0.5, 0.5), (0.5, 0.6), (0.5, -0.1), (1.1, 0.5)])
def test_steps_refuse_times_out_of_order(t, s):
    x = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match="0 <= s < t <= 1"):
        FLOW.step(x, Velocity(x), t=t, s=s)
