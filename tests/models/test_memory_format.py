"""The order of numbers in memory: channels of a cell side by side, and the same results."""

from copy import deepcopy

import pytest
import torch
from torch.nn.utils import convert_conv2d_weight_memory_format

from radiodiff.models import AutoencoderKL, UNet

from .sizes import SMALL_AUTOENCODER, SMALL_R25, SMALL_UNET


def channels_last(network):
    return convert_conv2d_weight_memory_format(deepcopy(network), torch.channels_last)


def gradients(network, outputs):
    loss = sum(output.square().mean() for output in outputs)
    wanted = [weight for weight in network.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def assert_same(ours, theirs):
    """Within 1e-5 of the largest value of all."""
    largest = max(other.abs().max().item() for other in theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("config", [SMALL_UNET, SMALL_R25], ids=["ours", "reference"])
def test_unet_with_channels_last_is_the_same(config):
    plain = UNet(config).eval()
    inputs = torch.randn(2, 3, 32, 32), torch.tensor([0.2, 0.9])
    condition = torch.randn(2, config.condition_inputs, 128, 128)
    outputs = []
    for network in (plain, channels_last(plain)):
        outputs.append(network(*inputs, network.encode_condition(condition)))
    assert not plain.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert outputs[1][0].is_contiguous(memory_format=torch.channels_last)
    assert_same(*outputs)


def test_autoencoder_with_channels_last_is_the_same():
    plain = AutoencoderKL(SMALL_AUTOENCODER)
    radio_map, noise = torch.rand(2, 1, 32, 32) * 2 - 1, torch.randn(2, 3, 8, 8)
    outputs, slopes = [], []
    for network in (plain, channels_last(plain)):
        reconstruction, posterior = network(radio_map, noise=noise)
        outputs.append((reconstruction, posterior.mean, posterior.log_variance))
        slopes.append(gradients(network, outputs[-1]))
    assert_same(*outputs)
    assert_same(*slopes)
