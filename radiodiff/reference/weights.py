"""Weights of the public RadioDiff code: read, put under our names, and written back.

Nothing is loaded in part: a missing, unexpected or misshaped key raises one error that lists all
of them, under the names of the file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from radiodiff.checkpoint import read_tensors
from radiodiff.models import AutoencoderConfig, AutoencoderKL, UNet, UNetConfig
from radiodiff.models.swin import relative_position_index
from radiodiff.reference.names import Names, autoencoder_names, unet_names

__all__ = [
    "AUTOENCODER_PREFIX",
    "UNET_PREFIX",
    "ReferenceWeights",
    "autoencoder_state_dict",
    "read_weights",
    "reference_state_dict",
    "split_weights",
    "unet_state_dict",
]

#: Where the two networks stand in a whole ``LatentDiffusion``.
AUTOENCODER_PREFIX, UNET_PREFIX = "first_stage_model.", "model."

#: Buffers of a DDPM schedule that the constant SDE never uses.
_SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "p2_loss_weight",
)

#: Training losses that an autoencoder's file carries along; R25 owns three of them.
_LOSS_KEY = re.compile(
    r"(loss|loss_pinn|loss_pinn_dpm2irt4)\."
    r"(logvar|perceptual_loss\.(scaling_layer|net|lin\d)\..+|discriminator\.main\..+)"
)

_OUR_INTEGERS = (".relative_position_index", ".num_batches_tracked")


@dataclass(frozen=True)
class ReferenceWeights:
    """A file of the public code, taken apart."""

    autoencoder: dict[str, Tensor]
    """Autoencoder weights under our names."""
    unet: dict[str, Tensor] | None
    """U-Net weights under our names; ``None`` if the file has none."""
    rest: dict[str, Tensor]
    """What no network of ours holds, under the file's names: losses, dead buffers, counters."""
    keys: tuple[str, ...]
    """All names of the file, in its order."""

    @property
    def scale_factor(self) -> float | None:
        """Factor of the latents [1], if the file has it."""
        factor = self.rest.get("scale_factor")
        return None if factor is None else float(factor)


def read_weights(path: Path, which: Literal["auto", "ema", "model"] = "auto") -> dict[str, Tensor]:
    """Return one state dict of a file written by the public code, under its names.

    Args:
        path: A ``.pt`` or ``.safetensors`` file: a checkpoint of either trainer, or a bare state
            dict. No code in it is run.
        which: ``ema`` or ``model`` entry of a checkpoint; ``auto`` takes the averaged weights
            where there are any, then ``model``, then ``state_dict``, then the file itself.

    Returns:
        Names and tensors; those of a PyTorch file stay on disk until they are used.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, lacks the entry, or would run code.
    """
    content = read_tensors(path)
    names = [str(key) for key in content if not isinstance(key, str)]
    if names:
        raise ValueError(f"{path} is not a checkpoint: its keys must be text, got {names[:4]}")
    if which != "model":
        entry, prefix = content.get("ema"), "ema_model."
        entry = entry if isinstance(entry, Mapping) else content
        averaged = {
            str(k).removeprefix(prefix): v for k, v in entry.items() if str(k).startswith(prefix)
        }
        if averaged:
            return _only_tensors(averaged, path)
        if which == "ema":
            raise ValueError(
                f"{path} has no averaged weights: no key starts with {prefix} (the public code "
                "saves them only with enable_resume)"
            )
    entries = (content.get(name) for name in ("model", "state_dict"))
    return _only_tensors(next((entry for entry in entries if entry is not None), content), path)


def _only_tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """Return a state dict, or say what else it is."""
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} holds no state dict, got {type(state).__name__}")
    other = sorted(str(k) for k, v in state.items() if not isinstance(v, Tensor))
    if other:
        raise ValueError(
            f"{path} is not a state dict: {len(other)} entries are no tensors, first {other[:4]}"
        )
    return dict(state)


