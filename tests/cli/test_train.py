"""Whole runs through the command line, as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time

import torch

from radiodiff import RadioDiffPipeline
from radiodiff.cli.main import main
from radiodiff.config import load_config

from ..conftest import ROOT, overrides


def test_train_then_evaluate(command, tmp_path, capsys):
    assert main(command) == 0
    run = tmp_path / "run"
    assert load_config(run / "config.yaml").training.max_steps == 4
    assert main(["evaluate", "--run-dir", str(run), "--out", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr()
    assert "distance law" in printed.out
    assert str(tmp_path / "results" / "metrics.json") in printed.out
    assert "parameters: autoencoder 291,101, U-Net 1,065,758, total 1,356,859" in printed.err
    stored = json.loads((tmp_path / "results" / "metrics.json").read_text(encoding="utf-8"))
    assert {
        "trained_at",
        "protocols",
        "judged",
        "config",
        "seed",
        "commit",
        "versions",
        "data",
        "wall_time_s",
        "device",
        "date",
    } <= set(stored)
    assert stored["processes"] == [1]
    assert stored["data"]["test"] == {"tiles": 2, "maps": 6, "cities": []}
    assert (tmp_path / "results" / "predictions.png").stat().st_size > 10_000
    assert main(command) == 0  # a finished run is left as it is
    assert "is trained: 4 steps" in capsys.readouterr().err


def test_kill_9_then_the_same_command(tiny, tmp_path):
    """Killed in the second stage, the run goes on and ends with the weights of an unbroken one."""
    steps = ["--set", "training.max_steps=40", "--set", "training.log_every=1"]
    steps += ["--set", "training.checkpoint_every=5", "--set", "training.sample_every=0"]
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


def test_two_processes_train_a_whole_run(tiny, tmp_path):
    """Both stages under torchrun; the second waits for the latent scale on every process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "radiodiff"]
    command += ["train", "--config", "smoke", "--run-dir", str(tmp_path / "run"), *overrides(tiny)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "4 steps of 4 maps on 2 x cpu" in done.stderr
    assert done.stdout.count("run:") == 1
    assert RadioDiffPipeline.from_run(tmp_path / "run").space.scale > 0
    kept = sorted(path.name for path in (tmp_path / "run/latent_cache").iterdir())
    assert kept == ["block-00000.npy", "key.json"]


def test_resume_from_the_command_line(command, capsys):
    assert main([*command, "--resume", "true"]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    assert main(command) == 0
    assert main([*command, "--resume", "false"]) == 2
    assert "holds a run" in capsys.readouterr().err
