"""From a trained run to path gain: buildings and a transmitter in, decibels out."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radiodiff import units
from radiodiff.checkpoint import load_weights
from radiodiff.config import Config, load_config
from radiodiff.data import (
    measurement_map,
    network_condition,
    thresholded,
    thresholded_to_path_gain_db,
)
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.processes import Generators, unscale_latents
from radiodiff.sampler import Callback, SamplerConfig, make_schedule, sample, sample_windows

__all__ = ["RadioDiffPipeline", "map_generators"]


class RadioDiffPipeline:
    """A trained latent diffusion as a function of a city and a transmitter.

    Args:
        autoencoder: Decodes latents to radio maps.
        unet: Denoising network with its condition encoder.
        latent_scale: Factor that brought the autoencoder's latents to unit variance [1].
        config: Configuration of the run.
    """

    def __init__(
        self, autoencoder: AutoencoderKL, unet: UNet, latent_scale: float, config: Config
    ) -> None:
        self.autoencoder = autoencoder.eval()
        self.unet = unet.eval()
        self.latent_scale = latent_scale
        self.config = config

    @classmethod
    def from_run(
        cls, run_dir: Path, *, device: str | torch.device | None = None
    ) -> "RadioDiffPipeline":
        """Load the averaged weights of a finished run.

        Args:
            run_dir: Folder written by ``radiodiff train``.
            device: Where the networks live; a GPU if there is one.

        Returns:
            The pipeline, ready to call.

        Raises:
            FileNotFoundError: If the folder is not a run or a stage of it has not finished.
            ValueError: If the weights do not fit the run's configuration.
        """
        run_dir = Path(run_dir)
        if not (run_dir / "config.yaml").is_file():
            raise FileNotFoundError(f"{run_dir} is not a run folder: it has no config.yaml")
        config = load_config(run_dir / "config.yaml")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        autoencoder, unet = AutoencoderKL(config.autoencoder), UNet(config.unet)
        load_weights(autoencoder, run_dir / "autoencoder.safetensors")
        load_weights(unet, run_dir / "diffusion.safetensors")
        latents = json.loads((run_dir / "latents.json").read_text())
        return cls(autoencoder.to(device), unet.to(device), latents["latent_scale"], config)

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.unet.parameters()).device

    @torch.no_grad()
    def radio_maps(
        self,
        condition: Tensor,
        *,
        steps: int = 5,
        stochastic: bool = True,
        generator: Generators = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw one radio map for each condition, window by window if the run says so.

        Args:
            condition: Channels in [0, 1] as datasets give them, shape ``(b, k, h, w)``.
            steps: Denoiser calls; one more with the schedule ``reference``.
            stochastic: Draw fresh noise in every step; without, the start alone is random.
            generator: Source of the noise, one or one for each map; on any device.
            callback: Called as ``callback(t, x_t, prediction)`` before each step, window by
                window; `decode` turns latents into maps.

        Returns:
            Radio maps in [-1, 1], shape ``(b, 1, h, w)``.

        Raises:
            ValueError: If ``steps`` is below 1 or the condition does not suit the network.
        """
        condition = network_condition(
            condition.to(self.device),
            self.config.unet.condition_inputs,
            byte_channels=self.config.data.byte_channels,
        )
        settings = self.config.evaluate

        def draw(window: Tensor) -> Tensor:
            latents = self.latents(
                window, steps=steps, stochastic=stochastic, generator=generator, callback=callback
            )
            return self.decode(latents)

        if settings.window is None:
            return draw(condition)
        return sample_windows(draw, condition, settings.window, settings.stride or settings.window)

    @torch.no_grad()
    def latents(
        self,
        condition: Tensor,
        *,
        steps: int = 5,
        stochastic: bool = True,
        generator: Generators = None,
        noise: Sequence[Tensor] | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw clean latents for conditions in the network's own range.

        The condition is encoded once, not once a step (audit D14).

        Args:
            condition: Channels in [-1, 1], shape ``(b, k, h, w)``.
            steps: Denoiser calls; one more with the schedule ``reference``.
            stochastic: Draw fresh noise in every step; without, the start alone is random.
            generator: Source of the noise, one or one for each map; on any device.
            noise: Noise to use instead of drawing, each ``(b, c, h / 4, w / 4)``: the start,
                then one for each step but the last, if the steps draw any.
            callback: Called as ``callback(t, x_t, prediction)`` before each step.

        Returns:
            ``x_0``, shape ``(b, c, h / 4, w / 4)`` at the default size.
        """
        features = self.unet.encode_condition(condition)
        process = self.config.diffusion
        factor = self.autoencoder.downsampling
        b, _, h, w = condition.shape
        shape = (b, self.config.autoencoder.latent_channels, h // factor, w // factor)
        start = process.start(shape, generator) if noise is None else noise[0]
        sampler = SamplerConfig(steps=steps, schedule=self.config.evaluate.schedule)
        return sample(
            process,
            lambda x_t, t: self.unet(x_t, t, features),
            make_schedule(sampler, process),
            start.to(self.device),
            stochastic=stochastic,
            generator=generator,
            noise=noise[1:] if noise is not None and stochastic else None,
            callback=callback,
        )

    @torch.no_grad()
    def decode(self, x_0: Tensor) -> Tensor:
        """Return the radio maps of clean latents, held in [-1, 1], shape ``(b, 1, h, w)``."""
        latents = unscale_latents(x_0, self.latent_scale, self.config.diffusion.latent_scaling)
        return self.autoencoder.decode(latents).clamp(-1, 1)

    def path_gain_db(self, radio_maps: Tensor) -> Tensor:
        """Return the path gain [dB] of radio maps in [-1, 1], of any shape, as the run draws them.

        Raises:
            ValueError: If the run's maps are no path gain of a known scale.
        """
        data = self.config.data
        if not data.has_decibels:
            raise ValueError(
                f"maps of source {data.source} have no known scale in dB: use the gray levels, "
                "units.model_to_gray(radio_maps)"
            )
        return thresholded_to_path_gain_db(radio_maps, data.threshold)

    def __call__(
        self,
        building_mask: np.ndarray | Tensor,
        transmitter_cell: tuple[int, int],
        *,
        cars_mask: np.ndarray | Tensor | None = None,
        measured_db: np.ndarray | Tensor | None = None,
        steps: int = 5,
        samples: int = 1,
        stochastic: bool = True,
        generator: Generators = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Predict the path gain of a transmitter in a city tile.

        Args:
            building_mask: True inside buildings, shape ``(h, w)``; sides are multiples of 4.
            transmitter_cell: ``(row, col)`` of an outdoor cell; row 0 is the top.
            cars_mask: True where cars are, shape ``(h, w)``; for a run that was told of cars only.
            measured_db: Path gain where it was measured [dB], NaN elsewhere, shape ``(h, w)``; for
                a run trained with measurements only.
            steps: Denoiser calls per sample.
            samples: Independent samples.
            stochastic: Draw fresh noise in every step; without, the start alone is random.
            generator: Source of the noise, one or one for each sample; fresh noise if ``None``.
            callback: Called as ``callback(t, x_t, prediction)`` before each step.

        Returns:
            Path gain [dB], NaN inside buildings, shape ``(samples, h, w)``, on the CPU.

        Raises:
            ValueError: If the mask is not a 2-D map, or the transmitter is outside the map or
                inside a building, or cars or measurements are missing or unknown to the run, or
                the run needs another condition, or ``samples`` or ``steps`` is below 1.
        """
        mask = torch.as_tensor(building_mask).bool().cpu()
        if mask.ndim != 2:
            raise ValueError(f"building_mask must have shape (h, w), got {tuple(mask.shape)}")
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        row, col = transmitter_cell
        if not (0 <= row < mask.shape[0] and 0 <= col < mask.shape[1]):
            raise ValueError(
                f"transmitter_cell {(row, col)} lies outside the {tuple(mask.shape)} map"
            )
        if mask[row, col]:
            raise ValueError(f"transmitter_cell {(row, col)} is inside a building: move it outside")
        transmitter = torch.zeros_like(mask)
        transmitter[row, col] = True
        channels = [mask, transmitter, *self._further_channels(cars_mask, measured_db)]
        shapes = {tuple(channel.shape) for channel in channels}
        if len(shapes) > 1:
            raise ValueError(f"expected masks of one shape, got {sorted(shapes)}")
        condition = torch.stack([channel.float() for channel in channels])
        condition = condition.expand(samples, -1, -1, -1)
        radio_maps = self.radio_maps(
            condition, steps=steps, stochastic=stochastic, generator=generator, callback=callback
        )
        path_gain_db = self.path_gain_db(radio_maps[:, 0].cpu())
        return path_gain_db.masked_fill(mask, torch.nan)

    def _further_channels(
        self, cars_mask: np.ndarray | Tensor | None, measured_db: np.ndarray | Tensor | None
    ) -> list[Tensor]:
        """Return the condition's channels after buildings and transmitter."""
        data = self.config.data
        if not data.has_decibels or data.k2_channels:
            needed = f"source {data.source}" if not data.has_decibels else "k² maps of the answer"
            raise ValueError(
                f"the run was trained on {needed}: call radio_maps with conditions of its dataset"
            )
        for name, what, given, is_known in (
            ("cars_mask", "cars", cars_mask, data.cars and not data.hide_cars),
            ("measured_db", "measurements", measured_db, data.measurements is not None),
        ):
            if (given is not None) != is_known:
                known, got = ("with", "none") if is_known else ("without", "one")
                raise ValueError(f"the run was trained {known} {what}, but got {got} as {name}")
        channels = []
        if cars_mask is not None:
            channels.append(torch.as_tensor(cars_mask).bool().cpu())
        if measured_db is not None:
            measured = torch.as_tensor(measured_db).float().cpu()
            gray = units.path_gain_db_to_gray(measured.nan_to_num(nan=units.FLOOR_DB))
            channels.append(measurement_map(thresholded(gray, data.threshold), ~measured.isnan()))
        return channels


def map_generators(names: Sequence[str], seed: int) -> list[torch.Generator]:
    """Return one generator for each map, a function of its name and a seed alone."""
    return [
        torch.Generator().manual_seed((seed << 32) + zlib.crc32(name.encode())) for name in names
    ]
