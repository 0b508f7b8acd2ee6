"""Checkpoints of the public RadioDiff code as run folders of ours, and back."""

import functools
import json
import logging
import math
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from radiodiff.checkpoint import read_tensors, save_tensors
from radiodiff.config import Config, load_config, save_config
from radiodiff.files import read_json, rename_folder, sha256, write_atomically
from radiodiff.losses import LPIPS_CHANNELS
from radiodiff.models import (
    AutoencoderKL,
    PatchDiscriminator,
    UNet,
    VGG16Features,
    parameter_count,
)
from radiodiff.predictors.space import read_scale, write_scale
from radiodiff.reference.config import ReferenceRun, read_reference_config
from radiodiff.reference.profiles import R24, R25, Profile
from radiodiff.reference.weights import (
    AUTOENCODER_PREFIX,
    UNET_PREFIX,
    ReferenceWeights,
    read_weights,
    reference_state_dict,
    split_weights,
)
from radiodiff.runs.sessions import record_session

__all__ = [
    "export_run",
    "import_run",
    "parameter_counts",
    "run_state_dict",
    "save_reference_parts",
]

logger = logging.getLogger(__name__)

_REST_FILE = "reference_rest.safetensors"
_NOTE_FILE = "reference.json"

#: Values of the switches that the public code has no counterpart for.
_OURS_ALONE = {
    ("process", "constant_sde", "drift_skip"): "corrected",
    ("network", "fourier_filter"): "size_free",
    ("network", "relation_norm"): "group",
    ("network", "scale_logits"): True,
}


def import_run(
    checkpoint: Path,
    config_file: Path,
    run_dir: Path,
    *,
    data_root: str = "data/RadioMapSeer",
    profile: Profile | None = None,
    overrides: Sequence[str] = (),
    which: Literal["auto", "ema", "model"] = "auto",
) -> ReferenceRun:
    """Make a run folder of a checkpoint of the public code.

    `RadioDiffPipeline.from_run`, ``radiodiff sample`` and ``radiodiff evaluate`` accept the
    folder; `export_run` gives the same state dict back. A file of the first stage alone gives a
    folder with an autoencoder and no U-Net.

    Args:
        checkpoint: A ``.pt`` or ``.safetensors`` file, see `read_weights`.
        config_file: The YAML file that it was trained (or is sampled) with.
        run_dir: Folder to make; must not exist.
        data_root: Dataset folder to note in the run's configuration.
        profile: State of the public code; told from the weights if ``None``: R25 owns a layer
            that R24 does not. In R24 the frequency filter of such a network was never trained.
        overrides: Changes in the file's own keys, ``"model.unet.dim=64"``.
        which: Averaged weights or not, see `read_weights`.

    Returns:
        The configuration file as a run.

    Raises:
        FileNotFoundError: If a file does not exist.
        FileExistsError: If the folder exists.
        ValueError: If the configuration or the weights do not fit; nothing is written then.
    """
    run_dir = Path(run_dir)
    if run_dir.exists():
        raise FileExistsError(f"{run_dir} exists: name another folder, or delete that one")
    state = read_weights(checkpoint, which)
    run = read_reference_config(
        config_file,
        data_root=data_root,
        for_training=False,
        profile=profile or _profile_of(state),
        overrides=overrides,
    )
    weights = split_weights(
        state,
        run.config.autoencoder,
        run.config.network if run.stage == "diffusion" else None,
    )
    config = _with_scale_of_weights(run, weights, checkpoint, config_file)
    temporary = run_dir.with_name(f".{run_dir.name}.{secrets.token_hex(4)}.tmp")
    run = replace(run, config=config)
    try:
        _write_run(temporary, run, weights, Path(checkpoint))
        rename_folder(temporary, run_dir)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return run


def _write_run(
    folder: Path, run: ReferenceRun, weights: ReferenceWeights, checkpoint: Path
) -> None:
    """Fill the folder of an imported run."""
    save_config(run.config, folder / "config.yaml")
    save_reference_parts(weights, folder)
    if weights.unet is not None:
        save_tensors(weights.unet, folder / "diffusion.safetensors")
        write_scale(folder, run.config.process.scale)
    digest = sha256(checkpoint)
    note = {
        "profile": run.profile.name,
        "file": checkpoint.name,
        "sha256": digest,
        "keys": weights.keys,
    }
    write_atomically(folder / _NOTE_FILE, json.dumps(note, indent=1))
    source = f"imported from {checkpoint.name}, sha256 {digest[:16]}"
    record_session(folder, 0.0, commit=source)


def _with_scale_of_weights(
    run: ReferenceRun, weights: ReferenceWeights, checkpoint: Path, config_file: Path
) -> Config:
    """Return the configuration with the latent scale that the weights come with, if they do."""
    config, factor = run.config, weights.scale_factor
    process = config.process
    if factor is not None and process.scaling == "factor":
        scale = process.scale
        if scale is None or not math.isclose(scale, factor, rel_tol=1e-6):  # it is a float32
            logger.info(
                "latent scale %g of %s is used, not that of %s", factor, checkpoint, config_file
            )
            config = replace(config, process=replace(process, scale=factor))
    if run.stage == "diffusion" and config.process.scale is None:
        raise ValueError(
            f"{checkpoint} holds no scale_factor, and {config_file} has it measured: set "
            "model.scale_factor and model.default_scale: true"
        )
    return config


