"""Looking into networks: sums that must hold, and what layers do when asked directly."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from radiodiff.models import (
    AutoencoderConfig,
    AutoencoderKL,
    ConvEncoderConfig,
    FourierFilter,
    RelationAttention,
    SwinConfig,
    UNet,
    UNetConfig,
    WindowedCrossAttention,
    attention_weights,
    filter_response,
    format_costs,
    parameter_count,
    relation_attention,
    stage_costs,
    sum_costs,
    swin_window_labels,
    unet_costs,
)
from radiodiff.models.swin import ShiftedWindowAttention

SMALL = UNetConfig(
    width=16,
    multipliers=(1, 2, 4),
    encoder="conv",
    conv=ConvEncoderConfig(widths=(8, 16, 24), blocks=1),
    condition_windows=((2, 2), (2, 1), (1, 1)),
    feature_windows=((4, 2), (2, 2), (1, 1)),
    filter_size=(4, 4),
)
SWIN = replace(
    SMALL,
    encoder="swin",
    swin=SwinConfig(width=12, depths=(2, 2, 1), heads=(2, 2, 4), classifier_tail=False),
)
MIXED = replace(SWIN, condition_mix_inputs=5)


def small_run(size=(32, 48), batch=2):
    unet = UNet(SMALL).eval()
    with torch.no_grad():
        features = unet.encode_condition(torch.randn(batch, 2, *size))
    x_t = torch.randn(batch, 3, size[0] // 4, size[1] // 4)
    return unet, x_t, torch.linspace(0.2, 0.9, batch), features


# ------------------------------------------------------------------------------------------ costs


@pytest.mark.parametrize("config", [SMALL, SWIN, MIXED, replace(SMALL, fourier_filter="off")])
def test_nothing_is_counted_twice_and_nothing_is_lost(config):
    costs = unet_costs(config, (32, 64))
    with torch.device("meta"), torch.no_grad():
        unet = UNet(config).eval()
        with FlopCounterMode(display=False) as counter:
            features = unet.encode_condition(torch.zeros(1, config.condition_inputs, 32, 64))
            unet(torch.zeros(1, 3, 8, 16), torch.ones(1), features)
    assert sum(cost.parameters for cost in costs) == parameter_count(unet)
    assert sum(cost.flops for cost in costs) == counter.get_total_flops()
    keys = [cost[:3] for cost in costs]
    assert len(set(keys)) == len(keys)
    for by in ("part", "level", "kind"):
        totals = [sum(column) for column in zip(*sum_costs(costs, by).values(), strict=True)]
        assert totals == [parameter_count(unet), counter.get_total_flops()]


def test_stages_cost_what_their_parts_do():
    first_stage = AutoencoderConfig(width=32, multipliers=(1, 2, 2), blocks=1)
    costs = stage_costs(SMALL, first_stage, 64)
    parts = sum_costs(unet_costs(SMALL, (64, 64)), "part")
    encoder = parts["condition encoder"][1]
    assert costs.step_on_latent == sum(flops for _, flops in parts.values()) - encoder
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        AutoencoderKL(first_stage).decode(torch.zeros(1, 3, 16, 16))
    assert costs.decoding == counter.get_total_flops()
    # Most layers cost sixteen times as much on sixteen times the cells, none of them more.
    assert 8 * costs.step_on_latent < costs.step_on_map <= 16 * costs.step_on_latent


def test_costs_are_those_of_the_modules():
    costs = unet_costs(SMALL, (32, 32))
    with torch.device("meta"):
        unet = UNet(SMALL)
    parts, kinds = sum_costs(costs, "part"), sum_costs(costs, "kind")
    assert parts["condition encoder"][0] == parameter_count(unet.condition_encoder)
    assert parts["way down"][0] == parameter_count(unet.down)
    assert parts["drift decoder"] == parts["noise decoder"]
    assert parts["drift decoder"][0] == parameter_count(unet.drift_path)
    relation = [level.relation for level in unet.down]
    relation += [level.relation for level in unet.drift_path.levels] * 2
    assert kinds["relation blocks"][0] == sum(map(parameter_count, relation))
    assert kinds["frequency filters"][0] == 2 * parameter_count(unet.drift_path.filter)
    at_level = sum(
        cost.parameters for cost in costs if cost.part == "noise decoder" and cost.level == 2
    )
    assert at_level == parameter_count(unet.noise_path.levels[0])  # a way up begins at the bottom
    # A 7 x 7 convolution of 3 + 8 channels to 16 on 8 x 8 cells, two operations a product.
    assert parts["stem"] == (parameter_count(unet.stem), 2 * 49 * 11 * 16 * 64)


def test_full_size_network_costs_what_the_reference_costs():
    parts = sum_costs(unet_costs(UNetConfig(), (256, 256)), "part")
    assert parts["condition encoder"][0] == 87_768_224
    assert sum(parameters for parameters, _ in parts.values()) == 224_869_478
    # Counted in the public code: 50.37 and, with the filter of July 2025, 146.38 in all.
    assert parts["condition encoder"][1] / 1e9 == pytest.approx(50.37, abs=0.005)
    assert sum(flops for _, flops in parts.values()) / 1e9 == pytest.approx(146.38, abs=0.005)


def test_cost_table_ends_with_the_sums():
    costs = unet_costs(SMALL, (32, 32))
    lines = format_costs(costs, "level").splitlines()
    assert lines[0].split()[0] == "level"
    assert [line.split("  ")[0] for line in lines[1:-1]] == ["in no level", "0", "1", "2"]
    assert lines[-1].split()[:3] == ["all", f"{sum(c.parameters for c in costs):,d}", "100.0%"]
    assert len({len(line) for line in lines}) == 1


# ----------------------------------------------------------------------------- relation attention


@torch.no_grad()
def test_attention_weights_reproduce_the_layer(monkeypatch):
    """Eq. ``relation-attention``: sums of one, and the layer's own output."""
    layer = WindowedCrossAttention(16, (2, 2), (3, 4)).eval()
    layer.query.weight.mul_(4)  # far from an even spread
    features, condition = torch.randn(2, 16, 7, 9), torch.randn(2, 16, 4, 6)
    expected = layer(features, condition)
    weights = attention_weights(layer, features, condition)
    assert weights.shape == (2, 8, 2, 3, 3, 3)
    torch.testing.assert_close(weights.sum((-2, -1)), torch.ones(2, 8, 2, 3))

    def mix(query, key, value, **_):
        assert (query.shape[2], key.shape[2]) == (6, 9)
        return weights.flatten(4).flatten(2, 3) @ value

    monkeypatch.setattr(functional, "scaled_dot_product_attention", mix)
    torch.testing.assert_close(layer(features, condition), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_attention_weights_know_the_logit_scale():
    scaled = WindowedCrossAttention(32, (1, 1), (1, 1)).eval()
    plain = WindowedCrossAttention(32, (1, 1), (1, 1), scale_logits=False).eval()
    plain.load_state_dict(scaled.state_dict())
    inputs = torch.randn(2, 1, 32, 3, 3)
    once, twice = attention_weights(scaled, *inputs), attention_weights(plain, *inputs)
    logits = once.log() * 2  # the root of a head width of 4
    torch.testing.assert_close(logits.flatten(4).softmax(-1), twice.flatten(4))


def test_looking_at_attention_changes_nothing():
    unet, x_t, t, features = small_run()
    with torch.no_grad():
        before = unet(x_t, t, features)
        found = relation_attention(unet, x_t, t, features)
        after = unet(x_t, t, features)
    assert all(map(torch.equal, before, after))
    assert not any(module._forward_pre_hooks for module in unet.modules())
    assert [len(levels) for levels in found.values()] == [3, 3, 3]
    for way, levels in found.items():
        for i, attention in enumerate(levels):
            height, width = (-(-side // (4 * 2**i)) for side in (32, 48))
            query, key = SMALL.condition_windows[i], SMALL.feature_windows[i]
            assert attention.query_cells == tuple(4 * 2**i * side for side in query)
            assert attention.key_cells == tuple(4 * 2**i * side for side in key)
            shape = [-(-a // b) for a, b in zip((height, width) * 2, query + key, strict=True)]
            assert attention.weights.shape == (2, 8, *shape), (way, i)
            torch.testing.assert_close(
                attention.weights.sum((-2, -1)), torch.ones(2, 8, *shape[:2])
            )


def test_each_way_reports_its_own_blocks():
    unet, x_t, t, features = small_run()
    with torch.no_grad():
        before = relation_attention(unet, x_t, t, features)
        unet.noise_path.levels[0].relation.attention.query.weight.mul_(5)  # the coarsest level
        after = relation_attention(unet, x_t, t, features)
    changed = [
        (way, i)
        for way, levels in before.items()
        for i, attention in enumerate(levels)
        if not torch.equal(attention.weights, after[way][i].weights)
    ]
    assert {way for way, _ in changed} == {"noise"}
    assert ("noise", 2) in changed


def test_hooks_go_away_when_the_network_fails():
    unet, x_t, _, features = small_run()
    with pytest.raises(ValueError, match="expected times"):
        relation_attention(unet, x_t, torch.ones(5), features)
    assert not any(module._forward_pre_hooks for module in unet.modules())


def test_a_cell_asks_through_its_window():
    unet, x_t, t, features = small_run()
    attention = relation_attention(unet, x_t, t, features)["down"][1]
    assert attention.query_cells == (16, 8)
    for cell, window in (((0, 0), (0, 0)), ((15, 7), (0, 0)), ((16, 8), (1, 1))):
        assert torch.equal(attention.seen_from(cell), attention.weights[:, :, *window])


def test_share_of_attention_is_in_units_of_an_even_share():
    even = torch.full((2, 4, 3, 3, 2, 5), 0.1)
    assert RelationAttention(even, (8, 8), (16, 4)).share_given_to((31, 19)) == pytest.approx(1)
    all_to_one = torch.zeros_like(even)
    all_to_one[..., 1, 3] = 1
    attention = RelationAttention(all_to_one, (8, 8), (16, 4))
    assert attention.share_given_to((16, 12)) == pytest.approx(10)
    assert attention.share_given_to((31, 15)) == pytest.approx(10)
    assert attention.share_given_to((15, 12)) == attention.share_given_to((16, 16)) == 0
    # Over all windows the shares are even on average, whatever a network attends to.
    unet, x_t, t, features = small_run()
    found = relation_attention(unet, x_t, t, features)["down"][0]
    rows, columns = found.weights.shape[-2:]
    cells = [
        (r * found.key_cells[0], c * found.key_cells[1])
        for r in range(rows)
        for c in range(columns)
    ]
    assert sum(map(found.share_given_to, cells)) / len(cells) == pytest.approx(1)


# ------------------------------------------------------------------------------- frequency filter


@torch.no_grad()
@pytest.mark.parametrize("size", [(4, 4), (6, 10), (5, 7), (16, 16)])
def test_filter_response_is_what_the_filter_does(size):
    """Eq. ``frequency-filter``: the response times the spectrum is what the filter adds."""
    layer = FourierFilter(8, (4, 4))
    x = torch.randn(2, 8, *size)
    response = filter_response(layer, size)
    assert response.shape == (8, *size)
    expected = torch.fft.ifft2(response * torch.fft.fft2(layer.conv(layer.norm(x))))
    assert expected.imag.abs().max() < 1e-5
    torch.testing.assert_close(layer(x) - x, expected.real, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_filter_response_of_a_constant_is_flat_and_of_an_unusable_part_nothing():
    layer = FourierFilter(8, (4, 6))
    layer.complex_weight.copy_(torch.tensor([0.3, 0.0]).expand_as(layer.complex_weight))
    torch.testing.assert_close(filter_response(layer), torch.full((8, 4, 6), 0.3 + 0j))
    layer.complex_weight.zero_()
    layer.complex_weight[:, 0, 0, 1] = 1.0  # a real map has no imaginary mean
    assert filter_response(layer).abs().max() == 0


# ------------------------------------------------------------------------------------------- Swin


@pytest.mark.parametrize("size", [(8, 8), (9, 5), (3, 8), (3, 3)])
@pytest.mark.parametrize("shift", [0, 1])
def test_tokens_attend_within_their_label(size, shift):
    layer = ShiftedWindowAttention(8, 2, 3, shift)
    nn.init.normal_(layer.qkv.weight)
    labels = swin_window_labels(size, 3, shift)
    for row, column in ((0, 0), (1, 2), (size[0] - 1, size[1] - 1)):
        x = torch.randn(1, *size, 8, requires_grad=True)
        layer(x)[0, row, column].sum().backward()
        reached = x.grad[0].abs().sum(-1) > 1e-20  # the mask leaves e^-100
        assert torch.equal(reached, labels == labels[row, column])


def test_windows_that_wrap_around_hold_pieces():
    together = swin_window_labels((6, 6), 3, 1, pieces=False)
    assert together.unique().numel() == 4
    assert together[0, 0] == together[0, 5] == together[5, 5]
    apart = swin_window_labels((6, 6), 3, 1)
    assert apart.unique().numel() == 9
    assert not torch.equal(apart[0, 0], apart[5, 5])
    assert torch.equal(swin_window_labels((3, 3), 3, 1), torch.zeros(3, 3, dtype=torch.long))
