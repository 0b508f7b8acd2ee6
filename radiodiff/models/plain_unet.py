"""A plain U-Net: the condition beside the input, no encoder of its own and no attention.

Where the condition says at every cell what is to be corrected there (a path gain from physics, line
of sight), a few convolutions learn in minutes on a processor what the network of the paper takes
hours for. It takes the same arguments and returns the same outputs as `radiodiff.models.UNet`, so
it serves every process, on maps or latents.

Source: Ronneberger et al., *U-Net*, arXiv:1505.04597, with residual blocks and the time in them as
in Ho et al., *Denoising Diffusion Probabilistic Models*, arXiv:2006.11239.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.models.blocks import NORM_GROUPS, ResidualBlock, TimeEmbedding
from radiodiff.models.condition import TRANSMITTER_CHANNEL, transmitter_coordinates
from radiodiff.models.swin import check_condition
from radiodiff.ranges import MAX_SIDE, check_numbers

__all__ = ["PlainUNet", "PlainUNetConfig"]


@dataclass(frozen=True)
class PlainUNetConfig:
    """Size of a :class:`PlainUNet`."""

    in_channels: int = 2
    """Channels of the condition: building mask, transmitter map, then any others."""
    widths: tuple[int, ...] = (24, 48, 96, 128)
    """Channels of each level, finest first; multiples of 8 (the groups of the normalisation)."""
    blocks: int = 1
    """Residual blocks of each level, on the way down and again on the way up."""
    transmitter_features: bool = True
    """Add distance and direction to the transmitter as three input channels, see
    `radiodiff.models.condition.transmitter_coordinates`."""

    def __post_init__(self) -> None:
        """Refuse sizes the normalisation cannot group and a missing transmitter channel.

        Raises:
            ValueError: If a number lies outside its range, a width is no positive multiple of 8,
                or ``transmitter_features`` is set with fewer than 2 input channels.
        """
        check_numbers(self, "in_channels", "widths", "blocks", least=1, most=MAX_SIDE)
        if not self.widths or any(width % NORM_GROUPS for width in self.widths):
            raise ValueError(f"widths must be multiples of {NORM_GROUPS}, got {self.widths}")
        if self.transmitter_features and self.in_channels <= TRANSMITTER_CHANNEL:
            raise ValueError(
                "transmitter_features needs the transmitter map in channel "
                f"{TRANSMITTER_CHANNEL}, got in_channels={self.in_channels}"
            )


class PlainUNet(nn.Module):
    """Raw outputs, one for each head, from a noisy map or latent, its time and the condition.

    All heads share one way up. The last layer begins at zero: a residual begins as none.

    Args:
        config: Size of the network.
        latent_channels: Channels of input and outputs.
        heads: Outputs.
        times: Times the network is given: 1, or 2 with the earlier end of a step.
        fourier_scale: Standard deviation of the frequencies of the time embedding [1].
    """

    def __init__(
        self,
        config: PlainUNetConfig,
        *,
        latent_channels: int = 1,
        heads: int = 1,
        times: int = 1,
        fourier_scale: float = 16.0,
    ) -> None:
        super().__init__()
        self.config, self.channels, self.heads, self.times = config, latent_channels, heads, times
        widths, time_width = config.widths, 4 * config.widths[0]
        inputs = latent_channels + config.in_channels + 3 * config.transmitter_features
        self.time_embedding = TimeEmbedding(widths[0], time_width, fourier_scale)
        if times == 2:
            self.span_embedding = TimeEmbedding(widths[0], time_width, fourier_scale)

        def level(inputs: int, width: int) -> nn.ModuleList:
            sizes = [inputs] + [width] * config.blocks
            return nn.ModuleList(ResidualBlock(a, b, time_width) for a, b in pairwise(sizes))

        self.stem = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.down = nn.ModuleList(level(width, width) for width in widths)
        self.halve = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.widen = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(level(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], heads * latent_channels, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def encode_condition(self, condition: Tensor) -> list[Tensor]:
        """Return what the stem is shown of a condition, which serves every time step.

        Args:
            condition: Condition in [-1, 1], shape ``(b, k, h, w)``; ``h`` and ``w`` are multiples
                of 4.

        Returns:
            One map: the condition, and distance and direction to the transmitter if the network
            takes them.

        Raises:
            ValueError: If the channels are wrong or a side is no multiple of 4.
        """
        check_condition(condition, self.config.in_channels)
        if not self.config.transmitter_features:
            return [condition]
        return [
            torch.cat([condition, transmitter_coordinates(condition[:, TRANSMITTER_CHANNEL])], 1)
        ]

    def forward(
        self, x_t: Tensor, t: Tensor, features: Sequence[Tensor], s: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the raw outputs of all heads.

        Args:
            x_t: Noisy maps or latents, shape ``(b, c, h, w)``.
            t: Times in (0, 1], shape ``(b,)``.
            features: What :meth:`encode_condition` returned.
            s: Earlier ends of the steps, in [0, t], shape ``(b,)``; for a network of two times.

        Returns:
            One raw output for each head, each of shape ``(b, c, h, w)``.

        Raises:
            ValueError: If the input has other channels or sides too short to halve, or there is one
                time too many or too few.
        """
        least = 2 ** len(self.halve)
        if x_t.ndim != 4 or x_t.shape[1] != self.channels or min(x_t.shape[-2:]) < least:
            raise ValueError(
                f"expected input of shape (b, {self.channels}, h, w) with sides of at least "
                f"{least}, got {tuple(x_t.shape)}"
            )
        if (s is not None) != (self.times == 2):
            got = 1 if s is None else 2
            raise ValueError(f"expected {self.times} times for each map, got {got}")
        time = self.time_embedding(t)
        if s is not None:
            time = time + self.span_embedding(1 + (t - s))
        (shown,) = features
        shown = functional.interpolate(shown.to(x_t.dtype), size=x_t.shape[-2:], mode="area")
        x = self.stem(torch.cat([x_t, shown], dim=1))
        skips = []
        for number, blocks in enumerate(self.down):
            if number > 0:
                x = self.halve[number - 1](x)
            for block in blocks:
                x = block(x, time)
            skips.append(x)
        skips.pop()
        for widen, blocks in zip(reversed(self.widen), reversed(self.up), strict=True):
            skip = skips.pop()
            x = functional.interpolate(widen(x), size=skip.shape[-2:], mode="nearest")
            x = torch.cat([x, skip], dim=1)
            for block in blocks:
                x = block(x, time)
        return self.head(x).chunk(self.heads, dim=1)
