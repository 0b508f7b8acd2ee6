"""In which folders a run may go on, and with which configuration."""

import shutil

import pytest

from radiodiff.cli.main import main
from radiodiff.runs.train import train_run
from radiodiff.settings import ConfigError

from ..conftest import with_data


def test_other_configuration_in_the_same_folder_is_refused(command, tmp_path, capsys):
    assert main(command) == 0
    assert main([*command, "--set", "network.width=24"]) == 2
    error = capsys.readouterr().err
    assert "network.width was 16, is 24" in error
    assert main([*command, "--set", "training.max_steps=6"]) == 0  # a longer run is the same run
    assert main(command) == 2
    assert "has step-00000006, beyond training.max_steps 4" in capsys.readouterr().err


def test_second_stage_keeps_its_autoencoder(command, tmp_path, capsys):
    """A finished first stage is over: the latents of the second belong to these weights."""
    assert main(command) == 0
    before = (tmp_path / "run/autoencoder.safetensors").read_bytes()
    assert main([*command, "--set", "autoencoder_training.max_steps=6"]) == 2
    assert "autoencoder_training.max_steps was 4, is 6" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "run/autoencoder")
    assert main([*command, "--set", "training.max_steps=6"]) == 0
    assert (tmp_path / "run/autoencoder.safetensors").read_bytes() == before


def test_condition_that_the_network_cannot_take_stops_before_training(tiny, tmp_path):
    config = with_data(tiny, 2, measurements=(3, 3))
    with pytest.raises(ConfigError, match=r"give 3 .* takes 2: set network\.conv\.in_channels=3"):
        train_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_is_three_valued(tiny, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        train_run(tiny, run, resume=True, stages=("autoencoder",))
    train_run(tiny, run, resume=False, stages=("autoencoder",))
    with pytest.raises(FileExistsError, match="name another run_dir"):
        train_run(tiny, run, resume=False, stages=("autoencoder",))
    train_run(tiny, run, resume=True, stages=("autoencoder",))
