"""Baselines: fitted laws are recovered, means are means."""

import pytest
import torch

from radiodiff import units
from radiodiff.predictors import Baselines
from radiodiff.predictors.baselines import transmitter_distance_cells


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
