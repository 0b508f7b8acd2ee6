"""Channels of the condition: ranges, known answers, and what is refused."""

import numpy as np
import pytest
import torch

from radiodiff import units
from radiodiff.conditions import (
    CHANNELS,
    k2_map,
    make_condition,
    network_range,
    pick_channels,
    slow_channel_key,
)
from radiodiff.scene import make_scene, stack_scenes
from radiodiff.simulate import raster_gain_db

MADE = [name for name, channel in CHANNELS.items() if not channel.is_oracle]


def scene(**more):
    mask = np.zeros((24, 24), bool)
    mask[8:12, 10:20] = True
    settings = {"cell_size_m": 2.0, "cars_mask": np.eye(24, dtype=bool)} | more
    measured = np.full((24, 24), np.nan)
    measured[2, 3], measured[20, 4], measured[21, 4] = -80.0, -147.0, -200.0
    return make_scene(mask, (18, 6), measured_gain_db=measured, **settings)


def channel(name, *scenes, **more):
    return make_condition(stack_scenes(scenes or [scene()]), [name], **more)[:, 0]


@pytest.mark.parametrize("name", MADE)
def test_every_channel_is_in_range_and_of_the_scene_alone(name):
    """Whatever else is in the batch, in float32, within [0, 1]."""
    one = channel(name)
    assert one.shape == (1, 24, 24)
    assert one.dtype == torch.float32
    assert one.min() >= 0
    assert one.max() <= 1
    other = make_scene(
        np.zeros((24, 24)),
        (0, 0),
        cell_size_m=1,
        cars_mask=np.zeros((24, 24)),
        measured_gain_db=np.full((24, 24), -100.0),
    )
    assert torch.equal(channel(name, other, scene())[1:], one)


def test_masks_are_what_they_name():
    tile = scene()
    assert torch.equal(channel("buildings")[0] > 0, tile.building_mask)
    assert torch.equal(channel("cars")[0] > 0, tile.cars_mask)
    assert channel("transmitter")[0].nonzero().tolist() == [[18, 6]]
    assert channel("measured")[0].nonzero().tolist() == [[2, 3], [20, 4], [21, 4]]
    assert (channel("cars_known") == 1).all()
    assert (channel("cars_known", scene(cars_mask=None)) == 0).all()


def test_distance_law_is_the_line_of_sight_law_in_metres():
    """eq. ``line-of-sight``: 3 rows and 4 columns of 2 m are 10 m."""
    gain_db = units.gray_to_path_gain_db(channel("distance_law")[0, 15, 10].double())
    assert gain_db.item() == pytest.approx(-(47.86 + 25), abs=1e-4)
    coarse = channel("distance_law", scene(cell_size_m=20.0))[0, 15, 10].double()
    assert units.gray_to_path_gain_db(coarse).item() == pytest.approx(-(47.86 + 50), abs=1e-4)


def test_occlusion_is_graded_and_line_of_sight_is_not():
    occlusion, sight = channel("occlusion")[0], channel("line_of_sight")[0]
    outdoors = ~scene().building_mask
    assert torch.equal((occlusion == 0)[outdoors], (sight == 1)[outdoors])
    assert occlusion[18, 20] == 0  # along the street
    # Straight up from the transmitter no wall; behind the long building metres of it.
    assert occlusion[0, 6] == 0
    inside_m = 50 * occlusion[0, 18] / (1 - occlusion[0, 18])
    assert 8 < inside_m < 16  # four rows of 2 m, on a slant


def test_dominant_path_is_the_rasters_to_half_a_byte():
    mask = scene().building_mask.numpy()
    expected = units.path_gain_db_to_gray(raster_gain_db(mask, (18, 6), 2.0))
    assert np.abs(channel("dominant_path")[0].numpy() - expected).max() <= 0.5 / 255 + 1e-6


def test_a_measured_floor_is_not_the_lack_of_a_measurement():
    measured = channel("measurements")[0]
    assert measured[20, 4] == measured[21, 4] == torch.tensor(1 / 255)
    assert measured[2, 3] == pytest.approx((147 - 80) / 99.16)
    assert (measured > 0).sum() == 3


def test_gains_are_on_the_scale_of_the_maps():
    """RadioUNet's scale cuts below its threshold and stretches the rest."""
    for name in ("distance_law", "dominant_path"):
        plain, scaled = channel(name), channel(name, threshold=0.2)
        assert torch.allclose(scaled, (plain - 0.2).clamp_min(0) / 0.8, atol=1e-6)
    assert channel("measurements", threshold=0.2)[0, 2, 3] == pytest.approx(
        ((147 - 80) / 99.16 - 0.2) / 0.8
    )
    assert torch.equal(channel("occlusion", threshold=0.2), channel("occlusion"))


