"""The U-Net's heads and times: a way up for each output, and one time or two."""

from dataclasses import replace

import pytest
import torch

from radiodiff.models import ConvEncoderConfig, UNet, UNetConfig

SMALL = UNetConfig(
    width=8,
    multipliers=(1, 2),
    encoder="conv",
    conv=ConvEncoderConfig(widths=(8, 8), blocks=1),
    condition_windows=((2, 2), (1, 1)),
    feature_windows=((2, 2), (1, 1)),
    filter_size=(4, 4),
)


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
