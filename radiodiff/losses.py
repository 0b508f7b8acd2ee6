"""Losses of the autoencoder: reconstruction, KL, perceptual and patch-adversarial terms.

Sources: R. Rombach et al., *Latent Diffusion Models*, arXiv:2112.10752; P. Esser et al., *Taming
Transformers*, arXiv:2012.09841 (adaptive weight); R. Zhang et al., *The Unreasonable Effectiveness
of Deep Features as a Perceptual Metric*, arXiv:1801.03924.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.files import shorten
from radiodiff.models import VGG16Features
from radiodiff.models.blocks import at_least_single
from radiodiff.ranges import check_numbers
from radiodiff.settings import ConfigError

__all__ = [
    "AutoencoderLossConfig",
    "PerceptualLoss",
    "adaptive_weight",
    "discriminator_loss",
    "generator_loss",
    "reconstruction_error",
]

#: Channels of the five feature maps that the perceptual loss compares.
LPIPS_CHANNELS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class AutoencoderLossConfig:
    """Weights of the autoencoder's loss terms."""

    kl_weight: float = 1e-6
    """Weight of the KL term."""
    perceptual_weight: float = 1.0
    """Weight of the perceptual term; above 0 it needs ``perceptual_weights_file``."""
    perceptual_weights_file: str | None = None
    """VGG16 and channel weights, see `radiodiff.losses.PerceptualLoss`; there is no default."""
    discriminator_weight: float = 0.5
    """Weight of the adversarial term, times the adaptive balance; 0 trains no discriminator."""
    discriminator_start: int = 50001
    """Step from which the adversarial term counts."""
    train_idle_discriminator: bool = False
    """Run the discriminator's optimizer before that step too, on a loss of zero: its weights
    decay and the statistics of its batch norms move (V5)."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If a number lies outside its range, or the perceptual term lacks its file.
        """
        weights = ("kl_weight", "perceptual_weight", "discriminator_weight")
        check_numbers(self, *weights, "discriminator_start", least=0)
        if self.perceptual_weight > 0 and not self.perceptual_weights_file:
            raise ConfigError(
                "perceptual_weight is above 0 but no VGG16 weights are given: set "
                "perceptual_weights_file to a file, or perceptual_weight to 0"
            )


def reconstruction_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Sum over cells of absolute plus squared error of each map (eq. ``reconstruction``).

    Args:
        prediction: Reconstructed maps, shape ``(b, c, h, w)``.
        target: Maps in [-1, 1], shape ``(b, c, h, w)``.

    Returns:
        One value per map, shape ``(b,)``.

    Raises:
        ValueError: If the shapes differ.
    """
    # As upstream, but for this: there, one channel is compared with each of several.
    if prediction.shape != target.shape:
        raise ValueError(
            f"expected reconstructions of shape {tuple(target.shape)}, got "
            f"{tuple(prediction.shape)}: an autoencoder with autoencoder.out_channels of its own "
            "can be used, not trained"
        )
    error = (prediction - target).flatten(1)
    return (error.abs() + error.square()).sum(1)


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return ``-mean D(reconstruction)``, what the autoencoder wants small (eq. ``hinge``)."""
    return -fake_logits.mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of the discriminator (eq. ``hinge``): 0 once both sides clear the margin 1."""
    return (functional.relu(1 - real_logits).mean() + functional.relu(1 + fake_logits).mean()) / 2


def adaptive_weight(likelihood: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Balance the adversarial term by gradients at the decoder's last layer (eq. ``adaptive``).

    Args:
        likelihood: Reconstruction loss, a scalar with a graph to ``last_layer``.
        adversarial: Generator loss, a scalar with a graph to ``last_layer``.
        last_layer: Weight of the decoder's last convolution.

    Returns:
        ``clamp(|grad likelihood| / (|grad adversarial| + 1e-4), 0, 1e4)``, a detached scalar.
    """
    (first,) = torch.autograd.grad(likelihood, last_layer, retain_graph=True)
    (second,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    return (first.norm() / (second.norm() + 1e-4)).clamp(0, 1e4).detach()


class PerceptualLoss(nn.Module):
    """Distance of VGG16 features, weighted per channel (LPIPS); frozen, always in eval mode.

    Args:
        weights: A safetensors or ``.pt`` file with VGG16 under ``features.*`` (torchvision's
            names) and the five channel weights under ``lin{0..4}.model.1.weight`` (the names of
            the LPIPS "vgg" file), merged into one.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a tensor is missing or has another shape.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        weights = Path(weights)
        if not weights.is_file():
            raise FileNotFoundError(
                f"no VGG16 weights at {weights}: put the file there, or set "
                "autoencoder_loss.perceptual_weight: 0 to train without the perceptual term"
            )
        try:
            if weights.suffix == ".safetensors":
                state = load_file(weights)
            else:
                state = torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as error:  # what is no file of tensors fails in any way
            raise ValueError(f"{weights} is not a file of tensors: {shorten(error)}") from error
        if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
            raise ValueError(f"{weights} must hold tensors by their names")
        self.network = VGG16Features()
        vgg = self.network.state_dict()
        lin_names = [f"lin{k}.model.1.weight" for k in range(len(LPIPS_CHANNELS))]
        missing = sorted((set(vgg) | set(lin_names)) - set(state))
        if missing:
            raise ValueError(f"{weights} lacks {len(missing)} tensors, first: {missing[:3]}")
        try:
            self.network.load_state_dict({name: state[name] for name in vgg})
        except RuntimeError as error:
            raise ValueError(f"{weights} does not hold VGG16: {shorten(error, 200)}") from error
        for k, (name, channels) in enumerate(zip(lin_names, LPIPS_CHANNELS, strict=True)):
            if state[name].numel() != channels:
                raise ValueError(f"{weights}: {name} must hold {channels} values")
            self.register_buffer(f"lin{k}", state[name].reshape(1, channels, 1, 1).float())
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Stay in eval mode: a metric has no training mode (audit V4)."""
        return super().train(False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one distance per map, shape ``(b,)``, for maps of shape ``(b, 1, h, w)``."""
        total = torch.zeros(len(target), device=target.device, dtype=target.dtype)
        pairs = zip(self.network(prediction), self.network(target), strict=True)
        for k, (p, g) in enumerate(pairs):
            p, g = at_least_single(p), at_least_single(g)
            p = p / (p.norm(dim=1, keepdim=True) + 1e-10)
            g = g / (g.norm(dim=1, keepdim=True) + 1e-10)
            total = total + (getattr(self, f"lin{k}") * (p - g).square()).sum(1).mean((1, 2))
        return total
