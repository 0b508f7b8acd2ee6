"""The pipeline: a run folder becomes a function from city and transmitter to decibels."""

import numpy as np
import pytest
import torch

from radiodiff import units
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.predictors.pipeline import RadioDiffPipeline, map_generators
from radiodiff.processes import ConstantSDE, Prediction


@pytest.fixture
def pipeline(tiny):
    torch.manual_seed(0)
    return RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.network), 1.0, tiny)


@pytest.fixture
def mask():
    result = np.zeros((32, 48), dtype=bool)
    result[4:10, 6:20] = True
    return result


def test_path_gain_with_nan_in_buildings_only(pipeline, mask):
    generator = torch.Generator().manual_seed(0)
    gain = pipeline(mask, (20, 30), steps=2, samples=3, generator=generator)
    assert gain.shape == (3, 32, 48)
    assert (gain.isnan().numpy() == mask).all()
    outdoor = gain[:, torch.from_numpy(~mask)]
    assert outdoor.min() >= units.FLOOR_DB - 1e-3
    assert outdoor.max() <= units.PEAK_DB + 1e-3


def test_same_generator_same_map_and_samples_differ(pipeline, mask):
    runs = [
        pipeline(mask, (20, 30), samples=2, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    ]
    assert torch.equal(runs[0].nan_to_num(), runs[1].nan_to_num())
    assert not torch.equal(runs[0][0].nan_to_num(), runs[0][1].nan_to_num())


def test_deterministic_maps_depend_on_the_start_alone(pipeline, mask):
    """The start is drawn first, so one seed gives both ways one start; at one step they agree."""

    def run(steps, stochastic, seed=5):
        generator = torch.Generator().manual_seed(seed)
        keywords = {"steps": steps, "stochastic": stochastic, "generator": generator}
        return pipeline(mask, (20, 30), samples=2, **keywords).nan_to_num()

    assert torch.equal(run(3, False), run(3, False))
    assert not torch.equal(run(3, False), run(3, False, seed=6))
    assert not torch.equal(run(3, False), run(3, True))
    assert torch.allclose(run(1, False), run(1, True), atol=1e-3)
    condition = torch.zeros(1, 2, 32, 32)
    start = torch.ones(1, pipeline.config.autoencoder.latent_channels, 8, 8)
    latents = [
        pipeline.latents(condition, steps=3, stochastic=False, noise=noise)
        for noise in ([start], [start, start, start])
    ]
    assert torch.equal(*latents)


def test_callback_gives_the_trajectory_to_decode(pipeline, mask):
    steps = []
    last = pipeline(
        mask,
        (20, 30),
        steps=4,
        samples=2,
        generator=torch.Generator().manual_seed(0),
        callback=lambda *step: steps.append(step),
    )
    assert [t for t, _, _ in steps] == [1, 0.75, 0.5, 0.25]
    assert {x_t.shape for _, x_t, _ in steps} == {steps[0][2].drift.shape}
    t, x_t, prediction = steps[-1]
    x_0 = ConstantSDE().x_0(x_t, prediction, t=t)
    result = ConstantSDE().reverse_step(x_t, Prediction(-x_0, prediction.noise), t=t, s=0)
    maps = pipeline.path_gain_db(pipeline.space.radio_maps(result)[:, 0])
    assert torch.allclose(maps.masked_fill(torch.from_numpy(mask), torch.nan), last, equal_nan=True)


def test_map_does_not_depend_on_its_batch(pipeline):
    condition = torch.zeros(3, 2, 32, 32)
    condition[torch.arange(3), 1, torch.tensor([3, 9, 20]), 8] = 1
    names = ["a", "b", "c"]
    together = pipeline.radio_maps(condition, steps=2, generator=map_generators(names, 0))
    alone = pipeline.radio_maps(condition[1:2], steps=2, generator=map_generators(["b"], 0))
    assert torch.allclose(together[1], alone[0], atol=1e-4)


def test_condition_is_encoded_once(pipeline, mask, monkeypatch):
    calls = []
    encode = UNet.encode_condition
    monkeypatch.setattr(
        UNet, "encode_condition", lambda self, c: calls.append(1) or encode(self, c)
    )
    pipeline(mask, (20, 30), steps=7)
    assert len(calls) == 1


def test_accepts_tensors(pipeline, mask):
    assert pipeline(torch.from_numpy(mask), (20, 30), steps=1).shape == (1, 32, 48)


@pytest.mark.parametrize(
    ("cell", "keywords", "message"),
    [
        ((5, 8), {}, "inside a building"),
        ((32, 0), {}, "outside the"),
        ((-1, 0), {}, "outside the"),
        ((20, 30), {"samples": 0}, "samples must be at least 1"),
        ((20, 30), {"steps": 0}, "steps must be at least 1"),
        ((20, 30), {"cars_mask": np.zeros((32, 48))}, "trained without cars"),
    ],
)
def test_bad_calls_are_refused(pipeline, mask, cell, keywords, message):
    with pytest.raises(ValueError, match=message):
        pipeline(mask, cell, **keywords)


def test_bad_masks_are_refused(pipeline, mask):
    with pytest.raises(ValueError, match=r"shape \(h, w\)"):
        pipeline(mask[None], (20, 30))
    with pytest.raises(ValueError, match="multiple"):
        pipeline(mask[:31], (20, 30))


def test_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.yaml"):
        RadioDiffPipeline.from_run(tmp_path)
