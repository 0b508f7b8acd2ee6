"""Between an autoencoder's latents and the clean ``x_0`` of a process."""

from typing import Literal

from torch import Tensor

__all__ = ["Scaling", "scale_latents", "unscale_latents"]

#: How latents become ``x_0``: times a factor, or ``z / (1 + |z|)`` into (-1, 1).
Scaling = Literal["factor", "softsign"]

#: Largest absolute value that is mapped back from softsign.
SOFTSIGN_LIMIT = 0.987654321


def scale_latents(latents: Tensor, scale: float, scaling: Scaling = "factor") -> Tensor:
    """Return ``x_0`` of an autoencoder's latents (eq. ``latent-scaling``).

    Args:
        latents: Latents, shape ``(b, c, h, w)``.
        scale: The factor; not used by ``softsign``.
        scaling: Which of the two.
    """
    if scaling == "softsign":
        return latents / (1 + latents.abs())
    return scale * latents


def unscale_latents(x_0: Tensor, scale: float, scaling: Scaling = "factor") -> Tensor:
    """Undo `scale_latents`; ``softsign`` holds values within 0.987654321, as the public code."""
    if scaling == "softsign":
        x_0 = x_0.clamp(-SOFTSIGN_LIMIT, SOFTSIGN_LIMIT)
        return x_0 / (1 - x_0.abs())
    return x_0 / scale
