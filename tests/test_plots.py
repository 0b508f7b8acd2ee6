"""Figures: units on every colour bar, the transmitter where it is, buildings without value."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from radiodiff.plots import plot_losses, plot_predictions, plot_radio_map

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


def test_losses(tmp_path):
    with pytest.raises(FileNotFoundError, match="was it trained"):
        plot_losses(tmp_path)
    (tmp_path / "diffusion").mkdir()
    rows = [{"step": k, "diffusion": 1 / k} for k in (1, 2, 3)]
    log = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "diffusion" / "log.jsonl").write_text(log)
    (axes,) = plot_losses(tmp_path).axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 1], [2, 0.5], [3, 1 / 3]]
