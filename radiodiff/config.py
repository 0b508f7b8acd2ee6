"""Typed configuration: YAML files to frozen dataclasses, with overrides and exact errors."""

import ast
import dataclasses
import difflib
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from radiodiff.data import Simulation, Splits
from radiodiff.data.radiomapseer import check_choices
from radiodiff.models import AutoencoderConfig, UNetConfig
from radiodiff.processes import DiffusionConfig
from radiodiff.sampler import reference_schedule
from radiodiff.simulate import Variant

__all__ = [
    "AutoencoderLossConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EdgesConfig",
    "EvaluateConfig",
    "SimulateConfig",
    "TrainConfig",
    "build_config",
    "check_parameters",
    "config_text",
    "load_config",
    "load_simulate_config",
    "project_path",
    "save_config",
]


class ConfigError(ValueError):
    """A configuration that names an unknown key or holds a value of the wrong type."""


@dataclass(frozen=True)
class SimulateConfig:
    """How to make the dataset where it does not exist yet."""

    maps: int = 40
    """City tiles."""
    transmitters: int = 8
    """Transmitters in each tile."""
    size: int = 256
    """Cells along a side of the square map."""
    cell_size_m: float = 1.0
    """Side of a cell [m]."""
    seed: int = 0
    """Seed of tiles and transmitters."""
    workers: int = 2
    """Processes; the result does not depend on it."""
    variants: tuple[Variant, ...] = ("DPM",)
    """Which maps to make: propagation models without and with cars."""


@dataclass(frozen=True)
class EdgesConfig:
    """How pictures and their edges are cropped for training."""

    crop_size: tuple[int, int] = (320, 320)
    """Sides of a crop [cells]."""
    crop: Literal["random", "resized"] = "random"
    """Cut out a window of these sides, or one of a quarter to all of the area and resize it."""
    flip: bool = True
    """Mirror left and right with probability one half."""
    crops: int = 100
    """Different crops of each picture."""


@dataclass(frozen=True)
class DataConfig:
    """Where the maps are and which of them are used."""

    source: Literal["radiomapseer", "radiomap3dseer", "edges"] = "radiomapseer"
    """What lies in ``root``: maps in RadioMapSeer's layout, real or simulated; RadioMap3DSeer; or
    pictures with edges, in ``image/`` and ``edge/``, and ``test/``, pictures to draw edges for."""
    root: str = "data/RadioMapSeer"
    """Dataset folder; a relative path counts from the project's root."""
    simulation: Simulation = "DPM"
    """Propagation model of the target maps; ``mix`` weighs IRT2 against DPM at random."""
    irt2_max_weight: float = 1.0
    """Largest weight of IRT2 in a ``mix``."""
    cars: bool = False
    """Use the maps with cars, and cars as a third condition channel."""
    hide_cars: bool = False
    """Leave that channel out: cars shape the maps, but the network does not know them."""
    missing_buildings: int = 0
    """Buildings that are missing in the condition, 0 to 4."""
    measurements: tuple[int, int] | None = None
    """Fewest and most cells of a map whose gray level is given as a condition channel; ``null``
    for no such channel. RadioUNet: 1 to 300."""
    measure_anywhere: bool = False
    """Measure inside buildings too, as RadioUNet does; else outdoors only."""
    k2_channels: int = 0
    """Condition channels with the k² map of the target, 0, 1 or 2 (twice the same, as the public
    code). They are computed from the answer, so a score needs ``allow_leak``."""
    byte_channels: int = 0
    """Leading condition channels that the network is given as 0 to 255 instead of 0 to 1, as the
    public code does by mistake where there are k² maps (X2)."""
    threshold: float = 0.0
    """Gray level below which maps hold 0, the rest stretched to [0, 1]: RadioUNet's scale at 0.2;
    0 leaves maps as they are. Scores are not taken on another scale."""
    seed: int = 0
    """Seed of what is drawn for each map (weight of a mix, missing buildings, measurements, crops);
    the ``seed`` of the run does not change them."""
    splits: Splits = "city"
    """Which maps train, validate and test, on the real dataset: ``city`` and ``radiounet`` are the
    501/100/99 of its authors, ``paper`` 500/200, the others the public code's, where validation
    maps are test maps and, in r25, one training map too (X1). A simulated dataset is split by
    city."""
    augment: bool = False
    """Train on the eight symmetries of the square of each map."""
    workers: int = 0
    """Loader processes; 0 reads in the training process."""
    cache: str | None = None
    """Folder for k² maps; ``features`` in ``root`` if ``null``. A relative path counts from the
    project's root."""
    packed: str | None = None
    """Folder of packed images (`radiodiff data pack --out`); ``packed`` in ``root`` if ``null``. A
    relative path counts from the project's root."""
    edges: EdgesConfig = field(default_factory=EdgesConfig)
    """Crops, for the source ``edges``."""
    simulate: SimulateConfig | None = None
    """Simulate the dataset into ``root`` if it is not there; ``null`` for a dataset you supply."""

    def __post_init__(self) -> None:
        defaults = {f.name: f.default for f in dataclasses.fields(self)} | {"edges": EdgesConfig()}
        for name, default in defaults.items():
            if name not in _KEYS_OF_SOURCE[self.source] and getattr(self, name) != default:
                raise ConfigError(
                    f"{name} has no meaning for source {self.source}: leave it out, or choose "
                    "another source"
                )
        names = "simulation irt2_max_weight cars hide_cars missing_buildings measurements "
        names += "k2_channels threshold seed"
        check_choices(**{name: getattr(self, name) for name in names.split()})
        if not 0 <= self.byte_channels <= self.condition_channels:
            raise ConfigError(
                f"byte_channels must be 0 to the {self.condition_channels} channels of the "
                f"condition, got {self.byte_channels}"
            )
        if self.workers < 0:
            raise ConfigError(f"workers must be 0 or more, got {self.workers}")

    @property
    def condition_channels(self) -> int:
        """Channels of the condition that the dataset gives."""
        if self.source != "radiomapseer":
            return 3 if self.source == "edges" else 2
        shows_cars = self.cars and not self.hide_cars
        return 2 + shows_cars + (self.measurements is not None) + self.k2_channels

    @property
    def has_decibels(self) -> bool:
        """Whether the maps are path gain whose scale in dB is known."""
        return self.source == "radiomapseer"


