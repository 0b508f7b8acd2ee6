"""The sampler: any denoiser, one start, exact schedules."""

import pytest
import torch

from radiodiff.diffusion import Prediction, standard_normal
from radiodiff.sampler import sample, uniform_schedule

SHAPE = (2, 3, 4, 4)


def toward(x_0: torch.Tensor):
    """A denoiser that always knows the answer."""

    def denoiser(x_t, t):
        t = t.view(-1, 1, 1, 1)
        return Prediction(-x_0, (x_t - (1 - t) * x_0) / t.sqrt())

    return denoiser


@pytest.mark.parametrize("schedule", [(1.0, 0.0), (1.0, 0.7, 0.1, 0.0), uniform_schedule(13)])
def test_exact_denoiser_recovers_x_0(schedule):
    x_0 = standard_normal(SHAPE, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(0)
    start = standard_normal(SHAPE, generator)
    result = sample(toward(x_0), schedule, start, generator=generator)
    assert torch.allclose(result, x_0, atol=1e-5)


def test_denoiser_is_called_once_a_step():
    times = []

    def denoiser(x_t, t):
        times.append(t[0].item())
        return Prediction(torch.zeros_like(x_t), x_t)

    sample(denoiser, uniform_schedule(4), torch.ones(SHAPE))
    assert times == [1.0, 0.75, 0.5, 0.25]


def test_same_generator_same_latents():
    def run():
        def denoiser(x_t, t):
            return Prediction(0.1 * x_t, 0.5 * x_t)

        generator = torch.Generator().manual_seed(7)
        return sample(denoiser, uniform_schedule(5), torch.ones(SHAPE), generator=generator)

    assert torch.equal(run(), run())


def test_global_generator_is_left_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    generator = torch.Generator().manual_seed(7)
    start = standard_normal(SHAPE, generator)
    sample(toward(torch.zeros(SHAPE)), uniform_schedule(3), start, generator=generator)
    assert torch.equal(before, torch.random.get_rng_state())


def test_callback_sees_the_trajectory():
    seen = []
    start = torch.ones(SHAPE)
    sample(
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
        sample(toward(torch.zeros(SHAPE)), schedule, torch.ones(SHAPE))


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        uniform_schedule(0)
