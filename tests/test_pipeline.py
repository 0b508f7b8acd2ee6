"""The pipeline: a run folder becomes a function from city and transmitter to decibels."""

import numpy as np
import pytest
import torch

from radiodiff import units
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.pipeline import RadioDiffPipeline, map_generators


@pytest.fixture
def pipeline(tiny):
    torch.manual_seed(0)
    return RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.unet), 1.0, tiny)


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