def split_weights(
    reference: Mapping[str, Tensor], autoencoder: AutoencoderConfig, unet: UNetConfig | None
) -> ReferenceWeights:
    """Take a state dict of the public code apart, completely or not at all.

    Args:
        reference: State dict of a whole ``LatentDiffusion`` or of an ``AutoencoderKL``.
        autoencoder: Size of the autoencoder.
        unet: Size of the U-Net; ``None`` for a file of the first stage alone.

    Returns:
        The parts; tensors are shared, not copied.

    Raises:
        ValueError: If keys are missing or unexpected, or shapes differ; all are listed.
    """
    if unet is None:
        taken = [_take_autoencoder(reference, "", autoencoder)]
        known: tuple[str, ...] = ()
    else:
        taken = [
            _take_autoencoder(reference, AUTOENCODER_PREFIX, autoencoder),
            _take_unet(reference, UNET_PREFIX, unet),
        ]
        known = (*_SCHEDULE_BUFFERS, "scale_factor")
    rest = {key: reference[key] for key in known if key in reference}
    for part in taken:
        rest |= part.rest
    used = set(rest).union(*(part.used for part in taken))
    is_whole = any(key.startswith(UNET_PREFIX) for key in reference)
    problems = []
    if is_whole != (unet is not None):
        held = "both stages" if is_whole else "the first stage alone"
        problems.append(f"the file holds {held}: name the YAML file that goes with it")
    problems += [problem for part in taken for problem in part.problems]
    problems += [f"unexpected: {key}" for key in reference if key not in used]
    _raise_if(problems)
    first = taken[0].state
    second = taken[1].state if unet is not None else None
    return ReferenceWeights(first, second, rest, tuple(reference))


