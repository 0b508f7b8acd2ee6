"""Figures of errors show what they were given."""

import numpy as np
from matplotlib.figure import Figure

from radiodiff.plots import (
    plot_fingerprints,
    plot_nmse_rules,
    plot_scores,
    plot_tile_errors,
)
from radiodiff.scoring import PUBLISHED


def test_rules_in_order_with_their_values():
    (axes,) = plot_nmse_rules({"first": 0.01, "second": 0.5}).axes
    assert [text.get_text() for text in axes.texts] == ["0.0100", "0.5000"]
    assert axes.get_xscale() == "log"
    assert axes.yaxis_inverted()


def test_every_published_pair_is_drawn():
    (axes,) = plot_fingerprints({"ours": (0.1, 0.1)}).axes
    drawn = {
        (float(x), float(y)) for line in axes.lines for x, y in zip(*line.get_data(), strict=True)
    }
    assert {(row.nmse, row.rmse) for row in PUBLISHED} | {(0.1, 0.1)} <= drawn
    assert "ours: 0.100" in [text.get_text() for text in axes.texts]


def test_scores_and_their_intervals():
    error = {"value": 5.0, "low": 4.0, "high": 7.0}
    result = {"protocols": {"city": {"scores": {"model": {"rmse_db": error}}}}}
    (axes,) = plot_scores({"a run": result}).axes
    (bars,) = axes.containers
    (segment,) = bars.lines[2][0].get_segments()
    assert segment[:, 0].tolist() == [4, 7]
    assert bars.lines[0].get_xdata() == [5]


def test_tiles_are_sorted_by_their_mean():
    axes = Figure().subplots()
    plot_tile_errors(axes, np.array([5.0, 7.0, 1.0]), ["3", "3", "8"], title="x")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "3"]
