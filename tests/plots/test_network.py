"""Figures of networks: shapes as the network has them, places on the map, units on every axis."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from radiodiff.models import (
    ConvEncoderConfig,
    FourierFilter,
    RelationAttention,
    UNet,
    UNetConfig,
    filter_response,
    sum_costs,
    swin_window_labels,
    unet_costs,
)
from radiodiff.plots import (
    plot_costs,
    plot_filter_response,
    plot_heads,
    plot_pyramid,
    plot_relation_attention,
    plot_swin_windows,
    plot_unet,
)

SMALL = UNetConfig(
    width=16,
    multipliers=(1, 2, 4),
    encoder="conv",
    conv=ConvEncoderConfig(widths=(8, 16, 24), blocks=1),
    condition_windows=((2, 2), (1, 1), (1, 1)),
    feature_windows=((2, 2), (1, 1), (1, 1)),
    filter_size=(4, 4),
)
MASK = np.zeros((32, 32), dtype=bool)
MASK[:8, :8] = True


def drawn(figure):
    figure.draw_without_rendering()
    return figure


def test_plan_shows_the_shapes_of_the_network():
    size = (36, 64)
    shapes = set()

    def note(_, inputs, output):
        shapes.add(f"{output.shape[1]} ch\n{output.shape[2]} × {output.shape[3]}")

    with torch.device("meta"), torch.no_grad():
        unet = UNet(SMALL).eval()
        for level in (*unet.down, *unet.drift_path.levels, *unet.noise_path.levels):
            level.attention.register_forward_hook(note)
        features = unet.encode_condition(torch.zeros(1, 2, *size))
        unet(torch.zeros(1, 3, 9, 16), torch.ones(1), features)
    shapes |= {f"{f.shape[1]} ch\n{f.shape[2]} × {f.shape[3]}" for f in features}
    texts = {text.get_text() for text in drawn(plot_unet(SMALL, size)).axes[0].texts}
    assert {text for text in texts if " × " in text} == shapes
    assert {"condition pyramid", "way down", "drift decoder", "noise decoder"} <= texts


def test_pyramid_draws_levels_over_the_whole_map():
    features = [torch.randn(1, 8, 8, 8), torch.randn(1, 16, 4, 4)]
    features[1][0, 11] *= 10
    figure = drawn(plot_pyramid(features, MASK, transmitter_cell=(20, 10)))
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 6
    assert all(tuple(axes.images[0].get_extent()) == (-0.5, 31.5, 31.5, -0.5) for axes in panels)
    np.testing.assert_allclose(
        panels[1].images[0].get_array(), features[1][0].square().mean(0).sqrt(), rtol=1e-5
    )
    assert panels[3].get_title() == "channel 11"
    np.testing.assert_array_equal(panels[3].images[0].get_array(), features[1][0, 11])
    bars = [axes.get_ylabel() for axes in figure.axes if not axes.get_title()]
    assert bars == ["RMS of channels [1]", "feature [1]", "feature [1]"] * 2


def test_swin_windows_lie_on_the_map():
    axes = Figure().subplots()
    labels = swin_window_labels((8, 8), 4, 2)
    plot_swin_windows(axes, labels, MASK, cell=(12, 20), title="shifted")
    picture = axes.images[0].get_array()
    own = np.kron(labels == labels[3, 5], np.ones((4, 4))).astype(bool)
    plain = np.where(MASK[..., None], 0.6, 0.96) * np.ones(3)
    np.testing.assert_array_equal((picture != plain).any(-1), own)
    edges = {line[0][1] for lines in axes.collections for line in lines.get_segments()}
    assert edges >= {7.5, 23.5}  # two tokens of 4 cells, then a window of four
    assert 15.5 not in {
        line[0][1]
        for lines in axes.collections
        for line in lines.get_segments()
        if line[0][1] == line[1][1]
    }
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 31.5), (31.5, -0.5))


def test_attention_is_drawn_where_its_windows_lie():
    weights = torch.zeros(1, 8, 4, 4, 4, 4)
    weights[..., 2, 1] = 1.0  # row 2, column 1: cells 16 to 23 and 8 to 15
    even = RelationAttention(torch.full((1, 8, 2, 2, 2, 2), 0.25), (16, 16), (16, 16))
    figure = drawn(
        plot_relation_attention(
            [RelationAttention(weights, (8, 8), (8, 8)), even], (9, 30), MASK, limit=4
        )
    )
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels[:2]] == ["level 0, mean of heads", "head 1"]
    assert len(panels) == 18
    image = panels[0].images[0]
    assert tuple(image.get_extent()) == (-0.5, 31.5, 31.5, -0.5)
    expected = np.full((4, 4), 0.25)
    expected[2, 1] = 4  # 16 times an even share, held at the limit
    np.testing.assert_array_equal(image.get_array(), expected)
    (window,) = panels[0].patches
    assert (window.get_xy(), window.get_width(), window.get_height()) == ((23.5, 7.5), 8, 8)
    np.testing.assert_array_equal(panels[9].images[0].get_array(), np.ones((2, 2)))
    bar = figure.axes[-1]
    assert bar.get_xlabel() == "attention, times an even share [1]"
    assert [text.get_text() for text in bar.get_xticklabels()] == ["1/4", "1/2", "1", "2", "4"]


def test_filter_response_is_drawn_with_zero_frequency_in_the_middle():
    layer = FourierFilter(8, (4, 4))
    with torch.no_grad():
        layer.complex_weight.zero_()
        layer.complex_weight[:, 0, 0, 0] = 0.5
    figure = drawn(plot_filter_response({"drift": layer}, (4, 8)))
    left, right = figure.axes[:2]
    picture = left.images[0].get_array()
    assert picture.shape == (4, 8)
    np.testing.assert_allclose(picture, np.fft.fftshift(filter_response(layer, (4, 8))[0].abs()))
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    west, east, south, north = left.images[0].get_extent()
    assert west + (column + 0.5) * (east - west) / 8 == pytest.approx(0)
    assert north + (row + 0.5) * (south - north) / 4 == pytest.approx(0)
    marks = left.lines[0].get_xydata()
    assert set(marks[:, 0]) == set(marks[:, 1]) == {-0.5, -0.25, 0, 0.25}
    at_zero = right.lines[0].get_xydata()
    assert at_zero[at_zero[:, 0] == 0][:, 1].tolist() == [0.5]
    assert right.get_xlabel() == "frequency [cycles per cell]"
    assert figure.axes[2].get_ylabel() == "mean |K| [1]"


def test_heads_share_a_scale_within_a_row():
    maps = [torch.full((4, 4), 2.0), None, torch.full((4, 4), -3.0)]
    figure = drawn(plot_heads({"noise": maps, "drift": maps}, ["t = 1", "t = 0.5", "truth"]))
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert {image.get_clim() for image in images} == {(-3.0, 3.0)}
    assert figure.axes[0].get_ylabel() == "noise"
    assert [axes.get_title() for axes in figure.axes[:3]] == ["t = 1", "t = 0.5", "truth"]
    assert not figure.axes[1].images


def test_cost_bars_end_at_the_sums():
    costs = unet_costs(SMALL, (32, 32))
    figure = drawn(plot_costs(costs, title="small"))
    parameters, operations = figure.axes
    parts = sum_costs(costs, "part")
    for axes, column, unit in ((parameters, 0, 1e6), (operations, 1, 1e9)):
        for number, part in enumerate(parts):
            bars = [bar for bar in axes.patches if bar.get_y() == pytest.approx(number - 0.4)]
            end = max(bar.get_x() + bar.get_width() for bar in bars)
            assert end == pytest.approx(parts[part][column] / unit)
    assert parameters.get_xlabel() == "parameters [millions]"
    assert [label.get_text() for label in parameters.get_yticklabels()] == list(parts)
    kinds = list(sum_costs(costs, "kind"))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == kinds
    assert len({to_hex(handle.get_facecolor()) for handle in legend.get_patches()}) == len(kinds)
    plot_costs(unet_costs(replace(SMALL, fourier_filter="off"), (32, 32)))
