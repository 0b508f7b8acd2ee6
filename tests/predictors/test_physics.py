"""Engines as predictors: near the engine that made the maps, whatever the batch."""

import pytest
import torch
from torch.utils.data import DataLoader

from radiodiff.data import RadioMapSample, RadioMapSeer
from radiodiff.predictors import dominant_path_predictor
from radiodiff.simulate import simulate_dataset

from ..scoring.errors import city_errors


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
