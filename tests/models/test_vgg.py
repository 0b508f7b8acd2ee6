"""Features of VGG16: maps, names, range."""

import pytest
import torch
from torch import nn

from radiodiff.models import PatchDiscriminator, VGG16Features, parameter_count
from tests.models.sizes import on_meta


def test_loss_networks_have_the_reference_size():
    assert parameter_count(on_meta(PatchDiscriminator)) == 2_763_585
    # LPIPS counts 14,716,160: these and 64 + 128 + 256 + 512 + 512 linear weights.
    assert parameter_count(on_meta(VGG16Features)) == 14_716_160 - 1_472


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
