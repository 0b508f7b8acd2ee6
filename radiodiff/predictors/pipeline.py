"""From a trained run to path gain: a scene in, decibels out."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from radiodiff import units
from radiodiff.checkpoint import load_weights
from radiodiff.conditions import CHANNELS, make_condition, network_range, pick_channels
from radiodiff.config import Config, load_config
from radiodiff.files import project_path
from radiodiff.models import AutoencoderKL, PlainUNet, UNet, make_network
from radiodiff.predictors.familiar import SceneStatistics
from radiodiff.predictors.space import Space, read_scale
from radiodiff.processes import Generators, Network
from radiodiff.sampler import Callback, SamplerConfig, make_schedule, sample, sample_windows
from radiodiff.scene import (
    Scene,
    checked_scenes,
    on_cpu,
    resample_maps,
    resample_scene,
    stack_scenes,
)
from radiodiff.threads import denormals_flushed

__all__ = ["RadioDiffPipeline", "conditioned", "map_generators", "mean_run"]


#: Sides of a map are multiples of this: the condition encoders divide it into patches.
_SIDES_MULTIPLE = 4


class RadioDiffPipeline:
    """A trained process as a function of scenes.

    Args:
        autoencoder: Decodes latents to radio maps; ``None`` for a process on maps.
        network: Network of the process with its condition encoder.
        scale: Factor that brings latents, maps or residuals to unit variance [1].
        config: Configuration of the run.
        mean: The run whose maps the process adds to, if it is a run's.
        trained_on: Scenes of the training, if they are known.
    """

    def __init__(
        self,
        autoencoder: AutoencoderKL | None,
        network: UNet | PlainUNet,
        scale: float,
        config: Config,
        *,
        mean: "RadioDiffPipeline | None" = None,
        trained_on: SceneStatistics | None = None,
    ) -> None:
        autoencoder = autoencoder.eval() if autoencoder is not None else None
        self.space = Space(config, autoencoder, scale, mean)
        self.network = network.eval()
        self.config = config
        self.process = config.process.chosen
        self.trained_on = trained_on

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
        autoencoder, network = None, make_network(config.network)
        if config.process.space == "latent":
            autoencoder = AutoencoderKL(config.autoencoder)
            load_weights(autoencoder, run_dir / "autoencoder.safetensors")
            autoencoder.to(device).requires_grad_(False)
            if config.autoencoder_training.channels_last:
                convert_conv2d_weight_memory_format(autoencoder, torch.channels_last)
        load_weights(network, run_dir / "diffusion.safetensors")
        if config.training.channels_last:
            convert_conv2d_weight_memory_format(network, torch.channels_last)
        scale = read_scale(run_dir)
        return cls(
            autoencoder,
            network.to(device).requires_grad_(False),
            scale,
            config,
            mean=mean_run(config, device=device),
            trained_on=SceneStatistics.of_run(run_dir, config),
        )

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.network.parameters()).device

    def condition(self, scenes: Scene) -> Tensor:
        """Return the channels of a batch of scenes, as `radio_maps` takes them.

        Raises:
            ValueError: If a channel cannot be made of them.
        """
        if not set(self.space.channels) <= CHANNELS.keys():
            raise ValueError(
                f"the run was trained on source {self.config.data.source}: call radio_maps with "
                "conditions of its dataset"
            )
        return make_condition(scenes, self.space.channels, threshold=self.config.data.threshold)

    @torch.no_grad()
    def radio_maps(
        self,
        condition: Tensor,
        *,
        sampler: SamplerConfig | None = None,
        generator: Generators = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw one radio map for each condition, window by window if the sampler says so.

        Args:
            condition: ``space.channels`` in [0, 1] as datasets give them, shape ``(b, k, h, w)``.
            sampler: Steps and the like; the run's if ``None``.
            generator: Source of the noise, one or one for each map; on any device.
            callback: Called as ``callback(t, x_t, answer)`` before each step, window by window;
                ``space.radio_maps`` turns latents into maps.

        Returns:
            Radio maps in [-1, 1], shape ``(b, 1, h, w)``.

        Raises:
            ValueError: If the condition does not suit the network.
        """
        sampler = sampler or self.config.sampler

        def draw(window: Tensor) -> Tensor:
            x_0 = self.latents(
                self.network_input(window), sampler=sampler, generator=generator, callback=callback
            )
            return self.space.radio_maps(x_0, window)

        condition = condition.to(self.device)
        if sampler.window is None:
            return draw(condition)
        return sample_windows(draw, condition, sampler.window, sampler.stride or sampler.window)

    def network_input(self, condition: Tensor) -> Tensor:
        """Return the network's channels in its own range, of the channels that are given."""
        data = self.config.data
        picked = pick_channels(condition, self.space.channels, self.config.channels)
        return network_range(picked, byte_channels=data.byte_channels)

    @torch.no_grad()
    def latents(
        self,
        condition: Tensor,
        *,
        sampler: SamplerConfig | None = None,
        generator: Generators = None,
        noise: Sequence[Tensor] | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw ``x_0``, clean latents or maps, for conditions in the network's own range.

        The condition is encoded once, not once a step (audit D14).

        Args:
            condition: Channels in [-1, 1], shape ``(b, k, h, w)``.
            sampler: Steps and the like; the run's if ``None``.
            generator: Source of the noise, one or one for each map; on any device.
            noise: Noise to use instead of drawing, each of the shape of ``x_0``: the start, then
                one for each step but the last, if the steps draw any.
            callback: Called as ``callback(t, x_t, answer)`` before each step.

        Returns:
            ``x_0``, shape ``(b, c, h / 4, w / 4)`` for latents at the default size.
        """
        sampler = sampler or self.config.sampler
        shape = self.space.shape(len(condition), tuple(condition.shape[-2:]))
        schedule = make_schedule(sampler, self.process)
        start = self.process.start(shape, generator, t=schedule[0]) if noise is None else noise[0]
        draws = sampler.stochastic and self.process.draws_noise
        return sample(
            self.process,
            conditioned(self.network, condition),
            schedule,
            start.to(self.device),
            start_time=schedule[0],
            stochastic=sampler.stochastic,
            generator=generator,
            noise=noise[1:] if noise is not None and draws else None,
            callback=callback,
        )

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
        return units.thresholded_to_path_gain_db(radio_maps, data.threshold)

    def __call__(
        self,
        scene: Scene,
        *,
        samples: int = 1,
        sampler: SamplerConfig | None = None,
        generator: Generators = None,
        callback: Callback | None = None,
        resample: bool = False,
    ) -> Tensor:
        """Predict the path gain of a transmitter in a city tile.

        Args:
            scene: One scene, see `radiodiff.scene.make_scene`; sides are multiples of 4.
            samples: Independent samples.
            sampler: Steps and the like; the run's if ``None``.
            generator: Source of the noise, one or one for each sample; fresh noise if ``None``.
            callback: Called as ``callback(t, x_t, answer)`` before each step.
            resample: Predict on cells of the training's size where the scene has others, and
                return the result on the scene's own.

        Returns:
            Path gain [dB], NaN inside buildings, shape ``(samples, h, w)``, on the CPU.

        Raises:
            ValueError: If the scene has cells of another size than the training's, or lacks cars
                or measurements that the run was told of, or has some that it was not, or
                ``samples`` is below 1.
        """
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        scene = on_cpu(checked_scenes(scene))
        if scene.building_mask.ndim != 2:
            raise ValueError("expected one scene, got a batch: PipelinePredictor takes several")
        self._check_knowledge(scene)
        asked, known = scene, self.trained_on
        if resample and known is not None:
            asked = resample_scene(scene, known.cell_size_m, multiple=_SIDES_MULTIPLE)
        scenes = stack_scenes([asked])
        if known is not None:
            known.check(scenes)
        condition = self.condition(scenes).expand(samples, -1, -1, -1)
        maps = self.radio_maps(condition, sampler=sampler, generator=generator, callback=callback)
        path_gain_db = self.path_gain_db(maps[:, 0].cpu())
        if asked is not scene:
            ratio = float(asked.cell_size_m / scene.cell_size_m)
            path_gain_db = resample_maps(path_gain_db, ratio, tuple(scene.building_mask.shape))
        return path_gain_db.masked_fill(scene.building_mask, torch.nan)

    def _check_knowledge(self, scene: Scene) -> None:
        """Refuse a scene that knows what the run was not told of: it would be lost in silence."""
        for name, channel, is_there in (
            ("cars_mask", "cars", bool(scene.cars_known)),
            ("measured_gain_db", "measurements", not bool(scene.measured_gain_db.isnan().all())),
        ):
            if is_there and channel not in self.space.channels:
                raise ValueError(f"the run was trained without {channel}, but got one as {name}")


def mean_run(
    config: Config, *, device: str | torch.device | None = None
) -> RadioDiffPipeline | None:
    """Load the run whose maps a process adds to; ``None`` where it adds to a channel, or nothing.

    Raises:
        FileNotFoundError: If the folder is no finished run.
        ValueError: If its maps are random.
    """
    name = config.process.residual_to
    if name is None or name in CHANNELS:
        return None
    mean = RadioDiffPipeline.from_run(project_path(name), device=device)
    if not mean.process.one_step:
        raise ValueError(
            f"process.residual_to: {name} draws maps at random; name a run of process.kind "
            "regression, or a condition channel that is a path gain"
        )
    return mean


def conditioned(network: UNet | PlainUNet, condition: Tensor) -> Network:
    """Return a network as a function of latents and times alone, its condition encoded once."""
    features = network.encode_condition(condition)

    def ask(x_t: Tensor, t: Tensor, s: Tensor | None = None) -> tuple[Tensor, ...]:
        with denormals_flushed():
            return network(x_t, t, features, s)

    return ask


def map_generators(names: Sequence[str], seed: int) -> list[torch.Generator]:
    """Return one generator for each map, a function of its name and a seed alone."""
    # PyTorch's CPU generator heeds the low 32 bits of a seed alone: both must be in them.
    states = (zlib.crc32(name.encode(), seed % 2**32) for name in names)
    return [torch.Generator().manual_seed(state) for state in states]
