"""The configuration files of the public RadioDiff code, read with the meaning they have there.

Keys that the public code ignores are ignored here and named once in the log; so are keys that it
does not know. Source of keys and defaults: ``UNIC-Lab/RadioDiff``, its two trainers and samplers;
the page *What the public code does* of the book lists them by fault number.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from radiodiff.config import Config, EvaluateConfig, TrainingConfig
from radiodiff.data import DataConfig, EdgesConfig, Splits
from radiodiff.losses import AutoencoderLossConfig
from radiodiff.models import AutoencoderConfig, SwinConfig, UNetConfig
from radiodiff.processes import ConstantSDE, ProcessConfig
from radiodiff.sampler import SamplerConfig
from radiodiff.settings import ConfigError, apply_override, nearest

__all__ = [
    "PROFILES",
    "R24",
    "R25",
    "Profile",
    "ReferenceRun",
    "autoencoder_config",
    "process_config",
    "read_reference_config",
    "unet_config",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profile:
    """One of the two states of the public code, as values of our configuration."""

    name: str
    """``R24`` (December 2024) or ``R25`` (July 2025)."""
    commit: str
    """State of the public repository, ``UNIC-Lab/RadioDiff``."""
    network: UNetConfig
    """Denoising network at full size."""
    process: ProcessConfig
    """Diffusion process and its loss."""
    sampler: SamplerConfig
    """Steps of the sampling."""
    evaluate: EvaluateConfig
    """Sampling of the test set."""
    splits: Splits
    """Which maps train and test."""


_R24_UNET = UNetConfig(
    fourier_filter="off",
    relation_norm="batch",
    scale_logits=False,
    swin=SwinConfig(sticky_shift=True),
)
_R24_SDE = ConstantSDE(drift_skip="reference", weighting="inverse_sqrt")
_R25_SDE = replace(_R24_SDE, weighting="exponential")
_SAMPLER = SamplerConfig(schedule="reference")
_R24_EVALUATE = EvaluateConfig(batch_size=1, seed=42)

#: The release of December 2024.
R24 = Profile(
    "R24",
    "e19b1d9",
    _R24_UNET,
    ProcessConfig(scale=0.3, constant_sde=_R24_SDE),
    _SAMPLER,
    _R24_EVALUATE,
    "radiodiff-r24",
)
#: The release of July 2025.
R25 = Profile(
    "R25",
    "14c4a8c",
    replace(_R24_UNET, fourier_filter="fixed"),
    ProcessConfig(scale=0.3, constant_sde=_R25_SDE),
    _SAMPLER,
    replace(_R24_EVALUATE, seed=0, shared_noise=True),
    "radiodiff-r25",
)
#: Both, by name.
PROFILES = {profile.name: profile for profile in (R24, R25)}

#: Clipping norm that equals clipping at 1 before a loss scale of 65536 is taken out (T11).
_UNSCALED_CLIP_NORM = 1 / 65536

#: Kinds of attention in the autoencoder.
_ATTENTIONS = {"vanilla": "softmax", "linear": "linear", "none": "none"}
_ENCODERS = {
    "swin": "swin",
    "resnet": "resnet101",
    "effnet": "efficientnet_b7",
    "vgg": "vgg16",
}
#: Radio maps of the public code as keys of our data section; with k² maps, the masks among the
#: channels are not divided by 255 (X2).
_DATA: dict[str, dict[str, Any]] = {
    "radio": {},
    "DPMCAR": {"cars": True},
    "DPMK": {"k2_channels": 1, "byte_channels": 2},
    "DPMCARK": {"cars": True, "k2_channels": 2, "byte_channels": 3},
    "IRT4": {"simulation": "IRT4"},
    "IRT4K": {"simulation": "IRT4", "k2_channels": 1, "byte_channels": 2},
}
#: Data sets with sampling masks from files that nobody distributes.
_MASKED_DATA = ("MASK", "MASK_R", "RANDOM", "VERTEX", "VERTEX_R")
_CROPS = {"rand_crop": "random", "rand_resize_crop": "resized"}


@dataclass(frozen=True)
class ReferenceRun:
    """A configuration file of the public code, as a run of ours."""

    stage: Literal["autoencoder", "diffusion"]
    """What the file trains."""
    profile: Profile
    """Under which state of the code it is read."""
    config: Config
    """The run."""
    first_stage_weights: str | None
    """File of the autoencoder that a diffusion stage builds on."""
    initial_weights: str | None
    """File that the diffusion stage starts from, autoencoder and latent scale included."""
    initial_unet_only: bool
    """Take the U-Net alone from that file (``only_model``)."""
    pretrained_encoder: bool
    """Whether the condition encoder is to start from ImageNet weights."""
    resume_milestone: int
    """Milestone to go on from if there is one; 0 for none."""
    saves_state: bool
    """Whether milestones hold the averaged weights and the step too (``enable_resume``)."""


_IGNORED = "without effect, as in the public code"
_ELSEWHERE = "without effect here, where the command line says it"
_NO_LOSS = "without effect here, where weights are read and no loss is computed"
_UNKNOWN = "not known to the public code"


class _Section:
    """A mapping of the file that remembers which keys were asked for."""

    def __init__(self, values: Any, path: str) -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{path or 'the file'} must be a section of keys, got {values!r}")
        self.values, self.path = values, path
        self.used: set[str] = set()
        self.unused: dict[str, str] = {}
        self.sections: dict[str, _Section] = {}

    def get(self, key: str, default: Any) -> Any:
        """Return a value of the default's kind; the default where there is none."""
        found = self.optional(key, type(default))
        return default if found is None else found

    def need(self, key: str, kind: type) -> Any:
        """Return a value that has no default."""
        found = self.optional(key, kind)
        if found is None:
            raise ValueError(f"{self._full(key)} is missing and has no default")
        return found

    def optional(self, key: str, kind: type) -> Any:
        """Return a value of a kind, or ``None``."""
        self.used.add(key)
        value = self.values.get(key)
        return None if value is None else self._as(kind, key, value)

    def pair(self, key: str, default: list[int]) -> tuple[int, int]:
        """Return two integers, rows and columns."""
        value = self.get(key, default)
        if len(value) != 2 or not all(type(side) is int for side in value):
            raise ValueError(f"{self._full(key)} must be two integers, got {value!r}")
        return value[0], value[1]

    def pairs(self, key: str, default: list[list[int]]) -> tuple[tuple[int, int], ...]:
        """Return a list of pairs of integers."""
        value = self.get(key, default)
        each = _Section(dict(enumerate(value)), self._full(key))
        return tuple(each.pair(place, []) for place in each.values)

    def _as(self, kind: type, key: str, value: Any) -> Any:
        """Return a value if it is of a kind; PyYAML reads 5e-5 as text."""
        try:
            if kind is float and not isinstance(value, bool):
                return float(value)
        except (TypeError, ValueError):
            pass
        else:
            if isinstance(value, kind) and (kind is not int or not isinstance(value, bool)):
                return value
        raise ValueError(f"{self._full(key)} must be {kind.__name__}, got {value!r}")

    def expect(self, key: str, only: Any, why: str) -> None:
        """Refuse another value than the one that is supported; absent is fine."""
        value = self.optional(key, object)
        if value is not None and value != only:
            raise ValueError(f"{self._full(key)} must be {only!r}: {why}; got {value!r}")

    def section(self, key: str, *, required: bool = True) -> "_Section":
        """Return a nested section."""
        self.used.add(key)
        value = self.values.get(key)
        if value is None and required:
            raise ValueError(f"section {self._full(key)} is missing")
        if key not in self.sections:
            self.sections[key] = _Section({} if value is None else value, self._full(key))
        return self.sections[key]

    def ignore(self, *keys: str, why: str = _IGNORED) -> None:
        """Note keys that have no effect: in the public code, or here."""
        self.unused |= dict.fromkeys(keys, why)

    def leftovers(self) -> Iterator[tuple[str, str]]:
        """Yield the full key of what was not read, and why."""
        for key in self.values:
            if key not in self.used:
                yield self._full(key), self.unused.get(key, _UNKNOWN)
        for section in self.sections.values():
            yield from section.leftovers()

    def known(self) -> Iterator[str]:
        """Yield every key the public code reads."""
        for key in sorted(self.used):
            yield self._full(key)
        for section in self.sections.values():
            yield from section.known()

    def _full(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def autoencoder_config(first_stage: Mapping[str, Any]) -> AutoencoderConfig:
    """Return the size of the autoencoder that a ``first_stage`` section describes.

    Args:
        first_stage: ``embed_dim`` and ``ddconfig`` in the public code's own terms.

    Raises:
        ValueError: If a key is missing, or asks for what no published configuration has.
    """
    return _autoencoder(_Section(first_stage, "first_stage"))


def _autoencoder(section: _Section) -> AutoencoderConfig:
    """Read ``embed_dim`` and ``ddconfig``."""
    sizes = section.section("ddconfig")
    sizes.expect("double_z", True, "the posterior has a variance")
    sizes.expect("give_pre_end", False, "the decoder ends in a map")
    _expect_no_attention_between_levels(sizes)
    sizes.ignore("resolution")  # printed only
    attention = sizes.get("attn_type", "vanilla")
    if sizes.get("use_linear_attn", False):
        attention = "linear"
    if attention not in _ATTENTIONS:
        raise ValueError(
            f"ddconfig.attn_type must be one of {', '.join(_ATTENTIONS)}, got {attention!r}"
        )
    given, latent = sizes.need("in_channels", int), section.need("embed_dim", int)
    returned, inner = sizes.get("out_ch", given), sizes.need("z_channels", int)
    return AutoencoderConfig(
        in_channels=given,
        out_channels=None if returned == given else returned,
        latent_channels=latent,
        inner_channels=None if inner == latent else inner,
        width=sizes.need("ch", int),
        multipliers=tuple(sizes.need("ch_mult", list)),
        blocks=sizes.need("num_res_blocks", int),
        dropout=sizes.get("dropout", 0.0),
        attention=_ATTENTIONS[attention],
        learned_resampling=sizes.get("resamp_with_conv", True),
        bounded=sizes.get("tanh_out", False),
    )


def _expect_no_attention_between_levels(sizes: _Section) -> None:
    """Refuse pairs of sides in ``attn_resolutions``; numbers have no effect."""
    levels = sizes.values.get("attn_resolutions")
    if isinstance(levels, list) and levels and all(isinstance(side, int) for side in levels):
        # As upstream: each is compared with a pair of sides, which no number equals.
        sizes.ignore("attn_resolutions")
    else:
        sizes.expect(
            "attn_resolutions",
            [],
            "the public code finds a pair of sides at full resolution only, where a matrix of all "
            "cells by all cells fits in no memory",
        )


def unet_config(
    unet: Mapping[str, Any], profile: Profile, *, swin: Mapping[str, Any] | None = None
) -> UNetConfig:
    """Return the U-Net that a ``unet`` section describes under a profile.

    Args:
        unet: The section in the public code's own terms.
        profile: ``R24`` or ``R25``.
        swin: Another size of the Swin encoder (``embed_dim``, ``depths``, ``num_heads``,
            ``window_size``, ``mlp_ratio``) than Swin-B, which the public code always takes. It
            owns no classifier tail.

    Raises:
        ValueError: If a key is missing or has an unknown value.
    """
    return _unet(_Section(unet, "unet"), profile, swin)


def _unet(section: _Section, profile: Profile, swin: Mapping[str, Any] | None) -> UNetConfig:
    """Read the ``unet`` section."""
    encoder = section.need("cond_net", str)
    if encoder not in _ENCODERS:
        raise ValueError(f"unet.cond_net must be one of {', '.join(_ENCODERS)}, got {encoder!r}")
    section.expect("out_mul", 1, "each head returns a latent")
    section.expect("learned_variance", False, "the variance is known")
    section.expect("self_condition", False, "the published U-Net has none")
    section.expect("cond_pe", False, "the position code it creates is never used")
    section.ignore("cond_in_dim", "cond_dim", "cond_dim_mults", "num_pos_feats")
    section.ignore("cond_feature_size", "note")
    section.get("without_pretrain", False)
    height, width = section.pair("input_size", [80, 80])
    if profile is R24:
        section.ignore("DPMCARK")
    sizes = profile.network.swin
    if swin:
        other = _Section(swin, "swin")
        sizes = replace(
            sizes,
            width=other.need("embed_dim", int),
            depths=tuple(other.need("depths", list)),
            heads=tuple(other.need("num_heads", list)),
            window=other.pair("window_size", [7, 7])[0],
            mlp_ratio=other.get("mlp_ratio", 4.0),
            classifier_tail=False,
        )
    windows = [
        section.pairs(key, [[8, 8], [4, 4], [2, 2], [1, 1]])
        for key in ("window_sizes1", "window_sizes2")
    ]
    return replace(
        profile.network,
        latent_channels=section.get("channels", 3),
        width=section.need("dim", int),
        multipliers=tuple(section.get("dim_mults", [1, 2, 4, 4])),
        encoder=_ENCODERS[encoder],
        swin=sizes,
        condition_mix_inputs=5 if profile is R25 and section.get("DPMCARK", False) else 0,
        freeze_encoder=section.get("fix_bb", True),
        condition_windows=windows[0],
        feature_windows=windows[1],
        fourier_scale=section.get("fourier_scale", 16.0),
        filter_size=(height // 8 - 2, width // 8 - 2),
    )


def process_config(model: Mapping[str, Any], profile: Profile) -> ProcessConfig:
    """Return the process that a ``model`` section describes under a profile.

    Args:
        model: ``eps``, ``loss_type``, ``use_l1``, ``weighting_loss``, ``scale_factor`` and the
            like; what is absent has the public code's default.
        profile: ``R24`` or ``R25``.

    Raises:
        ValueError: If a value is unknown.
    """
    return _process(_Section(model, "model"), profile, first_batch=1)


def _process(section: _Section, profile: Profile, *, first_batch: int) -> ProcessConfig:
    """Read what the ``model`` section says about process and loss."""
    section.expect("start_dist", "normal", "uniform noise is not what the SDE ends in")
    loss_type = section.get("loss_type", "l2")
    if loss_type not in ("l1", "l2"):
        raise ValueError(f"model.loss_type must be l1 or l2, got {loss_type!r}")
    both = section.get("use_l1", True)
    error = "absolute" if loss_type == "l1" else "both" if both else "squared"
    weighting = profile.process.constant_sde.weighting
    if profile is R24:
        section.ignore("weighting_loss")
    elif not section.get("weighting_loss", False):
        weighting = "uniform"
    softsign = section.get("scale_by_softsign", False)
    scale: float | None = section.get("scale_factor", 1.0)
    by_std = section.get("scale_by_std", True)
    keep = section.get("default_scale", False)
    if not by_std:
        scale = 1.0
    elif not keep:
        if scale != 1 and not softsign:
            raise ValueError(
                "model.scale_factor must be 1 unless default_scale is true: the factor is then "
                f"measured on the first batch; got {scale:g}"
            )
        scale = None
    return replace(
        profile.process,
        scaling="softsign" if softsign else "factor",
        scale=1.0 if softsign else scale,
        scale_maps=first_batch,
        constant_sde=replace(
            profile.process.constant_sde,
            t_min=section.get("eps", 1e-4),
            weighting=weighting,
            error=error,
        ),
    )


def read_reference_config(
    path: Path,
    *,
    data_root: str,
    for_training: bool = True,
    profile: Profile | None = None,
    overrides: Sequence[str] = (),
    encoder_weights: str | None = None,
    perceptual_weights: str | None = None,
) -> ReferenceRun:
    """Read a configuration file of the public code.

    Args:
        path: ``radio_train.yaml``, ``first_radio.yaml`` or the like.
        data_root: Dataset folder; the public code has it in its source.
        for_training: Whether the file must say how to train; files for sampling do not.
        profile: ``R24`` or ``R25``. If ``None``, R25 for a file with the keys only R25 reads
            (``unet.DPMCARK``, ``finetune``), else R24.
        overrides: Items ``"trainer.lr=1e-4"`` in the file's own keys, and in one of ours: a section
            ``model.swin`` gives the Swin encoder another size, see `unet_config`.
        encoder_weights: torchvision's file for a pretrained condition encoder.
        perceptual_weights: File for the perceptual loss of the first stage.

    Returns:
        The run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a configuration, or asks for what is not supported.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        root = _Section(values, "")
        for item in overrides:
            apply_override(values, item)
        model = root.section("model")
        if not root.section("trainer", required=for_training).values and for_training:
            raise ValueError("section trainer is empty")
        is_diffusion = model.values.get("unet") is not None
        if profile is None:
            has_r25_keys = "finetune" in values or (
                is_diffusion and "DPMCARK" in model.section("unet").values
            )
            profile = R25 if has_r25_keys else R24
        if is_diffusion:
            run = _diffusion_run(path, root, model, profile, data_root, encoder_weights)
        else:
            if for_training:
                _expect_published_loss(model)
            else:
                loss = model.section("lossconfig")
                loss.ignore(*loss.values, why=_NO_LOSS)
                loss.values |= {"perceptual_weight": 0.0}
            run = _autoencoder_run(path, root, model, profile, data_root, perceptual_weights)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if for_training and run.stage == "diffusion" and not run.config.condition_fits:
        raise ConfigError(
            f"{path}: data.name {root.section('data').get('name', 'radio')} gives "
            f"{len(run.config.data.channels)} condition channels, the network takes "
            f"{run.config.network.condition_inputs}: model.unet.DPMCARK must be true for data.name "
            "DPMCARK and for no other"
        )
    _log_leftovers(path, root)
    return run


def _diffusion_run(
    path: Path,
    root: _Section,
    model: _Section,
    profile: Profile,
    data_root: str,
    encoder_weights: str | None,
) -> ReferenceRun:
    """Read a file that trains (or samples) the latent diffusion."""
    model.expect("model_type", "const_sde", "this is the SDE of the published configurations")
    names, name = ("cond_unet", "cond_unet_8bit"), model.get("model_name", "cond_unet")
    if name not in names:
        raise ValueError(f"model.model_name must be one of {names}, got {name}")
    inputs = model.get("input_keys", ["image", "cond"])
    if "image" not in inputs:
        raise ValueError(f"model.input_keys must contain 'image', got {inputs!r}")
    model.ignore("timesteps", "train_sample", "objective", "perceptual_weight", "image_size")
    model.ignore("use_disloss", "input_keys")  # use_disloss: logged only (D4)
    first_stage = model.section("first_stage")
    first_stage.ignore("lossconfig")  # a frozen first stage has no loss
    autoencoder = _autoencoder(first_stage)
    unet = model.section("unet")
    if unet.get("channels", 3) != autoencoder.latent_channels:
        raise ValueError(
            f"model.unet.channels must be the first stage's embed_dim, "
            f"{autoencoder.latent_channels}, got {unet.get('channels', 3)}"
        )
    data = root.section("data")
    trainer = root.section("trainer", required=False)
    batch_size = data.need("batch_size", int) if trainer.values else data.get("batch_size", 1)
    sampling = root.section("sampler", required=False)
    config = Config(
        name=path.stem,
        autoencoder_loss=AutoencoderLossConfig(perceptual_weight=0.0),
        data=_data(data, profile, data_root, model, "image_size"),
        autoencoder=autoencoder,
        network=_unet(unet, profile, model.optional("swin", dict)),
        process=_process(model, profile, first_batch=batch_size),
        training=_training(
            trainer,
            batch_size=batch_size,
            accumulation=trainer.get("gradient_accumulate_every", 1),
            decay_power=0.96,
            weight_decay=trainer.get("weight_decay", 1e-4),
            ema_decay=0.999,
            ema_start=trainer.get("ema_update_after_step", 10000),
            ema_every=trainer.get("ema_update_every", 10),
            sample_before=trainer.get("test_before", True),
            clips=True,
        ),
        sampler=_sampler(sampling, model, profile),
        evaluate=replace(profile.evaluate, batch_size=sampling.get("batch_size", 1)),
        encoder_weights_file=encoder_weights,
    )
    if profile is R24:
        initial = model.optional("ckpt_path", str)
        unet_only = model.get("only_model", False)
        if model.get("ignore_keys", []):
            raise ValueError("model.ignore_keys must be empty: weights are loaded whole or not")
    else:
        model.ignore("ckpt_path", "only_model", "ignore_keys")
        initial = root.section("finetune", required=False).optional("ckpt_path", str)
        unet_only = False
    return ReferenceRun(
        stage="diffusion",
        profile=profile,
        config=config,
        first_stage_weights=first_stage.optional("ckpt_path", str),
        initial_weights=initial,
        initial_unet_only=unet_only,
        pretrained_encoder=not unet.get("without_pretrain", False),
        resume_milestone=trainer.get("resume_milestone", 0),
        saves_state=trainer.get("enable_resume", False),
    )


def _autoencoder_run(
    path: Path,
    root: _Section,
    model: _Section,
    profile: Profile,
    data_root: str,
    perceptual_weights: str | None,
) -> ReferenceRun:
    """Read a file that trains the first stage."""
    autoencoder = _autoencoder(model)
    loss = model.section("lossconfig")
    loss.ignore("pixelloss_weight")
    data = root.section("data")
    trainer = root.section("trainer", required=False)
    trainer.expect(
        "gradient_accumulate_every",
        2,
        "in the first stage it counts the two passes, and the public code fails otherwise (V2)",
    )
    trainer.ignore("ema_update_after_step", "ema_update_every", "weight_decay", "test_before")
    trainer.ignore("enable_resume", "resume_milestone")  # always saved; only milestone 0 is found
    training = _training(
        trainer,
        batch_size=data.need("batch_size", int),
        accumulation=1,
        decay_power=0.95,
        weight_decay=0.01,
        ema_decay=0.995,
        ema_start=100,
        ema_every=10,
        sample_before=False,
        clips=False,
    )
    if model.optional("ckpt_path", str):
        raise ValueError(
            "model.ckpt_path must be null: a first stage starts from random weights here; "
            "to use a trained one, name it in model.first_stage.ckpt_path of the second stage"
        )
    config = Config(
        name=path.stem,
        autoencoder_loss=AutoencoderLossConfig(
            kl_weight=loss.get("kl_weight", 1.0),
            perceptual_weight=loss.get("perceptual_weight", 1.0),
            perceptual_weights_file=perceptual_weights,
            discriminator_weight=loss.get("disc_weight", 1.0),
            discriminator_start=loss.need("disc_start", int),
            train_idle_discriminator=True,
        ),
        data=_data(data, profile, data_root, model.section("ddconfig"), "resolution"),
        autoencoder=autoencoder,
        autoencoder_training=training,
        network=replace(profile.network, latent_channels=autoencoder.latent_channels),
        process=profile.process,
        sampler=profile.sampler,
        evaluate=profile.evaluate,
    )
    return ReferenceRun(
        stage="autoencoder",
        profile=profile,
        config=config,
        first_stage_weights=None,
        initial_weights=None,
        initial_unet_only=False,
        pretrained_encoder=False,
        resume_milestone=0,
        saves_state=True,  # as the public first-stage trainer always does
    )


def _expect_published_loss(model: _Section) -> None:
    """Refuse losses that we do not compute, before a first stage is trained on one."""
    sizes, loss = model.section("ddconfig"), model.section("lossconfig")
    channels = sizes.need("in_channels", int)
    sizes.expect("out_ch", channels, "the discriminator compares what is returned with what came")
    loss.expect("disc_in_channels", channels, "the discriminator sees the map")
    for key, only, why in (
        ("logvar_init", 0.0, "the log-variance is never trained, and 0 as published"),
        ("disc_num_layers", 3, "the published discriminator has three"),
        ("disc_factor", 1.0, "disc_weight says the same"),
        ("disc_loss", "hinge", "the published loss"),
        ("use_actnorm", False, "the published discriminator has batch norms"),
        ("disc_conditional", False, "the published discriminator sees the map alone"),
    ):
        loss.expect(key, only, why)


def _data(
    section: _Section, profile: Profile, root: str, sizes: _Section, size_key: str
) -> DataConfig:
    """Read the ``data`` section; ``sizes`` has the crops of edge data under ``size_key``."""
    name = section.get("name", "radio")
    section.ignore("img_folder", why=_ELSEWHERE)
    section.ignore("augment_horizontal_flip", "split", "img_size", "crop_type")  # edge data only
    workers = section.get("num_workers", 2)
    if profile is R25:
        workers = 0  # the July 2025 trainer reads in its own process
    if name == "edge":
        crop_type = section.get("crop_type", "rand_crop")
        if size_key == "resolution":
            crop_type = "rand_crop"  # the first stage does not look at the key
        if crop_type not in _CROPS:
            raise ValueError(f"data.crop_type must be one of {', '.join(_CROPS)}: {crop_type!r}")
        edges = EdgesConfig(
            crop_size=sizes.pair(size_key, [320, 320]),
            crop=_CROPS[crop_type],
            flip=section.get("augment_horizontal_flip", True),
        )
        return DataConfig(source="edges", root=root, edges=edges, workers=workers)
    if name in _MASKED_DATA:
        raise ValueError(
            f"data.name {name} reads sampling masks (png/half_mask and the like) that are part of "
            "neither RadioMapSeer nor the public code; for measurements at random places set "
            "data.measurements in a configuration of ours"
        )
    if name not in _DATA:
        raise ValueError(f"data.name must be one of edge, {', '.join(_DATA)}, got {name!r}")
    if profile is R24 and name != "radio":
        raise ValueError(f"data.name {name} is known to the July 2025 code only: use profile R25")
    # As upstream: this loader kept the ranges of December 2024. Those of IRT4 differ from R25's
    # in the validation maps only, which neither training nor sampling reads.
    splits = R24.splits if name == "DPMK" else profile.splits
    return DataConfig(root=root, splits=splits, workers=workers, **_DATA[name])


def _training(section: _Section, *, clips: bool, **fixed: Any) -> TrainingConfig:
    """Read what both trainers share; a file for sampling alone has no such section."""
    if not section.values:
        return TrainingConfig(batch_size=fixed["batch_size"])
    fp16, amp = section.get("fp16", False), section.get("amp", False)
    clip_norm = 1.0 if clips else None  # the first stage clips after it has stepped (V1)
    if clips and fp16 and not amp:
        clip_norm = _UNSCALED_CLIP_NORM
        logger.info(
            "trainer.fp16 without amp: the public code computes in float32 and clips gradients "
            "that are still scaled (T11), so clip_norm is 1 / 65536"
        )
    every = section.need("save_and_sample_every", int)
    section.ignore("results_folder", why=_ELSEWHERE)
    return TrainingConfig(
        max_steps=section.need("train_num_steps", int),
        learning_rate=section.need("lr", float),
        min_learning_rate=section.need("min_lr", float),
        rate_floor="factor",
        precision="fp16" if amp else "no",
        clip_norm=clip_norm,
        log_every=section.get("log_freq", 100),
        sample_every=every,
        checkpoint_every=every,
        **fixed,
    )


def _sampler(section: _Section, model: _Section, profile: Profile) -> SamplerConfig:
    """Read the ``sampler`` section."""
    window = stride = None
    if section.values:
        kind = section.get("sample_type", "slide")
        if kind != "slide":
            raise ValueError(
                f"sampler.sample_type must be slide, got {kind!r}: `whole` resizes to 416 x 416 "
                "and fails for radio maps in the public code"
            )
        window = section.pair("crop_size", [256, 256])
        stride = section.pair("stride", [256, 256])
    section.ignore("sample_num")
    section.ignore("use_ema", "save_folder", "ckpt_path", "target_path", why=_ELSEWHERE)
    section.ignore("use_fp16", "use_timer", "warm_up_steps", "inference_stop_idx", why=_ELSEWHERE)
    return replace(
        profile.sampler,
        steps=model.get("sampling_timesteps", 1),
        window=window,
        stride=stride,
    )


def _log_leftovers(path: Path, root: _Section) -> None:
    """Name each key that has no effect, once."""
    known = list(root.known())
    found: dict[str, list[str]] = {_IGNORED: [], _ELSEWHERE: [], _NO_LOSS: [], _UNKNOWN: []}
    for key, why in root.leftovers():
        found[why].append(key + (nearest(key, known) if why == _UNKNOWN else ""))
    for why, keys in found.items():
        if keys:
            level = logging.WARNING if why == _UNKNOWN else logging.INFO
            logger.log(level, "%s: %s: %s", path, why, ", ".join(keys))
