"""Whole runs through the command line, as a user starts them."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from radiodiff import RadioDiffPipeline
from radiodiff.cli.main import main
from radiodiff.config import ConfigError, load_config
from radiodiff.data import DatasetError, RadioMap3DSeer, RadioMapOptions, RadioMapSeer
from radiodiff.data.open import make_dataset
from radiodiff.predictors import Baselines
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.sample import sample_run
from radiodiff.runs.train import train_run
from radiodiff.scoring import PROTOCOLS, score_maps

from .conftest import ROOT, write_radiomap3dseer, write_radiomapseer, write_variants


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


def with_data(config, channels=2, **changes):
    """The configuration on other data, with a network that takes their condition."""
    conv = dataclasses.replace(config.unet.conv, in_channels=channels)
    unet = dataclasses.replace(config.unet, conv=conv)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes), unet=unet)


@pytest.mark.parametrize(
    ("splits", "shared"),
    [
        ("radiodiff-r24", "val and test share 2 maps: 289, 419"),
        ("radiodiff-r25", "train and test share 1 maps: 289"),
    ],
)
def test_a_split_that_leaks_is_not_scored_unless_told(tiny, tmp_path, splits, shared):
    """X1: the error names the maps and the flag; the results tell of the leak."""
    write_radiomapseer(tmp_path / "RadioMapSeer", (289,))
    run = train_run(with_data(tiny, splits=splits), tmp_path / "run")
    with pytest.raises(ValueError, match=f"{shared}.*--allow-leak"):
        evaluate_run(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()
    result = evaluate_run(run, tmp_path / "results", allow_leak=True)
    stored = json.loads((tmp_path / "results/metrics.json").read_text())
    assert stored["leak"] == result["leak"]
    assert shared in stored["leak"].values()


def test_maps_that_are_not_judged_leak_nothing(tiny, tmp_path):
    """Map 103 alone is judged: r24 has it in no other split."""
    config = with_data(tiny, splits="radiodiff-r24")
    config = dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, max_maps=1))
    result = evaluate_run(train_run(config, tmp_path / "run"), tmp_path / "results")
    assert "leak" not in result


def test_a_condition_computed_from_the_answer_is_a_leak(tiny, tmp_path):
    run = train_run(with_data(tiny, 3, k2_channels=1), tmp_path / "run")
    with pytest.raises(ValueError, match=r"computed from the maps to predict.*--allow-leak"):
        evaluate_run(run, tmp_path / "results")
    assert list(evaluate_run(run, tmp_path / "results", allow_leak=True)["leak"]) == ["condition"]


def test_a_variant_trains_and_is_scored(tiny, tmp_path):
    """Cars, missing buildings and measurements: five channels through both commands."""
    write_variants(tmp_path / "RadioMapSeer")
    config = with_data(
        tiny,
        4,
        simulation="mix",
        cars=True,
        missing_buildings=2,
        measurements=(5, 20),
        augment=True,
    )
    run = train_run(config, tmp_path / "run")
    assert evaluate_run(run, tmp_path / "results")["maps"] == 6
    pipeline = RadioDiffPipeline.from_run(run)
    assert pipeline.config == config
    mask = torch.zeros(32, 32, dtype=torch.bool)
    measured_db = torch.full((32, 32), torch.nan)
    measured_db[3, 4] = -80
    given = {"cars_mask": mask, "measured_db": measured_db}
    assert pipeline(mask, (9, 9), **given).shape == (1, 32, 32)
    for name, what in (("cars_mask", "cars"), ("measured_db", "measurements")):
        less = {key: value for key, value in given.items() if key != name}
        with pytest.raises(ValueError, match=f"trained with {what}, but got none as {name}"):
            pipeline(mask, (9, 9), **less)
    with pytest.raises(ValueError, match="masks of one shape"):
        pipeline(mask, (9, 9), cars_mask=mask[:16], measured_db=measured_db)


def test_symmetries_are_for_training_alone(tiny, tmp_path, monkeypatch):
    """The optimizer sees all eight; the dataset of statistics and baselines is as it is."""
    import radiodiff.runs.train as module

    seen = []
    train = module.train
    monkeypatch.setattr(
        module, "train", lambda task, data, *a, **k: seen.append(data) or train(task, data, *a, **k)
    )
    config = with_data(tiny, augment=True)
    train_run(config, tmp_path / "run")
    assert [len(data) for data in seen] == [48, 48]
    assert len(make_dataset(config, "train")) == 6
    scales = [json.loads((tmp_path / "run/latents.json").read_text())]
    assert scales[0]["latent_scale"] > 0
    train_run(tiny, tmp_path / "plain")
    assert [len(data) for data in seen[2:]] == [6, 6]


def test_condition_that_the_network_cannot_take_stops_before_training(tiny, tmp_path):
    config = with_data(tiny, 2, measurements=(3, 3))
    with pytest.raises(ConfigError, match=r"give 3 .* takes 2: set unet\.conv\.in_channels=3"):
        train_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_radiounets_scale_is_sampled_in_decibels_and_not_scored(tiny, tmp_path):
    """A map drawn on the thresholded scale ends at the threshold, not at the floor."""
    run = train_run(with_data(tiny, threshold=0.2), tmp_path / "run")
    with pytest.raises(ValueError, match=r"data\.threshold 0\.2: look at its maps"):
        evaluate_run(run, tmp_path / "results")
    pipeline = RadioDiffPipeline.from_run(run)
    ends = pipeline.path_gain_db(torch.tensor([-1.0, 1.0]))
    assert ends.tolist() == pytest.approx([-147 + 0.2 * 99.16, -47.84])
    mask = torch.zeros(32, 32, dtype=torch.bool)
    assert pipeline(mask, (9, 9)).min() >= -127.2
    out = sample_run(run, tmp_path / "drawn", max_maps=1)
    with Image.open(out / "103_0.png") as picture:
        assert picture.getextrema()[0] >= 51


def test_scores_of_maps_without_the_files_scale_are_refused(dataset_root, tmp_path):
    """Wherever they come from: the batch itself says what its gray levels mean."""
    scaled = RadioMapSeer(dataset_root, "train", RadioMapOptions(threshold=0.2))
    unknown = RadioMap3DSeer(write_radiomap3dseer(tmp_path / "3d", (159,)), "train")
    for dataset in (scaled, unknown):
        batch = next(iter(DataLoader(dataset, batch_size=2)))
        gain_db = torch.full_like(batch.radio_map, -90)
        for call in (
            lambda b=batch, g=gain_db: score_maps(g, b, PROTOCOLS["city"]),
            lambda d=dataset: Baselines.fit(d),
        ):
            with pytest.raises(ValueError, match="159_0: scores are defined for path gain"):
                call()


def test_radiomap3dseer_trains_and_is_drawn(tiny, tmp_path):
    root = write_radiomap3dseer(tmp_path / "3d", (159, 501, 419))
    config = with_data(tiny, source="radiomap3dseer", root=str(root))
    run = train_run(config, tmp_path / "run")
    out = sample_run(run, tmp_path / "drawn")
    assert sorted(path.name for path in out.glob("*.png")) == ["419_0.png", "419_1.png"]
    with pytest.raises(ValueError, match=r"data\.source radiomap3dseer"):
        evaluate_run(run, tmp_path / "results")
    pipeline = RadioDiffPipeline.from_run(run)
    with pytest.raises(ValueError, match="no known scale in dB"):
        pipeline.path_gain_db(torch.zeros(1))
    with pytest.raises(ValueError, match="call radio_maps"):
        pipeline(torch.zeros(32, 32), (9, 9))


def test_the_paper_has_no_maps_to_validate_on(tiny):
    with pytest.raises(DatasetError, match="paper has no val maps"):
        make_dataset(with_data(tiny, splits="paper"), "val")
