"""Renames the weights of the public RadioDiff code to ours.

Source of the names: ``UNIC-Lab/RadioDiff``, the December 2024 release (R24) and the July 2025
release (R25), which share one layout.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from radiodiff.models import AutoencoderConfig, AutoencoderKL, UNet, UNetConfig
from radiodiff.models.swin import relative_position_index

__all__ = ["R24_UNET", "R25_UNET", "autoencoder_state_dict", "unet_state_dict"]

#: The U-Net as the December 2024 release runs it.
R24_UNET = UNetConfig(fourier_filter="off", relation_norm="batch", scale_logits=False)
#: The U-Net as the July 2025 release runs it.
R25_UNET = replace(R24_UNET, fourier_filter="fixed")

AUTOENCODER_PREFIX = "first_stage_model."
UNET_PREFIX = "model."

# Each rule is applied where it matches, in this order.
AUTOENCODER_RULES = (
    (r"^(encoder|decoder)\.(?:down|up)\.(\d+)\.block\.", r"\1.levels.\2.blocks."),
    (r"^(encoder|decoder)\.(?:down|up)\.(\d+)\.(?:down|up)sample\.", r"\1.levels.\2.resample."),
    (r"\.mid\.block_1\.", r".middle.0."),
    (r"\.mid\.attn_1\.", r".middle.1."),
    (r"\.mid\.block_2\.", r".middle.2."),
    (r"\.nin_shortcut\.", r".shortcut."),
    (r"\.q\.", r".query."),
    (r"\.k\.", r".key."),
    (r"\.v\.", r".value."),
    (r"\.proj_out\.", r".projection."),
)
UNET_RULES = (
    # Condition encoder: upstream counts the stages from 0, torchvision from 1.
    (r"^init_conv_mask\.first_coonv\.", r"condition_encoder.features.0."),
    (
        r"^init_conv_mask\.features\.(\d+)\.",
        lambda match: f"condition_encoder.features.{int(match[1]) + 1}.",
    ),
    (r"^init_conv_mask\.", r"condition_encoder."),
    # Stem, projections, time.
    (r"^init_conv\.", r"stem."),
    (r"^projects\.", r"projections."),
    (r"^time_mlp\.0\.W$", r"time_embedding.frequencies"),
    (r"^time_mlp\.1\.", r"time_embedding.linear1."),
    (r"^time_mlp\.3\.", r"time_embedding.linear2."),
    # Places: levels of the three paths, middle, heads.
    (r"^downs\.", r"down."),
    (r"^ups\.", r"drift_path.levels."),
    (r"^ups2\.", r"noise_path.levels."),
    (r"^relation_layers_down\.(\d+)\.", r"down.\1.relation."),
    (r"^relation_layers_up\.(\d+)\.", r"drift_path.levels.\1.relation."),
    (r"^relation_layers_up2\.(\d+)\.", r"noise_path.levels.\1.relation."),
    (r"((?:^down|\.levels)\.\d+)\.0\.", r"\1.block1."),
    (r"((?:^down|\.levels)\.\d+)\.1\.", r"\1.block2."),
    (r"((?:^down|\.levels)\.\d+)\.2\.fn\.", r"\1.attention."),
    (r"((?:^down|\.levels)\.\d+)\.3\.(?:1\.)?", r"\1.resample."),
    (r"^mid_block([12])\.", r"middle_block\1."),
    (r"^mid_attn\.fn\.", r"middle_attention."),
    (r"^decouple1\.", r"drift_path.filter."),
    (r"^decouple2\.", r"noise_path.filter."),
    (r"\.filter\.0\.", r".filter.norm."),
    (r"\.filter\.1\.", r".filter.conv."),
    (r"\.filter\.2\.", r".filter."),
    (r"^final_res_block\.", r"drift_path.final_block."),
    (r"^final_res_block2\.", r"noise_path.final_block."),
    (r"^final_conv\.", r"drift_path.final_conv."),
    (r"^final_conv2\.", r"noise_path.final_conv."),
    # Inside residual blocks, attention and relation blocks.
    (r"\.mlp\.1\.", r".time_projection."),
    (r"\.block([12])\.proj\.", r".conv\1."),
    (r"\.block([12])\.norm\.", r".norm\1."),
    (r"\.res_conv\.", r".shortcut."),
    (r"attention\.norm\.g$", r"attention.norm.gain"),
    (r"attention\.fn\.to_qkv\.", r"attention.qkv."),
    (r"attention\.fn\.to_out\.1\.g$", r"attention.out_norm.gain"),
    (r"attention\.fn\.to_out\.(?:0\.)?", r"attention.projection."),
    (r"\.relation\.input_conv1\.", r".relation.condition_input."),
    (r"\.relation\.input_conv2\.", r".relation.feature_input."),
    (r"\.relation\.attentions\.0\.", r".relation.attention."),
    (r"\.attention\.q_lin\.", r".attention.query."),
    (r"\.attention\.k_lin\.", r".attention.key."),
    (r"\.attention\.v_lin\.", r".attention.value."),
    (r"\.attention\.mlp\.fc1\.", r".attention.hidden."),
    (r"\.attention\.mlp\.fc2\.", r".attention.hidden_out."),
    (r"\.attention\.concat_conv\.", r".attention.merge."),
    (r"\.attention\.gn\.", r".attention.norm."),
    (r"\.attention\.out_conv\.", r".attention.projection."),
)


def autoencoder_state_dict(
    reference: Mapping[str, Tensor], config: AutoencoderConfig | None = None
) -> dict[str, Tensor]:
    """Return the reference's autoencoder weights under our names.

    Args:
        reference: State dict of the reference's ``AutoencoderKL``, or of its whole
            ``LatentDiffusion``. The loss modules that it carries along are left out.
        config: Size of the autoencoder the weights are for; the default size if ``None``.

    Returns:
        State dict for :class:`radiodiff.models.AutoencoderKL`; tensors are shared, not copied.

    Raises:
        ValueError: If keys are missing or unexpected, or shapes differ; all are listed.
    """
    with torch.device("meta"):
        model = AutoencoderKL(config)
    own = select(reference, AUTOENCODER_PREFIX)
    own = {key: value for key, value in own.items() if not key.startswith("loss")}
    renamed = {rename(key, AUTOENCODER_RULES): value for key, value in own.items()}
    return checked(renamed, model)


def unet_state_dict(
    reference: Mapping[str, Tensor], config: UNetConfig | None = None
) -> dict[str, Tensor]:
    """Return the reference's U-Net weights under our names.

    Args:
        reference: State dict of the reference's ``Unet``, or of its whole ``LatentDiffusion``.
            The classifier tail is left out if ``config`` has none. The 5-to-3-channel layer of the
            July 2025 release is left out if the condition has three channels; if it has five, it
            is merged into the patch embedding behind it, which changes nothing.
        config: Size of the U-Net the weights are for; :data:`R24_UNET` if ``None``. Needs the
            ``swin`` encoder and batch norms in the relation blocks.

    Returns:
        State dict for :class:`radiodiff.models.UNet`; tensors are shared, not copied.

    Raises:
        ValueError: If keys are missing or unexpected, or shapes differ; all are listed.
    """
    config = config or R24_UNET
    with torch.device("meta"):
        model = UNet(config)
    own = select(reference, UNET_PREFIX)
    if config.swin.in_channels == 5:
        own = merge_condition_layer(own)
    own = {key: value for key, value in own.items() if not key.startswith("init_conv_carK.")}
    renamed = {rename(key, UNET_RULES): value for key, value in own.items()}
    if not config.swin.classifier_tail:
        tail = ("condition_encoder.norm.", "condition_encoder.head.")
        renamed = {key: value for key, value in renamed.items() if not key.startswith(tail)}
    # The integer buffers do not matter to the result; some files lack them or reshape them.
    for key in model.state_dict():
        if key.endswith(".relative_position_index"):
            renamed.setdefault(key, relative_position_index(config.swin.window))
        elif key.endswith(".num_batches_tracked"):
            renamed[key] = renamed.get(key, torch.tensor(0)).reshape(())
    return checked(renamed, model)


def merge_condition_layer(reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with the 5-to-3-channel layer merged into the patch embedding.

    Args:
        reference: State dict of the reference's ``Unet``.

    Returns:
        The same with a patch embedding for five channels; unchanged if a part is missing.
    """
    layer, embedding = "init_conv_carK.", "init_conv_mask.first_coonv.0."
    merged = dict(reference)
    if {layer + "weight", layer + "bias", embedding + "weight", embedding + "bias"} <= set(merged):
        patch = merged[embedding + "weight"]
        mix = merged[layer + "weight"][:, :, 0, 0]
        merged[embedding + "weight"] = torch.einsum("oiyx,ik->okyx", patch, mix)
        offset = torch.einsum("oiyx,i->o", patch, merged[layer + "bias"])
        merged[embedding + "bias"] = merged[embedding + "bias"] + offset
    return merged


def select(reference: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries below a prefix without it, or all entries if there is none."""
    below = {k.removeprefix(prefix): v for k, v in reference.items() if k.startswith(prefix)}
    return below or dict(reference)


def rename(key: str, rules: tuple) -> str:
    """Return a key after all rules that match it."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def checked(renamed: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict if it fits the model exactly.

    Args:
        renamed: State dict under our names.
        model: The model it is for, on any device.

    Returns:
        ``renamed`` itself.

    Raises:
        ValueError: If keys are missing or unexpected, or shapes differ.
    """
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    problems = [f"missing: {key}" for key in expected if key not in renamed]
    for key, value in renamed.items():
        if key not in expected:
            problems.append(f"unexpected: {key}")
        elif tuple(value.shape) != expected[key]:
            problems.append(f"shape of {key}: expected {expected[key]}, got {tuple(value.shape)}")
    if problems:
        raise ValueError(
            "the reference weights do not fit; check the config\n" + "\n".join(problems)
        )
    return renamed
