"""Files and state dicts of the public code, small and whole, for the tests of this folder."""

import json
from pathlib import Path

import torch
import yaml

from radiodiff.losses import LPIPS_CHANNELS
from radiodiff.models import (
    AutoencoderConfig,
    AutoencoderKL,
    PatchDiscriminator,
    UNet,
    VGG16Features,
)
from radiodiff.reference import R24, R25, read_reference_config, reference_state_dict
from tests.conftest import ROOT

FILES = ROOT / "tests" / "reference"
SWIN = {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 1, 2, 2]}
#: A small second stage: the fixture files with sizes overridden down.
SMALL_FIRST = {"ch": 32, "ch_mult": [1, 1, 1], "num_res_blocks": 1}
SMALL = [
    *(f"model.first_stage.ddconfig.{key}={value}" for key, value in SMALL_FIRST.items()),
    f"model.swin={json.dumps(SWIN)}",
    "model.unet.dim=16",
    "model.unet.dim_mults=[1, 1, 2, 2]",
    "model.unet.input_size=[24, 24]",
    "model.unet.without_pretrain=true",
]


def read(name: str, *overrides: str, **options):
    return read_reference_config(FILES / name, data_root="data", overrides=overrides, **options)


def edited(tmp_path: Path, name: str, change) -> Path:
    values = yaml.safe_load((FILES / name).read_text(encoding="utf-8"))
    change(values)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def losses(heads=("loss",), *, device="cpu") -> dict[str, torch.Tensor]:
    """What the public first stage owns beside its networks (spec of its state dict)."""
    state = {}
    with torch.device(device):
        for head in heads:
            lpips = f"{head}.perceptual_loss"
            state[f"{head}.logvar"] = torch.zeros(())
            for name in ("shift", "scale"):
                state[f"{lpips}.scaling_layer.{name}"] = torch.rand(1, 3, 1, 1)
            for key, value in VGG16Features().state_dict().items():
                place, kind = key.removeprefix("features.").split(".")
                piece = 1 + sum(int(place) > last for last in (3, 8, 15, 22))
                state[f"{lpips}.net.slice{piece}.{place}.{kind}"] = value
            for k, channels in enumerate(LPIPS_CHANNELS):
                state[f"{lpips}.lin{k}.model.1.weight"] = torch.rand(1, channels, 1, 1)
            for key, value in PatchDiscriminator().state_dict().items():
                state[f"{head}.discriminator.{key}"] = value
    return state


def whole_state(profile, autoencoder=None, unet=None, *, device="cpu", heads=("loss",)):
    """State dict of a whole ``LatentDiffusion``, in the public code's names and kinds."""
    unet = unet or profile.network
    autoencoder = autoencoder or AutoencoderConfig()
    with torch.device(device):
        rest = {"scale_factor": torch.tensor(0.3)}
        for name in (
            "betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod "
            "sqrt_one_minus_alphas_cumprod log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod "
            "sqrt_recipm1_alphas_cumprod posterior_variance posterior_log_variance_clipped "
            "posterior_mean_coef1 posterior_mean_coef2 p2_loss_weight"
        ).split():
            rest[name] = torch.rand(1000)
        if profile is R25 and not unet.condition_mix_inputs:
            rest["model.init_conv_carK.weight"] = torch.rand(3, 5, 1, 1)
            rest["model.init_conv_carK.bias"] = torch.rand(3)
        networks = AutoencoderKL(autoencoder).state_dict(), UNet(unet).state_dict()
    for key, value in losses(heads, device=device).items():
        rest[f"first_stage_model.{key}"] = value
    return reference_state_dict(*networks, rest, autoencoder_config=autoencoder, unet_config=unet)


R25_HEADS = ("loss", "loss_pinn", "loss_pinn_dpm2irt4")


def small_state(profile=R24, **options):
    run = read("radio_train.yaml", *SMALL, profile=profile)
    torch.manual_seed(0)
    state = whole_state(profile, run.config.autoencoder, run.config.network, **options)
    return run, state


def same(first, second) -> bool:
    """Equal in names, their order, types and bytes."""
    return list(first) == list(second) and all(
        first[k].dtype == second[k].dtype
        and first[k].shape == second[k].shape
        and first[k].contiguous().numpy().tobytes() == second[k].contiguous().numpy().tobytes()
        for k in first
    )
