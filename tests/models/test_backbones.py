"""The condition encoders from torchvision: sizes, errors without it, parity with it."""

import sys
import warnings

import pytest
import torch
from torch import nn

from radiodiff.models import (
    BACKBONE_CHANNELS,
    BackboneEncoder,
    UNet,
    UNetConfig,
    backbone_state_dict,
    parameter_count,
    unet,
)
from radiodiff.models.backbones import TAPS, UNUSED

#: Parameters of the encoder, of its part that is never run, and of the U-Net with the encoder.
PUBLISHED = {
    "resnet101": (42_500_160, 0, 181_108_742),
    "efficientnet_b7": (63_786_960, 1_643_520, 200_083_350),
    "vgg16": (138_357_544, 123_642_856, 275_196_654),
}
every_backbone = pytest.mark.parametrize("name", PUBLISHED)


@pytest.fixture(scope="module")
def torchvision():
    """The optional package; one that does not fit the installed torch counts as absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision
            from torchvision.models import feature_extraction  # noqa: F401
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            pytest.skip(f"torchvision cannot be imported: {type(error).__name__}: {error}")
    return torchvision


def on_meta(make, *arguments):
    with torch.device("meta"):
        return make(*arguments)


def small_config(name):
    return UNetConfig(width=16, multipliers=(1, 1, 2, 2), encoder=name, filter_size=(2, 2))


# ---------------------------------------------------------------------------- without torchvision


def test_every_backbone_has_published_numbers():
    assert set(BACKBONE_CHANNELS) == set(PUBLISHED) == set(TAPS) == set(UNUSED)


@every_backbone
def test_unet_around_a_backbone_has_the_published_size(monkeypatch, name):
    made = []
    monkeypatch.setattr(unet, "BackboneEncoder", lambda name: made.append(name) or nn.Identity())
    config = UNetConfig(encoder=name)
    own, _, total = PUBLISHED[name]
    assert parameter_count(on_meta(UNet, config)) == total - own
    assert made == [name]
    assert config.condition_inputs == 3
    assert config.condition_channels == BACKBONE_CHANNELS[name]


@every_backbone
def test_missing_torchvision_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match=rf"encoder: {name}, .* or use encoder: swin or conv"):
        BackboneEncoder(name)
    with pytest.raises(ImportError, match=f"belongs to torch {torch.__version__.split('+')[0]}"):
        UNet(small_config(name))


@pytest.mark.parametrize(
    "failure",
    [
        "RuntimeError('operator torchvision::nms does not exist')",
        "OSError('libcudart.so: cannot open shared object file')",
        "ImportError('undefined symbol')",
        "AttributeError('partially initialized module')",
    ],
)
def test_torchvision_of_another_torch_is_named(monkeypatch, tmp_path, failure):
    (tmp_path / "torchvision.py").write_text(f"raise {failure}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    kind, _, message = failure.rstrip("')").partition("('")
    with pytest.raises(ImportError, match=f"{kind}: {message}; install the torchvision"):
        BackboneEncoder("resnet101")


def test_wrong_arguments_are_refused_before_torchvision_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ValueError, match=r"one of .*'efficientnet_b7'.*, got 'resnet18'"):
        BackboneEncoder("resnet18")
    with pytest.raises(ValueError, match="got 'resnet18'"):
        backbone_state_dict({}, "resnet18")


def test_state_dict_leaves_out_what_an_encoder_has_not():
    value = torch.zeros(1)
    state = dict.fromkeys(("features.8.0.weight", "classifier.1.weight", "fc.bias"), value)
    kept = {name: set(backbone_state_dict(state, name)) for name in PUBLISHED}
    assert kept["resnet101"] == {"features.8.0.weight", "classifier.1.weight"}
    assert kept["efficientnet_b7"] == {"features.8.0.weight", "fc.bias"}
    assert kept["vgg16"] == set(state)
    assert all(entry is value for entry in backbone_state_dict(state, "vgg16").values())


# ------------------------------------------------------------------------------- with torchvision


@every_backbone
@pytest.mark.usefixtures("torchvision")
def test_backbone_has_the_published_size(name):
    own, unused, total = PUBLISHED[name]
    encoder = on_meta(BackboneEncoder, name)
    assert parameter_count(encoder) == own
    frozen = {key for key, value in encoder.named_parameters() if not value.requires_grad}
    assert sum(encoder.get_parameter(key).numel() for key in frozen) == unused
    assert all(key.startswith(UNUSED[name]) for key in frozen)
    assert parameter_count(on_meta(UNet, UNetConfig(encoder=name))) == total


@every_backbone
@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("size", [(256, 320), (64, 32), (36, 100), (4, 8)])
def test_maps_have_strides_4_to_32_rounded_up(name, size):
    encoder = on_meta(BackboneEncoder, name).eval()
    maps = encoder(torch.zeros(2, 3, *size, device="meta"))
    expected = [
        (2, channels, *(-(-side // stride) for side in size))
        for channels, stride in zip(BACKBONE_CHANNELS[name], (4, 8, 16, 32), strict=True)
    ]
    assert [tuple(level.shape) for level in maps] == expected
    assert encoder.channels == BACKBONE_CHANNELS[name]


@every_backbone
@torch.no_grad()
def test_torchvision_weights_load_strictly_and_give_its_features(torchvision, name):
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # a fresh one would hide a missing buffer
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = on_meta(BackboneEncoder, name).eval()
    ours.load_state_dict(backbone_state_dict(theirs.state_dict(), name), assign=True)

    condition = torch.rand(2, 3, 64, 96) * 2 - 1
    extract = torchvision.models.feature_extraction.create_feature_extractor
    expected = extract(theirs, return_nodes=list(TAPS[name]))(condition)
    for level, node in zip(ours(condition), TAPS[name], strict=True):
        assert level.std() > 0
        assert torch.equal(level, expected[node])


@pytest.mark.usefixtures("torchvision")
def test_efficientnet_norms_and_stochastic_depth_are_upstreams():
    modules = list(on_meta(BackboneEncoder, "efficientnet_b7").features[:8].modules())
    norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    skips = [m for m in modules if type(m).__name__ == "StochasticDepth"]
    assert [m.p for m in skips] == pytest.approx([0.2 * i / 55 for i in range(55)])
    assert {m.mode for m in skips} == {"row"}


@every_backbone
@pytest.mark.usefixtures("torchvision")
def test_backbone_refuses_wrong_shapes(name):
    encoder = on_meta(BackboneEncoder, name)
    with pytest.raises(ValueError, match=r"\(b, 3, h, w\)"):
        encoder(torch.zeros(1, 2, 32, 32, device="meta"))
    with pytest.raises(ValueError, match=r"multiple of 4 .* got 32 x 30"):
        encoder(torch.zeros(1, 3, 32, 30, device="meta"))


@every_backbone
@pytest.mark.usefixtures("torchvision")
def test_small_unet_trains_around_a_backbone(name):
    network = UNet(small_config(name)).train()
    for layer in UNUSED[name]:
        module = network.condition_encoder.get_submodule(layer)
        module.register_forward_hook(lambda *_: pytest.fail("an unused layer runs"))
    features = network.encode_condition(torch.rand(2, 3, 64, 64) * 2 - 1)
    heads = network(torch.randn(2, 3, 16, 16), torch.tensor([0.2, 0.9]), features)
    assert heads.drift.shape == heads.noise.shape == (2, 3, 16, 16)
    assert heads.drift.isfinite().all()
    assert heads.noise.isfinite().all()
    (heads.drift.square().sum() + heads.noise.square().sum()).backward()
    missing = [k for k, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
