"""The configuration of a run: its sections joined, read and written.

A section is a frozen dataclass that lives beside the thing it sets; those of what stands above this
module, training and evaluation, are here. `radiodiff.settings` reads them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from radiodiff.conditions import CHANNELS
from radiodiff.data import DataConfig
from radiodiff.files import project_path, project_root, shorten, user_path, write_atomically
from radiodiff.losses import AutoencoderLossConfig
from radiodiff.models import AutoencoderConfig, UNetConfig
from radiodiff.models.swin import PATCH
from radiodiff.processes import ProcessConfig
from radiodiff.ranges import MAX_WORKERS, check_numbers, check_seed
from radiodiff.sampler import SamplerConfig, make_schedule
from radiodiff.settings import (
    ConfigError,
    apply_override,
    build,
    check_key,
    config_text,
    read_yaml,
    rename_key,
    rename_keys,
    split_overrides,
)
from radiodiff.simulate import SimulateConfig

__all__ = [
    "RENAMED",
    "Config",
    "EvaluateConfig",
    "TrainingConfig",
    "build_config",
    "load_config",
    "load_simulate_config",
    "save_config",
]

#: Old names of sections and keys, and today's: configurations and run folders made before load on.
RENAMED = {
    "train_autoencoder": "autoencoder_training",
    "train": "training",
    "unet": "network",
    "diffusion": "process",
    "diffusion.t_min": "process.constant_sde.t_min",
    "diffusion.drift_skip": "process.constant_sde.drift_skip",
    "diffusion.weighting": "process.constant_sde.weighting",
    "diffusion.error": "process.constant_sde.error",
    "diffusion.latent_scaling": "process.scaling",
    "diffusion.latent_scale": "process.scale",
    "diffusion.latent_scale_maps": "process.scale_maps",
    "evaluate.steps": "sampler.steps",
    "evaluate.schedule": "sampler.schedule",
    "evaluate.window": "sampler.window",
    "evaluate.stride": "sampler.stride",
}


#: Longest name of a run [bytes]; file systems take 255, and results add to it.
MAX_NAME = 200


@dataclass(frozen=True)
class TrainingConfig:
    """One training stage."""

    max_steps: int = 50000
    """Optimizer steps."""
    batch_size: int = 16
    """Maps per process and micro-batch."""
    accumulation: int = 1
    """Micro-batches per step."""
    learning_rate: float = 5e-5
    """Learning rate at the start, after the warm-up."""
    min_learning_rate: float = 5e-6
    """Floor of the learning rate, see ``rate_floor``."""
    rate_floor: Literal["absolute", "factor"] = "absolute"
    """``absolute``: the floor is a rate; ``factor``: it multiplies ``learning_rate``, as in the
    public code, where 5e-6 becomes 2.5e-10 (T3)."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    decay_power: float = 0.96
    """Exponent of the polynomial decay; 0 keeps the rate constant."""
    weight_decay: float = 1e-4
    """AdamW weight decay."""
    clip_norm: float | None = 1.0
    """Largest global gradient norm; ``null`` does not clip, as the public first stage (V1)."""
    synchronise_gradients: bool = True
    """Average gradients over processes; without it each trains its own network, as the public
    code does by mistake, and that of the first process is kept (T2)."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """Mixed precision of forward and backward passes."""
    channels_last: bool = False
    """Hold the channels of a cell side by side, in training and wherever the weights are used: some
    networks are faster so. Last digits differ, and which values dropout drops."""
    ema_decay: float = 0.999
    """Largest decay of the averaged weights."""
    ema_start: int = 10000
    """Steps before the average starts; until then it is a copy."""
    ema_every: int = 10
    """Steps between updates of the average."""
    export: Literal["average", "network"] = "average"
    """Which weights are sampled and written at the end; the public code saves no average unless
    told to (T9)."""
    log_every: int = 100
    """Steps between log lines and TensorBoard scalars."""
    sample_every: int = 5000
    """Steps between sample grids; 0 for none."""
    sample_before: bool = False
    """Write a sample grid before the first step too."""
    validate_every: int = 0
    """Steps between errors on maps of the validation cities, told in the log; 0 for none."""
    validate_maps: int = 32
    """Maps that such an error is measured on, spread evenly over the validation cities."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Newest checkpoints that stay on disk."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """What follows a loss or gradient that is not finite: training stops, or the update is left
    out. The batch is kept either way."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If a number lies outside its range, or the floor of the learning rate is
                above it.
        """
        counts = ("max_steps", "batch_size", "accumulation", "ema_every", "log_every")
        counts += ("checkpoint_every", "keep_checkpoints", "validate_maps")
        check_numbers(self, *counts, least=1)
        check_numbers(self, "warmup_steps", "ema_start", "sample_every", "validate_every", least=0)
        check_numbers(self, "learning_rate", "min_learning_rate", "weight_decay", least=0)
        check_numbers(self, "decay_power", least=0)
        check_numbers(self, "clip_norm", above=0)
        check_numbers(self, "ema_decay", least=0, most=1)
        if self.rate_floor == "absolute" and self.learning_rate < self.min_learning_rate:
            raise ConfigError(
                f"learning_rate {self.learning_rate:g} is below min_learning_rate "
                f"{self.min_learning_rate:g}, its floor: lower both"
            )


