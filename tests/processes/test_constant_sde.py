"""The constant-drift SDE: identities that hold with exact targets, and documented failures."""

import math

import pytest
import torch

from radiodiff.processes import ConstantSDE, Prediction, standard_normal
from radiodiff.sampler import sample, uniform_schedule
from tests.processes.direct import DirectSDE

SHAPE = (3, 2, 4, 5)
SDE = ConstantSDE()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(x_t: torch.Tensor, t: torch.Tensor, x_0: torch.Tensor) -> Prediction:
    """The targets a perfect network would return."""
    t = t.view(-1, 1, 1, 1)
    return Prediction(-x_0, (x_t - (1 - t) * x_0) / t.sqrt())


def test_marginal_ends():
    """Eq. ``marginal``: clean at 0, pure noise at 1."""
    x_0, noise = standard_normal(SHAPE, seeded(1)), standard_normal(SHAPE, seeded(2))
    assert torch.equal(SDE.perturb(x_0, noise, torch.zeros(3)), x_0)
    assert torch.equal(SDE.perturb(x_0, noise, torch.ones(3)), noise)


def test_inversion_undoes_the_marginal():
    """Eq. ``inversion``."""
    x_0, noise = standard_normal(SHAPE, seeded(1)), standard_normal(SHAPE, seeded(2))
    t = torch.tensor([1e-4, 0.3, 1.0])
    x_t = SDE.perturb(x_0, noise, t)
    assert torch.allclose(SDE.x_0(x_t, Prediction(-x_0, noise), t=t), x_0, atol=1e-6)


def test_one_exact_step_recovers_x_0():
    """Eq. ``bridge`` with s = 0."""
    x_0, noise = standard_normal(SHAPE, seeded(1)), standard_normal(SHAPE, seeded(2))
    for t in (0.01, 0.5, 1.0):
        x_t = SDE.perturb(x_0, noise, torch.full((3,), t))
        assert torch.allclose(
            SDE.reverse_step(x_t, Prediction(-x_0, noise), t=t, s=0), x_0, atol=1e-6
        )


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.5), (0.8, 0.1), (0.3, 0.29)])
def test_reverse_step_lands_on_the_marginal(t, s):
    """Eq. ``bridge``: over noise and bridge, x_s has mean (1 - s) x_0 and variance s."""
    count = 200_000
    x_0 = torch.full((count, 1, 1, 1), 1.7)
    noise = standard_normal(x_0.shape, seeded(1))
    x_t = SDE.perturb(x_0, noise, torch.full((count,), t))
    x_s = SDE.reverse_step(x_t, Prediction(-x_0, noise), t=t, s=s, generator=seeded(2))
    assert x_s.mean().item() == pytest.approx((1 - s) * 1.7, abs=5 * math.sqrt(s / count))
    assert x_s.var().item() == pytest.approx(s, rel=5 * math.sqrt(2 / count))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_steps_do_not_change_the_law(steps):
    """With targets exact for a normal x_0, k steps have the law of one: here N(m, v)."""
    mean, variance, count = 0.8, 0.25, 100_000

    def oracle(x_t, t):
        # Best linear estimate is not exact for k > 1; so draw x_0 from its posterior instead.
        t_ = t.view(-1, 1, 1, 1)
        gain = (1 - t_) * variance / ((1 - t_) ** 2 * variance + t_)
        centre = mean + gain * (x_t - (1 - t_) * mean)
        spread = (variance - gain * (1 - t_) * variance).sqrt()
        return exact(x_t, t, centre + spread * standard_normal(x_t.shape, noise))

    noise = seeded(3)
    start = standard_normal((count, 1, 1, 1), seeded(5))
    x_0 = sample(DirectSDE(), oracle, uniform_schedule(steps), start, generator=seeded(4))
    assert x_0.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(variance / count))
    assert x_0.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / count))


def test_deterministic_step_keeps_the_pair():
    """Eq. ``deterministic``: the same x_0 and the same noise at another time."""
    x_0, noise = standard_normal(SHAPE, seeded(1)), standard_normal(SHAPE, seeded(2))
    for t, s in ((1.0, 0.5), (0.7, 0.01), (0.3, 0.0)):
        x_t, x_s = (SDE.perturb(x_0, noise, torch.full((3,), time)) for time in (t, s))
        moved = SDE.deterministic_step(x_t, Prediction(-x_0, noise), t=t, s=s)
        assert torch.allclose(moved, x_s, atol=1e-6)


