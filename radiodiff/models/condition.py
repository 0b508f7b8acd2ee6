"""A light convolutional pyramid for the condition: cheap on a CPU, same strides as Swin."""

from dataclasses import dataclass
from itertools import pairwise
from math import hypot, log1p

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.models.swin import check_condition
from radiodiff.ranges import MAX_SIDE, check_numbers

__all__ = ["ConvEncoder", "ConvEncoderConfig", "transmitter_coordinates"]

NORM_GROUPS = 8
TRANSMITTER_CHANNEL = 1


@dataclass(frozen=True)
class ConvEncoderConfig:
    """Size of a :class:`ConvEncoder`."""

    in_channels: int = 2
    """Channels of the condition: building mask, transmitter map, then any others."""
    widths: tuple[int, ...] = (32, 64, 96, 128)
    """Channels at strides 4, 8, 16, ...; multiples of 8 (the groups of the normalisation)."""
    blocks: int = 2
    """Residual blocks per level."""
    transmitter_features: bool = True
    """Add distance and direction to the transmitter as three input channels.

    A one-hot map tells a small network where the transmitter is in a single cell; these channels
    tell every cell.
    """

    def __post_init__(self) -> None:
        """Refuse sizes the normalisation cannot group and a missing transmitter channel.

        Raises:
            ValueError: If a number lies outside its range, a width is no positive multiple of 8,
                or ``transmitter_features`` is set with fewer than 2 input channels.
        """
        check_numbers(self, "in_channels", "widths", least=1, most=MAX_SIDE)
        check_numbers(self, "blocks", least=0, most=MAX_SIDE)
        if not self.widths or any(w < NORM_GROUPS or w % NORM_GROUPS for w in self.widths):
            raise ValueError(f"widths must be multiples of {NORM_GROUPS}, got {self.widths}")
        if self.transmitter_features and self.in_channels <= TRANSMITTER_CHANNEL:
            raise ValueError(
                "transmitter_features needs the transmitter map in channel "
                f"{TRANSMITTER_CHANNEL}, got in_channels={self.in_channels}"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the feature maps, finest first."""
        return self.widths


class ConvEncoder(nn.Module):
    """Feature maps at strides 4, 8, 16, ..., one per width.

    Residual blocks go down the pyramid; at the defaults a cell of the coarsest map sees 544 cells
    of the condition on each axis. A second path goes up again and adds each coarse map to the next
    finer one, so that the finest map knows about distant buildings too (Lin et al., *Feature
    Pyramid Networks*, arXiv:1612.03144).

    Args:
        config: Size of the network.
    """

    def __init__(self, config: ConvEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ConvEncoderConfig()
        self.channels = config.channels
        widths = config.widths
        in_channels = config.in_channels + (3 if config.transmitter_features else 0)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1),
            nn.GroupNorm(NORM_GROUPS, widths[0]),
            nn.SiLU(),
        )
        self.levels = nn.ModuleList()
        for i, width in enumerate(widths):
            self.levels.append(
                nn.Sequential(
                    nn.Conv2d(widths[max(i - 1, 0)], width, 3, stride=2, padding=1),
                    *(ConvBlock(width) for _ in range(config.blocks)),
                )
            )
        pairs = list(pairwise(widths))
        self.laterals = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)

    def forward(self, condition: Tensor) -> list[Tensor]:
        """Return the feature pyramid of a condition.

        Args:
            condition: Condition in [-1, 1], shape ``(b, k, h, w)``; ``h`` and ``w`` are multiples
                of 4.

        Returns:
            One map per width, finest first; at the defaults shapes ``(b, 32, h / 4, w / 4)`` to
            ``(b, 128, h / 32, w / 32)``, sides rounded up.

        Raises:
            ValueError: If the channels are wrong or a side is no multiple of 4.
        """
        check_condition(condition, self.config.in_channels)
        x = condition
        if self.config.transmitter_features:
            x = torch.cat([x, transmitter_coordinates(x[:, TRANSMITTER_CHANNEL])], dim=1)
        x = self.stem(x)
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        for i in reversed(range(len(self.laterals))):
            context = self.laterals[i](maps[i + 1])
            size = maps[i].shape[-2:]
            maps[i] = maps[i] + functional.interpolate(context, size=size, mode="bilinear")
        return maps


class ConvBlock(nn.Module):
    """Norm, SiLU and convolution, twice, plus a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the residual."""
        residual = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(residual)))


def transmitter_coordinates(transmitter_map: Tensor) -> Tensor:
    """Return where each cell lies as seen from the transmitter.

    Args:
        transmitter_map: Map whose brightest cell is the transmitter (the first one if several
            are equally bright), shape ``(b, h, w)``.

    Returns:
        Shape ``(b, 3, h, w)``: ``log(1 + d) / log(1 + diagonal)`` with ``d`` the distance [cells],
        which runs from 0 to 1 at most; then the offset in columns and the offset in rows, cell
        minus transmitter, divided by the longer side of the map.
    """
    height, width = transmitter_map.shape[-2:]
    cell = transmitter_map.flatten(1).argmax(1)[:, None, None]
    rows = torch.arange(height, device=transmitter_map.device)[:, None]
    columns = torch.arange(width, device=transmitter_map.device)[None, :]
    d_row, d_column = torch.broadcast_tensors(rows - cell // width, columns - cell % width)
    remoteness = torch.log1p(torch.hypot(d_row.float(), d_column.float()))
    remoteness = remoteness / log1p(hypot(height, width))
    side = max(height, width)
    coordinates = torch.stack([remoteness, d_column / side, d_row / side], dim=1)
    return coordinates.to(transmitter_map.dtype)
