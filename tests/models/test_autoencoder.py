"""The networks: sizes, names, identities, failures."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from radiodiff import models, reference
from radiodiff.models import (
    Attention,
    AutoencoderConfig,
    AutoencoderKL,
    ConvEncoder,
    ConvEncoderConfig,
    DiagonalGaussian,
    FourierFilter,
    LinearAttention,
    PatchDiscriminator,
    RelationBlock,
    SwinConfig,
    SwinEncoder,
    UNet,
    UNetConfig,
    VGG16Features,
    WindowedCrossAttention,
    parameter_count,
)
from radiodiff.models.attention import pool_windows, sine_position_code
from radiodiff.models.autoencoder import Downsample, SpatialAttention
from radiodiff.models.blocks import (
    ResidualBlock,
    TimeEmbedding,
    WeightStandardizedConv2d,
    resample_spectrum,
)
from radiodiff.models.condition import transmitter_coordinates
from radiodiff.models.swin import PatchMerging, ShiftedWindowAttention, relative_position_index
from radiodiff.reference import (
    R25,
    autoencoder_names,
    autoencoder_state_dict,
    unet_names,
    unet_state_dict,
)

SMALL_AUTOENCODER = AutoencoderConfig(width=32, multipliers=(1, 1, 2), blocks=1)
SMALL_SWIN = SwinConfig(width=12, depths=(2, 2, 2, 1), heads=(2, 2, 4, 4), classifier_tail=False)
SMALL_R25 = replace(
    R25.network, width=16, multipliers=(1, 2, 2, 4), filter_size=(4, 4), swin=SMALL_SWIN
)
SMALL_UNET = UNetConfig(
    width=16,
    multipliers=(1, 1, 2, 2),
    encoder="conv",
    conv=ConvEncoderConfig(widths=(8, 16, 16, 24), blocks=1),
    filter_size=(2, 2),
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def on_meta(make, *arguments):
    with torch.device("meta"):
        return make(*arguments)


def run_unet(config, condition, x_t, t):
    network = UNet(config).eval()
    with torch.no_grad():
        return network(x_t, t, network.encode_condition(condition))


# ------------------------------------------------------------------------------ parameter counts


def test_autoencoder_has_the_reference_size():
    autoencoder = on_meta(AutoencoderKL)
    assert parameter_count(autoencoder.encoder) == 22_348_934
    assert parameter_count(autoencoder.decoder) == 32_958_465
    assert parameter_count(autoencoder.quant_conv) == 42
    assert parameter_count(autoencoder.post_quant_conv) == 12
    assert parameter_count(autoencoder) == 55_307_453


def test_unet_has_the_reference_size_part_by_part():
    unet = on_meta(UNet)
    assert parameter_count(unet) == 224_869_478
    assert parameter_count(unet.condition_encoder) == 87_768_224
    assert parameter_count(unet) - parameter_count(unet.condition_encoder) == 137_101_254
    assert parameter_count(unet.stem) == 822_016
    assert parameter_count(unet.projections) == 705_536
    assert parameter_count(unet.time_embedding) == 328_768
    assert unet.time_embedding.frequencies.numel() == 64
    assert parameter_count(unet.middle_block1) == 5_246_976
    assert parameter_count(unet.middle_attention) == 263_168
    assert parameter_count(unet.middle_block2) == 5_246_976
    relation_down = sum(parameter_count(level.relation) for level in unet.down)
    assert relation_down == 4_341_760
    assert parameter_count(unet.down) - relation_down == 20_861_312
    for path in (unet.drift_path, unet.noise_path):
        relation_up = sum(parameter_count(level.relation) for level in path.levels)
        assert relation_up == 7_133_184
        assert parameter_count(path.levels) - relation_up == 39_499_648
        assert parameter_count(path.filter) == 2_401_792
        assert path.filter.complex_weight.shape == (512, 8, 5, 2)
        assert parameter_count(path.final_block) == 607_360
        assert parameter_count(path.final_conv) == 387


def test_swin_tail_is_frozen_and_optional():
    whole, bare = on_meta(SwinEncoder), on_meta(SwinEncoder, SwinConfig(classifier_tail=False))
    assert parameter_count(whole) == 87_768_224
    assert parameter_count(whole) - parameter_count(bare) == 1_027_048
    frozen = {name for name, value in whole.named_parameters() if not value.requires_grad}
    assert frozen == {"norm.weight", "norm.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize(
    "switch",
    [
        {"fourier_filter": "off"},
        {"fourier_filter": "fixed"},
        {"relation_norm": "batch"},
        {"scale_logits": False},
        {"dropout": 0.0},
    ],
)
def test_no_switch_changes_the_number_of_parameters(switch):
    assert parameter_count(on_meta(UNet, replace(UNetConfig(), **switch))) == 224_869_478


def test_loss_networks_have_the_reference_size():
    assert parameter_count(on_meta(PatchDiscriminator)) == 2_763_585
    # LPIPS counts 14,716,160: these and 64 + 128 + 256 + 512 + 512 linear weights.
    assert parameter_count(on_meta(VGG16Features)) == 14_716_160 - 1_472


def test_every_public_name_exists():
    assert all(hasattr(models, name) for name in models.__all__)
    assert all(hasattr(reference, name) for name in reference.__all__)


# ------------------------------------------------------------------------------------- renaming


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("init_conv_mask.first_coonv.2.bias", "condition_encoder.features.0.2.bias"),
        (
            "init_conv_mask.features.4.17.mlp.3.weight",
            "condition_encoder.features.5.17.mlp.3.weight",
        ),
        ("init_conv.1.weight", "stem.1.weight"),
        ("time_mlp.0.W", "time_embedding.frequencies"),
        ("downs.2.1.mlp.1.weight", "down.2.block2.time_projection.weight"),
        ("downs.0.2.fn.fn.to_out.1.g", "down.0.attention.out_norm.gain"),
        ("ups.1.3.1.weight", "drift_path.levels.1.resample.weight"),
        ("ups2.3.3.weight", "noise_path.levels.3.resample.weight"),
        ("ups2.0.0.res_conv.bias", "noise_path.levels.0.block1.shortcut.bias"),
        (
            "relation_layers_up2.3.attentions.0.concat_conv.weight",
            "noise_path.levels.3.relation.attention.merge.weight",
        ),
        ("mid_attn.fn.fn.to_out.bias", "middle_attention.projection.bias"),
        ("decouple2.2.complex_weight", "noise_path.filter.complex_weight"),
        ("final_res_block2.block2.proj.weight", "noise_path.final_block.conv2.weight"),
    ],
)
def test_unet_keys_are_renamed(theirs, ours):
    names = unet_names(R25.network)
    assert names.ours(theirs) == ours
    assert names.theirs(ours) == theirs


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("decoder.up.1.upsample.conv.weight", "decoder.levels.1.resample.conv.weight"),
        ("decoder.up.0.block.2.norm1.bias", "decoder.levels.0.blocks.2.norm1.bias"),
        ("encoder.down.1.block.0.nin_shortcut.bias", "encoder.levels.1.blocks.0.shortcut.bias"),
        ("encoder.mid.attn_1.proj_out.bias", "encoder.middle.1.projection.bias"),
        ("post_quant_conv.weight", "post_quant_conv.weight"),
    ],
)
def test_autoencoder_keys_are_renamed(theirs, ours):
    names = autoencoder_names(AutoencoderConfig())
    assert names.ours(theirs) == ours
    assert names.theirs(ours) == theirs


def test_reference_weights_that_do_not_fit_are_listed():
    state = {"quant_conv.weight": torch.zeros(6, 6, 1, 1), "quant_conv.bias": torch.zeros(5)}
    state["surplus"] = torch.zeros(1)
    with pytest.raises(ValueError, match="do not fit") as error:
        autoencoder_state_dict(state)
    message = str(error.value)
    assert "missing: post_quant_conv.weight" in message
    assert "missing: encoder.conv_in.weight" in message
    assert "unexpected: surplus" in message
    assert "shape of quant_conv.bias: expected (6,), got (5,)" in message
    with pytest.raises(ValueError, match=r"missing: init_conv\.0\.weight"):
        unet_state_dict({"nonsense": torch.zeros(1)}, SMALL_R25)


# ---------------------------------------------------------------------------------- autoencoder


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


# ---------------------------------------------------------------------------- attention layers


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


# ------------------------------------------------------------------------------------------ Swin


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


# ----------------------------------------------------------------------------- light encoder


def test_transmitter_coordinates_by_hand():
    transmitter = torch.zeros(2, 4, 8)
    transmitter[0, 1, 2] = 1
    transmitter[1, 3, 7] = 1
    coordinates = transmitter_coordinates(transmitter)
    assert coordinates.shape == (2, 3, 4, 8)
    assert torch.equal(coordinates[0, :, 1, 2], torch.zeros(3))
    diagonal = math.log1p(math.hypot(4, 8))
    expected = [math.log1p(5) / diagonal, 4 / 8, -3 / 8]  # 4 columns right, 3 rows up: 5 cells
    transmitter[0].zero_()[3, 2] = 1
    moved = transmitter_coordinates(transmitter)
    assert moved[0, :, 0, 6].tolist() == pytest.approx(expected)
    assert torch.equal(moved[1], coordinates[1])
    assert coordinates[1, :, 0, 0].tolist() == pytest.approx(
        [math.log1p(math.hypot(3, 7)) / diagonal, -7 / 8, -3 / 8]
    )


@torch.no_grad()
def test_light_encoder_uses_the_transmitter_features():
    with_features = ConvEncoder(SMALL_UNET.conv).eval()
    plain = ConvEncoder(replace(SMALL_UNET.conv, transmitter_features=False)).eval()
    assert with_features.stem[0].in_channels == 5
    assert plain.stem[0].in_channels == 2
    seen = []
    with_features.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    condition = -torch.ones(1, 2, 16, 16)
    condition[0, 1, 3, 4] = 1
    with_features(condition)
    assert torch.equal(seen[0][:, :2], condition)
    assert torch.equal(seen[0][:, 2:], transmitter_coordinates(condition[:, 1]))


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (72, 8)])
def test_light_encoder_has_the_strides_of_swin(size):
    maps = ConvEncoder().eval()(torch.randn(1, 2, *size))
    swin = SwinEncoder(replace(SMALL_SWIN, in_channels=2)).eval()(torch.randn(1, 2, *size))
    assert [level.shape[2:] for level in maps] == [level.shape[2:] for level in swin]
    assert tuple(level.shape[1] for level in maps) == ConvEncoderConfig().channels


def test_light_encoder_refuses_wrong_shapes_and_sizes():
    encoder = ConvEncoder(SMALL_UNET.conv)
    with pytest.raises(ValueError, match=r"\(b, 2, h, w\)"):
        encoder(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"multiple of 4 .* got 30 x 32"):
        encoder(torch.zeros(1, 2, 30, 32))
    with pytest.raises(ValueError, match="multiples of 8"):
        ConvEncoderConfig(widths=(8, 12, 16, 24))
    with pytest.raises(ValueError, match="in_channels=1"):
        ConvEncoderConfig(in_channels=1)


# ----------------------------------------------------------------------------------------- U-Net


@pytest.mark.parametrize(
    "size", [(64, 64), (96, 96), (128, 128), (64, 96), (32, 32), (80, 72), (256, 256)]
)
def test_unet_runs_at_any_size(size):
    x_t = torch.randn(1, 3, size[0] // 4, size[1] // 4)
    drift, noise = run_unet(SMALL_UNET, torch.randn(1, 2, *size), x_t, torch.tensor([0.5]))
    assert drift.shape == noise.shape == x_t.shape
    assert drift.isfinite().all()
    assert noise.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("config", [SMALL_UNET, replace(SMALL_R25, fourier_filter="size_free")])
def test_unet_treats_each_map_alone(config):
    unet = UNet(config).eval()
    channels = 2 if config.encoder == "conv" else 3
    condition, x_t = torch.randn(3, channels, 64, 64), torch.randn(3, 3, 16, 16)
    t = torch.tensor([1e-4, 0.3, 1.0])
    together = unet(x_t, t, unet.encode_condition(condition))
    for i in range(3):
        alone = unet(x_t[i : i + 1], t[i : i + 1], unet.encode_condition(condition[i : i + 1]))
        for all_maps, one_map in zip(together, alone, strict=True):
            torch.testing.assert_close(all_maps[i], one_map[0], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_unet_depends_on_time_and_condition():
    unet = UNet(SMALL_UNET).eval()
    x_t, t = torch.randn(1, 3, 16, 16), torch.tensor([0.5])
    condition = torch.randn(1, 2, 64, 64)
    heads = unet(x_t, t, unet.encode_condition(condition))
    later = unet(x_t, t / 2, unet.encode_condition(condition))
    elsewhere = unet(x_t, t, unet.encode_condition(condition.flip(3)))
    for other in (later, elsewhere):
        for before, after in zip(heads, other, strict=True):
            assert (after - before).abs().max() > 1e-3


def test_gradient_reaches_every_trainable_parameter():
    """DDP requires it; what upstream leaves without a gradient is frozen here."""
    for config in (SMALL_UNET, replace(SMALL_R25, fourier_filter="off")):
        config = replace(config, swin=replace(config.swin, classifier_tail=True))
        unet = UNet(config).train()
        channels = 2 if config.encoder == "conv" else 3
        features = unet.encode_condition(torch.randn(2, channels, 64, 64))
        drift, noise = unet(torch.randn(2, 3, 16, 16), torch.tensor([0.2, 0.9]), features)
        (drift.square().sum() + noise.square().sum()).backward()
        missing = [k for k, p in unet.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == []


@torch.no_grad()
def test_unet_runs_in_mixed_precision():
    unet = UNet(SMALL_UNET).eval()
    condition, x_t, t = torch.randn(1, 2, 64, 64), torch.randn(1, 3, 16, 16), torch.tensor([0.5])
    exact, _ = unet(x_t, t, unet.encode_condition(condition))
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = unet(x_t, t, unet.encode_condition(condition))
    assert (rough.float() - exact).abs().max() < 0.2 * exact.abs().max()


def test_unet_refuses_wrong_shapes():
    unet = UNet(SMALL_UNET)
    x_t, t = torch.zeros(2, 3, 16, 16), torch.full((2,), 0.5)
    features = unet.encode_condition(torch.zeros(2, 2, 64, 64))
    with pytest.raises(ValueError, match=r"\(b, 3, h, w\)"):
        unet(x_t[:, :2], t, features)
    with pytest.raises(ValueError, match="at least 8"):
        unet(torch.zeros(2, 3, 4, 16), t, features)
    with pytest.raises(ValueError, match=r"times of shape \(2,\), got \(1,\)"):
        unet(x_t, t[:1], features)
    with pytest.raises(ValueError, match="encode_condition"):
        unet(x_t, t, features[:3])
    with pytest.raises(ValueError, match="encode_condition"):
        unet(x_t, t, [level[:1] for level in features])
    with pytest.raises(ValueError, match=r"\(b, 2, h, w\)"):
        unet.encode_condition(torch.zeros(2, 3, 64, 64))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"encoder": "vgg"}, "encoder must be one of"),
        ({"fourier_filter": "on"}, "fourier_filter must be one of"),
        ({"relation_norm": "layer"}, "relation_norm must be one of"),
        ({"width": 20}, "multiple of 8"),
        ({"filter_size": (0, 8)}, "filter_size"),
        ({"multipliers": (1, 2)}, "same number of levels"),
        ({"feature_windows": ((1, 1),)}, "same number of levels"),
    ],
)
def test_unet_config_refuses_inconsistent_values(fault, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**fault)


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


# ------------------------------------------------------------------------------- Fourier filter


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


# ---------------------------------------------------------------------------------- loss networks


def test_discriminator_scores_patches():
    discriminator = on_meta(PatchDiscriminator)
    for side, scores in ((256, 30), (320, 38)):
        patches = discriminator(torch.zeros(1, 1, side, side, device="meta"))
        assert patches.shape == (1, 1, scores, scores)
    with pytest.raises(ValueError, match="layers must be positive"):
        PatchDiscriminator(layers=0)


def test_discriminator_starts_as_in_the_paper():
    main = PatchDiscriminator().main
    assert main[8].weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert main[9].weight.mean().item() == pytest.approx(1.0, abs=0.005)
    assert (main[9].bias == 0).all()


def test_vgg_maps_and_keys():
    vgg = on_meta(VGG16Features)
    maps = vgg(torch.zeros(1, 1, 64, 32, device="meta"))
    expected = [
        (1, c, 64 // s, 32 // s) for c, s in zip(vgg.channels, (1, 2, 4, 8, 16), strict=True)
    ]
    assert [tuple(m.shape) for m in maps] == expected
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    keys = {f"features.{i}.{part}" for i in convolutions for part in ("weight", "bias")}
    assert set(vgg.state_dict()) == keys
    with pytest.raises(ValueError, match="1 or 3"):
        vgg(torch.zeros(1, 2, 32, 32, device="meta"))


def test_vgg_sees_maps_as_imagenet_pictures():
    vgg = VGG16Features()
    vgg.features, vgg.taps = nn.Sequential(nn.Identity()), {0}
    radio_map = torch.rand(1, 1, 4, 4) * 2 - 1
    gray = (radio_map + 1) / 2
    for channel, mean, std in ((0, 0.485, 0.229), (1, 0.456, 0.224), (2, 0.406, 0.225)):
        torch.testing.assert_close(vgg(radio_map)[0][:, [channel]], (gray - mean) / std)


# ------------------------------------------------------------------------------------- full size


@pytest.mark.slow
@torch.no_grad()
def test_full_size_networks_run_at_256():
    autoencoder, unet = AutoencoderKL().eval(), UNet().eval()
    posterior = autoencoder.encode(torch.rand(1, 1, 256, 256) * 2 - 1)
    assert posterior.mean.shape == (1, 3, 64, 64)
    features = unet.encode_condition(torch.rand(1, 3, 256, 256) * 2 - 1)
    shapes = [(1, 128, 64, 64), (1, 256, 32, 32), (1, 512, 16, 16), (1, 1024, 8, 8)]
    assert [tuple(level.shape) for level in features] == shapes
    drift, noise = unet(posterior.mode(), torch.tensor([0.5]), features)
    assert drift.shape == noise.shape == (1, 3, 64, 64)
    assert drift.isfinite().all()
    assert noise.isfinite().all()
    radio_map = autoencoder.decode(posterior.mode())
    assert radio_map.shape == (1, 1, 256, 256)
    assert radio_map.isfinite().all()


# --------------------------------------------------------------- switches of the public code's ways


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


def test_condition_channels_can_be_mixed_down():
    """Five channels for an encoder of three, as the July 2025 release does with cars."""
    config = replace(SMALL_R25, condition_mix_inputs=5)
    unet, without = UNet(config).eval(), on_meta(UNet, SMALL_R25)
    assert config.condition_inputs == 5
    assert parameter_count(unet) - parameter_count(without) == 18
    condition = torch.randn(2, 5, 64, 64)
    with torch.no_grad():
        mixed = torch.einsum("ok,bkhw->bohw", unet.condition_mix.weight[:, :, 0, 0], condition)
        mixed = mixed + unet.condition_mix.bias[:, None, None]
        expected = unet.condition_encoder(mixed)
        found = unet.encode_condition(condition)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match=r"shape \(b, 5, h, w\)"):
        unet.encode_condition(torch.zeros(1, 3, 64, 64))


def test_frozen_encoder_is_not_trained_but_stays_in_training_mode():
    unet = UNet(replace(SMALL_UNET, freeze_encoder=True))
    assert not any(p.requires_grad for p in unet.condition_encoder.parameters())
    assert all(p.requires_grad for p in unet.stem.parameters())
    assert unet.train().condition_encoder.training
