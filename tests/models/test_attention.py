"""Attention layers: identities, definitions, failures."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from radiodiff.models import Attention, LinearAttention, RelationBlock, WindowedCrossAttention
from radiodiff.models.attention import pool_windows, sine_position_code
from radiodiff.models.autoencoder import SpatialAttention
from radiodiff.models.swin import ShiftedWindowAttention


@torch.no_grad()
@pytest.mark.parametrize("make", [LinearAttention, Attention, lambda c: SpatialAttention(c)])
def test_self_attention_commutes_with_permutations_of_the_cells(make):
    layer = make(32)
    x = torch.randn(2, 32, 4, 6)
    order = torch.randperm(24)

    def shuffle(cells):
        return cells.flatten(2)[:, :, order].view_as(cells)

    torch.testing.assert_close(layer(shuffle(x)), shuffle(layer(x)), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_linear_attention_equals_its_definition():
    layer = LinearAttention(16, heads=2, head_width=4)
    layer.out_norm.gain.copy_(torch.rand_like(layer.out_norm.gain))
    x = torch.randn(1, 16, 3, 5)
    normed = (x - x.mean(1, True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    qkv = functional.conv2d(normed, layer.qkv.weight).reshape(3, 2, 4, 15)
    heads = []
    for q, k, v in zip(*qkv, strict=True):  # each (d, n)
        q = q.softmax(0) / 2
        k = k.softmax(1)
        weights = torch.einsum("di,dj->ij", q, k)  # what cell i takes from cell j
        heads.append(torch.einsum("ij,ej->ei", weights, v / 15))
    mixed = layer.projection(torch.cat(heads).reshape(1, 8, 3, 5))
    mixed = (mixed - mixed.mean(1, True)) / (mixed.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = x + mixed * layer.out_norm.gain
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_position_code_counts_from_one():
    code = sine_position_code(torch.zeros(1, 8, 3, 5))
    assert code.shape == (8, 3, 5)
    row, column = 2, 4
    expected = []
    for place in (row + 1, column + 1):
        for period in (1, 10000**0.5):
            expected += [math.sin(place / period), math.cos(place / period)]
    torch.testing.assert_close(code[:, row, column], torch.tensor(expected))


def test_incomplete_windows_are_filled_with_zeros():
    pooled = pool_windows(torch.ones(1, 1, 3, 3), (2, 2))
    assert torch.equal(pooled[0, 0], torch.tensor([[1.0, 0.5], [0.5, 0.25]]))


@torch.no_grad()
def test_logit_scale_is_the_root_of_the_head_width():
    plain = WindowedCrossAttention(32, (2, 2), (2, 2), scale_logits=False).eval()
    scaled = WindowedCrossAttention(32, (2, 2), (2, 2)).eval()
    scaled.load_state_dict(plain.state_dict())
    features, condition = torch.randn(2, 2, 32, 6, 8)
    assert not torch.allclose(plain(features, condition), scaled(features, condition))
    plain.query.weight /= 2  # eight heads of 4
    torch.testing.assert_close(plain(features, condition), scaled(features, condition))


@torch.no_grad()
def test_cross_attention_equals_its_definition():
    layer = WindowedCrossAttention(16, (2, 2), (3, 4)).eval()
    for unused in (layer.hidden_out, layer.merge):
        nn.init.zeros_(unused.weight)
    layer.projection.weight.copy_(torch.eye(16)[:, :, None, None])
    features, condition = torch.randn(1, 16, 6, 8), torch.randn(1, 16, 4, 6)

    def tokens(windows):
        return (windows + sine_position_code(windows)).flatten(2)[0].T  # (n, c)

    queries = functional.avg_pool2d(condition, 2)
    keys = tokens(functional.avg_pool2d(features, (3, 4)))
    q, k, v = layer.query(tokens(queries)), layer.key(keys), layer.value(keys)
    gathered = []
    for head in range(8):
        own = slice(2 * head, 2 * head + 2)
        gathered.append((q[:, own] @ k[:, own].T / math.sqrt(2)).softmax(1) @ v[:, own])
    answer = queries + torch.cat(gathered, dim=1).T.view_as(queries)
    answer = functional.interpolate(answer, size=(6, 8), mode="bilinear", align_corners=True)
    expected = functional.group_norm(features, 8) + answer
    torch.testing.assert_close(layer(features, condition), expected, rtol=1e-4, atol=1e-5)


def test_relation_norms_have_the_same_parameters():
    blocks = [RelationBlock(16, 24, 32, (2, 2), (2, 2), norm=norm) for norm in ("batch", "group")]
    shapes = [{k: v.shape for k, v in block.named_parameters()} for block in blocks]
    assert shapes[0] == shapes[1]
    features, condition = torch.randn(2, 16, 5, 7), torch.randn(2, 24, 3, 4)
    assert all(block(features, condition).shape == (2, 32, 5, 7) for block in blocks)


def test_relation_block_refuses_unknown_norms_and_widths():
    with pytest.raises(ValueError, match="'layer'"):
        RelationBlock(8, 8, 8, (1, 1), (1, 1), norm="layer")
    with pytest.raises(ValueError, match="multiple of heads=8"):
        WindowedCrossAttention(12, (1, 1), (1, 1))


def plain_attention(query, key, value, mask=None, *, scale=None):
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    return (logits if mask is None else logits + mask).softmax(-1) @ value


@torch.no_grad()
@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (Attention(16), [(2, 16, 6, 5)]),
        (SpatialAttention(32), [(2, 32, 6, 5)]),
        (WindowedCrossAttention(16, (2, 2), (3, 4)), [(2, 16, 6, 8), (2, 16, 4, 6)]),
        (
            WindowedCrossAttention(16, (2, 2), (3, 4), scale_logits=False),
            [(2, 16, 6, 8), (2, 16, 4, 6)],
        ),
        (ShiftedWindowAttention(8, heads=2, window=4, shift=2), [(2, 9, 8, 8)]),
    ],
    ids=["u-net", "autoencoder", "relation", "unscaled relation", "swin"],
)
def test_fused_attention_equals_the_softmax_of_logits(layer, shapes, monkeypatch):
    """Float32 within 1e-5, bfloat16 within 2^-5 of the largest value."""
    layer.eval()
    inputs = [torch.randn(shape) for shape in shapes]
    asked = []
    fused = functional.scaled_dot_product_attention
    note = lambda *args, **kwargs: asked.append(1) or fused(*args, **kwargs)  # noqa: E731
    monkeypatch.setattr(functional, "scaled_dot_product_attention", note)
    ours = layer(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(*inputs)
    assert len(asked) == 2
    monkeypatch.setattr(functional, "scaled_dot_product_attention", plain_attention)
    plain = layer(*inputs)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5 * plain.abs().max().item())
    assert (rough.float() - plain).abs().max() < 2**-5 * plain.abs().max()
