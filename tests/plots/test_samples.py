"""Figures of samples: what they draw is what they say, for samples whose answer is known."""

import json
from itertools import combinations

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

from ..conftest import ROOT

MASK = np.zeros((8, 8), dtype=bool)
MASK[:2] = True
GAIN = np.linspace(-140, -60, 64).reshape(8, 8)


def drawn_alike(samples=15, cells=40_000, seed=0):
    """Samples and truth of one law in each cell, of means and widths of their own."""
    rng = np.random.default_rng(seed)
    mean, width = rng.normal(-100, 10, cells), rng.uniform(0.5, 6, cells)
    values = mean + width * rng.normal(size=(samples + 1, cells))
    return values[:-1], values[-1]


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


def test_error_follows_the_spread_of_samples_drawn_alike():
    """Eq. ``spread``; samples half as wide as the truth end up above the line."""
    axes, narrow = Figure().subplots(1, 2)
    samples, truth = drawn_alike()  # 15: seven sort, eight are judged
    plot_spread_and_error(axes, samples, truth, bins=5)
    spread, error = line(axes, "measured").T
    assert len(spread) == 5
    assert spread[-1] > 3 * spread[0]
    assert error == pytest.approx(np.sqrt(1 + 1 / 8) * spread, rel=0.03)
    ends = line(axes, "drawn alike")
    assert ends[1, 1] / ends[1, 0] == pytest.approx(np.sqrt(1 + 1 / 8))
    mean = samples.mean(0)
    plot_spread_and_error(narrow, mean + (samples - mean) / 2, truth)
    spread, error = line(narrow, "measured").T
    assert (error > 1.6 * spread).all()
    assert "[dB]" in axes.get_xlabel()
    with pytest.raises(ValueError, match="four samples or more and 12 cells"):
        plot_spread_and_error(axes, samples[:3], truth)


@pytest.mark.parametrize("samples", [2, 7, 10])
def test_intervals_hold_samples_drawn_alike(samples):
    """Eq. ``coverage``, whatever the law; too narrow samples hold less."""
    axes, narrow = Figure().subplots(1, 2)
    drawn, truth = drawn_alike(samples)
    plot_coverage(axes, drawn, truth)
    promised, held = line(axes, "measured").T
    j = np.arange(1, samples // 2 + 1)
    assert promised == pytest.approx(100 * (samples + 1 - 2 * j) / (samples + 1))
    assert held == pytest.approx(promised, abs=1)
    skewed = np.exp(drawn / 40)
    plot_coverage(axes, skewed, np.exp(truth / 40))  # order is all that counts
    assert axes.lines[-1].get_xydata()[:, 1] == pytest.approx(held)
    mean = drawn.mean(0)
    plot_coverage(narrow, mean + (drawn - mean) / 3, truth)
    assert (line(narrow, "measured")[:, 1] < promised).all()
    with pytest.raises(ValueError, match="two samples or more, got 1"):
        plot_coverage(axes, drawn[:1], truth)


def test_averages_lie_on_the_line_over_all_choices():
    """Eq. ``averaging`` is exact for the mean over every choice of K of N samples."""
    rng = np.random.default_rng(0)
    samples, truth = rng.normal(size=(6, 5)), rng.normal(size=5)
    axes = Figure().subplots()
    plot_averaging(axes, samples, truth)
    curve = line(axes, "$b^2 + v / K$")
    (limit,) = {*line(axes, "$b^2$, all of it bias")[:, 1]}
    for k in (1, 2, 3, 6):
        errors = [
            np.mean((samples[list(chosen)].mean(0) - truth) ** 2)
            for chosen in combinations(range(6), k)
        ]
        expected = np.mean(errors)
        v = 6 / 5 * np.mean((samples - samples.mean(0)) ** 2)
        assert limit + v / k == pytest.approx(expected)
        assert np.interp(k, *curve.T) == pytest.approx(expected, rel=0.01)
    measured = dict(line(axes, "measured"))
    assert list(measured) == [1, 2, 3, 6]
    for k in (1, 6):  # one choice of groups holds them all
        assert measured[k] == pytest.approx(limit + v / k)
    assert axes.get_ylabel() == "mean square error [dB²]"
    with pytest.raises(ValueError, match="two samples or more"):
        plot_averaging(axes, samples[:1], truth)


def test_published_steps_hold_together_and_name_their_origin():
    stored = json.loads((ROOT / "results/steps/metrics.json").read_text())
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
