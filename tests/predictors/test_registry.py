"""Predictors by name: every one answers scenes in one shape; names that are none are refused."""

import pytest
import torch
from torch.utils.data import default_collate

from radiodiff.predictors import PREDICTORS, make_predictor, mean_of_samples


@pytest.mark.parametrize("name", PREDICTORS)
def test_every_predictor_answers_scenes(name, training):
    scenes = default_collate([training[k].scene for k in (0, 1, 4)])
    predict = make_predictor(name, training)
    gain_db = predict(scenes, samples=3, seed=2)
    assert gain_db.shape in ((3, 1, 32, 32), (3, 3, 32, 32))
    assert gain_db.dtype == torch.float64
    assert gain_db.isfinite().all()
    alone = [predict(default_collate([training[k].scene]), samples=3, seed=2) for k in (0, 1, 4)]
    assert torch.equal(torch.cat(alone), gain_db)


def test_what_is_fitted_needs_maps():
    with pytest.raises(ValueError, match="fitted to training maps: give a dataset"):
        make_predictor("distance_law")


def test_a_name_that_is_no_predictor_lists_them():
    with pytest.raises(ValueError, match=r"run or one of mean_training_map, .*kriging; got krige"):
        make_predictor("krige")


def test_the_folder_of_a_run_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        make_predictor(tmp_path)


def test_mean_of_samples():
    values = torch.arange(24.0).double().view(2, 3, 2, 2)
    mean = mean_of_samples(values)
    assert mean.shape == (2, 1, 2, 2)
    assert torch.equal(mean[:, 0], values[:, 1])
    assert torch.equal(mean_of_samples(values[:, :1]), values[:, :1])
