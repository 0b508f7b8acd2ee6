"""The conditional U-Net: one way down, two ways up, one output for each.

Source: Wang et al., *RadioDiff*, IEEE TCCN 2025, after Ye et al., *DiffusionEdge*,
arXiv:2401.02032. The network returns raw outputs; how they become drift and noise is the business
of ``radiodiff.diffusion``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import pi
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.models.attention import Attention, LinearAttention, RelationBlock
from radiodiff.models.backbones import BACKBONE_CHANNELS, BACKBONE_INPUTS, BackboneEncoder
from radiodiff.models.condition import ConvEncoder, ConvEncoderConfig
from radiodiff.models.swin import SwinConfig, SwinEncoder, check_condition

__all__ = [
    "FourierFilter",
    "ResidualBlock",
    "TimeEmbedding",
    "UNet",
    "UNetConfig",
    "UNetOutput",
    "WeightStandardizedConv2d",
]

NORM_GROUPS = 8


@dataclass(frozen=True)
class UNetConfig:
    """Size of a :class:`UNet`, and switches between the reference code's ways and ours.

    The sizes default to the reference code, the switches to our corrections. No switch between
    the two changes the number of parameters.
    """

    latent_channels: int = 3
    """Channels of the latent."""
    width: int = 128
    """Channels of the first level; a multiple of 8. The time embedding has four times as many."""
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    """Channels below each level in units of ``width``; each level but the last halves the sides."""
    encoder: Literal["swin", "conv", "resnet101", "efficientnet_b7", "vgg16"] = "swin"
    """Which network turns the condition into a feature pyramid, with one map per level.

    The last three are torchvision's and need it installed.
    """
    condition_mix_inputs: int = 0
    """Channels of the condition if a 1 x 1 convolution mixes them into those of the encoder, as
    the public code does with five; 0 for no such layer."""
    freeze_encoder: bool = False
    """Do not train the condition encoder; its stochastic depth stays on, as in the public code."""
    swin: SwinConfig = field(default_factory=SwinConfig)
    """Size of the condition encoder if ``encoder`` is ``swin``."""
    conv: ConvEncoderConfig = field(default_factory=ConvEncoderConfig)
    """Size of the condition encoder if ``encoder`` is ``conv``."""
    condition_windows: tuple[tuple[int, int], ...] = ((8, 8), (4, 4), (2, 2), (1, 1))
    """Cells of the condition averaged into one query, for each level, finest first."""
    feature_windows: tuple[tuple[int, int], ...] = ((8, 8), (4, 4), (2, 2), (1, 1))
    """Cells of the features averaged into one key, for each level, finest first."""
    fourier_scale: float = 16.0
    """Standard deviation of the fixed random frequencies of the time embedding [1]."""
    dropout: float = 0.1
    """Probability of dropping a hidden value of a relation block in training."""
    fourier_filter: Literal["off", "fixed", "size_free"] = "size_free"
    """Learned filter of spatial frequencies at the bottleneck (fault D2 of the reference code).

    ``fixed`` works for one image size only; ``size_free`` interpolates the filter to any size and
    equals ``fixed`` at that one; ``off`` owns the filter but bypasses it.
    """
    filter_size: tuple[int, int] = (8, 8)
    """Sides of the bottleneck for which the filter's weights are stored [cells]."""
    relation_norm: Literal["batch", "group"] = "group"
    """Normalisation of a relation block's inputs; ``batch`` mixes all times of a batch (D8)."""
    scale_logits: bool = True
    """Divide a relation block's logits by the root of the head width, which upstream omits (D8)."""

    def __post_init__(self) -> None:
        """Refuse inconsistent sizes and unknown switches.

        Raises:
            ValueError: If the levels of ``multipliers``, both windows and the chosen encoder
                differ in number, ``width`` is no positive multiple of 8, ``filter_size`` is not
                positive, or a switch has an unknown value.
        """
        switches = {
            "encoder": ("swin", "conv", *BACKBONE_CHANNELS),
            "fourier_filter": ("off", "fixed", "size_free"),
            "relation_norm": ("batch", "group"),
        }
        for name, known in switches.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.width < NORM_GROUPS or self.width % NORM_GROUPS:
            raise ValueError(f"width must be a multiple of {NORM_GROUPS}, got {self.width}")
        if min(self.filter_size) < 1:
            raise ValueError(f"filter_size must be positive, got {self.filter_size}")
        levels = {
            "multipliers": len(self.multipliers),
            "condition_windows": len(self.condition_windows),
            "feature_windows": len(self.feature_windows),
            f"{self.encoder} encoder": len(self.condition_channels),
        }
        if len(set(levels.values())) > 1:
            raise ValueError(f"expected the same number of levels everywhere, got {levels}")

    @property
    def condition_channels(self) -> tuple[int, ...]:
        """Channels of the feature pyramid of the chosen encoder, finest first."""
        if self.encoder in BACKBONE_CHANNELS:
            return BACKBONE_CHANNELS[self.encoder]
        return self.swin.channels if self.encoder == "swin" else self.conv.channels

    @property
    def condition_inputs(self) -> int:
        """Channels of the condition."""
        return self.condition_mix_inputs or self.encoder_inputs

    @property
    def encoder_inputs(self) -> int:
        """Channels that the chosen encoder takes."""
        if self.encoder in BACKBONE_CHANNELS:
            return BACKBONE_INPUTS
        return self.swin.in_channels if self.encoder == "swin" else self.conv.in_channels

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the stem and below each level."""
        return (self.width, *(self.width * m for m in self.multipliers))

    @property
    def min_latent_side(self) -> int:
        """Shortest side of a latent that survives all halvings [cells]."""
        return 2 ** (len(self.multipliers) - 1)


class UNetOutput(NamedTuple):
    """Raw outputs of the two heads."""

    drift: Tensor
    """Head from which the drift is made, shape ``(b, c, h, w)``."""
    noise: Tensor
    """Head from which the noise is made, shape ``(b, c, h, w)``."""


class UNet(nn.Module):
    """Two raw outputs from a noisy latent, its time and the condition.

    Args:
        config: Size of the network.
    """

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UNetConfig()
        if config.encoder == "swin":
            self.condition_encoder = SwinEncoder(config.swin)
        elif config.encoder in BACKBONE_CHANNELS:
            self.condition_encoder = BackboneEncoder(config.encoder)
        else:
            self.condition_encoder = ConvEncoder(config.conv)
        if config.freeze_encoder:
            self.condition_encoder.requires_grad_(False)
        if config.condition_mix_inputs:
            self.condition_mix = nn.Conv2d(config.condition_mix_inputs, config.encoder_inputs, 1)
        widths = config.widths
        pyramid = config.condition_channels
        time_width = 4 * config.width
        self.stem = nn.Sequential(
            nn.Conv2d(config.latent_channels + pyramid[0], config.width, 7, padding=3),
            # As upstream: the stem alone takes fewer groups if the network is narrow.
            nn.GroupNorm(min(config.width // 4, NORM_GROUPS), config.width),
        )
        self.projections = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels, width in zip(pyramid, widths, strict=False)
        )
        self.time_embedding = TimeEmbedding(config.width, time_width, config.fourier_scale)

        self.down = nn.ModuleList()
        for i, (width, next_width) in enumerate(pairwise(widths)):
            is_last = i == len(pyramid) - 1
            self.down.append(
                UNetLevel(
                    width,
                    time_width,
                    relation=make_relation(config, level=i, channels=width),
                    resample=nn.Conv2d(width, next_width, 3, padding=1)
                    if is_last
                    else nn.Conv2d(width, next_width, 4, stride=2, padding=1),
                )
            )
        self.middle_block1 = ResidualBlock(widths[-1], widths[-1], time_width)
        self.middle_attention = Attention(widths[-1])
        self.middle_block2 = ResidualBlock(widths[-1], widths[-1], time_width)
        self.drift_path = UpPath(config, time_width)
        self.noise_path = UpPath(config, time_width)

    def encode_condition(self, condition: Tensor) -> list[Tensor]:
        """Return the feature pyramid of a condition, which serves every time step.

        Args:
            condition: Condition in [-1, 1], shape ``(b, k, h, w)``; ``h`` and ``w`` are multiples
                of 4.

        Returns:
            One map per level at strides 4, 8, 16 and 32, finest first, sides rounded up; channels
            as in ``config.condition_channels``.

        Raises:
            ValueError: If the channels are wrong or a side is no multiple of 4.
        """
        check_condition(condition, self.config.condition_inputs)
        if self.config.condition_mix_inputs:
            condition = self.condition_mix(condition)
        return self.condition_encoder(condition)

    def forward(self, x_t: Tensor, t: Tensor, features: Sequence[Tensor]) -> UNetOutput:
        """Return the raw outputs of both heads.

        Args:
            x_t: Noisy latents, shape ``(b, c, h, w)``; no side below 8 at the defaults.
            t: Times in (0, 1], shape ``(b,)``.
            features: Feature pyramid from :meth:`encode_condition`.

        Returns:
            Raw outputs for drift and noise, each of shape ``(b, c, h, w)``.

        Raises:
            ValueError: If a shape does not fit the network or the other arguments.
        """
        self._check(x_t, t, features)
        time = self.time_embedding(t)
        finest = functional.interpolate(features[0], size=x_t.shape[-2:], mode="bilinear")
        stem = self.stem(torch.cat([x_t, finest], dim=1))
        conditions = [
            project(level) for project, level in zip(self.projections, features, strict=True)
        ]

        x = stem
        skips = []
        for level, condition in zip(self.down, conditions, strict=True):
            x = level.block1(x, time)
            skips.append(x)
            x = level.relation(x, condition)
            x = level.block2(x, time)
            x = level.attention(x)
            skips.append(x)
            x = level.resample(x)

        x = self.middle_block1(x, time)
        x = self.middle_attention(x)
        x = self.middle_block2(x, time)
        return UNetOutput(
            drift=self.drift_path(x, stem, skips, conditions, time),
            noise=self.noise_path(x, stem, skips, conditions, time),
        )

    def _check(self, x_t: Tensor, t: Tensor, features: Sequence[Tensor]) -> None:
        channels = self.config.latent_channels
        side = self.config.min_latent_side
        if x_t.ndim != 4 or x_t.shape[1] != channels or min(x_t.shape[-2:]) < side:
            raise ValueError(
                f"expected latents of shape (b, {channels}, h, w) with sides of at least {side}, "
                f"got {tuple(x_t.shape)}"
            )
        if t.shape != x_t.shape[:1]:
            raise ValueError(f"expected times of shape ({len(x_t)},), got {tuple(t.shape)}")
        expected = [(len(x_t), width) for width in self.config.condition_channels]
        got = [tuple(level.shape[:2]) for level in features]
        if got != expected:
            raise ValueError(
                f"expected features of batch and channels {expected}, got {got}; "
                "they come from encode_condition"
            )


class UNetLevel(nn.Module):
    """The layers of one resolution; the U-Net runs them and takes the skips between."""

    def __init__(
        self,
        width: int,
        time_width: int,
        *,
        relation: nn.Module,
        resample: nn.Module,
        skip_width: int = 0,
    ) -> None:
        super().__init__()
        self.block1 = ResidualBlock(width + skip_width, width, time_width)
        self.relation = relation
        self.block2 = ResidualBlock(width + skip_width, width, time_width)
        self.attention = LinearAttention(width)
        self.resample = resample


class UpPath(nn.Module):
    """The way from the bottleneck up to one output."""

    def __init__(self, config: UNetConfig, time_width: int) -> None:
        super().__init__()
        widths = config.widths
        self.filter = FourierFilter(widths[-1], config.filter_size, config.fourier_filter)
        self.levels = nn.ModuleList()
        for i in reversed(range(len(config.multipliers))):
            width, skip_width = widths[i + 1], widths[i]
            self.levels.append(
                UNetLevel(
                    width,
                    time_width,
                    relation=make_relation(config, level=i, channels=width),
                    resample=nn.Conv2d(width, skip_width, 3, padding=1),
                    skip_width=skip_width,
                )
            )
        self.final_block = ResidualBlock(2 * config.width, config.width, time_width)
        self.final_conv = nn.Conv2d(config.width, config.latent_channels, 1)

    def forward(
        self,
        x: Tensor,
        stem: Tensor,
        skips: Sequence[Tensor],
        conditions: Sequence[Tensor],
        time: Tensor,
    ) -> Tensor:
        """Return the output of this path.

        Args:
            x: Features at the bottleneck, shape ``(b, d, h / 8, w / 8)``.
            stem: Features of the stem, shape ``(b, width, h, w)``.
            skips: Two maps per level on the way down, finest level first.
            conditions: Projected feature pyramid, finest level first.
            time: Embedded times, shape ``(b, time_width)``.

        Returns:
            Raw output, shape ``(b, c, h, w)``.
        """
        x = self.filter(x)
        remaining = list(skips)
        for level, condition in zip(self.levels, reversed(conditions), strict=True):
            x = level.block1(torch.cat([x, remaining.pop()], dim=1), time)
            x = level.relation(x, condition)
            x = level.block2(torch.cat([x, remaining.pop()], dim=1), time)
            x = level.attention(x)
            if remaining:
                # Twice the size; one cell more where the way down met an odd side.
                x = functional.interpolate(x, size=remaining[-1].shape[-2:], mode="nearest")
            x = level.resample(x)
        x = self.final_block(torch.cat([x, stem], dim=1), time)
        return self.final_conv(x)


def make_relation(config: UNetConfig, *, level: int, channels: int) -> RelationBlock:
    """Return the relation block between features of a width and one level of the condition."""
    return RelationBlock(
        channels,
        config.widths[level],
        channels,
        config.condition_windows[level],
        config.feature_windows[level],
        norm=config.relation_norm,
        dropout=config.dropout,
        scale_logits=config.scale_logits,
    )


class TimeEmbedding(nn.Module):
    """Random Fourier features of ``log(t) / 4``, then a small network.

    Args:
        features: Number of Fourier features; even.
        width: Width of the embedding.
        scale: Standard deviation of the frequencies [1].
    """

    def __init__(self, features: int, width: int, scale: float) -> None:
        super().__init__()
        # A parameter, not a buffer: it counts as one upstream. It is never trained.
        frequencies = torch.randn(features // 2) * scale
        self.frequencies = nn.Parameter(frequencies, requires_grad=False)
        self.linear1 = nn.Linear(features, width)
        self.linear2 = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """Return the embedding of times in (0, 1], shape ``(b,)``, as ``(b, width)``."""
        # log(0) would make every output NaN; half precision would flush small times to 0 (D12).
        t = _single_or_better(t).clamp_min(torch.finfo(torch.float32).tiny)
        angle = (t.log() / 4)[:, None] * _single_or_better(self.frequencies)[None, :] * (2 * pi)
        code = torch.cat([angle.sin(), angle.cos()], dim=1).to(self.linear1.weight.dtype)
        return self.linear2(functional.gelu(self.linear1(code)))


class WeightStandardizedConv2d(nn.Conv2d):
    """Convolution whose filters are standardised before use.

    Source: Qiao et al., *Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization*, arXiv:1903.10520.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``x`` with the standardised filters."""
        # As upstream for float32, which takes an epsilon of 1e-3 for all other types (D9).
        filters = self.weight.flatten(1)
        filters = functional.layer_norm(filters, filters.shape[1:], eps=1e-5)
        weight = filters.view_as(self.weight)
        return self._conv_forward(x, weight, self.bias)


class ResidualBlock(nn.Module):
    """Standardised convolution, norm and SiLU, twice, modulated by the time, plus a shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; a multiple of 8.
        time_width: Width of the time embedding.
    """

    def __init__(self, in_channels: int, out_channels: int, time_width: int) -> None:
        super().__init__()
        self.time_projection = nn.Linear(time_width, 2 * out_channels)
        self.conv1 = WeightStandardizedConv2d(in_channels, out_channels, 3, padding=1)
        self.norm1 = nn.GroupNorm(NORM_GROUPS, out_channels)
        self.conv2 = WeightStandardizedConv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, out_channels)
        is_same = in_channels == out_channels
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return new features.

        Args:
            x: Features, shape ``(b, in_channels, h, w)``.
            time: Embedded times, shape ``(b, time_width)``.

        Returns:
            New features, shape ``(b, out_channels, h, w)``.
        """
        modulation = self.time_projection(functional.silu(time))[:, :, None, None]
        scale, shift = modulation.chunk(2, dim=1)
        residual = self.norm1(self.conv1(x)) * (1 + scale) + shift
        residual = self.norm2(self.conv2(functional.silu(residual)))
        return functional.silu(residual) + self.shortcut(x)


