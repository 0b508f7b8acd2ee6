"""Figures of the process: what is drawn is what was given, and axes carry units."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from radiodiff.plots import plot_law, plot_law_errors, plot_over_time, plot_paths

TIMES = np.linspace(0, 1, 5)


def names(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_paths_lie_with_their_band():
    axes = Figure().subplots()
    paths = np.arange(15.0).reshape(5, 3)
    spread = np.sqrt(TIMES)
    plot_paths(axes, TIMES, paths, centre=1 - TIMES, spread=spread, title="here")
    *drawn, centre = axes.lines
    assert [list(line.get_ydata()) for line in drawn] == paths.T.tolist()
    assert list(centre.get_ydata()) == list(1 - TIMES)
    corners = axes.collections[0].get_paths()[0].vertices
    at_one = corners[corners[:, 0] == 1, 1]
    assert (at_one.min(), at_one.max()) == (-2, 2)
    assert axes.get_xlabel() == "diffusion time $t$ [1]"
    assert axes.get_title() == "here"


def test_law_shows_each_time_at_its_own_scale():
    figure = Figure()
    axes = figure.subplots()
    density = np.outer([1.0, 2.0, 4.0], TIMES + 1)
    plot_law(
        axes,
        TIMES,
        np.array([-1.0, 0.0, 1.0]),
        density,
        trajectory_times=TIMES[::2],
        trajectories=np.ones((3, 2)),
    )
    image = axes.images[0]
    assert image.origin == "lower"
    assert tuple(image.get_extent()) == (0, 1, -1, 1)
    assert np.allclose(image.get_array(), np.repeat([[0.25], [0.5], [1.0]], 5, axis=1))
    assert len(axes.lines) == 2
    assert figure.axes[1].get_ylabel() == "density over its maximum at $t$ [1]"


def test_law_errors_name_each_sampler_and_the_floor():
    axes = Figure().subplots()
    errors = {"exact": [0.01, 0.01], "mean": [0.9, 0.4]}
    plot_law_errors(axes, [1, 10], errors, floor=0.01, ylabel="distance [1]")
    assert [list(line.get_ydata()) for line in axes.lines] == list(errors.values())
    assert names(axes) == ["exact", "mean", "draws of the true law"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_curves_differ_in_colour_and_in_dashes():
    axes = Figure().subplots()
    curves = {name: TIMES * k for k, name in enumerate("abc")}
    plot_over_time(axes, TIMES, curves, ylabel="weight [1]", yscale="log", title="weights")
    assert len({line.get_color() for line in axes.lines}) == 3
    assert len({line.get_linestyle() for line in axes.lines}) == 3
    assert names(axes) == ["a", "b", "c"]
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("diffusion time $t$ [1]", "weight [1]")


def test_more_curves_than_colours_are_refused():
    curves = {str(k): TIMES for k in range(8)}
    with pytest.raises(ValueError, match="at most 7 curves can be told apart, got 8"):
        plot_over_time(Figure().subplots(), TIMES, curves, ylabel="")
