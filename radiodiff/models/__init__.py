"""The networks: tensors in, tensors out. No files, no time-stepping, no losses."""

from torch import nn

from radiodiff.models.anatomy import (
    Cost,
    RelationAttention,
    StageCosts,
    attention_weights,
    filter_response,
    format_costs,
    relation_attention,
    stage_costs,
    sum_costs,
    swin_window_labels,
    unet_costs,
)
from radiodiff.models.attention import (
    Attention,
    LinearAttention,
    RelationBlock,
    WindowedCrossAttention,
)
from radiodiff.models.autoencoder import AutoencoderConfig, AutoencoderKL, DiagonalGaussian
from radiodiff.models.backbones import BACKBONE_CHANNELS, BackboneEncoder, backbone_state_dict
from radiodiff.models.blocks import FourierFilter
from radiodiff.models.compression import (
    Compression,
    block_averages,
    channel_correlations,
    compress,
)
from radiodiff.models.condition import ConvEncoder, ConvEncoderConfig
from radiodiff.models.discriminator import PatchDiscriminator
from radiodiff.models.plain_unet import PlainUNet, PlainUNetConfig
from radiodiff.models.swin import SwinConfig, SwinEncoder
from radiodiff.models.unet import UNet, UNetConfig, make_network
from radiodiff.models.vgg import VGG16Features

__all__ = [
    "BACKBONE_CHANNELS",
    "Attention",
    "AutoencoderConfig",
    "AutoencoderKL",
    "BackboneEncoder",
    "Compression",
    "ConvEncoder",
    "ConvEncoderConfig",
    "Cost",
    "DiagonalGaussian",
    "FourierFilter",
    "LinearAttention",
    "PatchDiscriminator",
    "PlainUNet",
    "PlainUNetConfig",
    "RelationAttention",
    "RelationBlock",
    "StageCosts",
    "SwinConfig",
    "SwinEncoder",
    "UNet",
    "UNetConfig",
    "VGG16Features",
    "WindowedCrossAttention",
    "attention_weights",
    "backbone_state_dict",
    "block_averages",
    "channel_correlations",
    "compress",
    "filter_response",
    "format_costs",
    "make_network",
    "parameter_count",
    "relation_attention",
    "stage_costs",
    "sum_costs",
    "swin_window_labels",
    "unet_costs",
]


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters of a module, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())