class FourierFilter(nn.Module):
    """Adds a copy of the features, each spatial frequency weighted (eq. ``frequency-filter``).

    Args:
        channels: Channels of the input; a multiple of 8.
        size: Sides of the map for which the weights are stored [cells].
        mode: ``"fixed"`` accepts maps of that size only, ``"size_free"`` any size, ``"off"``
            returns its input (and freezes the weights).
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        mode: Literal["off", "fixed", "size_free"] = "size_free",
    ) -> None:
        super().__init__()
        self.size = size
        self.mode = mode
        self.norm = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        weight = 0.02 * torch.randn(channels, size[0], size[1] // 2 + 1, 2)
        self.complex_weight = nn.Parameter(weight)  # real and imaginary part
        if mode == "off":
            self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus its filtered copy.

        Args:
            x: Features, shape ``(b, c, h, w)``.

        Returns:
            Features of the same shape.

        Raises:
            ValueError: If the mode is ``"fixed"`` and the map has another size than ``size``.
        """
        if self.mode == "off":
            return x
        size = tuple(x.shape[-2:])
        if self.mode == "fixed" and size != tuple(self.size):
            raise ValueError(
                f"expected a bottleneck of {self.size}, got {size}; use fourier_filter='size_free'"
            )
        weight = resample_spectrum(_single_or_better(self.complex_weight), self.size, size)
        spectrum = torch.fft.rfft2(_single_or_better(self.conv(self.norm(x))), norm="ortho")
        spectrum = spectrum * torch.view_as_complex(weight)
        return x + torch.fft.irfft2(spectrum, s=size, norm="ortho").to(x.dtype)


