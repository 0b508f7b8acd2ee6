"""The configuration files of the public RadioDiff code, read with the meaning they have there.

Keys that the public code ignores are ignored here and named once in the log; so are keys that it
does not know. Source of keys and defaults: ``UNIC-Lab/RadioDiff``, its two trainers and samplers;
the page *What the public code does* of the book lists them by fault number.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from radiodiff.config import Config, TrainingConfig
from radiodiff.data import DataConfig, EdgesConfig
from radiodiff.files import shorten, user_path
from radiodiff.losses import AutoencoderLossConfig
from radiodiff.reference.model import read_autoencoder, read_process, read_unet
from radiodiff.reference.profiles import R24, R25, Profile
from radiodiff.reference.section import ELSEWHERE, IGNORED, NO_LOSS, UNKNOWN, Section
from radiodiff.sampler import SamplerConfig
from radiodiff.settings import ConfigError, apply_override, nearest, read_yaml, split_overrides

__all__ = ["ReferenceRun", "read_reference_config"]

logger = logging.getLogger(__name__)


#: Clipping norm that equals clipping at 1 before a loss scale of 65536 is taken out (T11).
_UNSCALED_CLIP_NORM = 1 / 65536

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
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    values = read_yaml(path)
    try:
        root = Section(values or None, "")
        for item in split_overrides(overrides):
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
                loss.ignore(*loss.values, why=NO_LOSS)
                loss.values |= {"perceptual_weight": 0.0}
            run = _autoencoder_run(path, root, model, profile, data_root, perceptual_weights)
    except ValueError as error:
        raise ConfigError(f"{path}: {shorten(str(error), 300)}") from error
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
    root: Section,
    model: Section,
    profile: Profile,
    data_root: str,
    encoder_weights: str | None,
) -> ReferenceRun:
    """Read a file that trains (or samples) the latent diffusion."""
    _check_model(model)
    first_stage = model.section("first_stage")
    first_stage.ignore("lossconfig")  # a frozen first stage has no loss
    autoencoder = read_autoencoder(first_stage)
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
        network=read_unet(unet, profile, model.optional("swin", dict)),
        process=read_process(model, profile, first_batch=batch_size),
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
    initial, unet_only = _initial_weights(root, model, profile)
    return ReferenceRun(
        stage="diffusion",
        profile=profile,
        config=config,
        first_stage_weights=first_stage.file("ckpt_path"),
        initial_weights=initial,
        initial_unet_only=unet_only,
        pretrained_encoder=not unet.get("without_pretrain", False),
        resume_milestone=trainer.get("resume_milestone", 0),
        saves_state=trainer.get("enable_resume", False),
    )


def _check_model(model: Section) -> None:
    """Refuse models of another kind; note the keys that no model of this kind heeds."""
    model.expect("model_type", "const_sde", "this is the SDE of the published configurations")
    names, name = ("cond_unet", "cond_unet_8bit"), model.get("model_name", "cond_unet")
    if name not in names:
        raise ValueError(f"model.model_name must be one of {names}, got {name}")
    inputs = model.get("input_keys", ["image", "cond"])
    if "image" not in inputs:
        raise ValueError(f"model.input_keys must contain 'image', got {inputs!r}")
    model.ignore("timesteps", "train_sample", "objective", "perceptual_weight", "image_size")
    model.ignore("use_disloss", "input_keys")  # use_disloss: logged only (D4)


def _initial_weights(root: Section, model: Section, profile: Profile) -> tuple[str | None, bool]:
    """Return the file that a second stage starts from, and whether for its U-Net alone."""
    if profile is R25:
        model.ignore("ckpt_path", "only_model", "ignore_keys")
        return root.section("finetune", required=False).file("ckpt_path"), False
    if model.get("ignore_keys", []):
        raise ValueError("model.ignore_keys must be empty: weights are loaded whole or not")
    return model.file("ckpt_path"), model.get("only_model", False)


def _autoencoder_run(
    path: Path,
    root: Section,
    model: Section,
    profile: Profile,
    data_root: str,
    perceptual_weights: str | None,
) -> ReferenceRun:
    """Read a file that trains the first stage."""
    autoencoder = read_autoencoder(model)
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
        autoencoder_loss=_loss(model.section("lossconfig"), perceptual_weights),
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


def _expect_published_loss(model: Section) -> None:
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


def _loss(section: Section, perceptual_weights: str | None) -> AutoencoderLossConfig:
    """Read the ``lossconfig`` section."""
    section.ignore("pixelloss_weight")
    return AutoencoderLossConfig(
        kl_weight=section.get("kl_weight", 1.0),
        perceptual_weight=section.get("perceptual_weight", 1.0),
        perceptual_weights_file=perceptual_weights,
        discriminator_weight=section.get("disc_weight", 1.0),
        discriminator_start=section.need("disc_start", int),
        train_idle_discriminator=True,
    )


def _data(
    section: Section, profile: Profile, root: str, sizes: Section, size_key: str
) -> DataConfig:
    """Read the ``data`` section; ``sizes`` has the crops of edge data under ``size_key``."""
    name = section.get("name", "radio")
    section.ignore("img_folder", why=ELSEWHERE)
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


def _training(section: Section, *, clips: bool, **fixed: Any) -> TrainingConfig:
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
    section.ignore("results_folder", why=ELSEWHERE)
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


def _sampler(section: Section, model: Section, profile: Profile) -> SamplerConfig:
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
    section.ignore("use_ema", "save_folder", "ckpt_path", "target_path", why=ELSEWHERE)
    section.ignore("use_fp16", "use_timer", "warm_up_steps", "inference_stop_idx", why=ELSEWHERE)
    return replace(
        profile.sampler,
        steps=model.get("sampling_timesteps", 1),
        window=window,
        stride=stride,
    )


def _log_leftovers(path: Path, root: Section) -> None:
    """Name each key that has no effect, once."""
    known = list(root.known())
    found: dict[str, list[str]] = {IGNORED: [], ELSEWHERE: [], NO_LOSS: [], UNKNOWN: []}
    for key, why in root.leftovers():
        found[why].append(key + (nearest(key, known) if why == UNKNOWN else ""))
    for why, keys in found.items():
        if keys:
            level = logging.WARNING if why == UNKNOWN else logging.INFO
            logger.log(level, "%s: %s: %s", path, why, ", ".join(keys))
