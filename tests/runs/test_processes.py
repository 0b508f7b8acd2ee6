"""Every process through the same training and the same pipeline, on maps and on latents."""

import dataclasses

import pytest
import torch

from radiodiff import RadioDiffPipeline, SamplerConfig
from radiodiff.data.open import make_dataset
from radiodiff.predictors import make_predictor
from radiodiff.processes import PROCESSES
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.train import train_run
from radiodiff.settings import ConfigError

from ..conftest import with_data


def with_process(config, **changes):
    """The configuration with another process, and a network that suits its space."""
    network = config.network
    if changes.get("space") == "map":
        network = dataclasses.replace(network, latent_channels=1, stem_condition=True)
    process = dataclasses.replace(config.process, **changes)
    return dataclasses.replace(config, network=network, process=process)


def predicted(run, **keywords):
    """Samples of the first training scene, and the pipeline."""
    pipeline = RadioDiffPipeline.from_run(run)
    sample = make_dataset(pipeline.config, "train", channels=pipeline.space.channels)[0]
    generator = torch.Generator().manual_seed(0)
    return pipeline(sample.scene, samples=2, generator=generator, **keywords), pipeline, sample


@pytest.mark.parametrize("space", ["latent", "map"])
@pytest.mark.parametrize("kind", list(PROCESSES))
def test_every_process_is_trained_and_asked_alike(tiny, tmp_path, kind, space):
    run = train_run(with_process(tiny, kind=kind, space=space), tmp_path / "run")
    assert (run / "autoencoder.safetensors").is_file() == (space == "latent")
    maps, pipeline, _ = predicted(run, sampler=SamplerConfig(steps=2))
    assert pipeline.config.process.chosen == PROCESSES[kind]()
    assert maps.shape == (2, 32, 32)
    outdoor = maps[:, ~maps[0].isnan()]
    assert outdoor.isfinite().all()
    assert torch.equal(outdoor[0], outdoor[1]) == (kind == "regression")


@pytest.mark.parametrize("space", ["latent", "map"])
def test_residuals_to_a_channel_that_the_network_does_not_see(tiny, tmp_path, space):
    """What the process draws is added to the distance law: zero residuals give the law."""
    config = with_process(tiny, kind="regression", space=space, residual_to="distance_law")
    run = train_run(config, tmp_path / "run")
    _, pipeline, sample = predicted(run)
    assert pipeline.config.channels == ("buildings", "transmitter")
    assert pipeline.space.channels == ("buildings", "transmitter", "distance_law")
    condition = sample.condition[None]
    zero = torch.zeros(pipeline.space.shape(1, (32, 32)))
    law = 2 * condition[:, 2:] - 1
    if space == "map":
        assert torch.allclose(pipeline.space.radio_maps(zero, condition), law, atol=1e-6)
    x_0 = pipeline.space.x_0(law, condition, torch.Generator().manual_seed(0))
    assert (x_0.abs().max() < 1e-5) == (space == "map")  # latents are sampled round their mean
    with pytest.raises(ValueError, match="these are residuals: give the condition"):
        pipeline.space.radio_maps(zero)


def test_residuals_to_another_run(tiny, tmp_path):
    """A mean by regression, and a process for what it leaves open; then scored as one predictor."""
    mean = train_run(with_process(tiny, kind="regression", space="map"), tmp_path / "mean")
    config = with_process(tiny, space="map", residual_to=str(mean))
    run = train_run(config, tmp_path / "run")
    _, pipeline, sample = predicted(run)
    of_mean = RadioDiffPipeline.from_run(mean).radio_maps(sample.condition[None])
    zero = torch.zeros(1, 1, 32, 32)
    found = pipeline.space.radio_maps(zero, sample.condition[None])
    assert torch.allclose(found, of_mean, atol=1e-5)
    result = evaluate_run(run, tmp_path / "results", predictors=[str(mean), "distance_law"])
    assert list(result["protocols"]["city"]["scores"]) == ["radiodiff", "mean", "distance law"]
    assert make_predictor(mean)(make_batch(sample)).shape == (1, 1, 32, 32)
    with pytest.raises(ValueError, match="draws maps at random; name a run"):
        train_run(with_process(tiny, space="map", residual_to=str(run)), tmp_path / "third")


def make_batch(sample):
    from radiodiff.scene import stack_scenes

    return stack_scenes([sample.scene])


def test_channels_of_all_kinds_train(tiny, tmp_path):
    """Physics, and what may be unknown: computed once a map and kept, some of it withheld."""
    names = (
        "buildings",
        "transmitter",
        "distance_law",
        "line_of_sight",
        "occlusion",
        "dominant_path",
        "measurements",
        "measured",
    )
    config = with_data(
        tiny, len(names), condition=names, measurements=(3, 9), withheld_share=0.5, augment=True
    )
    config = with_process(config, kind="regression", space="map", residual_to="dominant_path")
    run = train_run(config, tmp_path / "run")
    maps, pipeline, _ = predicted(run)
    assert pipeline.space.channels == names
    assert maps.isfinite().any()
    kept = sorted(p.parent.parent.name for p in (tmp_path / "RadioMapSeer").glob("features/*/*/*"))
    assert set(kept) == {"dominant_path", "line_of_sight", "occlusion"}
    assert len(kept) == 3 * 6


def test_a_process_must_know_where_it_runs(tiny):
    with pytest.raises(ConfigError, match=r"network\.latent_channels is 3: a radio map has 1"):
        dataclasses.replace(tiny, process=dataclasses.replace(tiny.process, space="map"))
