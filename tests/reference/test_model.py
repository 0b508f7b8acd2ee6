"""What the section ``model`` means: arguments of the networks, process and loss."""

import logging
from dataclasses import asdict

import pytest
import yaml

from radiodiff.models import AutoencoderConfig
from radiodiff.reference import R24, R25, autoencoder_config, process_config, unet_config
from tests.reference.cases import FILES, SWIN, read


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("embed_dim=5", {"latent_channels": 5, "inner_channels": 3}),
        ("ddconfig.z_channels=5", {"latent_channels": 3, "inner_channels": 5}),
        ("ddconfig.dropout=0.1", {"dropout": 0.1}),
        ("ddconfig.attn_type=none", {"attention": "none"}),
        ("ddconfig.attn_type=linear", {"attention": "linear"}),
        ("ddconfig.use_linear_attn=true", {"attention": "linear"}),
        ("ddconfig.resamp_with_conv=false", {"learned_resampling": False}),
        ("ddconfig.tanh_out=true", {"bounded": True}),
        ("ddconfig.attn_resolutions=[16, 8]", {}),
    ],
)
def test_arguments_of_the_autoencoder(override, expected, caplog):
    """Each has its meaning; numbers in ``attn_resolutions`` have none, as in the public code."""
    caplog.set_level(logging.INFO)
    config = read("first_radio.yaml", f"model.{override}", perceptual_weights="vgg.pt").config
    assert config.autoencoder == AutoencoderConfig(**expected)
    assert config.network.latent_channels == config.autoencoder.latent_channels
    assert ("attn_resolutions" in caplog.text) == (not expected)
    assert "not known" not in caplog.text


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, {"scale": None, "error": "both"}),
        ({"default_scale": True, "scale_factor": 0.3}, {"scale": 0.3}),
        ({"scale_by_std": False, "scale_factor": 0.3}, {"scale": 1.0}),
        ({"scale_by_softsign": True}, {"scaling": "softsign"}),
        ({"use_l1": False}, {"error": "squared"}),
        ({"loss_type": "l1"}, {"error": "absolute"}),
        ({"loss_type": "l1", "use_l1": False}, {"error": "absolute"}),
        ({"eps": "1e-3"}, {"t_min": 1e-3}),
    ],
)
def test_process_and_loss(model, expected):
    found = process_config(model, R25)
    values = asdict(found.constant_sde) | {"scale": found.scale, "scaling": found.scaling}
    assert {key: values[key] for key in expected} == expected


def test_filter_of_few_channels_has_other_groups():
    """Where the filter is on; in R24 it is bypassed."""
    narrow = {"cond_net": "swin", "dim": 16, "dim_mults": [1, 1, 2, 1]}
    assert unet_config(narrow, R24).width == 16
    with pytest.raises(ValueError, match=r"must be 32 or more in R25: .* got 16"):
        unet_config(narrow, R25)


def test_sections_are_read_alone_too():
    values = yaml.safe_load((FILES / "radio_train.yaml").read_text(encoding="utf-8"))["model"]
    assert autoencoder_config(values["first_stage"]) == AutoencoderConfig()
    assert unet_config(values["unet"], R24) == R24.network
    small = unet_config(values["unet"], R25, swin=SWIN | {"window_size": [5, 5]}).swin
    assert (small.width, small.depths, small.window) == (8, (1, 1, 2, 1), 5)
    assert not small.classifier_tail
