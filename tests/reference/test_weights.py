"""Weights of the public code: round trips, and files that are refused."""

import pickle
from pathlib import Path

import pytest
import torch

from radiodiff.cli.main import main
from radiodiff.models import AutoencoderConfig, AutoencoderKL, UNet
from radiodiff.reference import (
    R24,
    R25,
    autoencoder_state_dict,
    read_weights,
    reference_state_dict,
    split_weights,
    unet_state_dict,
)
from tests.models.sizes import SMALL_R25
from tests.reference.cases import FILES, R25_HEADS, small_state, whole_state


@pytest.mark.parametrize("profile", [R24, R25], ids=["R24", "R25"])
def test_full_state_dict_comes_back_as_it_was(profile):
    """Full size: the same tensors under the same names (on the meta device: no copy is made)."""
    heads = R25_HEADS if profile is R25 else ("loss",)
    state = whole_state(profile, device="meta", heads=heads)
    taken = split_weights(state, AutoencoderConfig(), profile.network)
    back = reference_state_dict(
        taken.autoencoder,
        taken.unet,
        taken.rest,
        autoencoder_config=AutoencoderConfig(),
        unet_config=profile.network,
        keys=taken.keys,
    )
    assert list(back) == list(state)
    assert all(back[key] is state[key] for key in state)
    with torch.device("meta"):
        UNet(profile.network).load_state_dict(taken.unet, assign=True)
        AutoencoderKL().load_state_dict(taken.autoencoder, assign=True)


class Attack:
    """Unpickling this would run code."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("container", ["torch", "legacy", "pickle"])
def test_a_file_that_would_run_code_is_refused(tmp_path, container):
    trace, file = tmp_path / "ran", tmp_path / "model-1.pt"
    content = {"model": {"quant_conv.weight": torch.zeros(1)}, "extra": Attack(trace)}
    if container == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=container == "torch")
    with pytest.raises(ValueError, match="could run code"):
        read_weights(file)
    assert not trace.exists()
    words = ["import", str(file), "--config", str(FILES / "radio_train.yaml")]
    assert main(["reference", *words, "--out", str(tmp_path / "run")]) == 2
    assert not trace.exists()
    assert not (tmp_path / "run").exists()


def test_parts_refuse_what_is_left_over():
    run, state = small_state()
    assert set(unet_state_dict(state, run.config.network))
    assert set(autoencoder_state_dict(state, run.config.autoencoder))
    for prefix, take, config in (
        ("model.", unet_state_dict, run.config.network),
        ("first_stage_model.", autoencoder_state_dict, run.config.autoencoder),
    ):
        bare = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        assert take(bare, config).keys() == take(state, config).keys()
        with pytest.raises(ValueError, match="unexpected: surplus"):
            take(bare | {"surplus": torch.zeros(1)}, config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": 3}, "holds no state dict"),
        ({"model": {"a": 1.0}}, "entries are no tensors"),
        ([torch.zeros(1)], "must hold a dictionary"),
        ({0: torch.zeros(1)}, "keys must be text"),
        ({"ema": 3}, "entries are no tensors"),
    ],
)
def test_files_that_hold_no_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "file.pt")


def test_the_yaml_file_of_the_other_stage_is_told(tmp_path):
    run, state = small_state()
    with pytest.raises(ValueError, match="holds both stages"):
        split_weights(state, run.config.autoencoder, None)
    prefix = "first_stage_model."
    first = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    with pytest.raises(ValueError, match="holds the first stage alone"):
        split_weights(first, run.config.autoencoder, run.config.network)


NO_UTF8 = b"\x80\x02X" + (600).to_bytes(4, "little") + b"\xb3" * 600 + b"."


@pytest.mark.parametrize(
    "text", [b"hello", b"\x80\x04", b"a: 1", b"", b"(", b"PK\x03\x04", NO_UTF8]
)
def test_what_is_no_weights_file_is_one_line(tmp_path, text, capsys):
    (tmp_path / "text.pt").write_bytes(text)
    words = ["import", str(tmp_path / "text.pt"), "--config", str(FILES / "radio_train.yaml")]
    assert main(["reference", *words, "--out", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("radiodiff: error: ")
    assert len(line) < 500


def test_damaged_and_missing_files(tmp_path):
    for name in ("file.pt", "file.safetensors"):
        with pytest.raises(FileNotFoundError, match="no file"):
            read_weights(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=r"is not a|is refused"):
            read_weights(tmp_path / name)
    torch.save({"model": {"a": torch.zeros(9)}}, tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is not a PyTorch file|is refused"):
        read_weights(tmp_path / "cut.pt")
    torch.save({"model": {"a": torch.zeros(9)}}, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="no averaged weights"):
        read_weights(tmp_path / "plain.pt", "ema")


def test_reference_weights_that_do_not_fit_are_listed():
    state = {"quant_conv.weight": torch.zeros(6, 6, 1, 1), "quant_conv.bias": torch.zeros(5)}
    state["surplus"] = torch.zeros(1)
    with pytest.raises(ValueError, match="do not fit") as error:
        autoencoder_state_dict(state)
    message = str(error.value)
    assert "missing: post_quant_conv.weight" in message
    assert "missing: encoder.conv_in.weight" in message
    assert "unexpected: surplus" in message
    assert "shape of quant_conv.bias: expected (6,), got (5,)" in message
    with pytest.raises(ValueError, match=r"missing: init_conv\.0\.weight"):
        unet_state_dict({"nonsense": torch.zeros(1)}, SMALL_R25)
