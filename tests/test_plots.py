"""Figures: units on every colour bar, the transmitter where it is, buildings without value."""

import json

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from radiodiff import units
from radiodiff.data import RadioMapSample
from radiodiff.plots import plot_losses, plot_predictions, plot_radio_map, plot_sample

MASK = np.zeros((8, 8), dtype=bool)
MASK[:2] = True
GAIN = np.linspace(-140, -60, 64).reshape(8, 8)


def test_radio_map():
    figure = Figure()
    axes = figure.subplots()
    plot_radio_map(axes, GAIN, building_mask=MASK, transmitter_cell=(5, 3), title="here")
    image = axes.images[0].get_array()
    assert (np.ma.getmaskarray(image) == MASK).all()
    assert image[5, 3] == GAIN[5, 3]
    (marker,) = axes.lines
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (3, 5)
    assert figure.axes[1].get_ylabel() == "path gain [dB]"


def test_predictions():
    row = {
        "name": "3_1",
        "truth_db": GAIN,
        "prediction_db": GAIN + 2,
        "building_mask": MASK,
        "transmitter_cell": (5, 3),
    }
    figure = plot_predictions([row, row])
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()] == [
        "path gain [dB]",
        "prediction − truth [dB]",
    ]
    assert "RMSE 2.0 dB" in figure.axes[2].get_title()


@pytest.mark.parametrize("has_cars", [False, True])
def test_sample(has_cars):
    condition = torch.zeros(2, 8, 8)
    condition[0, :2], condition[1, 5, 3] = 1, 1
    sample = RadioMapSample(
        radio_map=units.path_gain_db_to_model(torch.from_numpy(GAIN))[None],
        condition=condition,
        outdoor_mask=torch.from_numpy(~MASK)[None],
        name="3_1",
    )
    cars_mask = np.zeros_like(MASK)
    cars_mask[6, 6] = True
    figure = plot_sample(sample, cell_size_m=2.0, cars_mask=cars_mask if has_cars else None)
    scene, radio_map, profile, bar = figure.axes
    assert figure.get_suptitle() == "3_1"
    colours = scene.images[0].get_array()
    assert (colours[MASK] == colours[0, 0]).all()
    assert (colours[5, 0] != colours[0, 0]).all()
    assert (colours[6, 6] != colours[6, 5]).any() == has_cars
    assert ("cars" in scene.get_title()) == has_cars
    image = radio_map.images[0].get_array()
    assert (np.ma.getmaskarray(image) == MASK).all()
    assert image[5, 3] == pytest.approx(GAIN[5, 3], abs=1e-4)
    along, law = profile.lines
    assert along.get_xdata().tolist() == [-6, -4, -2, 0, 2, 4, 6, 8]
    assert along.get_ydata() == pytest.approx(GAIN[5], abs=1e-4)
    assert law.get_ydata() == pytest.approx(units.line_of_sight_gain_db(abs(along.get_xdata())))
    assert profile.get_xlabel() == "distance from the transmitter [m]"
    assert profile.get_ylabel() == bar.get_ylabel() == "path gain [dB]"


def test_losses(tmp_path):
    with pytest.raises(FileNotFoundError, match="was it trained"):
        plot_losses(tmp_path)
    (tmp_path / "diffusion").mkdir()
    rows = [{"step": k, "diffusion": 1 / k} for k in (1, 2, 3)]
    log = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "diffusion" / "log.jsonl").write_text(log)
    (axes,) = plot_losses(tmp_path).axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 1], [2, 0.5], [3, 1 / 3]]
