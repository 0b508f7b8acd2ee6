"""The conditional U-Net: one way down, then a way up for each output.

Source: Wang et al., *RadioDiff*, IEEE TCCN 2025, after Ye et al., *DiffusionEdge*,
arXiv:2401.02032. The network returns raw outputs; what they become is the business of
``radiodiff.processes``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.models.attention import Attention, LinearAttention, RelationBlock
from radiodiff.models.backbones import BACKBONE_CHANNELS, BACKBONE_INPUTS, BackboneEncoder
from radiodiff.models.blocks import NORM_GROUPS, FourierFilter, ResidualBlock, TimeEmbedding
from radiodiff.models.condition import ConvEncoder, ConvEncoderConfig
from radiodiff.models.plain_unet import PlainUNet, PlainUNetConfig
from radiodiff.models.swin import SwinConfig, SwinEncoder, check_condition
from radiodiff.ranges import MAX_SIDE, check_numbers

__all__ = ["UNet", "UNetConfig", "make_network"]


@dataclass(frozen=True)
class UNetConfig:
    """Size of a :class:`UNet`, and switches between the reference code's ways and ours.

    The sizes default to the reference code, the switches to our corrections. No switch between
    the two changes the number of parameters.
    """

    kind: Literal["radiodiff", "plain"] = "radiodiff"
    """``radiodiff``, the network of the paper; or ``plain``, one without condition encoder and
    attention, whose size is in section ``plain``: of the other keys it heeds ``latent_channels``,
    ``fourier_scale``, ``heads`` and ``times``."""
    plain: PlainUNetConfig = field(default_factory=PlainUNetConfig)
    """Size of the network if ``kind`` is ``plain``."""
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
    """Standard deviation of the fixed random frequencies of the time embedding [1].

    Their angles turn at this rate, and a mean flow differentiates them: take about 1 there.
    """
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
    heads: tuple[str, ...] = ("drift", "noise")
    """Names of the outputs, each with a way up of its own, ``<name>_path``."""
    times: int = 1
    """Times the network is given: 1, or 2 with the earlier end of a step."""
    stem_condition: bool = False
    """Show the condition itself to the stem, beside its features at a quarter of the sides: for a
    process on maps, where a cell of the condition is a cell of the input."""

    def __post_init__(self) -> None:
        """Refuse inconsistent sizes and unknown switches.

        Raises:
            ValueError: If the levels of ``multipliers``, both windows and the chosen encoder
                differ in number, ``width`` is no positive multiple of 8, a number lies outside its
                range, heads are missing or not told apart, or a switch has an unknown value.
        """
        switches = {
            "kind": ("radiodiff", "plain"),
            "encoder": ("swin", "conv", *BACKBONE_CHANNELS),
            "fourier_filter": ("off", "fixed", "size_free"),
            "relation_norm": ("batch", "group"),
            "times": (1, 2),
        }
        for name, known in switches.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.width < NORM_GROUPS or self.width % NORM_GROUPS:
            raise ValueError(f"width must be a multiple of {NORM_GROUPS}, got {self.width}")
        sizes = ("latent_channels", "width", "multipliers", "filter_size")
        windows = ("condition_windows", "feature_windows")
        check_numbers(self, *sizes, *windows, least=1, most=MAX_SIDE)
        check_numbers(self, "condition_mix_inputs", least=0, most=MAX_SIDE)
        check_numbers(self, "fourier_scale", above=0, most=1e6)
        check_numbers(self, "dropout", least=0, below=1)
        if not self.heads or len(set(self.heads)) < len(self.heads):
            raise ValueError(f"heads must be one or more different names, got {self.heads}")
        if not all(name.isidentifier() for name in self.heads):
            raise ValueError(f"heads must be names such as 'drift', got {self.heads}")
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
        if self.kind == "plain":
            return self.plain.in_channels
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
        return 2 ** (len(self.plain.widths if self.kind == "plain" else self.multipliers) - 1)

    @property
    def input_key(self) -> str:
        """The key of this section that says how many channels of the condition there are."""
        if self.kind == "plain":
            return "plain.in_channels"
        own = self.encoder in ("swin", "conv") and not self.condition_mix_inputs
        return f"{self.encoder}.in_channels" if own else "condition_mix_inputs"

    @property
    def looks_for_transmitter(self) -> str | None:
        """The key that makes the network look for the transmitter in the second channel, if set."""
        if self.kind == "plain":
            return "plain.transmitter_features" if self.plain.transmitter_features else None
        is_set = self.encoder == "conv" and self.conv.transmitter_features
        return "conv.transmitter_features" if is_set else None


def make_network(config: UNetConfig) -> "UNet | PlainUNet":
    """Return the network that a configuration names, with random weights."""
    if config.kind == "radiodiff":
        return UNet(config)
    return PlainUNet(
        config.plain,
        latent_channels=config.latent_channels,
        heads=len(config.heads),
        times=config.times,
        fourier_scale=config.fourier_scale,
    )


class UNet(nn.Module):
    """Raw outputs, one for each head, from a noisy latent, its time and the condition.

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
        stem_inputs = config.latent_channels + pyramid[0]
        if config.stem_condition:
            stem_inputs += config.condition_inputs
        self.stem = nn.Sequential(
            nn.Conv2d(stem_inputs, config.width, 7, padding=3),
            # As upstream: the stem alone takes fewer groups if the network is narrow.
            nn.GroupNorm(min(config.width // 4, NORM_GROUPS), config.width),
        )
        self.projections = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels, width in zip(pyramid, widths, strict=False)
        )
        self.time_embedding = TimeEmbedding(config.width, time_width, config.fourier_scale)
        if config.times == 2:
            self.span_embedding = TimeEmbedding(config.width, time_width, config.fourier_scale)

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
        for head in config.heads:
            setattr(self, f"{head}_path", UpPath(config, time_width))

    @property
    def paths(self) -> dict[str, "UpPath"]:
        """The way up to each output, by the names of the heads."""
        return {head: getattr(self, f"{head}_path") for head in self.config.heads}

    def encode_condition(self, condition: Tensor) -> list[Tensor]:
        """Return the features of a condition, which serve every time step.

        Args:
            condition: Condition in [-1, 1], shape ``(b, k, h, w)``; ``h`` and ``w`` are multiples
                of 4.

        Returns:
            One map per level at strides 4, 8, 16 and 32, finest first, sides rounded up; channels
            as in ``config.condition_channels``. With ``stem_condition`` the condition is before
            them.

        Raises:
            ValueError: If the channels are wrong or a side is no multiple of 4.
        """
        check_condition(condition, self.config.condition_inputs)
        shown = [condition] if self.config.stem_condition else []
        if self.config.condition_mix_inputs:
            condition = self.condition_mix(condition)
        return [*shown, *self.condition_encoder(condition)]

    def forward(
        self, x_t: Tensor, t: Tensor, features: Sequence[Tensor], s: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the raw outputs of all heads.

        Args:
            x_t: Noisy latents, shape ``(b, c, h, w)``; no side below 8 at the defaults.
            t: Times in (0, 1], shape ``(b,)``.
            features: What :meth:`encode_condition` returned.
            s: Earlier ends of the steps, in [0, t], shape ``(b,)``; for a network of two times.

        Returns:
            One raw output for each of ``config.heads``, each of shape ``(b, c, h, w)`` and the type
            of ``x_t``, in mixed precision too.

        Raises:
            ValueError: If a shape does not fit the network or the other arguments, or there is one
                time too many or too few.
        """
        self._check(x_t, t, features, s)
        time = self.time_embedding(t)
        if s is not None:
            # The embedding takes a logarithm, which turns slowly from 1 up; a length of 0 is fine.
            time = time + self.span_embedding(1 + (t - s))
        if not _is_mixed(x_t.device.type):  # the features may come from mixed precision
            features = [level.to(x_t.dtype) for level in features]
        *shown, finest = features[: 1 + self.config.stem_condition]
        inputs = [x_t, functional.interpolate(finest, size=x_t.shape[-2:], mode="bilinear")]
        inputs += [functional.interpolate(x, size=x_t.shape[-2:], mode="area") for x in shown]
        stem = self.stem(torch.cat(inputs, dim=1))
        levels = features[len(shown) :]
        conditions = [
            project(level) for project, level in zip(self.projections, levels, strict=True)
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
        outputs = (path(x, stem, skips, conditions, time) for path in self.paths.values())
        return tuple(output.to(x_t.dtype) for output in outputs)  # no loss in half precision

    def _check(self, x_t: Tensor, t: Tensor, features: Sequence[Tensor], s: Tensor | None) -> None:
        channels = self.config.latent_channels
        side = self.config.min_latent_side
        if x_t.ndim != 4 or x_t.shape[1] != channels or min(x_t.shape[-2:]) < side:
            raise ValueError(
                f"expected latents of shape (b, {channels}, h, w) with sides of at least {side}, "
                f"got {tuple(x_t.shape)}"
            )
        if t.shape != x_t.shape[:1]:
            raise ValueError(f"expected times of shape ({len(x_t)},), got {tuple(t.shape)}")
        if (s is not None) != (self.config.times == 2) or (s is not None and s.shape != t.shape):
            got = 1 if s is None else f"1 of shape {tuple(t.shape)} and 1 of {tuple(s.shape)}"
            raise ValueError(f"expected {self.config.times} times for each map, got {got}")
        widths = list(self.config.condition_channels)
        if self.config.stem_condition:
            widths = [self.config.condition_inputs, *widths]
        expected = [(len(x_t), width) for width in widths]
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


def _is_mixed(device: str) -> bool:
    """Return whether a device type runs in mixed precision; ``meta`` does not know of it."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


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
