"""Checkpoints are complete or absent; weights load strictly."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from radiodiff.checkpoint import (
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    save_checkpoint,
    save_content,
    save_weights,
)


@pytest.fixture
def prepared():
    accelerator = Accelerator()
    network = nn.Linear(3, 2)
    return accelerator, *accelerator.prepare(network, torch.optim.AdamW(network.parameters()))


def test_round_trip(tmp_path, prepared):
    accelerator, network, _ = prepared
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = save_checkpoint(accelerator, tmp_path, {"step": 7, "seconds": 1.5}, keep=2)
    assert path == tmp_path / "step-00000007" == newest_checkpoint(tmp_path)
    nn.init.zeros_(network.weight)
    assert load_checkpoint(accelerator, path) == {"step": 7, "seconds": 1.5}
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_only_the_newest_stay_and_leftovers_go(tmp_path, prepared):
    accelerator, *_ = prepared
    (tmp_path / "step-00000001.tmp").mkdir()
    for step in (1, 2, 3, 10):
        save_checkpoint(accelerator, tmp_path, {"step": step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000003", "step-00000010"]


def test_half_written_checkpoint_is_not_seen(tmp_path):
    (tmp_path / "step-00000009.tmp").mkdir()
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_weights_round_trip_and_errors(tmp_path):
    network = nn.Linear(3, 2)
    save_weights(network, tmp_path / "w.safetensors")
    other = nn.Linear(3, 2)
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(other.weight, network.weight)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(nn.Linear(4, 2), tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match="has the run finished"):
        load_weights(other, tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"bad\.safetensors is not a safetensors file"):
        load_weights(other, tmp_path / "bad.safetensors")


def test_content_does_not_depend_on_the_name(tmp_path):
    """Nor on the temporary one, which is another each time: a digest tells what is inside."""
    content = {"step": 3, "model": nn.Linear(3, 2).state_dict()}
    for name in ("a.pt", "b.pt"):
        save_content(content, tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    loaded = torch.load(tmp_path / "a.pt", weights_only=True)
    assert loaded["step"] == 3
    assert torch.equal(loaded["model"]["weight"], content["model"]["weight"])
