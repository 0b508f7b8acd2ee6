"""From radio maps to a process's ``x_0`` and back: maps or latents, as they are or less a mean."""

from dataclasses import replace

import pytest
import torch

from radiodiff import units
from radiodiff.models import AutoencoderKL
from radiodiff.predictors.space import Space


@pytest.fixture
def maps():
    """Radio maps, and a condition whose third channel is the law of distance, a gray level."""
    generator = torch.Generator().manual_seed(0)
    condition = torch.rand(2, 3, 32, 32, generator=generator)
    return torch.rand(2, 1, 32, 32, generator=generator) * 2 - 1, condition


def space(config, scale=1.0, **process):
    """The space of the smoke configuration with other options of its process."""
    channels = 1 if process.get("space") == "map" else 3
    config = replace(
        config,
        network=replace(config.network, latent_channels=channels),
        process=replace(config.process, **process),
    )
    torch.manual_seed(0)
    on_maps = config.process.space == "map"
    return Space(config, None if on_maps else AutoencoderKL(config.autoencoder).eval(), scale)


@pytest.mark.parametrize("residual_to", [None, "distance_law"])
@pytest.mark.parametrize(
    ("scaling", "scale"), [("factor", 1.0), ("factor", 2.5), ("softsign", 1.0)]
)
def test_maps_come_back(tiny, maps, residual_to, scaling, scale):
    """Eq. ``latent-scaling``, on maps and on residuals."""
    radio_maps, condition = maps
    way = space(tiny, scale, space="map", residual_to=residual_to, scaling=scaling)
    x_0 = way.x_0(radio_maps, condition)
    assert x_0.shape == way.shape(2, (32, 32)) == (2, 1, 32, 32)
    torch.testing.assert_close(way.radio_maps(x_0, condition), radio_maps, atol=1e-5, rtol=0)


def test_residual_of_the_mean_itself_is_0(tiny, maps):
    _, condition = maps
    way = space(tiny, space="map", residual_to="distance_law")
    mean = units.gray_to_model(condition[:, 2:])
    assert way.channels == ("buildings", "transmitter", "distance_law")
    assert torch.equal(way.mean_maps(condition), mean)
    assert not way.x_0(mean, condition).any()
    assert torch.equal(way.radio_maps(torch.zeros_like(mean), condition), mean)


def test_latents_are_sampled_at_the_scale(tiny, maps):
    """Eq. ``latent-scaling``: the posterior's sample times the factor."""
    radio_maps, condition = maps
    way = space(tiny, 0.7)
    x_0 = way.x_0(radio_maps, condition, torch.Generator().manual_seed(3))
    posterior = way.autoencoder.encode(radio_maps)
    expected = 0.7 * posterior.sample(torch.Generator().manual_seed(3))
    assert torch.equal(x_0, expected)
    assert x_0.shape == way.shape(2, (32, 32)) == (2, 3, 8, 8)
    assert way.mean_maps(condition) is None


def test_latents_of_the_mean_are_taken_off_and_put_back(tiny, maps):
    radio_maps, condition = maps
    way = space(tiny, 0.7, residual_to="distance_law")
    plain = space(tiny, 0.7)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    mean = way.autoencoder.encode(units.gray_to_model(condition[:, 2:])).mode()
    x_0 = way.x_0(radio_maps, condition, generators[0])
    whole = plain.x_0(radio_maps, condition, generators[1])
    torch.testing.assert_close(x_0, whole - 0.7 * mean)
    torch.testing.assert_close(way.radio_maps(x_0, condition), plain.radio_maps(whole))


def test_residuals_without_their_condition_are_refused(tiny):
    way = space(tiny, space="map", residual_to="distance_law")
    with pytest.raises(ValueError, match="give the condition that their mean is made of"):
        way.radio_maps(torch.zeros(1, 1, 32, 32))