@pytest.mark.parametrize("stochastic", [True, False])
def test_step_makes_the_pair_fit_first(stochastic):
    """Eq. ``inversion``: the step's drift is minus the one ``x_0`` that both answers give."""
    x_t, drift, noise = (standard_normal(SHAPE, seeded(k)) for k in range(3))
    t, s, answer = 0.6, 0.2, Prediction(drift, noise)
    x_0 = x_t - t * drift - math.sqrt(t) * noise
    keep = (t - s) / math.sqrt(t) if stochastic else math.sqrt(t) - math.sqrt(s)
    given = torch.zeros(SHAPE) if stochastic else None
    moved = SDE.step(x_t, answer, t=t, s=s, stochastic=stochastic, noise=given)
    torch.testing.assert_close(moved, x_t + (t - s) * x_0 - keep * noise)


def test_small_deterministic_steps_follow_the_velocity():
    """Eq. ``deterministic`` and eq. ``probability-flow``: one is the other's integral."""
    x_t, drift, noise = (standard_normal(SHAPE, seeded(k)).double() for k in range(3))
    prediction, t, step = Prediction(drift, noise), 0.4, 1e-6
    moved = SDE.deterministic_step(x_t, prediction, t=t, s=t - step)
    velocity = SDE.velocity(prediction, torch.full((3,), t, dtype=torch.float64))
    assert torch.allclose((x_t - moved) / step, velocity, atol=1e-5)


def mixture(x, t, centre=1.0, spread=0.3):
    """Log density of x_t, and exact drift and noise, for x_0 normal about ±centre."""
    t = t.view(-1, 1, 1, 1)
    a, variance = 1 - t, (1 - t) ** 2 * spread**2 + t
    log_density = torch.logaddexp(
        -((x - a * centre) ** 2) / (2 * variance), -((x + a * centre) ** 2) / (2 * variance)
    ) - torch.log(8 * math.pi * variance).div(2)
    side = torch.tanh(a * centre * x / variance)
    x_0 = (a * spread**2 * x + t * centre * side) / variance
    return log_density, Prediction(-x_0, (x - a * x_0) / t.sqrt())


def test_score_is_the_gradient_of_the_log_density():
    """Eq. ``score``, by automatic differentiation of a mixture's density."""
    x = standard_normal((4, 1, 3, 3), seeded()).double().requires_grad_()
    t = torch.tensor([0.05, 0.3, 0.7, 1.0], dtype=torch.float64)
    log_density, prediction = mixture(x, t)
    (gradient,) = torch.autograd.grad(log_density.sum(), x)
    assert torch.allclose(SDE.score(prediction, t), gradient, atol=1e-10)


def test_flow_carries_the_density_along():
    """Eq. ``probability-flow``: p_t changes as its own velocity carries it away."""
    x = standard_normal((4, 1, 3, 3), seeded()).double().requires_grad_()
    t = torch.tensor([0.05, 0.3, 0.7, 0.95], dtype=torch.float64).requires_grad_()
    log_density, prediction = mixture(x, t)
    times = t.detach()[:, None, None, None].expand_as(x).clone().requires_grad_()
    slopes = torch.autograd.grad(log_density.sum(), x, retain_graph=True)[0]
    flat = mixture(x.detach().reshape(-1, 1, 1, 1), times.reshape(-1))[0]
    change = torch.autograd.grad(flat.sum(), times)[0]
    velocity = SDE.velocity(prediction, t)
    (divergence,) = torch.autograd.grad(velocity.sum(), x)
    assert torch.allclose(change, -divergence - velocity * slopes, atol=1e-9)


def test_score_refuses_time_zero():
    x = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match="t must be positive, got 0"):
        SDE.score(Prediction(x, x), torch.tensor([0.5, 0.0, 1.0]))


def test_composed_steps_have_the_law_of_one():
    """t → u → s equals t → s in mean and variance, given x_t and x_0 (eq. ``bridge``)."""
    t, u, s, count = 0.9, 0.6, 0.2, 200_000
    x_0, x_t = torch.full((count, 1, 1, 1), -0.4), torch.full((count, 1, 1, 1), 0.7)
    noise = exact(x_t, torch.full((count,), t), x_0)
    one = SDE.reverse_step(x_t, noise, t=t, s=s, generator=seeded(1))
    middle = SDE.reverse_step(x_t, noise, t=t, s=u, generator=seeded(2))
    two = SDE.reverse_step(
        middle, exact(middle, torch.full((count,), u), x_0), t=u, s=s, generator=seeded(3)
    )
    assert two.mean().item() == pytest.approx(one.mean().item(), abs=0.01)
    assert two.var().item() == pytest.approx(s * (t - s) / t, rel=0.02)
    assert one.var().item() == pytest.approx(s * (t - s) / t, rel=0.02)