@dataclass(frozen=True)
class EvaluateConfig:
    """How a trained run is judged."""

    split: Literal["val", "test"] = "test"
    """Which tiles."""
    max_maps: int | None = None
    """Use only the first so many tiles; all if ``null``."""
    samples: int = 1
    """Samples per map; their mean path gain is the prediction."""
    batch_size: int = 16
    """Maps at a time; scores of another number agree to 0.001 dB."""
    workers: int = 1
    """Processes that predict and score; no result depends on it."""
    bootstrap: int = 10000
    """Resamples of tiles behind each interval."""
    seed: int = 0
    """Seed of the sampling noise and of the bootstrap."""
    shared_noise: bool = False
    """Draw every map from the same noise, as the July 2025 public code does (D17)."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If a number lies outside its range.
        """
        check_numbers(self, "samples", "batch_size", "bootstrap", "max_maps", least=1)
        check_numbers(self, "workers", least=1, most=MAX_WORKERS)
        check_seed(self)


@dataclass(frozen=True)
class Config:
    """Everything a run depends on; written resolved to ``<run>/config.yaml``."""

    name: str
    """Name of the run; its folder is ``runs/<name>`` unless another is given."""
    autoencoder_loss: AutoencoderLossConfig
    """Loss of the autoencoder stage; it has no default, since the perceptual term needs a file."""
    seed: int = 0
    """Seed of weights, noise and data order."""
    data: DataConfig = field(default_factory=DataConfig)
    """Dataset."""
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    """Autoencoder network."""
    autoencoder_training: TrainingConfig = field(default_factory=TrainingConfig)
    """First stage: the autoencoder."""
    network: UNetConfig = field(default_factory=UNetConfig)
    """Network of the process, condition encoder included; ``heads`` and ``times`` follow from the
    process."""
    encoder_weights_file: str | None = None
    """Initial weights of the condition encoder, under torchvision's names (``swin_b`` and the
    like, ``.pth`` or ``.safetensors``); ``null`` starts from random numbers."""
    process: ProcessConfig = field(default_factory=ProcessConfig)
    """What the network learns, on maps or their latents."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Second stage: the network of the process."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """Steps from noise to a map."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Evaluation after training."""

    def __post_init__(self) -> None:
        """Refuse sections that do not go together; the process decides heads and times.

        Raises:
            ValueError: If the name is no name of a folder, or two sections contradict each other.
        """
        _check_name(self.name)
        check_seed(self)
        process = self.process.chosen
        make_schedule(self.sampler, process)  # or raises
        # The process decides what the network returns and which times it takes.
        network = replace(self.network, heads=process.heads, times=process.times)
        object.__setattr__(self, "network", network)
        if self.process.space == "map" and network.latent_channels != 1:
            raise ConfigError(
                f"process.space is map, but network.latent_channels is {network.latent_channels}: "
                "a radio map has 1"
            )
        if self.process.space == "latent":
            given, taken = self.autoencoder.latent_channels, network.latent_channels
            if given != taken:
                raise ConfigError(
                    f"network.latent_channels must be autoencoder.latent_channels, {given}, got "
                    f"{taken}"
                )
        self._check_sizes()
        self._check_residual()
        stages = ("autoencoder_training", "training")
        asked = [name for name in stages if getattr(self, name).validate_every]
        if asked and not self.data.has_decibels:
            raise ConfigError(
                f"{asked[0]}.validate_every asks for an error in dB, but maps of source "
                f"{self.data.source} have no scale in dB: set it to 0"
            )
        if self.process.kind == "mean_flow" and self.training.channels_last:
            raise ConfigError(
                "training.channels_last must be false for process.kind mean_flow: PyTorch cannot "
                "differentiate norms forward in this order"
            )
        if self.network.kind == "plain" and self.encoder_weights_file:
            raise ConfigError(
                "encoder_weights_file has no meaning for network.kind plain, which has no "
                "condition encoder: leave it out"
            )
        key, channels = self.network.looks_for_transmitter, self.channels
        if key and "transmitter" in channels and channels[1] != "transmitter":
            raise ConfigError(
                f"network.{key} looks for the transmitter in the second channel of the condition, "
                f"which is {channels[1]}: list it there, or set network.{key}: false"
            )

    def _check_sizes(self) -> None:
        """Refuse sides of maps, where the configuration names them, that no network takes."""
        is_latent = self.process.space == "latent"
        factor = self.autoencoder.downsampling if is_latent else 1
        least = self.network.min_latent_side * factor
        step = math.lcm(PATCH, factor)
        simulate, data, window = self.data.simulate, self.data, self.sampler.window
        for key, sides in (
            ("data.simulate.size", simulate and (simulate.size,)),
            ("data.edges.crop_size", data.edges.crop_size if data.source == "edges" else None),
            ("sampler.window", window),
        ):
            if sides and (min(sides) < least or any(side % step for side in sides)):
                raise ConfigError(
                    f"{key} must be a multiple of {step} and at least {least} cells for these "
                    f"networks, got {' x '.join(map(str, sides))}"
                )

    def _check_residual(self) -> None:
        """Refuse a mean that no channel is; folders of runs are looked at when they are loaded."""
        name = self.process.residual_to
        if name in CHANNELS and not CHANNELS[name].is_gain:
            gains = ", ".join(key for key, channel in CHANNELS.items() if channel.is_gain)
            raise ConfigError(f"process.residual_to must be a path gain ({gains}), got {name}")

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that the network takes; of two, one for three repeats the buildings.

        The public code does so where it has no cars.
        """
        given = self.data.channels
        if given == ("buildings", "transmitter") and self.network.condition_inputs == 3:
            return (*given, "buildings")
        return given

    @property
    def condition_fits(self) -> bool:
        """Whether the network takes as many channels as there are."""
        return len(self.channels) == self.network.condition_inputs

    @property
    def given_channels(self) -> tuple[str, ...]:
        """Channels that the dataset gives: the network's, and the mean that maps are told from."""
        mean, given = self.process.residual_to, self.data.channels
        return (*given, mean) if mean in CHANNELS and mean not in given else given


