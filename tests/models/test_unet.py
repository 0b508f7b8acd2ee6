"""The U-Net: size, shapes, switches, heads, times, failures."""

from dataclasses import replace

import pytest
import torch

from radiodiff.models import AutoencoderKL, ConvEncoderConfig, UNet, UNetConfig, parameter_count
from tests.models.sizes import SMALL_R25, SMALL_UNET, on_meta, run_unet

SMALL = UNetConfig(
    width=8,
    multipliers=(1, 2),
    encoder="conv",
    conv=ConvEncoderConfig(widths=(8, 8), blocks=1),
    condition_windows=((2, 2), (1, 1)),
    feature_windows=((2, 2), (1, 1)),
    filter_size=(4, 4),
)


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
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.2 * exact.abs().max()


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


@torch.no_grad()
@pytest.mark.parametrize(
    ("heads", "times"), [(("velocity",), 1), (("average_velocity",), 2), (("a", "b", "c"), 1)]
)
def test_unet_has_a_way_up_for_each_head_and_the_times_it_is_told(heads, times):
    unet = UNet(replace(SMALL, heads=heads, times=times)).eval()
    names = {name.split(".")[0] for name, _ in unet.named_parameters()}
    assert {name for name in names if name.endswith("_path")} == {f"{head}_path" for head in heads}
    assert ("span_embedding" in names) == (times == 2)
    x_t, features = torch.randn(2, 3, 16, 16), unet.encode_condition(torch.randn(2, 2, 64, 64))
    t = torch.tensor([0.3, 0.9])
    further = [t / 2] if times == 2 else []
    outputs = unet(x_t, t, features, *further)
    assert [output.shape for output in outputs] == [x_t.shape] * len(heads)
    if times == 2:  # both times count, a length of 0 included
        for other in (unet(x_t, t, features, t / 3), unet(x_t, t, features, t)):
            assert other[0].isfinite().all()
            assert (other[0] - outputs[0]).abs().max() > 1e-3
        nearly, none = (unet(x_t, t, features, s)[0] for s in (t - 1e-5, t))
        torch.testing.assert_close(nearly, none, atol=1e-3, rtol=0)
    for wrong in ([], [t[:1]]) if times == 2 else ([t],):
        with pytest.raises(ValueError, match=f"expected {times} times"):
            unet(x_t, t, features, *wrong)


def test_first_heads_begin_with_the_same_weights_whatever_follows():
    """A head's weights are drawn after all that stands before it."""
    networks = []
    for heads in (("drift", "noise"), ("velocity",)):
        torch.manual_seed(0)
        networks.append(UNet(replace(SMALL, heads=heads)))
    two, one = networks
    assert torch.equal(two.stem[0].weight, one.stem[0].weight)
    pairs = zip(two.drift_path.parameters(), one.velocity_path.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"heads": ()}, "one or more different names"),
        ({"heads": ("drift", "drift")}, "one or more different names"),
        ({"heads": ("the drift",)}, "names such as 'drift'"),
        ({"times": 3}, "times must be one of"),
    ],
)
def test_unet_config_refuses_heads_and_times_without_meaning(fault, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **fault)


def test_double_precision_goes_through_time_and_filter():
    """Halves are computed in single precision, doubles as they are."""
    unet = UNet(SMALL).double().eval()
    t = torch.tensor([0.3], dtype=torch.float64)
    exact = unet.time_embedding(t)
    assert exact.dtype == torch.float64
    nudged = unet.time_embedding(t + 1e-12)
    assert 0 < (nudged - exact).abs().max() < 1e-8


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 8])
def test_stem_sees_each_cell_of_the_condition(side):
    """On a map a single cell counts where it is; on latents its share of their cell does."""
    unet = UNet(replace(SMALL, latent_channels=1, stem_condition=True)).eval()
    plain = UNet(replace(SMALL, latent_channels=1))
    extra = unet.stem[0].weight.shape[1] - plain.stem[0].weight.shape[1]
    assert extra == unet.config.condition_inputs == 2
    condition = torch.zeros(1, 2, 32, 32)
    condition[0, 0, 12, 20] = 1
    features = unet.encode_condition(condition)
    seen = []
    unet.stem.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    x_t = torch.randn(1, 1, side, side)
    unet(x_t, torch.tensor([0.5]), features)
    ratio = 32 // side
    shown = torch.zeros(side, side)
    shown[12 // ratio, 20 // ratio] = 1 / ratio**2
    assert torch.equal(seen[0][:, :1], x_t)
    torch.testing.assert_close(seen[0][0, -2], shown)
    with pytest.raises(ValueError, match="they come from encode_condition"):
        unet(x_t, torch.tensor([0.5]), features[1:])
