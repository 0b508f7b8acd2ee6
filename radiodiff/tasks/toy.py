"""An autoencoder of a single number, small enough to see what the weight of the KL term sets.

Clean values are standard normal, the encoder is ``mu = m x`` with a learned noise, the decoder
``d z``, the error squared. Chapter: ``notebooks/vae``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ScalarLatents", "scalar_optimum", "train_scalar_autoencoders"]

#: Values of one training step, and its learning rate.
_BATCH, _LEARNING_RATE = 64, 1e-2


class ScalarLatents(NamedTuple):
    """Latents of autoencoders of one number."""

    noise: Tensor
    """Standard deviation of the posterior [1]."""
    deviation: Tensor
    """Standard deviation of the latents [1], of the same shape."""


def scalar_optimum(weights: Tensor) -> ScalarLatents:
    """Return the latents with the least loss, for weights of the KL term up to 2.

    Their variance is 1 whatever the weight; the weight sets the noise alone.
    """
    return ScalarLatents((weights / 2).sqrt(), torch.ones_like(weights))


def train_scalar_autoencoders(
    weights: Tensor, starts: Sequence[float], *, steps: int, generator: torch.Generator
) -> ScalarLatents:
    """Train an autoencoder of one number for each weight of the KL term and each start.

    Args:
        weights: Weights of the KL term [1], shape ``(n,)``.
        starts: First factors of the encoder [1], ``k`` of them; the decoder begins at 1 over it.
        steps: Training steps; all autoencoders see the same values.
        generator: Source of the values and of the noise.

    Returns:
        What training reached, shape ``(k, n)``.
    """
    encoder = torch.tensor(starts)[:, None].repeat(1, len(weights))
    decoder, log_variance = 1 / encoder, torch.full_like(encoder, -2.0)
    parameters = [p.requires_grad_() for p in (encoder, decoder, log_variance)]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    for _ in range(steps):
        x = torch.randn(_BATCH, 1, 1, generator=generator)
        sigma = (log_variance / 2).exp()
        z = encoder * x + sigma * torch.randn(_BATCH, *encoder.shape, generator=generator)
        kl = ((encoder * x) ** 2 + sigma**2 - 1 - log_variance) / 2
        optimizer.zero_grad()
        ((x - decoder * z) ** 2 + weights * kl).mean(0).sum().backward()
        optimizer.step()
    noise = (log_variance / 2).exp().detach()
    return ScalarLatents(noise, (encoder.detach() ** 2 + noise**2).sqrt())