def _profile_of(state: Mapping[str, Tensor]) -> Profile | None:
    """Return which state of the public code a whole file is of; ``None`` for a first stage."""
    if not any(key.startswith(UNET_PREFIX) for key in state):
        return None
    return R25 if f"{UNET_PREFIX}init_conv_carK.weight" in state else R24


def save_reference_parts(weights: ReferenceWeights, run_dir: Path) -> None:
    """Write the autoencoder, and what no network of ours holds, into a run folder.

    Args:
        weights: File of the public code, taken apart.
        run_dir: Receives ``autoencoder.safetensors`` and, if there is a rest,
            ``reference_rest.safetensors``.
    """
    if weights.rest:
        save_tensors(weights.rest, run_dir / _REST_FILE)
    save_tensors(weights.autoencoder, run_dir / "autoencoder.safetensors")


def export_run(run_dir: Path, path: Path) -> int:
    """Write a run's weights under the names of the public code.

    Args:
        run_dir: Run folder, imported or trained.
        path: A ``.pt`` file, which receives ``{"model": state dict}`` as the public code writes
            it, or a ``.safetensors`` file, which receives the bare state dict.

    Returns:
        Number of tensors written. For an imported run they are those of the imported file, name
        by name, type by type, byte by byte.

    Raises:
        FileNotFoundError: If the folder is not a run or holds no weights.
        FileExistsError: If the file exists.
        ValueError: If the run has no counterpart in the public code, or the suffix is another.
    """
    run_dir, path = Path(run_dir), Path(path)
    if path.suffix not in (".pt", ".safetensors"):
        raise ValueError(f"{path} must end in .pt or .safetensors")
    if path.exists():
        raise FileExistsError(f"{path} exists: name another file, or delete that one")
    if not (run_dir / "config.yaml").is_file():
        raise FileNotFoundError(f"{run_dir} is not a run folder: it has no config.yaml")
    if not (run_dir / "autoencoder.safetensors").is_file():
        raise FileNotFoundError(f"{run_dir} holds no weights yet: has the run finished a stage?")
    config = load_config(run_dir / "config.yaml")
    autoencoder = read_tensors(run_dir / "autoencoder.safetensors")
    unet = None
    if (run_dir / "diffusion.safetensors").is_file():
        unet = read_tensors(run_dir / "diffusion.safetensors")
        foreign = [
            f"{'.'.join(key)} {value}"
            for key, value in _OURS_ALONE.items()
            if functools.reduce(getattr, key, config) == value
        ]
        if foreign:
            raise ValueError(
                f"the public code has no counterpart for {', '.join(foreign)} of {run_dir}: only "
                "a run of profile R24 or R25 can be exported"
            )
    note = run_dir / _NOTE_FILE
    keys = tuple(read_json(note, {"keys": list})["keys"]) if note.is_file() else ()
    state = run_state_dict(run_dir, config, autoencoder, unet, keys=keys)
    save_tensors(state, path)
    return len(state)


def run_state_dict(
    run_dir: Path,
    config: Config,
    autoencoder: Mapping[str, Tensor],
    unet: Mapping[str, Tensor] | None,
    *,
    keys: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Return the weights of a run under the names of the public code.

    Args:
        run_dir: Run folder; the part of an imported file that no network holds comes from there.
        config: Its configuration.
        autoencoder: Autoencoder weights under our names.
        unet: U-Net weights under our names; ``None`` for the first stage alone.
        keys: Names to return, in order; all if empty.
    """
    rest = read_tensors(run_dir / _REST_FILE) if (run_dir / _REST_FILE).is_file() else {}
    if unet is not None:
        # A first stage that was imported alone has its losses under bare names.
        rest = {
            AUTOENCODER_PREFIX + key if key.startswith("loss") else key: value
            for key, value in rest.items()
        }
        rest.setdefault("scale_factor", torch.tensor(read_scale(run_dir)))
    return reference_state_dict(
        autoencoder,
        unet,
        rest,
        autoencoder_config=config.autoencoder,
        unet_config=config.network if unet is not None else None,
        keys=keys,
    )


def parameter_counts(run: ReferenceRun) -> dict[str, int]:
    """Return how many parameters the public code would count for a run.

    Its loss networks count too (V8): they are part of its modules, three times over in R25. So do
    parameters that never receive a gradient (T19).
    """
    config = run.config
    with torch.device("meta"):
        autoencoder = AutoencoderKL(config.autoencoder)
        loss = [VGG16Features(), PatchDiscriminator(config.autoencoder.in_channels)]
        one = sum(map(parameter_count, loss)) + sum(LPIPS_CHANNELS) + 1  # and the log-variance
        losses = one * (3 if run.profile is R25 else 1)
        counts = {
            "first stage": parameter_count(autoencoder),
            "first stage with its losses": parameter_count(autoencoder) + losses,
        }
        if run.stage == "autoencoder":
            return counts
        unet = UNet(config.network)
    mix = 18 if run.profile is R25 and not config.network.condition_mix_inputs else 0
    encoder = parameter_count(unet.condition_encoder)
    counts["condition encoder"] = encoder
    counts["U-Net"] = parameter_count(unet) + mix
    counts["total"] = counts["first stage with its losses"] + counts["U-Net"]
    counts["trainable"] = counts["U-Net"] - unet.time_embedding.frequencies.numel()
    if config.network.freeze_encoder:
        counts["trainable"] -= encoder
    return counts
