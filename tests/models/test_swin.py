"""The Swin encoder: strides, windows, order of cells, names, failures."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from radiodiff.models import SwinConfig, SwinEncoder, parameter_count
from radiodiff.models.swin import PatchMerging, ShiftedWindowAttention, relative_position_index
from tests.models.sizes import SMALL_SWIN, on_meta


def test_swin_tail_is_frozen_and_optional():
    whole, bare = on_meta(SwinEncoder), on_meta(SwinEncoder, SwinConfig(classifier_tail=False))
    assert parameter_count(whole) == 87_768_224
    assert parameter_count(whole) - parameter_count(bare) == 1_027_048
    frozen = {name for name, value in whole.named_parameters() if not value.requires_grad}
    assert frozen == {"norm.weight", "norm.bias", "head.weight", "head.bias"}


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (36, 20)])
def test_swin_maps_have_strides_4_to_32(size):
    maps = SwinEncoder(SMALL_SWIN).eval()(torch.randn(1, 3, *size))
    expected = [
        (1, 12 * 2**i, math.ceil(size[0] / 2 ** (i + 2)), math.ceil(size[1] / 2 ** (i + 2)))
        for i in range(4)
    ]
    assert [tuple(level.shape) for level in maps] == expected


@torch.no_grad()
def test_a_small_input_leaves_no_trace_in_swin():
    """Upstream switches the shift off for good once a map fits into one window (D10)."""
    encoder = SwinEncoder(SMALL_SWIN).eval()
    large = torch.randn(1, 3, 64, 64)
    fresh = encoder(large)
    encoder(torch.randn(1, 3, 16, 16))
    assert all(torch.equal(a, b) for a, b in zip(encoder(large), fresh, strict=True))
    shifts = [module.shift for module in encoder.modules() if hasattr(module, "shift")]
    assert (3, 3) in shifts


@pytest.mark.parametrize(
    ("shape", "shift", "cell", "rows", "columns"),
    [
        ((14, 14), 0, (0, 0), (0, 7), (0, 7)),
        ((14, 14), 3, (0, 0), (0, 3), (0, 3)),
        ((14, 14), 3, (3, 13), (3, 10), (10, 14)),
        ((14, 14), 3, (12, 4), (10, 14), (3, 10)),
        ((7, 14), 3, (0, 0), (0, 7), (0, 3)),
        ((7, 7), 3, (0, 0), (0, 7), (0, 7)),
        ((9, 16), 3, (8, 15), (3, 9), (10, 16)),
    ],
)
def test_a_token_attends_within_its_window_only(shape, shift, cell, rows, columns):
    """Known answer: where the gradient of one output arrives."""
    layer = ShiftedWindowAttention(8, heads=2, window=7, shift=shift)
    x = torch.randn(1, *shape, 8, requires_grad=True)
    layer(x)[0, cell[0], cell[1]].square().sum().backward()
    reached = x.grad[0].abs().sum(-1) > 1e-20  # excluded tokens keep exp(-100)
    expected = torch.zeros(shape, dtype=torch.bool)
    expected[slice(*rows), slice(*columns)] = True
    assert torch.equal(reached, expected)


def test_relative_positions_index_the_bias_table():
    index = relative_position_index(3).view(3, 3, 3, 3)  # (row, column) of both tokens
    assert index[1, 1, 1, 1] == 12  # offset (0, 0) is the centre of the 5 x 5 table
    assert index[2, 0, 0, 1] == (2 + 2) * 5 + (-1 + 2)
    assert index[0, 2, 1, 0] == (-1 + 2) * 5 + (2 + 2)


@torch.no_grad()
def test_patch_merging_orders_the_cells_by_columns():
    layer = PatchMerging(1)
    layer.norm = nn.Identity()
    layer.reduction = nn.Identity()
    x = torch.arange(6.0).view(1, 2, 3, 1)
    expected = torch.tensor([[0.0, 3.0, 1.0, 4.0], [2.0, 5.0, 0.0, 0.0]])
    assert torch.equal(layer(x)[0, 0], expected)


def test_stochastic_depth_keeps_the_mean_and_drops_whole_samples():
    config = replace(SMALL_SWIN, stochastic_depth=0.5)
    blocks = [m for m in SwinEncoder(config).modules() if hasattr(m, "skip_probability")]
    assert [b.skip_probability for b in blocks] == pytest.approx([0.5 * i / 6 for i in range(7)])
    kept = blocks[-1].train().skip_at_random(torch.ones(4000, 2, 2, 1))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(kept.amin((1, 2, 3)), kept.amax((1, 2, 3)))
    assert kept.mean().item() == pytest.approx(1.0, abs=0.08)
    assert (blocks[-1].eval().skip_at_random(torch.ones(3, 1, 1, 1)) == 1).all()


def test_swin_keys_are_those_of_torchvision():
    keys = set(on_meta(SwinEncoder).state_dict())
    assert {
        "features.0.0.weight",
        "features.0.2.bias",
        "features.1.0.norm1.weight",
        "features.1.1.attn.relative_position_bias_table",
        "features.1.1.attn.relative_position_index",
        "features.2.reduction.weight",
        "features.5.17.attn.qkv.bias",
        "features.7.1.mlp.3.weight",
        "norm.weight",
        "head.bias",
    } <= keys
    assert len(keys) == 24 * 14 + 3 * 3 + 4 + 4


def test_swin_refuses_wrong_shapes_and_sizes():
    encoder = SwinEncoder(SMALL_SWIN)
    with pytest.raises(ValueError, match=r"\(b, 3, h, w\)"):
        encoder(torch.zeros(1, 2, 32, 32))
    with pytest.raises(ValueError, match=r"multiple of 4 .* got 32 x 30"):
        encoder(torch.zeros(1, 3, 32, 30))
    with pytest.raises(ValueError, match="one entry per stage"):
        SwinConfig(depths=(2, 2))
    with pytest.raises(ValueError, match="heads must divide"):
        SwinConfig(width=12, heads=(5, 8, 16, 32))
    with pytest.raises(ValueError, match="stochastic_depth"):
        SwinConfig(stochastic_depth=1.0)


def test_sticky_shift_lets_a_small_input_leave_its_trace():
    """D10 as the public code has it: once a map fits a window, later maps are not shifted."""
    encoder = SwinEncoder(replace(SMALL_SWIN, sticky_shift=True)).eval()
    picture, small = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        first = encoder(picture)
        again = encoder(picture)
        encoder(small)
        after = encoder(picture)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], after[0])
