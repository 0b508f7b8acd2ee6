"""Training a run: weights, data and generators."""

import json
from functools import partial

import pytest
import torch

from radiodiff import RadioDiffPipeline, make_scene
from radiodiff.cli.main import main
from radiodiff.config import ConfigError, load_config
from radiodiff.data.open import make_dataset
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.train import train_run

from ..conftest import with_data, write_variants


def test_pipeline_uses_the_averaged_weights(command, tmp_path):
    main(command)
    pipeline = RadioDiffPipeline.from_run(tmp_path / "run")
    checkpoint = tmp_path / "run/diffusion/checkpoints/step-00000004"
    averaged = torch.load(checkpoint / "custom_checkpoint_0.pkl", weights_only=True)
    state = pipeline.network.state_dict()
    assert all(torch.equal(averaged[name], value) for name, value in state.items())


def test_perceptual_term_without_weights_stops_before_training(tiny):
    with pytest.raises(ConfigError, match="perceptual_weights_file"):
        load_config("smoke", ["autoencoder_loss.perceptual_weight=1"])


def test_global_generator_is_left_alone(tiny, tmp_path):
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    train_run(tiny, tmp_path / "run")
    assert torch.equal(state, torch.random.get_rng_state())


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
    scene = partial(make_scene, mask, (9, 9), cell_size_m=1.0)
    given = {"cars_mask": mask, "measured_gain_db": measured_db}
    assert pipeline(scene(**given)).shape == (1, 32, 32)
    for name, what in (("cars_mask", "cars"), ("measured_gain_db", "measurements")):
        less = {key: value for key, value in given.items() if key != name}
        with pytest.raises(ValueError, match=f"trained with {what}, but got none as {name}"):
            pipeline(scene(**less))
    with pytest.raises(ValueError, match="masks of one shape"):
        scene(cars_mask=mask[:16], measured_gain_db=measured_db)


def test_symmetries_are_for_training_alone(tiny, tmp_path, monkeypatch):
    """The optimizer sees all eight; the dataset of statistics and baselines is as it is."""
    import radiodiff.runs.train as module

    seen = []
    train = module.train
    monkeypatch.setattr(
        module,
        "train",
        lambda task, dataset, **k: seen.append(dataset) or train(task, dataset=dataset, **k),
    )
    config = with_data(tiny, augment=True)
    train_run(config, tmp_path / "run")
    assert [len(data) for data in seen] == [48, 48]
    assert len(make_dataset(config, "train")) == 6
    scales = [json.loads((tmp_path / "run/latents.json").read_text(encoding="utf-8"))]
    assert scales[0]["latent_scale"] > 0
    train_run(tiny, tmp_path / "plain")
    assert [len(data) for data in seen[2:]] == [6, 6]
