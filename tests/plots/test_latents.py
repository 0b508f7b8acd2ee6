"""Figures of the autoencoder: the numbers on them are the ones they claim to show."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from radiodiff import units
from radiodiff.plots import (
    plot_compressions,
    plot_decoded,
    plot_error_over_distance,
    plot_kl_weight,
    plot_latent_histograms,
    plot_latents,
    plot_region_errors,
    plot_spectra,
)
from radiodiff.scoring import ErrorOverDistance, Spectrum

MASK = np.zeros((16, 16), dtype=bool)
MASK[:3] = True
GAIN = np.linspace(-140, -60, 256).reshape(16, 16)


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_compressions_show_map_and_error_of_each():
    restored = {"first": GAIN + 3, "second": GAIN - 5}
    edges = {"building edge": np.roll(MASK, 3, axis=0) & ~MASK}
    figure = plot_compressions(
        GAIN, restored, edges, building_mask=MASK, transmitter_cell=(9, 4), limit_db=20
    )
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == [
        "truth",
        "its edges",
        "first",
        "first: error",
        "second",
        "second: error",
    ]
    for name, error in (("first", 3), ("second", -5)):
        image = panels[f"{name}: error"].images[0]
        shown = image.get_array()
        assert (np.ma.getmaskarray(shown) == MASK).all()
        assert np.allclose(shown.compressed(), error)
        assert image.get_clim() == (-20, 20)
    bars = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert sorted(bars) == ["error [dB]"] * 2 + ["path gain [dB]"] * 3


def test_region_errors_are_bars_of_their_length():
    errors = {"a": {"shadow": 3.0, "smooth": 1.0}, "b": {"shadow": 4.0, "smooth": 2.0}}
    (axes,) = plot_region_errors(errors).axes
    lengths = [[bar.get_width() for bar in group] for group in axes.containers]
    assert lengths == [[3, 1], [4, 2]]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["shadow", "smooth"]
    assert axes.get_xlabel() == "RMSE [dB]"
    # Bars of a region do not cover each other.
    first, second = (group[0] for group in axes.containers)
    assert first.get_y() + first.get_height() <= second.get_y() + 1e-9


def test_error_over_distance_is_drawn_as_given():
    axes = Figure().subplots()
    found = ErrorOverDistance(np.array([2.0, 4.0]), {"a": np.array([3.0, 1.0])})
    plot_error_over_distance(axes, found, title="here")
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[2, 3], [4, 1]]
    assert labels(axes) == ["a"]
    assert axes.get_title() == "here"


def test_spectra_are_drawn_as_given_with_the_limit_of_the_latent():
    axes = Figure().subplots()
    frequency = np.array([0.1, 0.2])
    truth, kept, lost = (Spectrum(frequency, k * np.ones(2)) for k in (3.0, 2.0, 1.0))
    plot_spectra(axes, truth, {"a": kept}, {"a": lost}, limit=1 / 16)
    *drawn, limit = axes.lines
    assert [line.get_ydata()[0] for line in drawn] == [3, 2, 1]
    assert labels(axes) == ["truth", "a", "a: error"]
    assert limit.get_xdata()[0] == pytest.approx(1 / 16)
    assert axes.get_xlabel() == "spatial frequency [1/m]"


def test_latents_share_one_symmetric_scale():
    latents = np.random.default_rng(0).normal(size=(4, 4, 4))
    figure = plot_latents(GAIN, latents, building_mask=MASK)
    channels = [axes for axes in figure.axes if axes.get_title().startswith("channel")]
    assert [axes.get_title() for axes in channels] == [f"channel {k}" for k in range(4)]
    limit = abs(latents).max()
    for axes, channel in zip(channels, latents, strict=True):
        assert np.array_equal(axes.images[0].get_array(), channel)
        assert axes.images[0].get_clim() == (-limit, limit)
    assert "latent [1]" in {axes.get_ylabel() for axes in figure.axes}


def test_histograms_are_densities():
    latents = np.random.default_rng(0).normal(size=(50, 2, 16, 16))
    axes = Figure().subplots()
    plot_latent_histograms(axes, latents)
    assert labels(axes) == ["standard normal", "channel 0", "channel 1"]
    for line in axes.lines:
        x, density = line.get_data()
        assert density.sum() * (x[1] - x[0]) == pytest.approx(1, abs=0.01)
        assert density.max() == pytest.approx(1 / np.sqrt(2 * np.pi), rel=0.1)


def test_more_channels_than_colours_are_all_drawn():
    axes = Figure().subplots()
    plot_latent_histograms(axes, np.zeros((1, 8, 2, 2)))
    assert len(axes.lines) == 8


def test_decoded_maps_share_one_bar():
    maps = {f"map {k}": np.full((8, 8), -100.0 + k) for k in range(4)}
    figure = plot_decoded(maps)
    drawn = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert [axes.get_title() for axes in drawn] == list(maps)
    assert {axes.images[0].get_clim() for axes in drawn} == {(units.FLOOR_DB, units.PEAK_DB)}
    assert len(figure.axes) == 5


def test_kl_weight_shows_found_values_beside_the_optimum():
    weights = np.logspace(-3, 0, 4)
    found = {"start": {"noise [1]": 2 * weights, "spread [1]": weights}}
    figure = plot_kl_weight(weights, found, {"noise [1]": weights, "spread [1]": weights**0})
    noise, spread = figure.axes
    assert (noise.get_ylabel(), spread.get_ylabel()) == ("noise [1]", "spread [1]")
    best, dots = noise.lines
    assert np.array_equal(best.get_ydata(), weights)
    assert np.array_equal(dots.get_ydata(), 2 * weights)
    assert labels(spread) == ["optimum", "start"]
