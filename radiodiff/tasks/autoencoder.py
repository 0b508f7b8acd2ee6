"""The first stage: reconstruct radio maps through a small latent."""

import torch
from torch import Tensor, nn

from radiodiff.config import Config
from radiodiff.data import RadioMapSample
from radiodiff.files import project_path
from radiodiff.losses import (
    PerceptualLoss,
    adaptive_weight,
    discriminator_loss,
    generator_loss,
    reconstruction_error,
)
from radiodiff.models import AutoencoderKL, PatchDiscriminator
from radiodiff.tasks.base import StepLoss

__all__ = ["AutoencoderTask"]


class AutoencoderTask(nn.Module):
    """First stage: reconstruct radio maps through a small latent.

    The generator pass minimises reconstruction (absolute plus squared error, summed over cells)
    plus the perceptual, KL and adversarial terms; the discriminator pass, on fresh posterior
    noise, its hinge loss. Source: the public RadioDiff code and its ancestors, see
    `radiodiff.losses`.

    Args:
        config: Network and loss sections are used.

    Raises:
        FileNotFoundError: If the perceptual term is on and its weights are missing.
    """

    name = "autoencoder"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.loss = config.autoencoder_loss
        self.autoencoder = AutoencoderKL(config.autoencoder)
        self.passes: tuple[str, ...] = ("autoencoder",)
        if self.loss.discriminator_weight > 0:
            self.discriminator = PatchDiscriminator(config.autoencoder.in_channels)
            self.passes = ("autoencoder", "discriminator")
        self.frozen: tuple[nn.Module, ...] = ()
        if self.loss.perceptual_weight > 0:
            weights = project_path(str(self.loss.perceptual_weights_file))
            self.frozen = (PerceptualLoss(weights),)

    @property
    def averaged(self) -> nn.Module:
        """The autoencoder, without the discriminator."""
        return self.autoencoder

    def active_passes(self, step: int) -> tuple[str, ...]:
        """Return the autoencoder's pass alone until the adversarial term counts."""
        if self.loss.train_idle_discriminator or self.counts_adversarial(step):
            return self.passes
        return self.passes[:1]

    def counts_adversarial(self, step: int) -> bool:
        """Return whether there is an adversarial term and it counts at a step (0, 1, ...)."""
        return len(self.passes) == 2 and step >= self.loss.discriminator_start

    def parameters_of(self, pass_name: str) -> list[nn.Parameter]:
        """Return the parameters of the autoencoder or of the discriminator."""
        return list(getattr(self, pass_name).parameters())

    def forward(
        self, batch: RadioMapSample, pass_name: str, step: int, generator: torch.Generator
    ) -> StepLoss:
        """Return the loss of one pass.

        Args:
            batch: Collated samples; only ``radio_map``, shape ``(b, 1, h, w)``, is used.
            pass_name: ``autoencoder`` or ``discriminator``.
            step: Optimizer step, which decides whether the adversarial term counts yet.
            generator: Source of the posterior noise.

        Returns:
            The loss (a mean over maps) and its terms.
        """
        target = batch.radio_map
        with torch.set_grad_enabled(pass_name == "autoencoder"):
            posterior = self.autoencoder.encode(target)
            reconstruction = self.autoencoder.decode(posterior.sample(generator))
        if pass_name == "discriminator":
            real, fake = self.discriminator(target), self.discriminator(reconstruction)
            loss = discriminator_loss(real, fake)
            return StepLoss(loss if self.counts_adversarial(step) else 0 * loss, {})
        error = reconstruction_error(reconstruction, target)
        terms = {"l1_l2": (error / target[0].numel()).mean()}
        if self.frozen:
            distance = self.frozen[0](reconstruction, target)
            error = error + self.loss.perceptual_weight * target[0].numel() * distance
            terms["perceptual"] = distance.mean()
        likelihood = error.mean()
        kl = posterior.kl().mean()
        loss = likelihood + self.loss.kl_weight * kl
        terms["kl"] = kl
        if self.counts_adversarial(step):
            adversarial = generator_loss(self.discriminator(reconstruction))
            balance = adaptive_weight(likelihood, adversarial, self.autoencoder.last_layer)
            loss = loss + self.loss.discriminator_weight * balance * adversarial
            terms |= {"adversarial": adversarial, "adaptive_weight": balance}
        return StepLoss(loss, {name: term.detach() for name, term in terms.items()})

    @torch.no_grad()
    def sample(
        self, network: nn.Module, batch: RadioMapSample, generator: torch.Generator
    ) -> Tensor:
        """Return reconstructions from the posterior's mean, shape ``(b, 1, h, w)``."""
        return network.decode(network.encode(batch.radio_map).mode()).clamp(-1, 1)