_COMMON_KEYS = {"source", "root", "augment", "workers"}

#: Keys of the data section that a source heeds.
_KEYS_OF_SOURCE = {
    "radiomapseer": {f.name for f in dataclasses.fields(DataConfig)} - {"edges"},
    "radiomap3dseer": _COMMON_KEYS | {"splits"},
    "edges": _COMMON_KEYS | {"edges", "seed"},
}


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
        if self.perceptual_weight > 0 and not self.perceptual_weights_file:
            raise ConfigError(
                "perceptual_weight is above 0 but no VGG16 weights are given: set "
                "perceptual_weights_file to a file, or perceptual_weight to 0"
            )


@dataclass(frozen=True)
class TrainConfig:
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
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Newest checkpoints that stay on disk."""

    def __post_init__(self) -> None:
        counts = ("max_steps", "batch_size", "accumulation", "ema_every", "log_every")
        for name in (*counts, "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"clip_norm must be above 0, or null, got {self.clip_norm:g}")
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
    steps: int = 5
    """Denoiser calls per sample."""
    schedule: Literal["uniform", "reference"] = "uniform"
    """Times of these calls; ``reference`` makes one call more and ends as the public code (D6)."""
    window: tuple[int, int] | None = None
    """Draw larger maps window by window of these sides [cells]; ``null`` draws them whole."""
    stride: tuple[int, int] | None = None
    """Distance between windows [cells]; their sides if ``null``."""
    samples: int = 1
    """Samples per map; their mean path gain is the prediction."""
    batch_size: int = 16
    """Maps at a time; no result depends on it."""
    bootstrap: int = 10000
    """Resamples of tiles behind each interval."""
    seed: int = 0
    """Seed of the sampling noise and of the bootstrap."""
    shared_noise: bool = False
    """Draw every map from the same noise, as the July 2025 public code does (D17)."""

    def __post_init__(self) -> None:
        for name in ("steps", "samples", "batch_size", "bootstrap"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.stride is not None and self.window is None:
            raise ConfigError(f"stride {self.stride} needs a window")
        stride = self.stride or self.window or (1, 1)
        window = self.window or stride
        if any(not 1 <= s <= w for w, s in zip(window, stride, strict=True)):
            raise ConfigError(
                f"need 1 <= stride <= window on both axes, got stride {stride}, window {window}"
            )


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
    train_autoencoder: TrainConfig = field(default_factory=TrainConfig)
    """First stage: the autoencoder."""
    unet: UNetConfig = field(default_factory=UNetConfig)
    """Denoising network, condition encoder included."""
    encoder_weights_file: str | None = None
    """Initial weights of the condition encoder, under torchvision's names (``swin_b`` and the
    like, ``.pth`` or ``.safetensors``); ``null`` starts from random numbers."""
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    """Diffusion process and its loss."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Second stage: the latent diffusion."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Evaluation after training."""

    def __post_init__(self) -> None:
        if self.evaluate.schedule == "reference":
            reference_schedule(self.evaluate.steps, t_min=self.diffusion.t_min)  # or raises

    @property
    def condition_fits(self) -> bool:
        """Whether the network takes what the data give; of two channels it repeats the first."""
        given, taken = self.data.condition_channels, self.unet.condition_inputs
        return given == taken or (given, taken) == (2, 3)


def project_root() -> Path:
    """Return the checkout: the nearest folder with ``configs/`` above here or above the package.

    Raises:
        FileNotFoundError: If neither lies inside a checkout of the project.
    """
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "configs").is_dir() and (folder / "pyproject.toml").is_file():
                return folder
    raise FileNotFoundError("no folder with configs/ and pyproject.toml above the working folder")


def project_path(path: str | Path) -> Path:
    """Return a path of the project as seen from the working folder; an absolute one as it is.

    So ``data/cities`` is the same folder for a chapter, which runs in ``notebooks/``, and for a
    command at the top, and no printed path names the machine.
    """
    path = Path(path)
    return path if path.is_absolute() else Path(os.path.relpath(project_root() / path))


def load_config(source: str | Path, overrides: Sequence[str] | str = ()) -> Config:
    """Read a configuration and apply overrides.

    Args:
        source: A YAML file, or the name of one in ``configs/`` such as ``demo``.
        overrides: Items ``"a.b=value"``, a list or one text with spaces between; the value is
            read as YAML, then as the field's type.

    Returns:
        The resolved configuration.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If a key is unknown or a value has the wrong type; names the nearest key.
    """
    values = _read_yaml(_find_yaml(source, "configs"))
    for item in overrides.split() if isinstance(overrides, str) else overrides:
        if "=" in item:
            _check_path(item.partition("=")[0].strip())
        apply_override(values, item)
    return build_config(values)


def load_simulate_config(source: str | Path) -> SimulateConfig:
    """Read the description of a simulated dataset.

    Args:
        source: A YAML file, or the name of one in ``configs/data/`` such as ``sim-full``.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If a key is unknown or a value has the wrong type; names the nearest key.
    """
    return _build(SimulateConfig, _read_yaml(_find_yaml(source, "configs/data")), "")


def _find_yaml(source: str | Path, folder: str) -> Path:
    """Return the file that a path or a name in a folder of the project stands for."""
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        path = project_path(f"{folder}/{source}.yaml")
    elif not path.is_file():
        path = project_path(path)  # notebooks run in their own folder
    if not path.is_file():
        known = sorted(p.stem for p in (project_root() / folder).glob("*.yaml"))
        raise FileNotFoundError(f"no configuration {path}; {folder}/ holds {', '.join(known)}")
    return path


def _read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys a YAML file holds."""
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {message}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections of keys, got {values!r}")
    return values


