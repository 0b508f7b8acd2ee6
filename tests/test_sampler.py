"""The sampler: any process, one start, exact schedules."""

from itertools import pairwise

import pytest
import torch

from radiodiff.processes import ConstantSDE, FlowMatching, Prediction, standard_normal
from radiodiff.sampler import (
    SCHEDULES,
    SamplerConfig,
    make_schedule,
    reference_schedule,
    sample,
    sample_windows,
    uniform_schedule,
)
from tests.processes.direct import DirectSDE

SHAPE = (2, 3, 4, 4)
DIRECT = DirectSDE()


def toward(x_0: torch.Tensor):
    """A denoiser that always knows the answer."""

    def denoiser(x_t, t):
        t = t.view(-1, 1, 1, 1)
        return Prediction(-x_0, (x_t - (1 - t) * x_0) / t.sqrt())

    return denoiser


def gaussian(scale: float):
    """The best denoiser for latents that are normal with this standard deviation."""

    def denoiser(x_t, t):
        t = t.view(-1, 1, 1, 1)
        x_0 = (1 - t) * scale**2 / ((1 - t) ** 2 * scale**2 + t) * x_t
        return Prediction(-x_0, (x_t - (1 - t) * x_0) / t.sqrt())

    return denoiser


def test_uniform_times():
    """Eq. ``times``: each time is computed by itself, so none drifts (audit D11)."""
    for steps in (1, 3, 7, 1000):
        expected = [(steps - k) / steps for k in range(steps + 1)]
        assert uniform_schedule(steps) == pytest.approx(expected, abs=1e-15)
        assert uniform_schedule(steps)[0] == 1
        assert uniform_schedule(steps)[-1] == 0


