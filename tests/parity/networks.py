"""Networks that hold the public code's weights, run with given draws, and watched."""

import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from radiodiff.config import Config
from radiodiff.data import RadioMapSample
from radiodiff.losses import AutoencoderLossConfig, adaptive_weight, generator_loss
from radiodiff.models import (
    AutoencoderConfig,
    DiagonalGaussian,
    FourierFilter,
    UNet,
    UNetConfig,
)
from radiodiff.processes import ConstantSDE, constant_sde
from radiodiff.reference import (
    Names,
    unet_names,
)
from radiodiff.tasks import AutoencoderTask


@contextmanager
def recording(network: UNet, paths: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Fill a table with what the modules return that the public code calls so."""
    names, keys = unet_names(network.config), list(network.state_dict())
    seen: dict[str, Tensor] = {}

    def watch(path: str, module: nn.Module) -> RemovableHandle:
        # Their filter returns the increment, ours adds it.
        is_increment = isinstance(module, FourierFilter)
        return module.register_forward_hook(
            lambda _, inputs, output: seen.update(
                {path: output - inputs[0] if is_increment else output}
            )
        )

    own = {path: our_module(path, names, keys) for path in paths}
    handles = [watch(path, network.get_submodule(o)) for path, o in own.items() if o is not None]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def our_module(path: str, names: Names, keys: list[str]) -> str | None:
    """Return which of our modules owns the weights below a path of the public code."""
    below = [
        key.rpartition(".")[0].replace(".", "/")
        for key in keys
        if (names.theirs(key) or "").startswith(path + ".")
    ]
    return posixpath.commonpath(below).replace("/", ".") if below else None


@contextmanager
def perceptual_file(weights: dict[str, Tensor]) -> Iterator[Path]:
    """Write what `PerceptualLoss` reads, from the weights of a loss of the public code.

    Its key ``net.slice3.12.weight`` is torchvision's ``features.12.weight``.
    """
    state = {}
    for key, value in weights.items():
        part = key.removeprefix("perceptual_loss.")
        if part.startswith("net.slice"):
            state["features." + part.split(".", 2)[2]] = value
        elif part.startswith("lin"):
            state[part] = value.abs()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vgg.safetensors"
        save_file(state, file)
        yield file


def autoencoder_task(
    sizes: AutoencoderConfig,
    loss: AutoencoderLossConfig,
    first_stage: dict[str, Tensor],
    weights: dict[str, Tensor],
    kind: torch.dtype = torch.float32,
) -> AutoencoderTask:
    """Return the first stage in training mode, with the discriminator of the public code."""
    network = UNetConfig(latent_channels=sizes.latent_channels)
    config = parity_config(autoencoder=sizes, autoencoder_loss=loss, network=network)
    task = AutoencoderTask(config).train()
    task.autoencoder.load_state_dict(first_stage)
    prefix = "discriminator."
    task.discriminator.load_state_dict(
        {key.removeprefix(prefix): v for key, v in weights.items() if key.startswith(prefix)}
    )
    for network in (task, *task.frozen):
        network.to(kind)
    return task


def run_pass(
    task: AutoencoderTask, pass_name: str, step: int, radio_map: Tensor, noise: Tensor
) -> dict[str, Tensor]:
    """Return the loss of a pass and what the public code logs of it."""
    batch = RadioMapSample(radio_map, torch.ones(0), None, torch.ones(0), "")
    discriminator = deepcopy(task.discriminator)  # a pass moves its statistics
    with given_draws(noise):
        loss, terms = task(batch, pass_name, step, torch.Generator())
    fake = task.autoencoder(radio_map, noise=noise)[0]
    if pass_name == "discriminator":
        return {
            "loss": loss,
            "train/disc_loss": loss,
            "train/logits_real": discriminator(radio_map).mean(),
            "train/logits_fake": discriminator(fake).mean(),
        }
    counts = task.counts_adversarial(step)
    if not counts:  # the public code works these out all the same
        adversarial = generator_loss(discriminator(fake))
        # The KL term has no gradient at the last layer.
        balance = adaptive_weight(loss, adversarial, task.autoencoder.last_layer)
        terms = terms | {"adversarial": adversarial, "adaptive_weight": balance}
    reconstruction = terms["l1_l2"] + task.loss.perceptual_weight * terms.get("perceptual", 0.0)
    return {
        "loss": loss,
        "train/total_loss": loss,
        "train/logvar": torch.zeros(()),  # never trained, so we have none
        "train/kl_loss": terms["kl"],
        "train/nll_loss": reconstruction * radio_map[0].numel(),
        "train/rec_loss": reconstruction,
        "train/d_weight": task.loss.discriminator_weight * terms["adaptive_weight"],
        "train/disc_factor": torch.tensor(float(counts)),
        "train/g_loss": terms["adversarial"],
    }


@contextmanager
def given_draws(
    posterior: Tensor, uniform: Tensor | None = None, noise: Tensor | None = None
) -> Iterator[None]:
    """Have a training step take these numbers where it would draw."""
    sample_posterior = DiagonalGaussian.sample
    with (
        patch.object(
            DiagonalGaussian, "sample", lambda own, _: sample_posterior(own, noise=posterior)
        ),
        patch.object(ConstantSDE, "draw_times", lambda own, *_, **__: own.training_times(uniform)),
        patch.object(constant_sde, "standard_normal", lambda *_: noise),
    ):
        yield


def parity_config(**sections: object) -> Config:
    """Return a run's configuration with some sections set."""
    sections = {"autoencoder_loss": AutoencoderLossConfig(perceptual_weight=0.0)} | sections
    return Config(name="parity", **sections)


def with_weights(make: Callable[..., nn.Module], config: object, state: dict[str, Tensor]) -> Any:
    """Return a network in eval mode that holds these very tensors."""
    with torch.device("meta"):
        network = make(config).eval()
    network.load_state_dict(state, assign=True)
    return network
