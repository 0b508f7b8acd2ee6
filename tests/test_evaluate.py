"""Evaluation: baselines with known answers, intervals over tiles, independence of the batch."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from radiodiff import units
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSample, RadioMapOptions, RadioMapSeer
from radiodiff.evaluate import (
    Baselines,
    bootstrap_interval,
    dominant_path_predictor,
    evaluate,
    format_table,
    model_predictor,
    score_maps,
    transmitter_distance_cells,
)
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.pipeline import RadioDiffPipeline
from radiodiff.protocols import PROTOCOLS, MapSums, reduce_sums
from radiodiff.simulate import simulate_dataset

CONFIG = EvaluateConfig(bootstrap=200, batch_size=4)


def city_errors(path_gain_db, batch):
    """Numbers of each map alone, under our protocol."""
    sums = score_maps(path_gain_db, batch, PROTOCOLS["city"])
    alone = [MapSums(*(x[k : k + 1] for x in sums)) for k in range(len(batch.name))]
    values = [reduce_sums(one, ["0"], PROTOCOLS["city"]) for one in alone]
    return {metric: torch.tensor([v[metric][0] for v in values]) for metric in values[0]}


def truth(batch):
    return units.model_to_path_gain_db(batch.radio_map).double()


@pytest.fixture
def training(dataset_root):
    return RadioMapSeer(dataset_root, "train")


def test_distances():
    condition = torch.zeros(1, 2, 4, 5)
    condition[0, 1, 1, 3] = 1
    distance = transmitter_distance_cells(condition)[0, 0]
    assert distance[1, 3] == 1
    assert distance[1, 0] == 3
    assert distance[3, 2].item() == pytest.approx(5**0.5)


def test_distance_law_is_recovered(training):
    """The fake maps obey gray = 255 - 70 log10 d outdoors, up to rounding and clipping."""
    law = Baselines.fit(training)
    step_db = (units.PEAK_DB - units.FLOOR_DB) / 255
    assert law.offset_db == pytest.approx(units.PEAK_DB, abs=0.3)
    assert law.slope_db == pytest.approx(-70 * step_db, abs=0.3)


@pytest.mark.parametrize(("variant", "largest_db"), [("DPM", 3.0), ("IRT2", 40.0)])
def test_dominant_path_from_the_raster(tmp_path, variant, largest_db):
    """Close to the engine over exact outlines, which made the maps, and no batch changes it."""
    settings = {"maps": 2, "transmitters": 3, "size": 64, "cell_size_m": 2.0}
    root = simulate_dataset(tmp_path / "sim", **settings, variants=[variant])
    dataset = RadioMapSeer(root, "train", RadioMapOptions(simulation=variant))
    predict = dominant_path_predictor(2.0)
    (batch,) = DataLoader(dataset, batch_size=len(dataset))
    gain = predict(batch)
    errors = city_errors(gain, batch)["rmse_db"]
    assert errors.max() < largest_db
    alone = torch.cat([predict(one) for one in DataLoader(dataset, batch_size=1)])
    assert torch.equal(alone, gain)


def test_dominant_path_leaves_a_transmitter_in_a_nook_room():
    """Smoothing closes a dent of one cell; the path must begin there all the same."""
    buildings = torch.zeros(1, 32, 32)
    buildings[0, 8:20, 8:20] = 1
    buildings[0, 8, 13] = 0
    transmitter = torch.zeros(1, 32, 32)
    transmitter[0, 8, 13] = 1
    gain = dominant_path_predictor(1.0)(
        RadioMapSample(
            radio_map=torch.zeros(1, 1, 32, 32),
            condition=torch.stack([buildings, transmitter], dim=1),
            outdoor_mask=buildings[:, None] == 0,
            name=["0_0"],
        )
    )
    assert gain.shape == (1, 1, 32, 32)
    assert gain[0, 0, 8, 13] == gain.max() == -47.86
    assert gain.isfinite().all()


def test_mean_map_is_the_mean(training):
    """Over the maps where a cell is outdoors; buildings hold no path gain."""
    gains = torch.stack([units.model_to_path_gain_db(sample.radio_map) for sample in training])
    outdoor = torch.stack([sample.outdoor_mask for sample in training])
    mean_map = Baselines.fit(training).mean_map_db
    everywhere = outdoor.all(0)
    assert torch.allclose(mean_map[everywhere], gains.double().mean(0)[everywhere])
    sometimes = outdoor.any(0) & ~everywhere
    expected = torch.where(outdoor, gains, 0).double().sum(0) / outdoor.sum(0)
    assert sometimes.any()
    assert torch.allclose(mean_map[sometimes], expected[sometimes])
    assert torch.allclose(mean_map[~outdoor.any(0)], gains[outdoor].double().mean())


def test_truth_scores_perfectly_and_a_shift_scores_itself(training):
    batch = next(iter(DataLoader(training, batch_size=3)))
    perfect = city_errors(truth(batch), batch)
    assert perfect["rmse_db"].tolist() == pytest.approx([0] * 3, abs=1e-4)
    assert perfect["ssim"].tolist() == pytest.approx([1] * 3)
    inside = truth(batch).clamp(-140, -60)
    batch = batch._replace(radio_map=units.path_gain_db_to_model(inside).float())
    assert city_errors(inside + 5, batch)["rmse_db"].tolist() == pytest.approx([5] * 3, rel=1e-4)


def test_buildings_do_not_count(training):
    batch = next(iter(DataLoader(training, batch_size=3)))
    vandal = truth(batch).masked_fill(~batch.outdoor_mask, -60.0)
    assert city_errors(vandal, batch)["rmse"].tolist() == pytest.approx([0] * 3, abs=1e-6)


def test_interval_of_a_normal_mean():
    """Percentile bootstrap against the textbook interval mean ± 1.96 s / sqrt n."""
    values = np.random.default_rng(0).normal(3, 2, size=400)
    low, high = bootstrap_interval(values, resamples=4000, rng=np.random.default_rng(1))
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)


def test_report(training):
    near = {"near": lambda batch: truth(batch) + 0.5}  # exact truth has infinite PSNR
    predictors = {**near, **Baselines.fit(training).predictors()}
    result = evaluate(predictors, training, CONFIG)
    assert (result["tiles"], result["maps"]) == (2, 6)
    city = result["protocols"]["city"]
    assert list(city["differences"]) == ["mean training map", "distance law"]
    gap = city["differences"]["mean training map"]
    assert gap["low"] <= gap["value"] <= gap["high"] < 0
    scores = city["scores"]
    expected = scores["near"]["rmse_db"]["value"] - scores["mean training map"]["rmse_db"]["value"]
    assert gap["value"] == pytest.approx(expected, abs=1e-4)
    table = format_table(result)
    assert "6 maps of 2 tiles" in table
    assert all(name in table for name in predictors)


def test_tiles_weigh_equally(dataset_root):
    """Mean over the transmitters of a tile first: a tile with fewer of them weighs the same."""
    (dataset_root / "gain/DPM/501_2.png").unlink()
    training = RadioMapSeer(dataset_root, "train")
    predictors = {"zero": lambda batch: torch.full_like(truth(batch), -100.0)}
    result = evaluate(predictors, training, CONFIG, protocols=["city"])
    whole = result["protocols"]["city"]["scores"]["zero"]["rmse_db"]["value"]
    tiles = [
        city_errors(torch.full(batch.radio_map.shape, -100.0).double(), batch)["rmse_db"]
        for batch in DataLoader(training, batch_size=3)
    ]
    assert [len(tile) for tile in tiles] == [3, 2]
    assert whole == pytest.approx(np.mean([tile.mean() for tile in tiles]), rel=1e-5)
    assert whole != pytest.approx(torch.cat(tiles).mean().item(), rel=1e-4)


def test_noise_may_be_shared(tiny, training):
    """D17: with one noise for all maps, equal conditions give equal maps."""
    torch.manual_seed(0)
    pipeline = RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.unet), 1.0, tiny)
    sample = training[0]
    twice = default_collate([sample, sample._replace(name="another")])
    for shared in (False, True):
        config = dataclasses.replace(tiny.evaluate, shared_noise=shared)
        first, second = model_predictor(pipeline, config)(twice)
        assert torch.allclose(first, second, atol=1e-3) == shared


def test_result_does_not_depend_on_the_batch(tiny, training):
    """All numbers of all protocols, digit for digit; and a second run gives them again."""
    torch.manual_seed(0)
    pipeline = RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.unet), 1.0, tiny)
    results = []
    for batch_size in (1, 8, 1):
        config = dataclasses.replace(CONFIG, steps=2, samples=2, batch_size=batch_size)
        results.append(evaluate({"model": model_predictor(pipeline, config)}, training, config))
    assert list(results[0]["protocols"]) == list(PROTOCOLS)
    assert results[0] == results[1] == results[2]


def test_unknown_protocol_is_refused(training):
    with pytest.raises(ValueError, match=r"among city, .*got \['itu'\]"):
        evaluate({"truth": truth}, training, CONFIG, protocols=["itu"])
    result = evaluate({"truth": truth}, training, CONFIG, protocols=["radiounet"])
    with pytest.raises(ValueError, match="no protocol 'city': there are radiounet"):
        format_table(result)
    assert "0.0000" in format_table(result, "radiounet")
