"""Layers of the conditional U-Net: time, standardised convolutions, a filter of frequencies.

Sources: Wang et al., *RadioDiff*, IEEE TCCN 2025, after Ye et al., *DiffusionEdge*,
arXiv:2401.02032.
"""

from math import pi
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "NORM_GROUPS",
    "FourierFilter",
    "ResidualBlock",
    "TimeEmbedding",
    "WeightStandardizedConv2d",
    "resample_spectrum",
]

#: Groups of a normalisation.
NORM_GROUPS = 8


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
        t = at_least_single(t).clamp_min(torch.finfo(torch.float32).tiny)
        angle = (t.log() / 4)[:, None] * self.frequencies.to(t.dtype)[None, :] * (2 * pi)
        code = torch.cat([angle.sin(), angle.cos()], dim=1).to(self.linear1.weight.dtype)
        return self.linear2(functional.gelu(self.linear1(code)))


class WeightStandardizedConv2d(nn.Conv2d):
    """Convolution whose filters are standardised before use.

    Source: Qiao et al., *Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization*, arXiv:1903.10520.

    Where nothing trains (eval mode, a frozen weight, no gradients) the standardised filters are
    kept until the weight changes. PyTorch does not see a change in place of ``weight.data``.
    """

    #: The weight that was standardised, its version then, and the filters; in no state dict.
    _kept: tuple[Tensor, int, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``x`` with the standardised filters."""
        return self._conv_forward(x, self._filters(), self.bias)

    def _filters(self) -> Tensor:
        """Return the standardised filters: those that were kept, if they are this weight's."""
        weight = self.weight
        # A fused optimizer raises no version: a weight that can be trained is none to keep.
        if self.training or torch.is_grad_enabled() or weight.requires_grad:
            self._kept = None
            return self._standardised()
        if (
            torch.compiler.is_compiling()
            or weight.is_inference()
            or type(weight) is not nn.Parameter
        ):
            return self._standardised()
        # What was kept holds on to its memory, so no other weight can lie there.
        if self._kept is not None:
            seen, version, filters = self._kept
            if seen.data_ptr() == weight.data_ptr() and version == weight._version:
                return filters
        self._kept = weight.detach(), weight._version, self._standardised()
        return self._kept[2]

    def _standardised(self) -> Tensor:
        # As upstream for float32, which takes an epsilon of 1e-3 for all other types (D9).
        filters = self.weight.flatten(1)
        filters = functional.layer_norm(filters, filters.shape[1:], eps=1e-5)
        return filters.view_as(self.weight)


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
        weight = resample_spectrum(at_least_single(self.complex_weight), self.size, size)
        spectrum = torch.fft.rfft2(at_least_single(self.conv(self.norm(x))), norm="ortho")
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


def at_least_single(x: Tensor) -> Tensor:
    """Return numbers in single precision, or as they are if they have more."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
