"""What an autoencoder makes of maps, beside compression that learns nothing."""

import pytest
import torch

from radiodiff.models import (
    AutoencoderConfig,
    AutoencoderKL,
    block_averages,
    channel_correlations,
    compress,
)

SMALL = AutoencoderConfig(width=32, multipliers=(1, 2, 2), blocks=1)


@pytest.fixture
def autoencoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderKL(SMALL).eval()


@pytest.fixture
def maps():
    return torch.rand(5, 1, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_compression_is_encoding_drawing_and_decoding(autoencoder, maps):
    found = compress(autoencoder, maps, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(found.latents.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        posterior = autoencoder.encode(maps)
        drawn = posterior.sample(noise=noise)
        decoded = autoencoder.decode(posterior.mean), autoencoder.decode(drawn)
    torch.testing.assert_close(found.posterior.mean, posterior.mean)
    torch.testing.assert_close(found.posterior.log_variance, posterior.log_variance)
    torch.testing.assert_close(found.latents, drawn)
    torch.testing.assert_close(found.from_mean, decoded[0].clamp(-1, 1))
    torch.testing.assert_close(found.from_draw, decoded[1].clamp(-1, 1))
    assert found.from_mean.shape == maps.shape
    assert not found.latents.requires_grad


def test_compression_does_not_depend_on_the_batch(autoencoder, maps):
    whole, parts = (
        compress(autoencoder, maps, generator=torch.Generator().manual_seed(2), batch_size=size)
        for size in (5, 2)
    )
    torch.testing.assert_close(whole.latents, parts.latents)
    torch.testing.assert_close(whole.from_draw, parts.from_draw)


def test_block_averages_keep_what_is_linear_and_the_mean():
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    ramp = (2 * rows - 3 * columns)[None, None]
    back = block_averages(ramp, 4)
    torch.testing.assert_close(back[..., 4:-4, 4:-4], ramp[..., 4:-4, 4:-4])
    torch.testing.assert_close(
        block_averages(torch.full((1, 2, 8, 8), 5.0), 2).unique(), back.new_tensor([5.0])
    )
    torch.testing.assert_close(block_averages(ramp, 1), ramp)
    with pytest.raises(ValueError, match=r"fill maps of \(24, 32\) cells, got side 5"):
        block_averages(ramp, 5)


def test_weighted_averages_do_not_look_at_what_does_not_count():
    maps = torch.full((1, 1, 16, 16), 3.0)
    weight = torch.ones_like(maps)
    maps[..., 5:7, 2:9], weight[..., 5:7, 2:9] = 1e4, 0
    back = block_averages(maps, 4, weight=weight)
    torch.testing.assert_close(back, torch.full_like(back, 3.0))
    everywhere = block_averages(maps, 4, weight=torch.ones_like(maps))
    torch.testing.assert_close(everywhere, block_averages(maps, 4))


def test_correlations_find_the_field_that_a_channel_is_made_of():
    generator = torch.Generator().manual_seed(0)
    field = torch.rand(6, 32, 32, generator=generator)
    other = torch.rand(6, 32, 32, generator=generator)
    blocks = torch.nn.functional.avg_pool2d(field[:, None], 4)
    ramp = torch.arange(8.0).expand(6, 1, 8, 8)
    latents = torch.cat([2 * blocks + 7, -blocks, ramp], 1)
    found = channel_correlations(latents, {"field": field, "other": other, "mask": field > 2})
    assert found["field"][:2].tolist() == pytest.approx([1, -1])
    assert found["other"][:2].abs().max() < 0.2  # 384 independent blocks
    assert found["next cell"][0].abs() < 0.2
    assert found["next cell"][2] == pytest.approx(1)
    assert list(found) == ["field", "other", "mask", "next cell"]