def resample_spectrum(weight: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """Return weights of a half spectrum, resampled to the frequencies of another map size.

    A weight belongs to a frequency in cycles per cell. Between frequencies it is interpolated
    linearly on each axis; along the rows the spectrum is periodic.

    Args:
        weight: Weights of the frequencies of ``rfft2``, shape ``(c, h, w // 2 + 1, 2)``.
        size: Sides ``(h, w)`` of the map the weights were made for [cells].
        new_size: Sides of the map at hand [cells].

    Returns:
        Weights, shape ``(c, new_h, new_w // 2 + 1, 2)``; exactly ``weight`` if the sizes agree.
    """
    if tuple(size) == tuple(new_size):
        return weight
    # Integer arithmetic: frequency k of n lies at k * old / n on the old axis.
    row = torch.arange(new_size[0], device=weight.device) * size[0]
    low, rest = row // new_size[0], (row % new_size[0]).to(weight.dtype) / new_size[0]
    high = (low + 1) % size[0]
    weight = weight[:, low].lerp(weight[:, high], rest[:, None, None])
    column = torch.arange(new_size[1] // 2 + 1, device=weight.device) * size[1]
    low, rest = column // new_size[1], (column % new_size[1]).to(weight.dtype) / new_size[1]
    last = size[1] // 2
    low, high = low.clamp_max(last), (low + 1).clamp_max(last)
    return weight[:, :, low].lerp(weight[:, :, high], rest[:, None])


def _single_or_better(x: Tensor) -> Tensor:
    """Return half precision as single, and double as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
