"""The autoencoder: size, posterior, shapes, failures."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from radiodiff.models import AutoencoderConfig, AutoencoderKL, DiagonalGaussian, parameter_count
from radiodiff.models.autoencoder import Downsample
from tests.models.sizes import SMALL_AUTOENCODER, on_meta


def test_autoencoder_has_the_reference_size():
    autoencoder = on_meta(AutoencoderKL)
    assert parameter_count(autoencoder.encoder) == 22_348_934
    assert parameter_count(autoencoder.decoder) == 32_958_465
    assert parameter_count(autoencoder.quant_conv) == 42
    assert parameter_count(autoencoder.post_quant_conv) == 12
    assert parameter_count(autoencoder) == 55_307_453


def test_kl_of_the_standard_normal_is_zero():
    zero = torch.zeros(2, 3, 4, 4)
    assert torch.equal(DiagonalGaussian(zero, zero).kl(), torch.zeros(2))


def test_kl_matches_torch_distributions():
    mean, log_variance = torch.randn(2, 5, 3, 4, 4)
    ours = DiagonalGaussian(mean, log_variance).kl()
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    theirs = torch.distributions.kl_divergence(normal, standard).sum((1, 2, 3))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_posterior_draws_have_the_right_mean_and_variance():
    mean = torch.full((1, 1, 500, 500), 2.0)
    posterior = DiagonalGaussian(mean, torch.full_like(mean, math.log(0.25)))
    draw = posterior.sample(torch.Generator().manual_seed(1))
    assert draw.mean().item() == pytest.approx(2.0, abs=0.005)  # five standard errors
    assert draw.var().item() == pytest.approx(0.25, abs=0.0036)
    assert torch.equal(draw, posterior.sample(torch.Generator().manual_seed(1)))
    assert torch.equal(posterior.mode(), mean)
    noise = torch.full_like(mean, -2.0)
    torch.testing.assert_close(posterior.sample(noise=noise), mean - 1.0)


def test_posterior_refuses_noise_of_another_shape():
    zero = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="shape of the mean"):
        DiagonalGaussian(zero, zero).sample(noise=torch.zeros(1, 3, 4, 5))


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (96, 96), (128, 128), (64, 96), (20, 4)])
def test_autoencoder_runs_at_any_multiple_of_4(size):
    autoencoder = AutoencoderKL(SMALL_AUTOENCODER).eval()
    reconstruction, posterior = autoencoder(torch.randn(2, 1, *size))
    assert posterior.mean.shape == (2, 3, size[0] // 4, size[1] // 4)
    assert reconstruction.shape == (2, 1, *size)
    assert reconstruction.isfinite().all()


@torch.no_grad()
def test_autoencoder_treats_each_map_alone():
    autoencoder = AutoencoderKL(SMALL_AUTOENCODER).eval()
    maps = torch.randn(3, 1, 32, 32)
    together = autoencoder.decode(autoencoder.encode(maps).mode())
    alone = torch.cat([autoencoder.decode(autoencoder.encode(m[None]).mode()) for m in maps])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_log_variance_is_clamped():
    autoencoder = AutoencoderKL(SMALL_AUTOENCODER)
    autoencoder.quant_conv.bias[3:] = torch.tensor([1e4, -1e4, 0.0])
    log_variance = autoencoder.encode(torch.zeros(1, 1, 8, 8)).log_variance
    assert (log_variance[:, 0] == 20).all()
    assert (log_variance[:, 1] == -30).all()


def test_autoencoder_properties():
    autoencoder = AutoencoderKL(SMALL_AUTOENCODER)
    assert autoencoder.downsampling == 4
    assert autoencoder.last_layer is autoencoder.decoder.conv_out.weight


@torch.no_grad()
def test_autoencoder_with_channels_apart():
    """What goes in, what the diffusion sees, what is between them, and what comes out."""
    sizes = {"in_channels": 2, "out_channels": 3, "latent_channels": 5, "inner_channels": 4}
    autoencoder = AutoencoderKL(replace(SMALL_AUTOENCODER, **sizes)).eval()
    reconstruction, posterior = autoencoder(torch.randn(2, 2, 16, 24))
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 5, 4, 6)
    assert autoencoder.quant_conv.weight.shape == (10, 8, 1, 1)
    assert autoencoder.post_quant_conv.weight.shape == (4, 5, 1, 1)
    assert reconstruction.shape == (2, 3, 16, 24)
    with pytest.raises(ValueError, match=r"\(b, 2, h, w\)"):
        autoencoder.encode(torch.zeros(1, 3, 16, 24))
    with pytest.raises(ValueError, match=r"\(b, 5, h, w\)"):
        autoencoder.decode(torch.zeros(1, 4, 4, 6))


@torch.no_grad()
def test_autoencoder_drops_in_training_only():
    """Of the hidden values, half; without dropout no random number is used up."""
    maps = torch.randn(1, 1, 16, 16)
    plain, dropping = (
        AutoencoderKL(replace(SMALL_AUTOENCODER, dropout=share)) for share in (0.0, 0.5)
    )
    dropping.load_state_dict(plain.state_dict())
    before = torch.get_rng_state()
    mean = plain.encode(maps).mean
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(dropping.encode(maps).mean, mean)
    assert torch.equal(dropping.eval().encode(maps).mean, mean)
    block = dropping.train().encoder.levels[0].blocks[0]
    hidden = block.dropout(torch.ones(10_000))
    assert set(hidden.tolist()) == {0, 2}
    assert hidden.mean().item() == pytest.approx(1, abs=0.05)  # five standard errors


def test_autoencoder_refuses_wrong_shapes():
    autoencoder = AutoencoderKL(SMALL_AUTOENCODER)
    with pytest.raises(ValueError, match=r"multiple of 4 .* got 64 x 66"):
        autoencoder.encode(torch.zeros(1, 1, 64, 66))
    with pytest.raises(ValueError, match=r"\(b, 1, h, w\)"):
        autoencoder.encode(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"\(b, 3, h, w\)"):
        autoencoder.decode(torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match="multiple of 32, got 48"):
        AutoencoderConfig(width=48)
    with pytest.raises(ValueError, match="at least one level"):
        AutoencoderConfig(multipliers=())
    with pytest.raises(ValueError, match="inner_channels must be at least 1, got 0"):
        AutoencoderConfig(inner_channels=0)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 1"):
        AutoencoderConfig(dropout=1.0)
    with pytest.raises(ValueError, match="one of softmax, linear, none, got 'flash'"):
        AutoencoderConfig(attention="flash")


@torch.no_grad()
def test_downsampling_pads_right_and_bottom_only():
    layer = Downsample(1)
    nn.init.zeros_(layer.conv.bias)
    x = torch.randn(1, 1, 6, 8)
    nn.init.zeros_(layer.conv.weight)[0, 0, 0, 0] = 1
    assert torch.equal(layer(x), x[:, :, 0::2, 0::2])
    nn.init.zeros_(layer.conv.weight)[0, 0, 2, 2] = 1
    expected = functional.pad(x, (0, 1, 0, 1))[:, :, 2::2, 2::2]
    assert torch.equal(layer(x), expected)
    assert (layer(x)[:, :, -1] == 0).all()
