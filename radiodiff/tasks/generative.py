"""The second stage: learn a process on maps or latents, given the scene."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from radiodiff.checkpoint import load_tensors, read_tensors
from radiodiff.config import Config
from radiodiff.data import RadioMapSample
from radiodiff.files import project_path
from radiodiff.models import (
    BACKBONE_CHANNELS,
    AutoencoderKL,
    UNet,
    backbone_state_dict,
    make_network,
)
from radiodiff.predictors.pipeline import RadioDiffPipeline, conditioned
from radiodiff.predictors.space import Space
from radiodiff.tasks.base import StepLoss

__all__ = ["GenerativeTask", "load_encoder_weights", "measure_scale"]


class GenerativeTask(nn.Module):
    """Second stage: learn a process on maps, or on latents of the frozen autoencoder.

    One task serves every process: it makes ``x_0`` of a batch, and the process does the rest.

    Args:
        config: Data, network, process and sampler sections are used.
        autoencoder: Trained first stage, used as it is; ``None`` for a process on maps.
        scale: Factor that brings latents, maps or residuals to unit variance [1].
        mean: The run whose maps the process adds to, if it is a run's.
    """

    name = "diffusion"
    passes = ("diffusion",)

    def __init__(
        self,
        config: Config,
        autoencoder: AutoencoderKL | None,
        scale: float,
        mean: RadioDiffPipeline | None = None,
    ) -> None:
        super().__init__()
        self.unet = make_network(config.network)  # this is its name in checkpoints
        if config.encoder_weights_file:
            load_encoder_weights(self.unet, project_path(config.encoder_weights_file))
        # Not as attributes of a module: what is not trained is in no checkpoint.
        self.frozen: tuple[nn.Module, ...] = ()
        if autoencoder is not None:
            self.frozen = (autoencoder.eval().requires_grad_(False),)
        if mean is not None:
            self.frozen += tuple(
                part.requires_grad_(False)
                for part in (mean.space.autoencoder, mean.network)
                if part is not None
            )
        self._pipeline = (RadioDiffPipeline(autoencoder, self.unet, scale, config, mean=mean),)
        self.unet.train()

    def active_passes(self, step: int) -> tuple[str, ...]:
        """Return the one pass."""
        return self.passes

    @property
    def averaged(self) -> nn.Module:
        """The network of the process with its condition encoder."""
        return self.unet

    def parameters_of(self, pass_name: str) -> list[nn.Parameter]:
        """Return the trainable parameters of the network."""
        return [p for p in self.unet.parameters() if p.requires_grad]

    def forward(
        self, batch: RadioMapSample, pass_name: str, step: int, generator: torch.Generator
    ) -> StepLoss:
        """Return the loss of the process on a batch.

        Args:
            batch: Collated samples, maps of shape ``(b, 1, h, w)``.
            pass_name: Always ``diffusion``.
            step: Not used.
            generator: Source of posterior noise, times and noise of the process.

        Returns:
            The mean loss over maps.
        """
        (pipeline,) = self._pipeline
        x_0 = pipeline.space.x_0(batch.radio_map, batch.condition, generator, latent=batch.latent)
        network = conditioned(self.unet, pipeline.network_input(batch.condition))
        return StepLoss(pipeline.process.loss(network, x_0, generator=generator).mean(), {})

    @torch.no_grad()
    def sample(
        self, network: nn.Module, batch: RadioMapSample, generator: torch.Generator
    ) -> Tensor:
        """Return one sampled radio map for each condition, shape ``(b, 1, h, w)``."""
        (own,) = self._pipeline
        space = own.space
        pipeline = RadioDiffPipeline(
            space.autoencoder, network, space.scale, own.config, mean=space.mean
        )
        return pipeline.radio_maps(batch.condition, generator=generator)


def load_encoder_weights(network: UNet, path: Path) -> None:
    """Load published weights, under torchvision's names, into a condition encoder.

    Its classifier may be missing, or there without a place for it: it is never run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or does not fit.
    """
    state = read_tensors(path)
    if network.config.encoder in BACKBONE_CHANNELS:
        state = backbone_state_dict(state, network.config.encoder)
    own = network.condition_encoder.state_dict()
    tail = ("norm.", "head.")
    state = {k: v for k, v in state.items() if k in own or not k.startswith(tail)}
    state = {k: v for k, v in own.items() if k.startswith(tail)} | state
    load_tensors(network.condition_encoder, state, path, what="condition encoder")


def measure_scale(
    space: Space, batches: Iterable[RadioMapSample], generator: torch.Generator
) -> float:
    """Return 1 / standard deviation of ``x_0`` over some training batches [1].

    Args:
        space: Of scale 1.
        batches: Collated samples.
        generator: Source of the posterior's noise.
    """
    values = [space.x_0(batch.radio_map, batch.condition, generator) for batch in batches]
    return 1 / float(torch.cat(values).std())
