"""Looks at what an autoencoder makes of maps, and at compression that learns nothing.

Chapter: ``notebooks/vae``.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from radiodiff.models.autoencoder import AutoencoderKL, DiagonalGaussian

__all__ = ["Compression", "block_averages", "channel_correlations", "compress"]


class Compression(NamedTuple):
    """Radio maps on their way through an autoencoder; made by `compress`, on the CPU."""

    posterior: DiagonalGaussian
    """What the encoder gives."""
    latents: Tensor
    """One draw from the posterior of each map, shape ``(n, c, h / 4, w / 4)`` at default size."""
    from_mean: Tensor
    """Decoded means of the posterior in [-1, 1], shape ``(n, 1, h, w)``."""
    from_draw: Tensor
    """Decoded draws in [-1, 1], shape ``(n, 1, h, w)``."""


@torch.no_grad()
def compress(
    autoencoder: AutoencoderKL,
    radio_maps: Tensor,
    *,
    generator: torch.Generator,
    batch_size: int = 12,
) -> Compression:
    """Encode maps, draw latents, and decode means and draws.

    Args:
        autoencoder: A trained first stage.
        radio_maps: In [-1, 1], shape ``(n, 1, h, w)``.
        generator: Source of the draws, on the CPU.
        batch_size: Maps at a time.
    """
    device = next(autoencoder.parameters()).device
    parts = []
    for part in radio_maps.split(batch_size):
        posterior = autoencoder.encode(part.to(device))
        noise = torch.randn(posterior.mean.shape, generator=generator).to(device)
        drawn = posterior.sample(noise=noise)
        decoded = [autoencoder.decode(z).clamp(-1, 1) for z in (posterior.mode(), drawn)]
        found = (posterior.mean, posterior.log_variance, drawn, *decoded)
        parts.append([tensor.cpu() for tensor in found])
    mean, log_variance, *rest = (torch.cat(part) for part in zip(*parts, strict=True))
    return Compression(DiagonalGaussian(mean, log_variance), *rest)


def block_averages(maps: Tensor, block: int, *, weight: Tensor | None = None) -> Tensor:
    """Return maps after averaging over blocks and interpolating between the averages.

    Args:
        maps: Any values, shape ``(b, c, h, w)``.
        block: Side of a block [cells], a divisor of both sides.
        weight: How much each cell counts, on the way back too, shape ``(b, c, h, w)``; all alike
            if ``None``.

    Returns:
        Maps of which a number for each block is left, shape ``(b, c, h, w)``.

    Raises:
        ValueError: If the blocks do not fill the maps.
    """
    if block < 1 or maps.shape[-2] % block or maps.shape[-1] % block:
        raise ValueError(
            f"expected blocks that fill maps of {tuple(maps.shape[-2:])} cells, got side {block}"
        )
    back = {"scale_factor": block, "mode": "bilinear"}
    if weight is None:
        return functional.interpolate(functional.avg_pool2d(maps, block), **back)
    value = functional.interpolate(functional.avg_pool2d(maps * weight, block), **back)
    share = functional.interpolate(functional.avg_pool2d(weight, block), **back)
    return value / share.clamp_min(1e-6)


def channel_correlations(latents: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return how each channel of latents goes with what is known of their blocks.

    Args:
        latents: Shape ``(n, c, h, w)``.
        fields: Name to a value for each cell of the maps, averaged over the block that a cell of
            the latent stands for, shape ``(n, H, W)``, where ``h`` divides ``H``.

    Returns:
        Name to the correlation with each channel, and under ``next cell`` that of each channel with
        its right neighbour, shape ``(c,)``.
    """
    channels = latents.unbind(1)
    block = next(iter(fields.values())).shape[-2] // latents.shape[-2]
    found = {}
    for name, field in fields.items():
        averages = functional.avg_pool2d(field.float()[:, None], block)[:, 0]
        found[name] = torch.stack([_correlation(channel, averages) for channel in channels])
    neighbours = [_correlation(channel[..., :-1], channel[..., 1:]) for channel in channels]
    return found | {"next cell": torch.stack(neighbours)}


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return the correlation of two sets of values of one shape, a scalar."""
    return torch.stack([one.flatten(), other.flatten()]).corrcoef()[0, 1]
