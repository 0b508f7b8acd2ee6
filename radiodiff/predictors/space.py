"""What a process runs on: radio maps or their latents, as they are or less a mean."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radiodiff import units
from radiodiff.conditions import pick_channels
from radiodiff.config import Config
from radiodiff.files import FileError, read_record, write_record
from radiodiff.models import AutoencoderKL, DiagonalGaussian
from radiodiff.processes import scale_latents, unscale_latents

__all__ = ["Space", "read_scale", "write_scale"]

_SCALE_FILE = "latents.json"


def read_scale(run_dir: Path) -> float:
    """Return the factor that brings a run's ``x_0`` to unit variance [1].

    Raises:
        FileNotFoundError: If its first stage has not finished.
        FileError: If the file holds no such factor.
    """
    path = run_dir / _SCALE_FILE
    scale = read_record(path, {"latent_scale": float})["latent_scale"]
    if scale <= 0:
        raise FileError(f"{path}: latent_scale must be above 0, got {scale}")
    return scale


def write_scale(run_dir: Path, scale: float) -> None:
    """Keep the factor in the run folder; with it the first stage is over for good.

    Raises:
        ValueError: If it is not a positive number, as that of maps that are all the same.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(
            f"the latent scale must be a positive number, got {scale}: do the training maps differ?"
        )
    write_record(run_dir / _SCALE_FILE, {"latent_scale": scale})


class Space:
    """The way from a radio map to the clean ``x_0`` of a process, and back.

    Args:
        config: Data, autoencoder and process sections are used.
        autoencoder: Trained first stage; ``None`` for a process on maps.
        scale: Factor that brings latents, maps or residuals to unit variance [1].
        mean: Pipeline of the run whose maps the process adds to, if it is a run's.
    """

    def __init__(
        self,
        config: Config,
        autoencoder: AutoencoderKL | None,
        scale: float,
        mean: Any = None,
    ) -> None:
        self.config, self.autoencoder, self.scale, self.mean = config, autoencoder, scale, mean

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of a condition: the network's, and those that the mean is made of."""
        given = self.config.given_channels  # in which a channel may come twice, as the dataset does
        further = self.mean.space.channels if self.mean is not None else ()
        return (*given, *(name for name in dict.fromkeys(further) if name not in given))

    def shape(self, count: int, sides: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the shape of ``x_0`` of so many maps of these sides."""
        if self.autoencoder is None:
            return (count, 1, *sides)
        h, w = (side // self.autoencoder.downsampling for side in sides)
        return count, self.config.autoencoder.latent_channels, h, w

    @torch.no_grad()
    def mean_maps(self, condition: Tensor) -> Tensor | None:
        """Return the maps that the process adds to, in [-1, 1], shape ``(b, 1, h, w)``, if any.

        Args:
            condition: `channels` in [0, 1], shape ``(b, k, h, w)``.
        """
        name = self.config.process.residual_to
        if name is None:
            return None
        if self.mean is None:
            return units.gray_to_model(pick_channels(condition, self.channels, (name,)))
        return self.mean.radio_maps(
            pick_channels(condition, self.channels, self.mean.space.channels)
        )

    @torch.no_grad()
    def x_0(
        self,
        radio_maps: Tensor,
        condition: Tensor,
        generator: torch.Generator | None = None,
        *,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Return maps or sampled latents, less the mean, at unit variance.

        Args:
            radio_maps: In [-1, 1], shape ``(b, 1, h, w)``.
            condition: `channels` in [0, 1], shape ``(b, k, h, w)``.
            generator: Source of the posterior's noise.
            latent: Means and logarithmic variances of the maps' latents, shape
                ``(b, 2, c, h, w)``, if they are kept: the maps are not encoded then.
        """
        mean = self.mean_maps(condition)
        if self.autoencoder is None:
            values = radio_maps if mean is None else radio_maps - mean
        else:
            if latent is not None and latent.numel():
                posterior = DiagonalGaussian(*latent.unbind(1))
            else:
                posterior = self.autoencoder.encode(radio_maps)
            values = posterior.sample(generator)
            if mean is not None:
                values = values - self.autoencoder.encode(mean).mode()
        return scale_latents(values, self.scale, self.config.process.scaling)

    @torch.no_grad()
    def radio_maps(self, x_0: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the radio maps of ``x_0``, held in [-1, 1], shape ``(b, 1, h, w)``.

        Args:
            x_0: Shape as in `shape`.
            condition: `channels` in [0, 1], shape ``(b, k, h, w)``; not needed without a mean.
        """
        mean = None if condition is None else self.mean_maps(condition)
        if mean is None and self.config.process.residual_to is not None:
            raise ValueError("these are residuals: give the condition that their mean is made of")
        values = unscale_latents(x_0, self.scale, self.config.process.scaling)
        if self.autoencoder is None:
            return (values if mean is None else values + mean).clamp(-1, 1)
        if mean is not None:
            values = values + self.autoencoder.encode(mean).mode()
        return self.autoencoder.decode(values).clamp(-1, 1)
