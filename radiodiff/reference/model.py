"""What the ``model`` section of a file of the public code says: two networks, process and loss.

Each argument of the public code is read with the meaning it has there, or refused with the reason;
keys that the public code ignores are ignored here too.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from radiodiff.files import shorten
from radiodiff.models import AutoencoderConfig, SwinConfig, UNetConfig
from radiodiff.processes import ProcessConfig
from radiodiff.reference.profiles import R24, R25, Profile
from radiodiff.reference.section import Section
from radiodiff.settings import resolve

__all__ = [
    "autoencoder_config",
    "process_config",
    "unet_config",
]

#: Kinds of attention in the autoencoder.
_ATTENTIONS = {"vanilla": "softmax", "linear": "linear", "none": "none"}
_ENCODERS = {
    "swin": "swin",
    "resnet": "resnet101",
    "effnet": "efficientnet_b7",
    "vgg": "vgg16",
}
#: Channels at the bottleneck from which its filter is normalised in 8 groups, as ours always is.
_LEAST_FILTER_CHANNELS = 32


def autoencoder_config(first_stage: Mapping[str, Any]) -> AutoencoderConfig:
    """Return the size of the autoencoder that a ``first_stage`` section describes.

    Args:
        first_stage: ``embed_dim`` and ``ddconfig`` in the public code's own terms.

    Raises:
        ValueError: If a key is missing, has an unknown value, or asks for what is not supported.
    """
    return read_autoencoder(Section(first_stage, "first_stage"))


def read_autoencoder(section: Section) -> AutoencoderConfig:
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
            f"{sizes.path}.attn_type must be one of {', '.join(_ATTENTIONS)}, "
            f"got {shorten(attention)}"
        )
    given, latent = sizes.need("in_channels", int), section.need("embed_dim", int)
    returned, inner = sizes.get("out_ch", given), sizes.need("z_channels", int)
    return AutoencoderConfig(
        in_channels=given,
        out_channels=None if returned == given else returned,
        latent_channels=latent,
        inner_channels=None if inner == latent else inner,
        width=sizes.need("ch", int),
        multipliers=sizes.integers("ch_mult"),
        blocks=sizes.need("num_res_blocks", int),
        dropout=sizes.get("dropout", 0.0),
        attention=_ATTENTIONS[attention],
        learned_resampling=sizes.get("resamp_with_conv", True),
        bounded=sizes.get("tanh_out", False),
    )


def _expect_no_attention_between_levels(sizes: Section) -> None:
    """Refuse pairs of sides in ``attn_resolutions``; numbers have no effect."""
    levels = resolve(sizes.values.get("attn_resolutions"))
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
    return read_unet(Section(unet, "unet"), profile, swin)


def read_unet(section: Section, profile: Profile, swin: Mapping[str, Any] | None) -> UNetConfig:
    """Read the ``unet`` section."""
    encoder = section.need("cond_net", str)
    if encoder not in _ENCODERS:
        raise ValueError(
            f"unet.cond_net must be one of {', '.join(_ENCODERS)}, got {shorten(encoder)}"
        )
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
    windows = [
        section.pairs(key, [[8, 8], [4, 4], [2, 2], [1, 1]])
        for key in ("window_sizes1", "window_sizes2")
    ]
    network = replace(
        profile.network,
        latent_channels=section.get("channels", 3),
        width=section.need("dim", int),
        multipliers=section.integers("dim_mults", [1, 2, 4, 4]),
        encoder=_ENCODERS[encoder],
        swin=_swin(Section(swin, "swin"), profile) if swin else profile.network.swin,
        condition_mix_inputs=5 if profile is R25 and section.get("DPMCARK", False) else 0,
        freeze_encoder=section.get("fix_bb", True),
        condition_windows=windows[0],
        feature_windows=windows[1],
        fourier_scale=section.get("fourier_scale", 16.0),
        filter_size=(height // 8 - 2, width // 8 - 2),
    )
    lowest = network.width * network.multipliers[-1]
    if network.fourier_filter != "off" and lowest < _LEAST_FILTER_CHANNELS:
        raise ValueError(
            f"unet.dim times the last of unet.dim_mults must be {_LEAST_FILTER_CHANNELS} or more "
            f"in {profile.name}: for fewer channels the public code normalises its frequency "
            f"filter in fewer groups than 8; got {lowest}"
        )
    return network


def _swin(section: Section, profile: Profile) -> SwinConfig:
    """Read another size of the Swin encoder."""
    return replace(
        profile.network.swin,
        width=section.need("embed_dim", int),
        depths=section.integers("depths"),
        heads=section.integers("num_heads"),
        window=section.pair("window_size", [7, 7])[0],
        mlp_ratio=section.get("mlp_ratio", 4.0),
        classifier_tail=False,
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
    return read_process(Section(model, "model"), profile, first_batch=1)


def read_process(section: Section, profile: Profile, *, first_batch: int) -> ProcessConfig:
    """Read what the ``model`` section says about process and loss."""
    section.expect("start_dist", "normal", "uniform noise is not what the SDE ends in")
    loss_type = section.get("loss_type", "l2")
    if loss_type not in ("l1", "l2"):
        raise ValueError(f"model.loss_type must be l1 or l2, got {shorten(loss_type)}")
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
