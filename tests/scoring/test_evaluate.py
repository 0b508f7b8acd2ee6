"""Evaluation: truth scores perfectly, tiles weigh equally, no result depends on the batch."""

import dataclasses
import json
import os
import re
import sys

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.utils.data import DataLoader

from radiodiff import units
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSeer
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.predictors import DistanceLaw, MeanMap, PipelinePredictor, dominant_path
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.sampler import SamplerConfig
from radiodiff.scoring import PROTOCOLS, evaluate, format_samples, format_table
from radiodiff.scoring.journal import Journal

from .errors import city_errors, truth

scoring = sys.modules["radiodiff.scoring.evaluate"]  # the package has a function of this name

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


def known(dataset, *, off_db=0.0, spread_db=0.0):
    """A predictor that knows the dataset's maps, and how far it is off; it may scatter."""
    samples = {sample.name: truth(sample) for sample in dataset}

    def predict(scenes, *, samples_of=samples, samples=1, seed=0):
        gain_db = torch.stack([samples_of[name] for name in scenes.name]) + off_db
        if not spread_db:
            return gain_db
        rngs = (np.random.default_rng([seed, *name.encode()]) for name in scenes.name)
        noise = [rng.normal(0, spread_db, (samples, *gain_db.shape[2:])) for rng in rngs]
        return gain_db + torch.from_numpy(np.stack(noise))

    return predict


def test_report(training):
    predictors = {
        "near": known(training, off_db=0.5),  # exact truth has infinite PSNR
        "mean training map": MeanMap.fit(training),
        "distance law": DistanceLaw.fit(training),
    }
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
    assert "samples" not in result
    with pytest.raises(ValueError, match=r"set evaluate\.samples to 2 or more"):
        format_samples(result)


def test_samples_are_scored_where_there_are_several(training):
    """Eqs. ``crps`` and ``spread``: a law of known width; one map's score is its absolute error."""
    config = dataclasses.replace(CONFIG, samples=8)
    shift_db, width_db = 2.0, 0.5
    inside = list(training)
    for k, sample in enumerate(inside):  # away from the ends of the scale, where nothing is held
        gain_db = truth(sample).clamp(-130, -60)
        inside[k] = sample._replace(radio_map=units.path_gain_db_to_model(gain_db).float())
    predictors = {
        "scattered": known(inside, off_db=-shift_db, spread_db=width_db),
        "exact": known(inside, off_db=-shift_db),
    }
    found = evaluate(predictors, inside, config, protocols=["city"])
    scores = found["samples"]
    assert scores["count"] == {"scattered": 8, "exact": 1}
    z = shift_db / width_db
    law = width_db * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert scores["crps_db"]["scattered"]["value"] == pytest.approx(law, abs=0.02)
    assert scores["crps_db"]["exact"]["value"] == pytest.approx(shift_db, abs=1e-4)
    spread = scores["spread_db"]["scattered"]
    assert spread["value"] == pytest.approx(width_db * np.sqrt(9 / 8), abs=0.01)
    assert spread["low"] <= spread["value"] <= spread["high"]
    assert scores["covered"]["scattered"]["value"] < 0.01
    assert list(scores["spread_db"]) == list(scores["covered"]) == ["scattered"]
    table = format_samples(found)
    assert "6 maps of 2 tiles" in table
    assert re.search(r"scattered +8 +1\.\d\d \[.*\] +0\.5\d \[", table)
    assert re.search(r"exact +1 +2\.00 \[2\.00, 2\.00\]\n", table)
    # The point score is that of the mean of the samples.
    mean = found["protocols"]["city"]["scores"]["scattered"]["rmse_db"]["value"]
    assert mean == pytest.approx(np.hypot(shift_db, width_db / np.sqrt(8)), abs=0.01)


def test_tiles_weigh_equally(dataset_root):
    """Mean over the transmitters of a tile first: a tile with fewer of them weighs the same."""
    (dataset_root / "gain/DPM/501_2.png").unlink()
    training = RadioMapSeer(dataset_root, "train")
    flat = {"flat": lambda scenes, **_: torch.full((len(scenes.name), 1, 32, 32), -100.0)}
    result = evaluate(flat, training, CONFIG, protocols=["city"])
    whole = result["protocols"]["city"]["scores"]["flat"]["rmse_db"]["value"]
    tiles = [
        city_errors(torch.full(batch.radio_map.shape, -100.0).double(), batch)["rmse_db"]
        for batch in DataLoader(training, batch_size=3)
    ]
    assert [len(tile) for tile in tiles] == [3, 2]
    assert whole == pytest.approx(np.mean([tile.mean() for tile in tiles]), rel=1e-5)
    assert whole != pytest.approx(torch.cat(tiles).mean().item(), rel=1e-4)


