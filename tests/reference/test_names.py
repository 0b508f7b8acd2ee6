"""Names of weights: one to one, as published, by example."""

import json
from dataclasses import replace

import pytest
import torch

from radiodiff.models import AutoencoderConfig, AutoencoderKL, UNet
from radiodiff.reference import R24, R25, autoencoder_names, unet_names
from tests.conftest import SHARED
from tests.reference.cases import R25_HEADS, whole_state


@pytest.mark.parametrize("mix_inputs", [0, 5])
def test_names_are_one_to_one(mix_inputs):
    unet = replace(R25.network, condition_mix_inputs=mix_inputs)
    with torch.device("meta"):
        networks = (
            (UNet(unet), unet_names(unet)),
            (AutoencoderKL(), autoencoder_names(AutoencoderConfig())),
        )
    for network, names in networks:
        keys = list(network.state_dict())
        theirs = [names.theirs(key) for key in keys]
        assert None not in theirs
        assert len(set(theirs)) == len(keys)
        assert [names.ours(key) for key in theirs] == keys


def test_names_of_an_unknown_key_and_encoder():
    assert autoencoder_names(AutoencoderConfig()).ours("surplus.weight") is None
    with pytest.raises(ValueError, match="encoder swin only"):
        unet_names(replace(R24.network, encoder="conv"))


@pytest.mark.skipif(
    not (SHARED / "spec/upstream_state_dict.json").exists(),
    reason="tables of the public code not found in ../shared/spec",
)
@pytest.mark.parametrize("profile", [R24, R25], ids=["R24", "R25"])
def test_layout_is_that_of_the_public_code(profile):
    """Every key and shape of the published table, none else."""
    table = json.loads((SHARED / "spec/upstream_state_dict.json").read_text(encoding="utf-8"))
    heads = R25_HEADS if profile is R25 else ("loss",)
    state = whole_state(profile, device="meta", heads=heads)
    assert {k: list(v.shape) for k, v in state.items()} == table[profile.name]
    integers = {k for k, v in state.items() if not v.is_floating_point()}
    assert integers == set(table["int64_buffers"]) & set(state)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("init_conv_mask.first_coonv.2.bias", "condition_encoder.features.0.2.bias"),
        (
            "init_conv_mask.features.4.17.mlp.3.weight",
            "condition_encoder.features.5.17.mlp.3.weight",
        ),
        ("init_conv.1.weight", "stem.1.weight"),
        ("time_mlp.0.W", "time_embedding.frequencies"),
        ("downs.2.1.mlp.1.weight", "down.2.block2.time_projection.weight"),
        ("downs.0.2.fn.fn.to_out.1.g", "down.0.attention.out_norm.gain"),
        ("ups.1.3.1.weight", "drift_path.levels.1.resample.weight"),
        ("ups2.3.3.weight", "noise_path.levels.3.resample.weight"),
        ("ups2.0.0.res_conv.bias", "noise_path.levels.0.block1.shortcut.bias"),
        (
            "relation_layers_up2.3.attentions.0.concat_conv.weight",
            "noise_path.levels.3.relation.attention.merge.weight",
        ),
        ("mid_attn.fn.fn.to_out.bias", "middle_attention.projection.bias"),
        ("decouple2.2.complex_weight", "noise_path.filter.complex_weight"),
        ("final_res_block2.block2.proj.weight", "noise_path.final_block.conv2.weight"),
    ],
)
def test_unet_keys_are_renamed(theirs, ours):
    names = unet_names(R25.network)
    assert names.ours(theirs) == ours
    assert names.theirs(ours) == theirs


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("decoder.up.1.upsample.conv.weight", "decoder.levels.1.resample.conv.weight"),
        ("decoder.up.0.block.2.norm1.bias", "decoder.levels.0.blocks.2.norm1.bias"),
        ("encoder.down.1.block.0.nin_shortcut.bias", "encoder.levels.1.blocks.0.shortcut.bias"),
        ("encoder.mid.attn_1.proj_out.bias", "encoder.middle.1.projection.bias"),
        ("post_quant_conv.weight", "post_quant_conv.weight"),
    ],
)
def test_autoencoder_keys_are_renamed(theirs, ours):
    names = autoencoder_names(AutoencoderConfig())
    assert names.ours(theirs) == ours
    assert names.theirs(ours) == theirs
