"""Whole runs through the command line, as a user starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from radiodiff import RadioDiffPipeline
from radiodiff.cli import main
from radiodiff.config import ConfigError, load_config
from radiodiff.experiment import train_run

from .conftest import ROOT


def overrides(tiny) -> list[str]:
    """The tiny configuration as command-line options."""
    pairs = [f"data.root={tiny.data.root}", "data.simulate=null"]
    for stage in ("train_autoencoder", "train"):
        pairs += [f"{stage}.{k}" for k in ("max_steps=4", "batch_size=2", "checkpoint_every=2")]
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.fixture
def command(tiny, tmp_path):
    return ["train", "--config", "smoke", "--run-dir", str(tmp_path / "run"), *overrides(tiny)]


def test_train_then_evaluate(command, tmp_path, capsys):
    assert main(command) == 0
    run = tmp_path / "run"
    assert load_config(run / "config.yaml").train.max_steps == 4
    assert main(["evaluate", "--run-dir", str(run), "--out", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr()
    assert "distance law" in printed.out
    assert str(tmp_path / "results" / "metrics.json") in printed.out
    assert "parameters: autoencoder 291,101, U-Net 1,065,758, total 1,356,859" in printed.err
    stored = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert {
        "trained_at",
        "scores",
        "differences",
        "protocol",
        "config",
        "seed",
        "commit",
        "versions",
        "data",
        "wall_time_s",
        "device",
        "date",
    } <= set(stored)
    assert stored["data"]["test"] == {"tiles": 2, "maps": 6, "cities": []}
    assert (tmp_path / "results" / "predictions.png").stat().st_size > 10_000
    assert main(command) == 0  # a finished run is left as it is
    assert "is trained: 4 steps" in capsys.readouterr().err


def test_pipeline_uses_the_averaged_weights(command, tmp_path):
    main(command)
    pipeline = RadioDiffPipeline.from_run(tmp_path / "run")
    checkpoint = tmp_path / "run/diffusion/checkpoints/step-00000004"
    averaged = torch.load(checkpoint / "custom_checkpoint_0.pkl", weights_only=True)
    state = pipeline.unet.state_dict()
    assert all(torch.equal(averaged[name], value) for name, value in state.items())


def test_kill_9_then_the_same_command(tiny, tmp_path):
    """Killed in the second stage, the run goes on and ends with the weights of an unbroken one."""
    steps = ["--set", "train.max_steps=40", "--set", "train.log_every=1"]
    steps += ["--set", "train.checkpoint_every=5", "--set", "train.sample_every=0"]
    common = ["train", "--config", "smoke", *overrides(tiny), *steps]
    assert main([*common, "--run-dir", str(tmp_path / "a")]) == 0
    command = [sys.executable, "-m", "radiodiff", *common, "--run-dir", str(tmp_path / "b")]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "b/diffusion/checkpoints"
    deadline = time.monotonic() + 120
    while not (checkpoints / "step-00000010").is_dir() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "b/diffusion.safetensors").exists()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    weights = [(tmp_path / run / "diffusion.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]


def test_other_configuration_in_the_same_folder_is_refused(command, tmp_path, capsys):
    assert main(command) == 0
    assert main([*command, "--set", "unet.width=24"]) == 2
    error = capsys.readouterr().err
    assert "unet.width was 16, is 24" in error
    assert main([*command, "--set", "train.max_steps=6"]) == 0  # a longer run is the same run
    assert main(command) == 2
    assert "has step-00000006, beyond train.max_steps 4" in capsys.readouterr().err


def test_second_stage_keeps_its_autoencoder(command, tmp_path, capsys):
    """A finished first stage is over: the latents of the second belong to these weights."""
    assert main(command) == 0
    before = (tmp_path / "run/autoencoder.safetensors").read_bytes()
    assert main([*command, "--set", "train_autoencoder.max_steps=6"]) == 2
    assert "train_autoencoder.max_steps was 4, is 6" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "run/autoencoder")
    assert main([*command, "--set", "train.max_steps=6"]) == 0
    assert (tmp_path / "run/autoencoder.safetensors").read_bytes() == before


def test_two_processes_train_a_whole_run(tiny, tmp_path):
    """Both stages under torchrun; the second waits for the latent scale on every process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "radiodiff"]
    command += ["train", "--config", "smoke", "--run-dir", str(tmp_path / "run"), *overrides(tiny)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "4 steps of 4 maps on 2 x cpu" in done.stderr
    assert done.stdout.count("run:") == 1
    assert RadioDiffPipeline.from_run(tmp_path / "run").latent_scale > 0


def test_resume_from_the_command_line(command, capsys):
    assert main([*command, "--resume", "true"]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    assert main(command) == 0
    assert main([*command, "--resume", "false"]) == 2
    assert "holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "demo", "--set", "train.max_stps=3"], "'train.max_steps'"),
        (["train", "--config", "dmeo"], "configs/ holds ablation, demo"),
        (["train", "--config", str(ROOT / "LICENSE")], "is not valid YAML"),
        (["simulate", "--out", __file__, "--maps", "1", "--transmitters", "1"], "to be a folder"),
        (
            ["train", "--config", "smoke", "--set", "data.simulate=null", "--set", "data.root=/x"],
            "no folder /x/gain/DPM",
        ),
        (["evaluate", "--run-dir", "/nowhere"], "is not a run folder"),
        (["simulate", "--out", "/tmp", "--maps", "0", "--transmitters", "1"], "maps"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message, capsys, tmp_path):
    if arguments[0] == "train":
        arguments = [*arguments, "--run-dir", str(tmp_path / "run")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("radiodiff: error: ")
    assert error.count("\n") == 1


def test_perceptual_term_without_weights_stops_before_training(tiny):
    with pytest.raises(ConfigError, match="perceptual_weights_file"):
        load_config("smoke", ["autoencoder_loss.perceptual_weight=1"])


def test_global_generator_is_left_alone(tiny, tmp_path):
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    train_run(tiny, tmp_path / "run")
    assert torch.equal(state, torch.random.get_rng_state())
