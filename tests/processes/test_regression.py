"""Regression: one evaluation on zeros, and the mean or the median as the best answer."""

import pytest
import torch

from radiodiff.processes import Mean, Regression, standard_normal
from radiodiff.sampler import SamplerConfig, make_schedule, sample, uniform_schedule

SHAPE = (3, 2, 4, 5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("steps", [1, 4])
def test_answer_is_the_map_whatever_the_steps(steps):
    x_0 = standard_normal(SHAPE, seeded(1))
    seen = []

    def network(x_t, t):
        seen.append((x_t, t))
        return (x_0,)

    start = standard_normal(SHAPE, seeded(2))
    assert torch.equal(sample(Regression(), network, uniform_schedule(steps), start), x_0)
    for x_t, t in seen:
        assert not x_t.any()
        assert t.tolist() == [1, 1, 1]


def test_one_evaluation_is_all_there_is():
    assert make_schedule(SamplerConfig(steps=7, start=0.5), Regression()) == (1.0, 0.0)


@pytest.mark.parametrize(("error", "expected"), [("squared", 4), ("absolute", 2), ("both", 3)])
def test_errors_by_hand(error, expected):
    """Eq. ``mean-answer``: an answer wrong by 2 in every cell."""
    x_0 = standard_normal(SHAPE, seeded(1))
    losses = Regression(error).loss(lambda x_t, t: (x_0 + 2,), x_0)
    torch.testing.assert_close(losses, torch.full((3,), float(expected)))


@pytest.mark.parametrize(("error", "best"), [("squared", 0.25), ("absolute", 0.0)])
def test_best_answer_is_the_mean_or_the_median(error, best):
    """Eq. ``mean-answer``: three quarters of the maps are 0, one quarter is 1."""
    x_0 = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(4, 1, 1, 1)
    answers = torch.linspace(-0.5, 1.5, 201)
    losses = [
        Regression(error).loss(lambda x_t, t, a=a: (torch.full_like(x_t, a),), x_0).mean()
        for a in answers
    ]
    assert answers[torch.stack(losses).argmin()].item() == pytest.approx(best, abs=1e-6)


def test_nothing_is_drawn():
    generator = seeded()
    before = generator.get_state()
    process = Regression()
    assert not process.start(SHAPE, generator).any()
    process.loss(lambda x_t, t: (x_t,), torch.ones(SHAPE), generator=generator)
    process.step(torch.ones(SHAPE), Mean(torch.ones(SHAPE)), t=1.0, s=0.5, generator=generator)
    assert torch.equal(generator.get_state(), before)
