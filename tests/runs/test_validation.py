"""The error on validation cities while a run is trained."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from radiodiff.config import load_config
from radiodiff.data.splits import map_permutation
from radiodiff.files import read_json_lines
from radiodiff.models import PlainUNetConfig
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.train import train_run
from radiodiff.settings import ConfigError

from ..conftest import tiny_config, write_radiomapseer


@pytest.fixture
def tiny(tmp_path):
    """A tiny run on a dataset that has validation maps too."""
    maps = [int(m) + 1 for m in map_permutation()[[0, 1, 501, 502, 503, 650]]]
    return tiny_config(write_radiomapseer(tmp_path / "RadioMapSeer", maps))


def plain(config, *, validate_every):
    """A small regression on maps that tells its error, judged on all validation maps."""
    network = dataclasses.replace(
        config.network, kind="plain", latent_channels=1, plain=PlainUNetConfig(widths=(8, 16))
    )
    process = dataclasses.replace(config.process, kind="regression", space="map")
    training = dataclasses.replace(
        config.training, validate_every=validate_every, validate_maps=1000
    )
    judged = dataclasses.replace(config.evaluate, split="val", max_maps=None)
    return dataclasses.replace(
        config, network=network, process=process, training=training, evaluate=judged
    )


def test_it_is_the_error_that_evaluate_tells(tiny, tmp_path):
    """The last line of training and `radiodiff evaluate` on the same maps: one number."""
    run = train_run(plain(tiny, validate_every=3), tmp_path / "run")
    rows = read_json_lines(run / "diffusion/log.jsonl")
    told = {row["step"]: row["validation_rmse_db"] for row in rows if "validation_rmse_db" in row}
    assert list(told) == [3, 4]
    result = evaluate_run(run, tmp_path / "results", predictors=[])
    score = result["protocols"]["city"]["scores"]["radiodiff"]["rmse_db"]["value"]
    assert told[4] == pytest.approx(score, abs=1e-6)


def test_it_changes_no_weight(tiny, tmp_path):
    runs = [train_run(plain(tiny, validate_every=every), tmp_path / str(every)) for every in (0, 1)]
    without, with_it = (load_file(run / "diffusion.safetensors") for run in runs)
    assert all(torch.equal(without[name], value) for name, value in with_it.items())


def test_maps_without_decibels_have_none():
    with pytest.raises(ConfigError, match=r"training.validate_every asks for an error in dB"):
        load_config(
            "smoke",
            [
                "data.source=radiomap3dseer",
                "data.simulate=null",
                "training.validate_every=5",
                "process.space=latent",
            ],
        )