def build_config(values: Mapping[str, Any]) -> Config:
    """Return the configuration that a mapping describes, such as one stored with results.

    Keys that are absent, because they are newer than the mapping, have their defaults.

    Args:
        values: Sections of keys, as read from YAML or JSON.

    Raises:
        ConfigError: If a key is unknown or a value has the wrong type; names the nearest key.
    """
    return _build(Config, values, "")


def config_text(config: Any) -> str:
    """Return a configuration, or one section of it, as YAML."""
    return yaml.safe_dump(_plain(config), sort_keys=False)


def save_config(config: Config, path: Path) -> None:
    """Write a resolved configuration as YAML; the file is old or new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(config_text(config))
    temporary.replace(path)


def check_parameters(cells: Sequence[str]) -> None:
    """Stop a papermill run that was given a parameter the notebook does not have.

    papermill injects its values as a cell that starts with ``# Parameters`` after the notebook's
    own parameters cell and only warns about unknown names. Call this in the next cell with
    IPython's list of executed cells, ``check_parameters(In)``.

    Args:
        cells: Sources of the executed cells, in order.

    Raises:
        ConfigError: If the injected cell assigns a name that the cell before it does not.
    """
    for before, cell in pairwise(cells):
        if not cell.startswith("# Parameters"):
            continue
        known = sorted(set(_assigned_names(before)))
        for name in _assigned_names(cell):
            if name not in known:
                raise ConfigError(
                    f"unknown notebook parameter {name!r} (the notebook has {', '.join(known)})"
                    f"{nearest(name, known)}"
                )


def _assigned_names(source: str) -> Iterator[str]:
    """Names that plain or annotated assignments of a cell bind."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def apply_override(values: dict[str, Any], item: str) -> None:
    """Put ``a.b=value`` into a nested mapping, in place.

    Raises:
        ConfigError: If there is no ``=``, or the value is not YAML.
    """
    key, equals, text = item.partition("=")
    if not equals:
        raise ConfigError(f"an override must read key=value, got {item!r}")
    *sections, last = key.strip().split(".")
    for section in sections:  # copied on the way: two sections may be one by a YAML alias
        inner = values.get(section)
        values[section] = dict(inner) if isinstance(inner, dict) else {}
        values = values[section]
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: {text!r} is not valid YAML") from error


