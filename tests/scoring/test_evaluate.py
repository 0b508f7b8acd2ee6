"""Evaluation: truth scores perfectly, tiles weigh equally, no result depends on the batch."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from radiodiff import units
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSeer
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.predictors import Baselines, model_predictor
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.scoring import PROTOCOLS, evaluate, format_table

from .errors import city_errors, truth

CONFIG = EvaluateConfig(bootstrap=200, batch_size=4)


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


def test_result_does_not_depend_on_the_batch(tiny, training):
    """All numbers of all protocols, digit for digit; and a second run gives them again."""
    torch.manual_seed(0)
    pipeline = RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.network), 1.0, tiny)
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
