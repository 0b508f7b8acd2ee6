"""What one training step means: the two stages as modules whose ``forward`` is a loss.

The trainer knows only `Task`. A task is one ``nn.Module``, so that a distributed wrapper sees
every forward pass and synchronises its gradients (audit T2). Networks that are only used, not
trained, stay outside the module: they are in no checkpoint and in no average (audit V8, T10).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from radiodiff.checkpoint import read_tensors
from radiodiff.config import Config, project_path
from radiodiff.data import RadioMapSample, network_condition
from radiodiff.losses import (
    PerceptualLoss,
    adaptive_weight,
    discriminator_loss,
    generator_loss,
    reconstruction_error,
)
from radiodiff.models import (
    BACKBONE_CHANNELS,
    AutoencoderKL,
    PatchDiscriminator,
    UNet,
    backbone_state_dict,
)
from radiodiff.pipeline import RadioDiffPipeline
from radiodiff.processes import scale_latents

__all__ = ["AutoencoderTask", "DiffusionTask", "StepLoss", "Task"]


class StepLoss(NamedTuple):
    """Loss of one micro-batch and the terms worth logging."""

    loss: Tensor
    """Scalar to differentiate."""
    terms: dict[str, Tensor]
    """Detached scalars, logged under their names."""


class Task(Protocol):
    """What the trainer needs to know about a stage; implementations are ``nn.Module``."""

    name: str
    """Folder of checkpoints and prefix of logged scalars."""
    passes: tuple[str, ...]
    """Names of the optimizers, in the order in which one step runs them."""

    def active_passes(self, step: int) -> tuple[str, ...]:
        """Return the passes that run at a step (0, 1, ...)."""

    frozen: tuple[nn.Module, ...]
    """Networks that are used but not trained; the trainer moves them to its device."""
    averaged: nn.Module
    """The network whose moving average is sampled from and exported."""

    def parameters_of(self, pass_name: str) -> list[nn.Parameter]:
        """Return what a pass optimises."""

    def __call__(
        self, batch: RadioMapSample, pass_name: str, step: int, generator: torch.Generator
    ) -> StepLoss:
        """Return the loss of a pass on a batch at a step (0, 1, ...)."""

    def sample(
        self, network: nn.Module, batch: RadioMapSample, generator: torch.Generator
    ) -> Tensor:
        """Return what ``network`` makes of a batch, in [-1, 1], shape ``(b, 1, h, w)``."""


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


class DiffusionTask(nn.Module):
    """Second stage: denoise latents of the frozen autoencoder, given the city.

    Args:
        config: Network, diffusion and evaluation sections are used.
        autoencoder: Trained first stage, used as it is.
        latent_scale: Factor that brings its latents to unit variance [1].
    """

    name = "diffusion"
    passes = ("diffusion",)

    def __init__(self, config: Config, autoencoder: AutoencoderKL, latent_scale: float) -> None:
        super().__init__()
        self.config = config
        self.latent_scale = latent_scale
        self.process = config.diffusion
        self.unet = UNet(config.unet)
        if config.encoder_weights_file:
            load_encoder_weights(self.unet, project_path(config.encoder_weights_file))
        self.frozen = (autoencoder.eval().requires_grad_(False),)

    def active_passes(self, step: int) -> tuple[str, ...]:
        """Return the one pass."""
        return self.passes

    @property
    def averaged(self) -> nn.Module:
        """The denoising network with its condition encoder."""
        return self.unet

    def parameters_of(self, pass_name: str) -> list[nn.Parameter]:
        """Return the trainable parameters of the network."""
        return [p for p in self.unet.parameters() if p.requires_grad]

    def forward(
        self, batch: RadioMapSample, pass_name: str, step: int, generator: torch.Generator
    ) -> StepLoss:
        """Return the denoising loss on a batch (eq. ``regression``).

        Args:
            batch: Collated samples, maps of shape ``(b, 1, h, w)``.
            pass_name: Always ``diffusion``.
            step: Not used.
            generator: Source of posterior noise, times and diffusion noise.

        Returns:
            The mean loss over maps.
        """
        (autoencoder,) = self.frozen
        with torch.no_grad():
            latents = autoencoder.encode(batch.radio_map).sample(generator)
        scaling = self.config.diffusion.latent_scaling
        x_0 = scale_latents(latents, self.latent_scale, scaling)
        condition = network_condition(
            batch.condition,
            self.config.unet.condition_inputs,
            byte_channels=self.config.data.byte_channels,
        )
        features = self.unet.encode_condition(condition)
        losses = self.process.loss(
            lambda x_t, t: self.unet(x_t, t, features), x_0, generator=generator
        )
        return StepLoss(losses.mean(), {})

    @torch.no_grad()
    def sample(
        self, network: nn.Module, batch: RadioMapSample, generator: torch.Generator
    ) -> Tensor:
        """Return one sampled radio map for each condition, shape ``(b, 1, h, w)``."""
        pipeline = RadioDiffPipeline(self.frozen[0], network, self.latent_scale, self.config)
        return pipeline.radio_maps(
            batch.condition, steps=self.config.evaluate.steps, generator=generator
        )


def load_encoder_weights(unet: UNet, path: Path) -> None:
    """Load published weights, under torchvision's names, into a condition encoder.

    Its classifier may be missing, or there without a place for it: it is never run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or does not fit.
    """
    state = read_tensors(path)
    if unet.config.encoder in BACKBONE_CHANNELS:
        state = backbone_state_dict(state, unet.config.encoder)
    own = unet.condition_encoder.state_dict()
    tail = ("norm.", "head.")
    state = {k: v for k, v in state.items() if k in own or not k.startswith(tail)}
    state = {k: v for k, v in own.items() if k.startswith(tail)} | state
    try:
        unet.condition_encoder.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the condition encoder: {error}") from error


@torch.no_grad()
def measure_latent_scale(
    autoencoder: AutoencoderKL, batches: Iterable[RadioMapSample], generator: torch.Generator
) -> float:
    """Return 1 / standard deviation of sampled latents over some training batches [1]."""
    latents = [autoencoder.encode(batch.radio_map).sample(generator) for batch in batches]
    return 1 / float(torch.cat(latents).std())
