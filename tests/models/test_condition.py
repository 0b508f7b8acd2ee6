"""The light condition encoder: coordinates, strides, failures."""

import math
from dataclasses import replace

import pytest
import torch

from radiodiff.models import ConvEncoder, ConvEncoderConfig, SwinEncoder
from radiodiff.models.condition import transmitter_coordinates
from tests.models.sizes import SMALL_SWIN, SMALL_UNET


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