def test_kept_channels_are_told_apart_by_all_they_depend_on():
    mask = scene().building_mask.numpy()
    inputs = ("occlusion", mask, (18, 6), 2.0)
    others = [
        ("line_of_sight", *inputs[1:]),
        ("occlusion", ~mask, *inputs[2:]),
        ("occlusion", mask.reshape(12, 48), *inputs[2:]),
        ("occlusion", mask, (6, 18), 2.0),
        ("occlusion", mask, (18, 6), 1.0),
    ]
    assert len({slow_channel_key(*other) for other in (inputs, *others)}) == 6
    assert slow_channel_key(*inputs) == slow_channel_key("occlusion", mask.copy(), (18, 6), 2.0)


def test_given_channels_are_taken_and_the_answer_is_not_made():
    k2 = torch.rand(1, 24, 24)
    condition = make_condition(stack_scenes([scene()]), ["k2", "buildings"], given={"k2": k2})
    assert torch.equal(condition[:, 0], k2)
    with pytest.raises(ValueError, match="k2 is made from the answer"):
        channel("k2")


def test_what_is_not_known_is_not_made_up():
    """A run that was told of cars and gets none must not see something else in their place."""
    bare = make_scene(np.zeros((8, 8)), (1, 1), cell_size_m=1)
    with pytest.raises(ValueError, match="trained with cars, but got none"):
        channel("cars", bare)
    with pytest.raises(ValueError, match="trained with measurements, but got none"):
        channel("measurements", bare)
    told = make_condition(stack_scenes([bare]), ["cars", "cars_known", "measurements", "measured"])
    assert (told == 0).all()


def test_unknown_channels_are_refused():
    for names in ([], ["building"]):
        with pytest.raises(ValueError, match="expected channels among buildings, "):
            make_condition(stack_scenes([scene()]), names)


def test_pick_channels():
    condition = torch.rand(2, 3, 4, 4)
    names = ("buildings", "transmitter", "cars")
    assert pick_channels(condition, names, names) is condition
    picked = pick_channels(condition, names, ("cars", "buildings", "buildings"))
    assert torch.equal(picked, condition[:, [2, 0, 0]])
    with pytest.raises(ValueError, match="expected the channels measured, got 3"):
        pick_channels(condition, names, ("measured",))
    with pytest.raises(ValueError, match="got 3: buildings"):
        pick_channels(condition, ("buildings",), ("buildings",))


def test_network_range_with_the_public_codes_fault():
    """X2: masks of 0 or 255 become -1 or 509 beside a k² map in [-1, 1]."""
    condition = torch.rand(1, 3, 4, 4).round()
    condition[0, :2, 0, 0] = 1
    assert torch.equal(network_range(condition), 2 * condition - 1)
    faulty = network_range(condition, byte_channels=2)
    assert set(faulty[:, :2].unique().tolist()) <= {-1.0, 509.0}
    assert faulty[0, 0, 0, 0] == 509
    assert torch.equal(faulty[:, 2], 2 * condition[:, 2] - 1)


@pytest.fixture
def gray():
    rows, columns = np.mgrid[:20, :24]
    result = 255 - 60 * np.log10(np.hypot(rows - 8, columns - 11).clip(1))
    return np.rint(result).astype(np.uint8)


def k2_by_hand(gray, transmitter_cell):
    """The definition, one cell after the other, in double precision."""
    height, width = gray.shape
    power_w = 10 ** ((23 - 30 - 147 + 100 * (gray / 255)) / 10)
    q = np.zeros((height, width))
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            u = power_w[row, column]
            around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            laplace = sum(power_w[cell] for cell in around) - 4 * u
            q[row, column] = min((laplace + ((row, column) == transmitter_cell) * u) / u, 0)
    inner = q[1:-1, 1:-1]
    result = np.full((height, width), 255.0)
    result[1:-1, 1:-1] = 255 * (inner - inner.min()) / (inner.max() - inner.min())
    return result


def test_k2_formula(gray):
    """Bytes are cut off, not rounded."""
    found = k2_map(gray, (8, 11))
    expected = k2_by_hand(gray, (8, 11))
    assert found.dtype == np.uint8
    difference = expected - found
    assert difference.min() > -1e-2
    assert difference.max() < 1
    assert (found[[0, -1]] == 255).all()
    assert (found[:, [0, -1]] == 255).all()


def test_peaks_are_dark_and_the_transmitter_is_less_so():
    """A lone bright cell has q = -4; its transmitter adds 1; flat cells have 0."""
    gray = np.full((9, 9), 50, np.uint8)
    gray[2, 2] = gray[6, 6] = 250
    found = k2_map(gray, (0, 0))  # at the border, where there is no Laplacian
    assert found[2, 2] == found[6, 6] == 0
    assert (found == 255).sum() == 81 - 2
    found = k2_map(gray, (6, 6))
    assert found[2, 2] == 0
    assert found[6, 6] == pytest.approx(255 / 4, abs=1)


def test_a_map_without_structure():
    """The public code divides by zero there."""
    assert (k2_map(np.full((5, 5), 80, np.uint8), (2, 2)) == 255).all()


@pytest.mark.parametrize("shape", [(2, 5), (5, 2)])
def test_k2_needs_neighbours(shape):
    with pytest.raises(ValueError, match="sides of 3 or more"):
        k2_map(np.zeros(shape, np.uint8), (1, 1))
