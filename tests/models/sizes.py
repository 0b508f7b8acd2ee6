"""Small networks, and whole ones without memory, for the tests of this folder."""

from dataclasses import replace

import torch

from radiodiff.models import AutoencoderConfig, ConvEncoderConfig, SwinConfig, UNet, UNetConfig
from radiodiff.reference import R25

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


def on_meta(make, *arguments):
    with torch.device("meta"):
        return make(*arguments)


def run_unet(config, condition, x_t, t):
    network = UNet(config).eval()
    with torch.no_grad():
        return network(x_t, t, network.encode_condition(condition))
