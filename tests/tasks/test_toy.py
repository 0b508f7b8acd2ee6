"""Autoencoders of one number, against the optimum in closed form."""

import pytest
import torch

from radiodiff.tasks import scalar_optimum, train_scalar_autoencoders

WEIGHTS = torch.tensor([0.05, 0.3, 1.0])


def loss(weight, encoder, decoder, variance):
    """The mean loss over values and noise, in closed form."""
    kl = (encoder**2 + variance - 1 - variance.log()) / 2
    return (1 - decoder * encoder) ** 2 + decoder**2 * variance + weight * kl


def test_optimum_has_no_slope_and_is_a_minimum():
    noise, deviation = scalar_optimum(WEIGHTS.double())
    encoder = (deviation**2 - noise**2).sqrt()
    for weight, best in zip(
        WEIGHTS.double(), torch.stack([encoder, encoder, noise**2], 1), strict=True
    ):
        slope = torch.func.jacrev(lambda p, w=weight: loss(w, *p))(best)
        curvature = torch.func.hessian(lambda p, w=weight: loss(w, *p))(best)
        assert slope.abs().max() < 1e-12
        assert torch.linalg.eigvalsh(curvature).min() > 0


def test_training_comes_to_the_optimum_from_both_starts():
    found = train_scalar_autoencoders(
        WEIGHTS, (0.5, 2.0), steps=1500, generator=torch.Generator().manual_seed(0)
    )
    best = scalar_optimum(WEIGHTS)
    assert found.noise.shape == (2, 3)
    assert not found.noise.requires_grad
    torch.testing.assert_close(found.noise, best.noise.expand(2, 3), rtol=0.1, atol=0)
    torch.testing.assert_close(found.deviation, best.deviation.expand(2, 3), rtol=0.1, atol=0)


def test_light_weight_leaves_the_scale_where_it_began():
    found = train_scalar_autoencoders(
        torch.tensor([1e-6]), (0.3, 3.0), steps=300, generator=torch.Generator().manual_seed(0)
    )
    assert found.deviation[1] > 2.5
    assert found.deviation[0] < found.deviation[1] / 2


@pytest.mark.parametrize("steps", [0, 1])
def test_training_begins_where_it_is_told(steps):
    found = train_scalar_autoencoders(
        WEIGHTS, (0.5, 2.0), steps=steps, generator=torch.Generator().manual_seed(0)
    )
    noise = torch.exp(torch.tensor(-1.0))
    begun = (torch.tensor([[0.5], [2.0]]) ** 2 + noise**2).sqrt().expand(2, 3)
    torch.testing.assert_close(found.deviation, begun, rtol=0, atol=0.02 * steps + 1e-6)
