"""Figures: units on every colour bar, the transmitter where it is, buildings without value."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from shapely import Polygon

from radiodiff import load_config, units
from radiodiff.config import save_config
from radiodiff.data import RadioMapSample
from radiodiff.plots import (
    plot_calibration,
    plot_difference,
    plot_gain_over_distance,
    plot_gray,
    plot_kinds,
    plot_losses,
    plot_outlines,
    plot_predictions,
    plot_radio_map,
    plot_sample,
    plot_scales,
    plot_value_shares,
)
from radiodiff.scene import make_scene

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


def test_no_path_is_dark_and_no_building():
    axes = Figure().subplots()
    gain = GAIN.copy()
    gain[4, 4] = -np.inf
    plot_radio_map(axes, gain, building_mask=MASK)
    image = axes.images[0].get_array()
    assert (np.ma.getmaskarray(image) == MASK).all()
    assert image[4, 4] == units.FLOOR_DB


def test_outlines_leave_courtyards_open():
    ring, court = [(1, 1), (7, 1), (7, 7), (1, 7)], [(3, 3), (5, 3), (5, 5), (3, 5)]
    axes = Figure().subplots()
    for hole in (court, court[::-1]):  # whichever way it runs
        plot_outlines(axes, [Polygon(ring, [hole])], 8.0, transmitter_m=(4, 4), title="tile")
        path = axes.patches[-1].get_path()
        signed = [
            sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))
            for ring in path.to_polygons()
        ]
        assert signed[0] * signed[1] < 0
    assert len(axes.patches) == 2
    plot_outlines(axes, [], 8.0, cars=[Polygon(court)])
    assert axes.patches[-1].get_facecolor() != axes.patches[0].get_facecolor()
    assert axes.get_ylim() == (0, 8)  # y up
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x [m]", "y [m]")
    assert axes.lines[0].get_xydata().tolist() == [[4, 4]]


def test_difference():
    figure = Figure()
    axes = figure.subplots()
    plot_difference(axes, GAIN + 100, building_mask=MASK, limit_db=15, title="more")
    (image,) = axes.images
    assert image.get_clim() == (-15, 15)
    assert (np.ma.getmaskarray(image.get_array()) == MASK).all()
    assert figure.axes[1].get_ylabel() == "difference [dB]"


def test_gray():
    figure = Figure()
    axes = figure.subplots()
    plot_gray(axes, units.path_gain_db_to_gray(GAIN))
    (image,) = axes.images
    assert image.get_clim() == (0, 1)  # not stretched to what the map holds
    assert figure.axes[1].get_ylabel() == "gray level [1]"


@pytest.mark.parametrize("is_ordered", [False, True])
def test_kinds_and_their_shares(is_ordered):
    axes = Figure().subplots()
    lower, corner = np.zeros_like(MASK), np.zeros_like(MASK)
    lower[4:], corner[:, :2] = True, True
    kinds = {"lower": lower, "left": corner}
    plot_kinds(axes, kinds, building_mask=MASK, is_ordered=is_ordered, title="kinds")
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["lower (37.5%)", "left (18.8%)", "building (25.0%)"]
    picture = axes.images[0].get_array()
    drawn = [to_rgb(patch.get_facecolor()) for patch in axes.get_legend().get_patches()]
    assert tuple(picture[7, 7]) == pytest.approx(drawn[0])
    assert tuple(picture[7, 0]) == pytest.approx(drawn[1])  # covers what came before
    assert tuple(picture[0, 0]) == pytest.approx(drawn[2])  # buildings cover all
    assert tuple(picture[2, 7]) == pytest.approx((1, 1, 1))  # of no kind
    assert len(set(drawn)) == 3


def test_kinds_beyond_the_colours_are_refused():
    with pytest.raises(ValueError, match="at most 7 kinds, got 8"):
        plot_kinds(Figure().subplots(), {str(k): MASK for k in range(8)})


def test_gain_over_distance():
    axes = Figure().subplots()
    distance_m = np.arange(1.0, 65).reshape(8, 8)
    law_db = units.line_of_sight_gain_db(distance_m)
    plot_gain_over_distance(axes, law_db, distance_m, {"above": MASK, "below": ~MASK})
    above, below = axes.collections
    assert (len(above.get_offsets()), len(below.get_offsets())) == (16, 48)
    assert (above.get_offsets()[3] == [distance_m[0, 3], law_db[0, 3]]).all()
    (law,) = axes.lines
    assert law.get_ydata() == pytest.approx(units.line_of_sight_gain_db(law.get_xdata()))
    assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == ["above", "below"]
    assert axes.get_ylabel() == "path gain [dB]"


def test_scales_lie_beneath_each_other():
    """A place on one ruler is the same value on the others (eq. ``gray``)."""
    strip, *rulers = plot_scales().axes
    assert strip.get_xlabel() == "path gain $P$ [dB]"
    for place in (0.3, 0.8):
        at = {}
        for axes in (strip, *rulers):
            low, high = axes.get_xlim()
            at[axes.get_xlabel().split()[0]] = low + place * (high - low)
        gray = units.path_gain_db_to_gray(at["path"])
        assert at["gray"] == pytest.approx(gray)
        assert at["8-bit"] == pytest.approx(255 * gray)
        assert at["model"] == pytest.approx(units.gray_to_model(gray))
        threshold = units.path_gain_db_to_gray(units.NOISE_THRESHOLD_DB)
        assert at["RadioUNet's"] == pytest.approx((gray - threshold) / (1 - threshold))


@pytest.mark.parametrize("has_held_back", [False, True])
def test_calibration(has_held_back):
    rows = [{"transmitter": 3, "rmse_db": 1.25}]
    bends = [
        {"bends": "4 or more", "rmse_db": 2.0, "cells": 1200},
        {"bends": "none", "rmse_db": 70.0, "cells": 1},
    ]
    metrics = {"transmitters": rows, "bends": bends}
    if has_held_back:
        metrics["held_back"] = [{"transmitter": 5, "rmse_db": 0.5}]
    transmitters, kinds = plot_calibration(metrics).axes
    errors = [bar.get_width() for bar in transmitters.patches]
    assert errors == [1.25, 0.5][: 1 + has_held_back]
    assert (transmitters.get_legend() is not None) == has_held_back
    assert [bar.get_width() for bar in kinds.patches] == [2.0]
    assert [label.get_text() for label in kinds.get_yticklabels()] == ["4+"]
    assert [text.get_text() for text in kinds.texts] == ["2.00, 1,200 cells"]
    assert kinds.get_xlabel() == transmitters.get_xlabel() == "RMSE [dB]"


def test_value_shares_leave_gray_0_out():
    values = {"histogram": [0.5, 0.3, 0.2], "edges_db": [-147, -114, -81, -48], "share_0": 0.4}
    (axes,) = plot_value_shares({"images": {"gain/DPM": values}}, title="tiny").axes
    (stairs,) = axes.patches
    assert stairs.get_data().values == pytest.approx([10, 30, 20])
    assert axes.get_legend().get_texts()[0].get_text() == "DPM (40% at gray 0)"
    assert axes.get_xlabel() == "path gain [dB]"
    with pytest.raises(ValueError, match="at most 7 variants, got 8"):
        plot_value_shares({"images": dict.fromkeys("abcdefgh", values)})


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
    cars_mask = np.zeros_like(MASK)
    cars_mask[6, 6] = True
    scene = make_scene(
        MASK, (5, 3), cell_size_m=2.0, cars_mask=cars_mask if has_cars else None, name="3_1"
    )
    sample = RadioMapSample(
        radio_map=units.path_gain_db_to_model(torch.from_numpy(GAIN))[None],
        condition=torch.zeros(2, 8, 8),
        scene=scene,
        outdoor_mask=torch.from_numpy(~MASK)[None],
        name="3_1",
    )
    figure = plot_sample(sample)
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
    rows = [{"step": k, "diffusion": 1 / k, "learning_rate": 0.1 * k} for k in (1, 2, 3)]
    log = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "diffusion" / "log.jsonl").write_text(log, encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        plot_losses(tmp_path)
    config = load_config("smoke", "training.ema_start=1 training.ema_decay=0.3")
    save_config(config, tmp_path / "config.yaml")
    loss, rate, decay = plot_losses(tmp_path).axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 1], [2, 0.5], [3, 1 / 3]]
    assert list(rate.lines[0].get_ydata()) == [row["learning_rate"] for row in rows]
    assert decay.lines[0].get_xydata().tolist() == [[1, 0], [2, 0], [3, 0.3]]
    assert loss.get_title() == "diffusion"
    assert decay.get_xlabel() == "step"


@pytest.mark.parametrize(
    ("losses", "scale"), [((9, 1), "linear"), ((11, 1), "log"), ((11, -1), "linear")]
)
def test_losses_that_span_a_decade_are_drawn_on_a_logarithmic_axis(losses, scale, tmp_path):
    (tmp_path / "autoencoder").mkdir()
    rows = [{"step": 1 + k, "autoencoder": v, "learning_rate": 1} for k, v in enumerate(losses)]
    log = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "autoencoder" / "log.jsonl").write_text(log, encoding="utf-8")
    save_config(load_config("smoke"), tmp_path / "config.yaml")
    assert plot_losses(tmp_path).axes[0].get_yscale() == scale