def test_result_does_not_depend_on_the_batch(tiny, training):
    """All numbers of all protocols, to 1e-3 dB; at one batch size, digit for digit."""
    predictors = {"model": model(tiny), "distance law": DistanceLaw.fit(training)}
    results = []
    for batch_size in (1, 8, 1):
        config = dataclasses.replace(CONFIG, samples=2, batch_size=batch_size)
        results.append(evaluate(predictors, training, config))
    assert results[0]["samples"]["count"] == {"model": 2, "distance law": 1}
    assert list(results[0]["protocols"]) == list(PROTOCOLS)
    assert results[0] == results[2]
    one, eight = ([*numbers(result)] for result in results[:2])
    assert len(one) > 80
    assert eight == pytest.approx(one, abs=1e-3)
    for result in results[:2]:
        for protocol in result["protocols"].values():
            protocol["scores"].pop("model")
    laws = [[p["scores"] for p in result["protocols"].values()] for result in results[:2]]
    assert [*numbers(laws[1])] == pytest.approx([*numbers(laws[0])], abs=1e-12)


def model(tiny):
    """An untrained model that draws in two steps."""
    torch.manual_seed(0)
    pipeline = RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.network), 1.0, tiny)
    return PipelinePredictor(pipeline, SamplerConfig(steps=2))


def numbers(value):
    """All numbers of a nested result."""
    if isinstance(value, float | int):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)


def test_result_does_not_depend_on_the_workers(tiny, training, monkeypatch):
    """Digit for digit; what cannot be pickled, here a closure, is asked in this process."""
    threads = torch.get_num_threads()
    predictors = {
        "model": model(tiny),
        "known": known(training, off_db=0.5),
        "distance law": DistanceLaw.fit(training),
    }
    config = dataclasses.replace(CONFIG, samples=2, batch_size=2)
    journals = [Journal() for _ in range(2)]
    torch.set_num_threads(1)
    try:
        results = [
            evaluate(predictors, training, config, journal=journal, workers=workers)
            for journal, workers in zip(journals, (1, 2), strict=True)
        ]
    finally:
        torch.set_num_threads(threads)
    assert json.dumps(results[0]) == json.dumps(results[1])  # the order of methods too
    for journal in journals:
        assert sorted(row["start"] for row in journal.rows) == [0, 2, 4]
    # Batches that are noted are not asked for again, whichever they are.
    asked = []
    monkeypatch.setattr(scoring, "_scored", lambda scorer, start: asked.append(start))
    evaluate(predictors, training, config, journal=journals[1], workers=2)
    assert asked == []
    journals[0].rows = [row for row in journals[0].rows if row["start"] != 2]
    monkeypatch.setattr(scoring, "_scored", stop)
    with pytest.raises(KeyError, match="2"):
        evaluate(predictors, training, config, journal=journals[0])


def stop(scorer, start):
    raise KeyError(start)


def test_only_what_can_be_pickled_and_is_on_the_cpu_is_asked_elsewhere(tiny, training, monkeypatch):
    laws = {"law": DistanceLaw.fit(training), "path": dominant_path, "known": known(training)}
    scorer = scoring._Scorer(training, {"model": model(tiny), **laws}, CONFIG, ["city"])
    assert scorer.movable() == ["model", "law", "path"]
    monkeypatch.setattr(RadioDiffPipeline, "device", torch.device("cuda"))
    assert scorer.movable() == ["law", "path"]


def test_a_worker_that_dies_is_told(tiny, training):
    config = dataclasses.replace(CONFIG, batch_size=2)
    with pytest.raises(OSError, match=r"was killed .*: take fewer workers"):
        evaluate({"deadly": die, "law": DistanceLaw(-60, -30)}, training, config, workers=2)
    with pytest.raises(ValueError, match="workers >= 1, got 0"):
        evaluate({"law": DistanceLaw(-60, -30)}, training, config, workers=0)


def die(scenes, *, samples=1, seed=0):
    os._exit(9)


def test_unknown_protocol_is_refused(training):
    with pytest.raises(ValueError, match=r"among city, .*got \['itu'\]"):
        evaluate({"truth": known(training)}, training, CONFIG, protocols=["itu"])
    result = evaluate({"truth": known(training)}, training, CONFIG, protocols=["radiounet"])
    with pytest.raises(ValueError, match="no protocol 'city': there are radiounet"):
        format_table(result)
    assert "0.0000" in format_table(result, "radiounet")
