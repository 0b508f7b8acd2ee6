"""Figure of a condition: every channel once, with what its values stand for."""

import numpy as np
import pytest

from radiodiff import units
from radiodiff.conditions import CHANNELS, make_condition
from radiodiff.plots import plot_channels
from radiodiff.plots.channels import channel_readings
from radiodiff.scene import make_scene, stack_scenes

MASK = np.zeros((24, 24), bool)
MASK[4:10, 4:12] = True
CARS = np.zeros((24, 24), bool)
CARS[14, 3:8] = True
MEASURED_DB = np.full((24, 24), np.nan)
MEASURED_DB[20, 5], MEASURED_DB[2, 18] = -80.0, -200.0


@pytest.fixture
def condition():
    scene = make_scene(
        MASK, (16, 15), cell_size_m=2.0, cars_mask=CARS, measured_gain_db=MEASURED_DB, name="a"
    )
    names = [name for name in CHANNELS if name != "k2"]
    return make_condition(stack_scenes([scene]), names)[0].numpy(), names


def test_every_channel_is_drawn_with_its_meaning(condition):
    values, names = condition
    figure = plot_channels(values, names)
    figure.draw_without_rendering()
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == names
    labels = [axes.get_xlabel() for axes in figure.axes if not axes.get_title()]
    assert [" ".join(label.split()) for label in labels] == [CHANNELS[n].meaning for n in names]
    for name, channel in zip(names, values, strict=True):
        (image,) = panels[name].images
        assert image.get_array().tolist() == channel.tolist()
        assert image.get_clim() == (0, 1)


def test_single_cells_are_drawn_as_dots(condition):
    values, names = condition
    figure = plot_channels(values, names)
    dots = {
        axes.get_title(): axes.collections[0]
        for axes in figure.axes
        if axes.get_title() and axes.collections
    }
    assert set(dots) == {"transmitter", "cars", "measurements", "measured"}
    assert dots["transmitter"].get_offsets().tolist() == [[15, 16]]
    places = dict(
        zip(
            map(tuple, dots["measurements"].get_offsets().tolist()),
            dots["measurements"].get_array().tolist(),
            strict=True,
        )
    )
    assert places == pytest.approx(
        {(18, 2): 1 / 255, (5, 20): units.path_gain_db_to_gray(np.array(-80.0))}
    )


@pytest.mark.parametrize("name", CHANNELS)
def test_readings_are_what_values_stand_for(name):
    readings = channel_readings(name)
    assert min(readings) == 0
    if CHANNELS[name].is_gain:
        assert readings[0] == f"{units.FLOOR_DB:.0f} dB"
        assert readings[1] == f"{units.PEAK_DB:.0f} dB"
    elif name == "occlusion":
        for value, reading in readings.items():
            metres = float(reading.removesuffix(" m"))
            assert metres / (metres + 50) == pytest.approx(value)
    elif name == "measurements":
        assert readings[0] == "none"


def test_strangers_are_refused(condition):
    values = condition[0]
    with pytest.raises(ValueError, match=r"each of the 10 channels, got \['buildings'\]"):
        plot_channels(values, ["buildings"])
    with pytest.raises(ValueError, match=r"got \[.trees.\]"):
        plot_channels(values[:1], ["trees"])
