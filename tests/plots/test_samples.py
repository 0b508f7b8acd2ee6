"""Figures of samples: what they draw is what they say, for samples whose answer is known."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from radiodiff.plots import (
    plot_averaging,
    plot_coverage,
    plot_cut,
    plot_spread,
    plot_spread_and_error,
    plot_steps,
    plot_trajectory,
)
from radiodiff.scoring import Averaging, Coverage, SpreadAndError

from ..conftest import ROOT

MASK = np.zeros((8, 8), dtype=bool)
MASK[:2] = True
GAIN = np.linspace(-140, -60, 64).reshape(8, 8)


def line(axes, label):
    (found,) = (one for one in axes.lines if one.get_label() == label)
    return found.get_xydata()


def test_trajectory_has_a_column_for_each_time():
    figure = plot_trajectory(
        [1.0, 0.5],
        [GAIN, GAIN],
        [GAIN + 3, GAIN + 4],
        result_db=GAIN,
        truth_db=np.where(MASK, np.nan, GAIN),
        building_mask=MASK,
        transmitter_cell=(5, 3),
    )
    titles = [axes.get_title() for axes in figure.axes[:6]]
    assert titles[:3] == ["$t = 1$", "$t = 0.5$", "$t = 0$: the result"]
    assert titles[3:] == ["RMSE 3.0 dB", "RMSE 4.0 dB", "truth"]
    assert figure.axes[6].get_xlabel() == "path gain [dB]"
    for axes in figure.axes[:6]:
        assert (np.ma.getmaskarray(axes.images[0].get_array()) == MASK).all()


def test_cut_shows_every_sample_once_in_the_legend():
    axes = Figure().subplots()
    samples = np.stack([GAIN[4] - 1, GAIN[4] + 3])
    plot_cut(axes, np.arange(8.0), GAIN[4], samples, GAIN[4] + 2, title="cut")
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["samples", "mean of samples", "one step", "truth"]
    assert line(axes, "mean of samples")[:, 1] == pytest.approx(GAIN[4] + 1)
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "position along the cut [m]",
        "path gain [dB]",
    )


def test_spread():
    figure = Figure()
    axes = figure.subplots()
    scene = {"building_mask": MASK, "transmitter_cell": (5, 3)}
    plot_spread(axes, np.ones((8, 8)), limit_db=4, label="standard deviation [dB]", **scene)
    (image,) = axes.images
    assert image.get_clim() == (0, 4)
    assert (np.ma.getmaskarray(image.get_array()) == MASK).all()
    assert figure.axes[1].get_ylabel() == "standard deviation [dB]"
    assert axes.lines[0].get_xydata().tolist() == [[3, 5]]


def test_error_over_spread_is_drawn_as_given():
    axes = Figure().subplots()
    found = SpreadAndError(np.array([1.0, 2.0]), np.array([1.5, 2.5]), 1.25)
    plot_spread_and_error(axes, found)
    assert line(axes, "measured").tolist() == [[1, 1.5], [2, 2.5]]
    ends = line(axes, "drawn alike")
    assert ends[1, 1] / ends[1, 0] == pytest.approx(1.25)
    assert axes.get_ylim()[1] == pytest.approx(1.05 * 2.5)
    assert "[dB]" in axes.get_xlabel()


def test_coverage_is_drawn_in_per_cent():
    axes = Figure().subplots()
    plot_coverage(axes, Coverage(np.array([0.6, 0.2]), np.array([0.5, 0.1])))
    assert line(axes, "measured").tolist() == [[60, 50], [20, 10]]
    assert "% of cells" in axes.get_ylabel()


def test_averages_lie_on_their_line():
    axes = Figure().subplots()
    found = Averaging(np.array([1, 2, 4]), np.array([7.0, 5.5, 4.0]), variance=4.0, bias=3.0)
    plot_averaging(axes, found)
    curve = line(axes, "$b^2 + v / K$")
    for k in (1, 2, 4):
        assert np.interp(k, *curve.T) == pytest.approx(3 + 4 / k, rel=0.01)
    assert {*line(axes, "$b^2$, all of it bias")[:, 1]} == {3}
    assert line(axes, "measured").tolist() == [[1, 7], [2, 5.5], [4, 4]]
    assert axes.get_ylabel() == "mean square error [dB²]"


def test_published_steps_hold_together_and_name_their_origin():
    stored = json.loads((ROOT / "results/steps/metrics.json").read_text(encoding="utf-8"))
    wanted = {"protocol", "run", "commit", "seed", "versions", "device", "date", "weights_sha256"}
    assert wanted <= stored.keys()
    for row in stored["rows"]:
        assert row["calls"] == row["steps"] + (row["schedule"] == "reference")
        for key in ("rmse_db", "difference_db"):
            assert row[key]["low"] <= row[key]["mean"] <= row[key]["high"]
        is_base = {key: row[key] for key in stored["base"]} == stored["base"]
        assert not is_base or row["difference_db"] == {"mean": 0, "low": 0, "high": 0}
    by_sampler = {
        row["sampler"]: row for row in stored["rows"] if (row["steps"], row["samples"]) == (1, 1)
    }
    assert by_sampler["stochastic"]["rmse_db"] == pytest.approx(
        by_sampler["deterministic"]["rmse_db"], abs=1e-3
    )  # one step draws nothing
    assert len(plot_steps(stored).axes) == 4


def test_steps():
    rows = [
        {
            "sampler": sampler,
            "calls": calls,
            "samples": samples,
            "rmse_db": {"mean": 6 / calls, "low": 5 / calls, "high": 8 / calls},
            "difference_db": {"mean": -0.1, "low": -0.2, "high": 0.1},
            "spread_db": 1.5 * calls,
            "ms_per_map": 10.0 * calls * samples,
        }
        for sampler in ("stochastic", "deterministic")
        for calls in (1, 5)
        for samples in (1, 4)
    ]
    figure = plot_steps({"rows": rows})
    error, difference, spread, time = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "RMSE [dB]",
        "RMSE − that of one step [dB]",
        "standard deviation [dB]",
        "time [ms]",
    ]
    assert {axes.get_xlabel() for axes in figure.axes} == {"denoiser calls"}
    assert len(error.containers) == len(difference.containers) == 4
    assert not error.containers[1].lines[2]  # averages: no bars here
    assert difference.containers[1].lines[2]
    (bars,) = error.containers[0].lines[2]
    assert bars.get_segments()[0][:, 1] == pytest.approx([5, 8])
    assert [one.get_xydata().tolist() for one in spread.lines] == [[[1, 1.5], [5, 7.5]]] * 2
    assert [one.get_ydata().tolist() for one in time.lines] == [[10, 50]] * 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["stochastic", "stochastic, mean of 4"]