@pytest.mark.parametrize(("t", "s"), [(0.5, 0.5), (0.5, 0.6), (0.5, -0.1), (1.1, 0.5), (0.0, 0.0)])
@pytest.mark.parametrize("step", [SDE.reverse_step, SDE.deterministic_step])
def test_steps_refuse_times_out_of_order(step, t, s):
    x = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match="0 <= s < t <= 1"):
        step(x, Prediction(x, x), t=t, s=s)


def test_perturb_refuses_times_outside():
    x = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        SDE.perturb(x, x, torch.tensor([0.0, 0.5, 1.5]))


def test_start_below_time_1_is_the_marginal_of_a_clean_map_of_0():
    """Eq. ``marginal``: with ``x_0 = 0`` there is noise alone, ``sqrt(t)`` of it."""
    start, full = SDE.start(SHAPE, seeded(), t=0.25), SDE.start(SHAPE, seeded())
    assert torch.equal(full, standard_normal(SHAPE, seeded()))
    zero = torch.zeros(SHAPE)
    torch.testing.assert_close(start, SDE.perturb(zero, full, torch.full((3,), 0.25)))


def test_times_lie_in_range():
    t = ConstantSDE(t_min=0.2).draw_times(10_000, generator=seeded())
    assert t.min() >= 0.2
    assert t.max() <= 1
    assert t.mean().item() == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("skip", ["corrected", "reference"])
def test_skips_at_time_one(skip):
    """Eq. ``skips``: at t = 1 the noise is x_1 and the drift is F_1 / sqrt 2."""
    first, second, x = (standard_normal(SHAPE, seeded(k)) for k in range(3))
    result = ConstantSDE(drift_skip=skip).predict((first, second), x, torch.ones(3))
    assert torch.equal(result.noise, x)
    assert torch.allclose(result.drift, first / math.sqrt(2))


def test_corrected_skip_is_right_as_t_vanishes():
    """As t → 0 the input is x_0: the corrected drift is -x_0, the reference's +x_0 (D1)."""
    x, zero = standard_normal(SHAPE, seeded()), torch.zeros(SHAPE)
    t = torch.full((3,), 1e-8)
    assert torch.allclose(SDE.predict((zero, zero), x, t).drift, -x, atol=1e-6)
    reference = ConstantSDE(drift_skip="reference")
    assert torch.allclose(reference.predict((zero, zero), x, t).drift, x, atol=1e-6)


@pytest.mark.parametrize("weighting", ["uniform", "exponential", "inverse_sqrt"])
@pytest.mark.parametrize("error", ["both", "squared", "absolute"])
def test_loss_vanishes_only_at_the_targets(weighting, error):
    """Eq. ``regression``."""
    sde = ConstantSDE(weighting=weighting, error=error)
    x_0, noise = standard_normal(SHAPE, seeded(1)), standard_normal(SHAPE, seeded(2))
    t = torch.tensor([0.1, 0.5, 0.9])
    assert sde.regression_loss(Prediction(-x_0, noise), x_0, noise, t).tolist() == [0, 0, 0]
    worse = sde.regression_loss(Prediction(-x_0 + 1, noise), x_0, noise, t)
    drift_weight, _ = sde.loss_weights(t)
    assert torch.allclose(worse, drift_weight)  # both |1| and 1^2 average to 1


def test_errors_by_hand():
    """Eq. ``regression`` with squared, absolute and both errors."""
    x_0 = torch.zeros(1, 1, 1, 2)
    prediction = Prediction(torch.tensor([[[[1.0, -3.0]]]]), torch.tensor([[[[0.0, 2.0]]]]))
    losses = {
        error: ConstantSDE(weighting="uniform", error=error)
        .regression_loss(prediction, x_0, x_0, torch.tensor([0.5]))
        .item()
        for error in ("squared", "absolute", "both")
    }
    assert losses == {"squared": 7.0, "absolute": 3.0, "both": 5.0}


@pytest.mark.parametrize("t_min", [0.0, 1.0])
def test_smallest_time_without_meaning_is_refused(t_min):
    with pytest.raises(ValueError, match="t_min"):
        ConstantSDE(t_min=t_min)


def test_loss_weights_by_hand():
    """Eq. ``weights`` at t = 0.25."""
    t = torch.tensor([0.25], dtype=torch.float64)
    drift, noise = ConstantSDE(weighting="exponential").loss_weights(t)
    assert drift.item() == pytest.approx(2 * math.exp(0.75))
    assert noise.item() == pytest.approx(math.exp(0.5))
    drift, noise = ConstantSDE(weighting="inverse_sqrt", t_min=0.01).loss_weights(t)
    assert drift.item() == pytest.approx(2.5)
    assert noise.item() == pytest.approx(math.sqrt(1.75 / 0.76))