def reference_state_dict(
    autoencoder: Mapping[str, Tensor],
    unet: Mapping[str, Tensor] | None,
    rest: Mapping[str, Tensor],
    *,
    autoencoder_config: AutoencoderConfig,
    unet_config: UNetConfig | None,
    keys: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Return a state dict under the names of the public code; undoes `split_weights`.

    Args:
        autoencoder: Autoencoder weights under our names.
        unet: U-Net weights under our names; ``None`` for the first stage alone.
        rest: What else belongs into the file, under its names; wins over the networks'.
        autoencoder_config: Size of the autoencoder.
        unet_config: Size of the U-Net; ``None`` for a file of the first stage alone.
        keys: Order of the names; the networks' own if empty.

    Returns:
        Names and tensors, shared and not copied. A file that came without a buffer of integers
        goes without it again.
    """
    prefix = AUTOENCODER_PREFIX if unet_config is not None else ""
    names = autoencoder_names(autoencoder_config)
    state = {f"{prefix}{names.theirs(key)}": value for key, value in autoencoder.items()}
    if unet is not None and unet_config is not None:
        names = unet_names(unet_config)
        state |= {f"{UNET_PREFIX}{names.theirs(key)}": value for key, value in unet.items()}
    state |= rest
    return {key: state[key] for key in keys} if keys else state


def autoencoder_state_dict(
    reference: Mapping[str, Tensor], config: AutoencoderConfig | None = None
) -> dict[str, Tensor]:
    """Return the public code's autoencoder weights under our names.

    Args:
        reference: State dict of its ``AutoencoderKL``, or of its whole ``LatentDiffusion``. The
            losses that it carries along are left out.
        config: Size of the autoencoder the weights are for; the default size if ``None``.

    Returns:
        State dict for :class:`radiodiff.models.AutoencoderKL`; tensors are shared, not copied.

    Raises:
        ValueError: If keys are missing or unexpected, or shapes differ; all are listed.
    """
    prefix = _prefix_in(reference, AUTOENCODER_PREFIX)
    part = _take_autoencoder(reference, prefix, config or AutoencoderConfig())
    return part.whole(reference, prefix)


def unet_state_dict(reference: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """Return the public code's U-Net weights under our names.

    Args:
        reference: State dict of its ``Unet``, or of its whole ``LatentDiffusion``. A classifier
            tail or a layer for five condition channels is left out if ``config`` has none.
        config: Size of the U-Net the weights are for. Needs the ``swin`` encoder and batch norms
            in the relation blocks.

    Returns:
        State dict for :class:`radiodiff.models.UNet`; tensors are shared, not copied.

    Raises:
        ValueError: If keys are missing or unexpected, or shapes differ; all are listed.
    """
    prefix = _prefix_in(reference, UNET_PREFIX)
    return _take_unet(reference, prefix, config).whole(reference, prefix)


def _prefix_in(reference: Mapping[str, Tensor], prefix: str) -> str:
    """Return the prefix if a file has it, as whole files do."""
    return prefix if any(key.startswith(prefix) for key in reference) else ""


@dataclass(frozen=True)
class _Taken:
    """One network's part of a file."""

    state: dict[str, Tensor]
    rest: dict[str, Tensor]
    used: set[str]
    problems: list[str]

    def whole(self, reference: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Return the state if nothing below the prefix is left over and nothing is wrong."""
        used = self.used | set(self.rest)
        left = [k for k in reference if k.startswith(prefix) and k not in used]
        _raise_if(self.problems + [f"unexpected: {key}" for key in left])
        return self.state


def _raise_if(problems: list[str]) -> None:
    """Raise one error with all problems."""
    if problems:
        raise ValueError(
            "the weights of the public code do not fit; check the configuration\n"
            + "\n".join(problems)
        )


def _take_autoencoder(
    reference: Mapping[str, Tensor], prefix: str, config: AutoencoderConfig
) -> _Taken:
    """Take the autoencoder's weights; its losses are the rest."""
    with torch.device("meta"):
        model = AutoencoderKL(config)
    rest = {
        key: value
        for key, value in reference.items()
        if key.startswith(prefix) and _LOSS_KEY.fullmatch(key.removeprefix(prefix))
    }
    return _take(reference, prefix, model, autoencoder_names(config), rest)


def _take_unet(reference: Mapping[str, Tensor], prefix: str, config: UNetConfig) -> _Taken:
    """Take the U-Net's weights; layers that the configuration does without are the rest."""
    with torch.device("meta"):
        model = UNet(config)
    spare = [prefix + "init_conv_carK."] if not config.condition_mix_inputs else []
    if not config.swin.classifier_tail:
        spare += [prefix + "init_conv_mask.norm.", prefix + "init_conv_mask.head."]
    # The integer buffers do not matter to the result; some files lack them or reshape them.
    rest = {
        key: value
        for key, value in reference.items()
        if key.startswith(tuple(spare)) or (key.startswith(prefix) and key.endswith(_OUR_INTEGERS))
    }
    taken = _take(reference, prefix, model, unet_names(config), rest)
    for key in model.state_dict():
        if key.endswith(".relative_position_index"):
            taken.state[key] = relative_position_index(config.swin.window)
        elif key.endswith(".num_batches_tracked"):
            taken.state[key] = torch.tensor(0)
    return taken


def _take(
    reference: Mapping[str, Tensor],
    prefix: str,
    model: nn.Module,
    names: Names,
    rest: dict[str, Tensor],
) -> _Taken:
    """Match a model's weights with a file's; collect what does not fit."""
    state, used, problems = {}, set(), []
    for key, own in model.state_dict().items():
        if key.endswith(_OUR_INTEGERS):
            continue
        theirs = f"{prefix}{names.theirs(key)}"
        value = reference.get(theirs)
        if value is None:
            problems.append(f"missing: {theirs}")
            continue
        used.add(theirs)
        state[key] = value
        if value.shape != own.shape:
            expected, got = tuple(own.shape), tuple(value.shape)
            problems.append(f"shape of {theirs}: expected {expected}, got {got}")
        elif not value.is_floating_point():
            problems.append(f"type of {theirs}: expected floating point, got {value.dtype}")
    return _Taken(state, rest, used, problems)
