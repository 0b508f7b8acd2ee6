"""The pipeline: a run folder becomes a function from city and transmitter to decibels."""

import numpy as np
import pytest
import torch

from radiodiff import units
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.predictors.familiar import SceneStatistics
from radiodiff.predictors.pipeline import RadioDiffPipeline, map_generators
from radiodiff.processes import ConstantSDE, Prediction
from radiodiff.sampler import SamplerConfig
from radiodiff.scene import make_scene


@pytest.fixture
def pipeline(tiny):
    torch.manual_seed(0)
    return RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.network), 1.0, tiny)


@pytest.fixture
def mask():
    result = np.zeros((32, 48), dtype=bool)
    result[4:10, 6:20] = True
    return result


@pytest.fixture
def scene(mask):
    return make_scene(mask, (20, 30), cell_size_m=4.0)


def steps(number, **more):
    return {"sampler": SamplerConfig(steps=number, **more)}


def test_path_gain_with_nan_in_buildings_only(pipeline, mask, scene):
    generator = torch.Generator().manual_seed(0)
    gain = pipeline(scene, samples=3, generator=generator, **steps(2))
    assert gain.shape == (3, 32, 48)
    assert (gain.isnan().numpy() == mask).all()
    outdoor = gain[:, torch.from_numpy(~mask)]
    assert outdoor.min() >= units.FLOOR_DB - 1e-3
    assert outdoor.max() <= units.PEAK_DB + 1e-3


def test_same_generator_same_map_and_samples_differ(pipeline, scene):
    runs = [
        pipeline(scene, samples=2, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    ]
    assert torch.equal(runs[0].nan_to_num(), runs[1].nan_to_num())
    assert not torch.equal(runs[0][0].nan_to_num(), runs[0][1].nan_to_num())


def test_deterministic_maps_depend_on_the_start_alone(pipeline, scene):
    """The start is drawn first, so one seed gives both ways one start; at one step they agree."""

    def run(number, stochastic, seed=5):
        generator = torch.Generator().manual_seed(seed)
        keywords = steps(number, stochastic=stochastic) | {"generator": generator}
        return pipeline(scene, samples=2, **keywords).nan_to_num()

    assert torch.equal(run(3, False), run(3, False))
    assert not torch.equal(run(3, False), run(3, False, seed=6))
    assert not torch.equal(run(3, False), run(3, True))
    assert torch.allclose(run(1, False), run(1, True), atol=1e-3)
    condition = torch.zeros(1, 2, 32, 32)
    start = torch.ones(1, pipeline.config.autoencoder.latent_channels, 8, 8)
    latents = [
        pipeline.latents(condition, noise=noise, **steps(3, stochastic=False))
        for noise in ([start], [start, start, start])
    ]
    assert torch.equal(*latents)


def test_callback_gives_the_trajectory_to_decode(pipeline, mask, scene):
    seen = []
    last = pipeline(
        scene,
        samples=2,
        generator=torch.Generator().manual_seed(0),
        callback=lambda *step: seen.append(step),
        **steps(4),
    )
    assert [t for t, _, _ in seen] == [1, 0.75, 0.5, 0.25]
    assert {x_t.shape for _, x_t, _ in seen} == {seen[0][2].drift.shape}
    t, x_t, prediction = seen[-1]
    x_0 = ConstantSDE().x_0(x_t, prediction, t=t)
    result = ConstantSDE().reverse_step(x_t, Prediction(-x_0, prediction.noise), t=t, s=0)
    maps = pipeline.path_gain_db(pipeline.space.radio_maps(result)[:, 0])
    assert torch.allclose(maps.masked_fill(torch.from_numpy(mask), torch.nan), last, equal_nan=True)


def test_map_does_not_depend_on_its_batch(pipeline):
    condition = torch.zeros(3, 2, 32, 32)
    condition[torch.arange(3), 1, torch.tensor([3, 9, 20]), 8] = 1
    names = ["a", "b", "c"]
    together = pipeline.radio_maps(condition, generator=map_generators(names, 0), **steps(2))
    alone = pipeline.radio_maps(condition[1:2], generator=map_generators(["b"], 0), **steps(2))
    assert torch.allclose(together[1], alone[0], atol=1e-4)


def test_condition_is_encoded_once(pipeline, scene, monkeypatch):
    calls = []
    encode = UNet.encode_condition
    monkeypatch.setattr(
        UNet, "encode_condition", lambda self, c: calls.append(1) or encode(self, c)
    )
    pipeline(scene, **steps(7))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("change", "keywords", "message"),
    [
        ({}, {"samples": 0}, "samples must be at least 1"),
        ({"cars_mask": np.zeros((32, 48))}, {}, "trained without cars, but got one as cars_mask"),
        (
            {"measured_gain_db": np.full((32, 48), -90.0)},
            {},
            "trained without measurements, but got one as measured_gain_db",
        ),
    ],
)
def test_bad_calls_are_refused(pipeline, mask, change, keywords, message):
    scene = make_scene(mask, (20, 30), cell_size_m=4.0, **change)
    with pytest.raises(ValueError, match=message):
        pipeline(scene, **keywords)


def test_sides_that_the_network_cannot_take_are_refused(pipeline, mask):
    with pytest.raises(ValueError, match="multiple"):
        pipeline(make_scene(mask[:31], (20, 30), cell_size_m=4.0))


@pytest.fixture
def trained(pipeline):
    """A pipeline that knows its training: 4 m cells, 32 x 32 of them, 10 to 40 % built."""
    pipeline.trained_on = SceneStatistics(4.0, (32, 32), 0.1, 0.4)
    return pipeline


def test_cells_of_another_size_are_refused(trained, mask):
    with pytest.raises(ValueError, match="trained at cells of 4 m, the scene has 1 m: ask with"):
        trained(make_scene(mask, (20, 30), cell_size_m=1.0))


def test_a_scene_may_be_resampled(trained, mask):
    """At twice the cells each way, every map is that of the coarse scene, cell by cell."""
    coarse = make_scene(mask, (20, 30), cell_size_m=4.0)
    fine_mask = np.kron(mask, np.ones((2, 2), bool))
    fine = make_scene(fine_mask, (41, 60), cell_size_m=2.0)
    expected = trained(coarse, generator=torch.Generator().manual_seed(0))
    found = trained(fine, generator=torch.Generator().manual_seed(0), resample=True)
    assert found.shape == (1, 64, 96)
    expected = expected.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("built", "sides", "message"),
    [
        (0.25, (32, 32), None),
        (0.4375, (32, 32), None),
        (0.0, (32, 32), "0% built, training had 10% to 40%"),
        (0.5, (32, 32), "50% built"),
        (0.25, (32, 96), "32 x 96 cells, training had 32 x 32"),
    ],
)
def test_scenes_far_from_the_training_are_told_in_one_line(trained, caplog, built, sides, message):
    mask = np.zeros(sides, bool)
    mask[: int(built * sides[0])] = True
    trained(make_scene(mask, (31, 5), cell_size_m=4.0), **steps(1))
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == (message is not None)
    assert message is None or message in lines[0]


def test_statistics_of_training_scenes():
    masks = [np.zeros((8, 8), bool) for _ in range(3)]
    masks[1][:4], masks[2][:2] = True, True
    scenes = [make_scene(mask, (7, 7), cell_size_m=2.0) for mask in masks]
    found = SceneStatistics.of_scenes(scenes)
    assert found[:2] == (2.0, (8, 8))
    assert 0 <= found.built_low < 0.05
    assert 0.45 < found.built_high <= 0.5


def test_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.yaml"):
        RadioDiffPipeline.from_run(tmp_path)
