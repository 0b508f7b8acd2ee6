"""Figures of many transmitters: every number is drawn at its place, on one scale."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from radiodiff.plots import plot_covered_share, plot_transmitter_errors


def test_covered_share_draws_the_band_and_both_curves():
    thresholds_db = np.array([-120.0, -100.0, -80.0])
    of_samples = np.array([[1.0, 0.9], [0.6, 0.8], [0.1, 0.0]])
    axes = Figure().subplots()
    plot_covered_share(
        axes,
        thresholds_db,
        of_samples=of_samples,
        of_mean=of_samples.mean(1),
        of_simulator=np.array([1.0, 0.5, 0.0]),
        chosen_db=-95.0,
    )
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert lines["mean of the samples"][:, 1] == pytest.approx([0.95, 0.7, 0.05])
    assert lines["simulator"].tolist() == [[-120, 1], [-100, 0.5], [-80, 0]]
    assert lines["threshold of this chapter"][:, 0].tolist() == [-95, -95]
    band = {tuple(point) for point in axes.collections[0].get_paths()[0].vertices}
    assert {(-100, 0.6), (-100, 0.8), (-80, 0.0), (-80, 0.1)} <= band
    assert axes.get_xlabel() == "threshold [dB]"


def test_transmitter_errors_share_one_scale():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:6] = True
    error_db = np.where(mask, np.nan, 3.0)
    error_db[7, 7] = 9.0
    figure = plot_transmitter_errors(
        np.array([[0, 0], [5, 6]]),
        np.array([4.0, 2.0]),
        error_db,
        building_mask=mask,
        cell_size_m=2.0,
        trained_share=0.5,
    )
    left, right, bar = figure.axes
    (dots,) = left.collections
    assert dots.get_offsets().tolist() == [[1, 1], [13, 11]]  # x to the right, y down [m]
    assert dots.get_array().tolist() == [4, 2]
    assert dots.get_clim() == right.images[0].get_clim() == (0, 9)
    assert (np.ma.getmaskarray(right.images[0].get_array()) == mask).all()
    (square,) = left.patches
    assert (square.get_xy(), square.get_width(), square.get_height()) == ((4, 4), 8, 8)
    assert bar.get_xlabel() == "RMSE [dB]"