@pytest.mark.parametrize("stochastic", [True, False])
@pytest.mark.parametrize("schedule", [(1.0, 0.0), (1.0, 0.7, 0.1, 0.0), uniform_schedule(13)])
def test_exact_denoiser_recovers_x_0(schedule, stochastic):
    x_0 = standard_normal(SHAPE, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(0)
    start = standard_normal(SHAPE, generator)
    result = sample(
        DIRECT, toward(x_0), schedule, start, stochastic=stochastic, generator=generator
    )
    assert torch.allclose(result, x_0, atol=1e-5)


def test_without_fresh_noise_the_start_decides():
    """Nothing is drawn, and with exact targets the start's noise stays (eq. ``deterministic``)."""
    x_0 = standard_normal(SHAPE, torch.Generator().manual_seed(5))
    start = standard_normal(SHAPE, torch.Generator().manual_seed(0))
    seen = []

    def run(denoiser, seed):
        generator = torch.Generator().manual_seed(seed)
        before = generator.get_state()
        result = sample(
            DIRECT,
            denoiser,
            uniform_schedule(6),
            start,
            stochastic=False,
            generator=generator,
            callback=lambda t, x_t, prediction: seen.append((t, x_t)),
        )
        assert torch.equal(generator.get_state(), before)
        return result

    assert torch.allclose(run(toward(x_0), 0), x_0, atol=1e-5)
    for t, x_t in seen:
        assert torch.allclose(x_t, (1 - t) * x_0 + t**0.5 * start, atol=1e-5)
    assert torch.equal(run(gaussian(0.5), 1), run(gaussian(0.5), 2))


def test_one_step_is_the_estimate_at_time_1_with_or_without_noise():
    start = standard_normal(SHAPE, torch.Generator().manual_seed(0))

    def denoiser(x_t, t):
        return Prediction(0.3 * x_t + 0.1, x_t)  # at time 1 the noise is x_1, whatever the drift

    one = sample(DIRECT, denoiser, (1.0, 0.0), start)
    assert torch.allclose(one, -0.3 * start - 0.1, atol=1e-6)
    assert torch.allclose(
        sample(DIRECT, denoiser, (1.0, 0.0), start, stochastic=False), one, atol=1e-6
    )


def test_many_steps_restore_the_spread_of_the_data_with_or_without_noise():
    """Latents N(0, 0.5^2) and their best denoiser: one step has no spread, many have the data's."""
    start = standard_normal((50, 4, 10, 10), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    spreads = {
        (steps, stochastic): sample(
            DIRECT,
            gaussian(0.5),
            uniform_schedule(steps),
            start,
            stochastic=stochastic,
            generator=generator,
        )
        .std()
        .item()
        for steps in (1, 5, 300)
        for stochastic in (True, False)
    }
    for stochastic in (True, False):
        assert spreads[1, stochastic] == pytest.approx(0, abs=1e-6)
        assert 0 < spreads[5, stochastic] < 0.5
        assert spreads[300, stochastic] == pytest.approx(0.5, rel=0.03)


def test_bridge_forgets_the_start_as_the_root_of_time():
    """With exact targets the noise in ``x_t`` correlates with the start by ``sqrt(t)``."""
    shape = (20, 4, 16, 16)
    start = standard_normal(shape, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    seen = []
    sample(
        DIRECT,
        toward(torch.zeros(shape)),
        uniform_schedule(4),
        start,
        generator=generator,
        callback=lambda t, x_t, prediction: seen.append((t, x_t / t**0.5)),
    )
    for t, noise in seen:
        assert (noise * start).mean().item() == pytest.approx(t**0.5, abs=0.03)


def test_noise_for_steps_that_draw_none_is_refused():
    start = torch.ones(SHAPE)
    with pytest.raises(ValueError, match="steps that draw none"):
        sample(DIRECT, toward(start), (1.0, 0.5, 0.0), start, stochastic=False, noise=[start])


def test_denoiser_is_called_once_a_step():
    times = []

    def denoiser(x_t, t):
        times.append(t[0].item())
        return Prediction(torch.zeros_like(x_t), x_t)

    sample(DIRECT, denoiser, uniform_schedule(4), torch.ones(SHAPE))
    assert times == [1.0, 0.75, 0.5, 0.25]


def test_same_generator_same_latents():
    def run():
        def denoiser(x_t, t):
            return Prediction(0.1 * x_t, 0.5 * x_t)

        generator = torch.Generator().manual_seed(7)
        return sample(DIRECT, denoiser, uniform_schedule(5), torch.ones(SHAPE), generator=generator)

    assert torch.equal(run(), run())


def test_global_generator_is_left_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    generator = torch.Generator().manual_seed(7)
    start = standard_normal(SHAPE, generator)
    sample(DIRECT, toward(torch.zeros(SHAPE)), uniform_schedule(3), start, generator=generator)
    assert torch.equal(before, torch.random.get_rng_state())


def test_callback_sees_the_trajectory():
    seen = []
    start = torch.ones(SHAPE)
    sample(
        DIRECT,
        toward(torch.zeros(SHAPE)),
        (1.0, 0.4, 0.0),
        start,
        callback=lambda t, x_t, prediction: seen.append((t, x_t.clone())),
    )
    assert [t for t, _ in seen] == [1.0, 0.4]
    assert torch.equal(seen[0][1], start)


@pytest.mark.parametrize(
    "schedule", [(1.0, 0.5), (0.9, 0.0), (1.0, 0.5, 0.5, 0.0), (1.0, 0.2, 0.4, 0)]
)
def test_wrong_schedules_are_refused(schedule):
    with pytest.raises(ValueError, match="strictly from 1 to 0"):
        sample(DIRECT, toward(torch.zeros(SHAPE)), schedule, torch.ones(SHAPE))


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        uniform_schedule(0)


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        (1, 1.0001659e-4),
        (2, 9.998679e-5),
        (3, 9.995699e-5),
        (5, 1.00031e-4),
        (10, 9.9927e-5),
        (50, 1.00387e-4),
        (100, 1.0067e-4),
        (1000, 1.0932e-4),
    ],
)
def test_times_of_the_public_code(steps, last):
    """Its single-precision grid (audit D11); one call more than steps (D6)."""
    schedule = reference_schedule(steps)
    assert len(schedule) == steps + 2
    assert (schedule[0], schedule[-1]) == (1.0, 0.0)
    assert schedule[-2] == pytest.approx(last, rel=1e-4)
    assert make_schedule(SamplerConfig(steps, "reference"), ConstantSDE()) == schedule
    without = reference_schedule(steps, final_step=False)
    assert without[:-1] == schedule[:-2]
    assert without == pytest.approx(uniform_schedule(steps), abs=2e-5)
    assert make_schedule(SamplerConfig(steps), ConstantSDE()) == uniform_schedule(steps)


def test_too_many_steps_for_the_last_one_are_refused():
    with pytest.raises(ValueError, match="between 1 and 1 / t_min"):
        reference_schedule(10_000)


def test_given_noise_takes_the_place_of_drawn_noise():
    generator = torch.Generator().manual_seed(3)
    start = standard_normal(SHAPE, generator)
    noise = [standard_normal(SHAPE, generator) for _ in range(3)]
    drawn = torch.Generator().manual_seed(3)
    assert torch.equal(standard_normal(SHAPE, drawn), start)

    def wrong(x_t, t):  # so that the noise matters
        return Prediction(0.5 * x_t, x_t)

    schedule = uniform_schedule(4)
    expected = sample(DIRECT, wrong, schedule, start, generator=drawn)
    assert torch.equal(sample(DIRECT, wrong, schedule, start, noise=noise), expected)
    with pytest.raises(ValueError, match="need noise for 3 steps, got 2"):
        sample(DIRECT, wrong, schedule, start, noise=noise[:2])


@pytest.mark.parametrize("size", [(8, 8), (20, 13), (5, 9)])
def test_windows_cover_every_cell_and_average_the_overlap(size):
    """A map of its own coordinates comes back, wherever windows overlap."""
    condition = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    seen = []

    def draw(window):
        seen.append(window.shape[-2:])
        return window[:, :1]

    maps = sample_windows(draw, condition, (8, 6), (5, 4))
    assert torch.allclose(maps, condition[:, :1], atol=1e-6)
    rows = -(-max(size[0] - 8, 0) // 5) + 1
    columns = -(-max(size[1] - 6, 0) // 4) + 1
    assert seen == [(min(size[0], 8), min(size[1], 6))] * (rows * columns)


def test_each_window_is_drawn_alone():
    values = iter((0.0, 1.0))

    def draw(window):
        return torch.full_like(window, next(values))

    maps = sample_windows(draw, torch.zeros(1, 1, 4, 6), (4, 4), (4, 4))
    assert maps[0, 0, 0].tolist() == [0, 0, 0.5, 0.5, 1, 1]
    for window, stride in (((4, 4), (5, 4)), ((0, 4), (1, 1))):
        with pytest.raises(ValueError, match="stride <= window"):
            sample_windows(draw, torch.zeros(1, 1, 4, 6), window, stride)


@pytest.mark.parametrize("start", [1.0, 0.4])
def test_schedule_runs_from_the_start_of_the_sampler(start):
    schedule = make_schedule(SamplerConfig(steps=4, start=start), ConstantSDE())
    assert schedule == pytest.approx([start * t for t in (1, 0.75, 0.5, 0.25, 0)])
    x_0 = standard_normal(SHAPE, torch.Generator().manual_seed(5))
    noise = standard_normal(SHAPE, torch.Generator().manual_seed(6))
    x_t = DIRECT.perturb(x_0, noise, torch.full((2,), start))
    result = sample(DIRECT, toward(x_0), schedule, x_t, start_time=start, stochastic=False)
    assert torch.allclose(result, x_0, atol=1e-5)


def test_start_at_another_time_than_the_schedule_is_refused():
    start = torch.ones(SHAPE)
    for schedule, time in (((1.0, 0.0), 0.5), ((0.5, 0.0), 1.0), ((0.5, 0.5, 0.0), 0.5)):
        with pytest.raises(ValueError, match=f"strictly from {time:g} to 0"):
            sample(DIRECT, toward(start), schedule, start, start_time=time)


def test_noise_for_a_process_that_draws_none_is_refused():
    start = torch.ones(SHAPE)
    with pytest.raises(ValueError, match="steps that draw none"):
        sample(FlowMatching(), lambda x_t, t: (x_t,), (1.0, 0.5, 0.0), start, noise=[start])


def test_times_of_the_public_code_belong_to_one_process():
    with pytest.raises(ValueError, match="not of FlowMatching: use 'uniform'"):
        make_schedule(SamplerConfig(schedule="reference"), FlowMatching())


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_rule_runs_down_from_1_to_0(name):
    times = make_schedule(SamplerConfig(steps=6, schedule=name), ConstantSDE())
    assert times[0] == 1
    assert times[-1] == 0
    assert all(s < t for t, s in pairwise(times))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"schedule": "cosine"}, "schedule must be one of uniform, reference, got 'cosine'"),
        ({"start": 0.0}, "start must lie in"),
        ({"start": 1.5}, "start must lie in"),
        ({"stride": (4, 4)}, "needs a window"),
        ({"window": (4, 4), "stride": (5, 4)}, "stride <= window"),
        ({"window": (0, 4)}, "stride <= window"),
    ],
)
def test_sampler_without_meaning_is_refused(fault, message):
    with pytest.raises(ValueError, match=message):
        SamplerConfig(**fault)