def _check_path(key: str) -> None:
    """Raise with the nearest full key unless ``key`` is one."""
    known = list(_paths(Config, ""))
    if key not in known:
        raise _unknown(key, known)


def _unknown(key: str, known: Sequence[str]) -> ConfigError:
    return ConfigError(f"unknown key {key!r}{nearest(key, known)}")


def _paths(kind: type, prefix: str) -> Iterator[str]:
    """All dotted keys below a dataclass, sections included."""
    for name, hint in get_type_hints(kind).items():
        yield prefix + name
        section = _dataclass_of(hint)
        if section is not None:
            yield from _paths(section, f"{prefix}{name}.")


def _dataclass_of(hint: Any) -> type | None:
    """Return the dataclass in a hint such as ``SimulateConfig | None``, if there is one."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((kind for kind in options if dataclasses.is_dataclass(kind)), None)


def nearest(key: str, known: Sequence[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or nothing where no key is near."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _build(kind: type, values: Any, path: str) -> Any:
    """Build a dataclass from a mapping, checking every key and value."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'the file'} must be a section of keys, got {values!r}")
    hints = get_type_hints(kind)
    prefix = f"{path}." if path else ""
    for key in values:
        if key not in hints:
            known = list(hints) if kind is SimulateConfig and not path else _paths(Config, "")
            raise _unknown(f"{prefix}{key}", list(known))
    built = {key: _convert(hints[key], value, prefix + key) for key, value in values.items()}
    try:
        return kind(**built)
    except (TypeError, ValueError) as error:  # a field is missing, or the sizes do not agree
        raise ConfigError(f"{path or 'the file'}: {error}") from error


def _convert(hint: Any, value: Any, path: str) -> Any:
    """Return ``value`` as the type a field asks for."""
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (hint,) = (option for option in get_args(hint) if option is not type(None))
        return _convert(hint, value, path)
    if origin is Literal:
        if isinstance(value, bool):  # YAML 1.1 reads `no` and `off` so
            words = ("yes", "on") if value else ("no", "off")
            value = next((word for word in words if word in get_args(hint)), value)
        if value not in get_args(hint):
            options = ", ".join(map(str, get_args(hint)))
            raise ConfigError(f"{path} must be one of {options}, got {value!r}")
        return value
    if origin is tuple:
        inner = get_args(hint)
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} must be a list, got {value!r}")
        if inner[-1] is Ellipsis:
            inner = inner[:1] * len(value)
        if len(inner) != len(value):
            raise ConfigError(f"{path} must have {len(inner)} entries, got {value!r}")
        pairs = zip(inner, value, strict=True)
        return tuple(_convert(kind, v, f"{path}[{k}]") for k, (kind, v) in enumerate(pairs))
    if hint is float and not isinstance(value, bool):
        try:
            return float(value)  # PyYAML reads 5e-5 as a string
        except (TypeError, ValueError):
            pass
    elif type(value) is hint:
        return value
    raise ConfigError(f"{path} must be {hint.__name__}, got {value!r}")


def _plain(value: Any) -> Any:
    """Turn nested dataclasses and tuples into dicts and lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
