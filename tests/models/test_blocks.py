"""Parts of the U-Net: weights, time, filters of spatial frequency."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from radiodiff.models import FourierFilter
from radiodiff.models.blocks import (
    ResidualBlock,
    TimeEmbedding,
    WeightStandardizedConv2d,
    resample_spectrum,
)


@torch.no_grad()
def test_standardised_convolution_ignores_shift_and_scale_of_its_weights():
    layer = WeightStandardizedConv2d(4, 6, 3, padding=1)
    nn.init.normal_(layer.weight)
    x = torch.randn(2, 4, 8, 8)
    before = layer(x)
    layer.weight.mul_(torch.rand(6, 1, 1, 1) + 1).add_(torch.randn(6, 1, 1, 1))
    torch.testing.assert_close(layer(x), before, rtol=1e-3, atol=1e-3)
    impulse = torch.zeros(1, 4, 5, 5)
    impulse[0, :, 2, 2] = 1
    response = (layer(impulse) - layer.bias[:, None, None])[0]
    assert response.mean(0).shape == (5, 5)
    torch.testing.assert_close(response.sum((1, 2)), torch.zeros(6), rtol=0, atol=1e-4)


@torch.no_grad()
def test_residual_block_without_modulation_is_plain():
    block = ResidualBlock(8, 8, 4)
    nn.init.zeros_(block.time_projection.weight)
    nn.init.zeros_(block.time_projection.bias)
    x = torch.randn(2, 8, 6, 6)
    hidden = functional.silu(block.norm1(block.conv1(x)))
    expected = x + functional.silu(block.norm2(block.conv2(hidden)))
    torch.testing.assert_close(block(x, torch.randn(2, 4)), expected)


@torch.no_grad()
def test_time_embedding_of_the_last_time_has_zero_phase():
    embedding = TimeEmbedding(16, 24, scale=16.0)
    code = torch.cat([torch.zeros(8), torch.ones(8)])
    expected = embedding.linear2(functional.gelu(embedding.linear1(code)))
    t = torch.tensor([1.0, 0.0, 1e-4])
    torch.testing.assert_close(embedding(t)[0], expected)
    assert embedding(t).isfinite().all()
    assert not embedding.frequencies.requires_grad
    angle = t[2].double().log() / 4 * embedding.double().frequencies * 2 * math.pi
    expected = functional.gelu(embedding.linear1(torch.cat([angle.sin(), angle.cos()])))
    expected = embedding.linear2(expected)
    torch.testing.assert_close(embedding(t.double())[2], expected, rtol=1e-12, atol=1e-12)
    wide = TimeEmbedding(20_000, 8, scale=16.0)
    assert wide.frequencies.std().item() == pytest.approx(16.0, rel=0.03)


@torch.no_grad()
def test_size_free_filter_is_the_fixed_one_at_its_size():
    fixed = FourierFilter(8, (8, 8), "fixed")
    free = FourierFilter(8, (8, 8), "size_free")
    free.load_state_dict(fixed.state_dict())
    x = torch.randn(2, 8, 8, 8)
    assert torch.equal(free(x), fixed(x))
    assert resample_spectrum(fixed.complex_weight, (8, 8), (8, 8)) is fixed.complex_weight


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (2, 3), (10, 6), (5, 5), (1, 1)])
def test_filter_with_a_constant_weight_is_a_gain(size):
    layer = FourierFilter(16, (8, 8)).double()
    gain = torch.tensor([0.3, 0.0], dtype=torch.float64)
    layer.complex_weight.copy_(gain.expand_as(layer.complex_weight))
    x = torch.randn(1, 16, *size, dtype=torch.float64)
    expected = x + 0.3 * layer.conv(layer.norm(x))
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("new_size", [(16, 16), (10, 6), (4, 12), (8, 2)])
def test_a_weight_belongs_to_its_frequency_in_cycles_per_cell(new_size):
    """Weights linear in the frequency keep their law at every size."""

    def law(height, width):
        rows = torch.fft.fftfreq(height).abs()[:, None].expand(-1, width // 2 + 1)
        columns = torch.fft.rfftfreq(width)[None, :].expand(height, -1)
        return torch.stack([rows, columns], dim=-1)[None]

    ours = resample_spectrum(law(8, 8), (8, 8), new_size)
    torch.testing.assert_close(ours, law(*new_size))


def test_fixed_filter_refuses_other_sizes_and_off_does_nothing():
    with pytest.raises(ValueError, match="size_free"):
        FourierFilter(8, (8, 8), "fixed")(torch.zeros(1, 8, 4, 4))
    off = FourierFilter(8, (8, 8), "off")
    x = torch.randn(1, 8, 4, 4)
    assert off(x) is x
    assert not any(parameter.requires_grad for parameter in off.parameters())


def frozen(layer):
    return layer.eval().requires_grad_(False)


@torch.no_grad()
def test_standardised_filters_are_kept_while_nothing_trains(monkeypatch):
    layer = frozen(WeightStandardizedConv2d(4, 6, 3, padding=1))
    x = torch.randn(2, 4, 8, 8)
    first = layer(x)
    monkeypatch.setattr(functional, "layer_norm", None)  # a call would fail
    assert torch.equal(layer(x), first)
    monkeypatch.undo()
    with torch.enable_grad():
        assert torch.equal(layer(x), first)
    assert layer._kept is None
    assert sorted(layer.state_dict()) == ["bias", "weight"]


def _load(layer, new):
    layer.load_state_dict({"weight": new, "bias": layer.bias})


def _average(layer, new):
    torch._foreach_lerp_([layer.state_dict()["weight"]], [new], 0.5)


def _replace_twice(layer, new):
    layer.weight.data = new.clone()
    layer.weight.data = new.flip(0)  # may lie where the first weight lay


def _train(layer, new):
    layer.requires_grad_(True)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    with torch.enable_grad():
        layer(torch.randn(1, 4, 5, 5)).square().sum().backward()
    layer(torch.randn(1, 4, 5, 5))  # between gradient and step
    optimizer.step()


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        _load,
        _average,
        _replace_twice,
        _train,
        lambda layer, new: layer.weight.copy_(new),
        lambda layer, new: setattr(layer, "weight", nn.Parameter(new)),
        lambda layer, new: layer.double(),
    ],
    ids=["loaded", "averaged", "replaced twice", "trained", "copied", "set", "other type"],
)
def test_stale_filters_are_never_used(change):
    layer = frozen(WeightStandardizedConv2d(4, 6, 3, padding=1))
    x = torch.randn(2, 4, 8, 8)
    layer(x)
    for _ in range(3):
        change(layer, torch.randn(6, 4, 3, 3))
        fresh = WeightStandardizedConv2d(4, 6, 3, padding=1).to(layer.weight.dtype)
        fresh.load_state_dict(layer.state_dict())
        assert torch.equal(layer(x.to(layer.weight.dtype)), fresh(x.to(layer.weight.dtype)))
