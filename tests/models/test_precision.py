"""Mixed precision: what is computed in single precision although the convolutions are not."""

import dataclasses

import pytest
import torch
from torch import nn

from radiodiff.losses import discriminator_loss, generator_loss, reconstruction_error
from radiodiff.models import AutoencoderKL, FourierFilter, PatchDiscriminator, UNet
from radiodiff.models.attention import ChannelNorm
from radiodiff.models.blocks import WeightStandardizedConv2d
from radiodiff.processes import PROCESSES

from .sizes import SMALL_AUTOENCODER, SMALL_UNET


def mixed():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(8, 32), nn.BatchNorm2d(32), nn.LayerNorm(32), ChannelNorm(32)]
)
@torch.no_grad()
def test_statistics_of_norms_are_single(norm):
    """A mean a hundred times the spread: rounded to eight bits, it would swamp the spread."""
    x = (100 + torch.randn(4, 32, 32, 32)).bfloat16()
    exact = norm.double()(x.double())
    norm.float()
    with mixed():
        rough = norm(x)
    assert (rough.double() - exact).abs().max() < 2**-7 * exact.abs().max()


def test_standardised_weights_are_single():
    layer = WeightStandardizedConv2d(4, 6, 3, padding=1)
    seen = []
    layer._conv_forward = lambda x, weight, bias: seen.append(weight)
    x = torch.randn(1, 4, 5, 5)
    layer(x)
    with mixed():
        layer(x.bfloat16())
    assert seen[1].dtype == torch.float32
    assert torch.equal(*seen)


@torch.no_grad()
def test_filter_of_frequencies_is_single(monkeypatch):
    layer = FourierFilter(16, (8, 8))
    seen = []
    rfft2 = torch.fft.rfft2
    monkeypatch.setattr(torch.fft, "rfft2", lambda x, **how: seen.append(x) or rfft2(x, **how))
    with mixed():
        layer(torch.randn(1, 16, 8, 8))
    assert seen[0].dtype == torch.float32


@pytest.mark.parametrize("kind", ["constant_sde", "flow_matching", "mean_flow", "regression"])
def test_losses_of_processes_are_single(kind):
    """Within 2 % of single precision; the gradients are finite."""
    process = PROCESSES[kind]()
    config = dataclasses.replace(SMALL_UNET, heads=process.heads, times=process.times)
    unet = UNet(dataclasses.replace(config, fourier_scale=1.0)).eval()
    x_0, condition = torch.randn(2, 3, 16, 16), torch.randn(2, 2, 64, 64)

    def loss():
        features = unet.encode_condition(condition)
        generator = torch.Generator().manual_seed(1)
        return process.loss(
            lambda x_t, t, s=None: unet(x_t, t, features, s), x_0, generator=generator
        )

    exact = loss()
    with mixed():
        rough = loss()
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)
    rough.mean().backward()
    assert all(p.grad.isfinite().all() for p in unet.parameters() if p.grad is not None)


def test_losses_of_the_autoencoder_are_single():
    """Within 2 % of single precision."""
    autoencoder, discriminator = AutoencoderKL(SMALL_AUTOENCODER), PatchDiscriminator(1, 8)
    radio_map = torch.rand(2, 1, 32, 32) * 2 - 1

    def losses():
        noise = torch.zeros(2, 3, 8, 8)
        reconstruction, posterior = autoencoder(radio_map, noise=noise)
        real, fake = discriminator(radio_map), discriminator(reconstruction)
        return [
            reconstruction_error(reconstruction, radio_map),
            posterior.kl(),
            generator_loss(fake),
            discriminator_loss(real, fake),
        ]

    exact = losses()
    with mixed():
        rough = losses()
    for ours, theirs in zip(rough, exact, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=1e-3)