def _check_name(name: str) -> None:
    """Refuse a name of a run that is not the name of one folder.

    Raises:
        ConfigError: If it is not; says what is expected.
    """
    is_single = name not in (".", "..") and not set(name) & set("/\\") and name == name.strip()
    is_short = 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME
    if not (is_single and is_short and name.isprintable()):
        raise ConfigError(
            f"name must be the name of one folder, of at most {MAX_NAME} bytes and without / or "
            f"\\, got {shorten(ascii(name))}"
        )


def load_config(source: str | Path, overrides: Sequence[str] | str = ()) -> Config:
    """Read a configuration and apply overrides.

    Args:
        source: A YAML file, or the name of one in ``configs/`` such as ``demo``.
        overrides: Items ``"a.b=value"``, a list or one text with spaces between
            (`radiodiff.settings.split_overrides`). The value is read as the field's type: text as
            it is, numbers in decimal, lists and sections as YAML.

    Returns:
        The resolved configuration.

    Raises:
        FileNotFoundError: If there is no such file.
        FileError: If it is not UTF-8 text, or too long.
        ConfigError: If a key is unknown or a value has the wrong type; names the nearest key, and
            the file where there are no overrides.
    """
    path = _find_yaml(source, "configs")
    values = rename_keys(read_yaml(path), RENAMED)
    for item in split_overrides(overrides):
        key, equals, value = item.partition("=")
        if equals:
            key = rename_key(key.strip(), RENAMED)
            check_key(Config, key)
        apply_override(values, f"{key}{equals}{value}")
    try:
        return build(Config, values)
    except ConfigError as error:
        raise error if overrides else ConfigError(f"{path}: {error}") from error


def load_simulate_config(source: str | Path) -> SimulateConfig:
    """Read the description of a simulated dataset.

    Args:
        source: A YAML file, or the name of one in ``configs/data/`` such as ``sim-full``.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If a key is unknown or a value has the wrong type; names the nearest key.
    """
    path = _find_yaml(source, "configs/data")
    try:
        return build(SimulateConfig, read_yaml(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _find_yaml(source: str | Path, folder: str) -> Path:
    """Return the file that a path or a name in a folder of the project stands for."""
    path = user_path(source)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        path = project_path(f"{folder}/{path}.yaml")
    elif not path.is_file():
        path = project_path(path)  # notebooks run in their own folder
    if not path.is_file():
        known = sorted(p.stem for p in (project_root() / folder).glob("*.yaml"))
        shown = shorten(str(path), 200)
        raise FileNotFoundError(f"no configuration {shown}; {folder}/ holds {', '.join(known)}")
    return path


def build_config(values: Mapping[str, Any]) -> Config:
    """Return the configuration that a mapping describes, such as one stored with results.

    Keys that are absent, because they are newer than the mapping, have their defaults.

    Args:
        values: Sections of keys, as read from YAML or JSON; old names are today's in `RENAMED`.

    Raises:
        ConfigError: If a key is unknown or a value has the wrong type; names the nearest key.
    """
    return build(Config, rename_keys(values, RENAMED))


def save_config(config: Config, path: Path) -> None:
    """Write a resolved configuration as YAML; the file is old or new, never a part."""
    write_atomically(path, config_text(config), use_fsync=False)
