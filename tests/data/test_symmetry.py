"""The eight symmetries: a group, every channel alike, and the physics does not notice."""

from itertools import product

import numpy as np
import pytest
import shapely
import torch

from radiodiff import units
from radiodiff.conditions import make_condition
from radiodiff.data import (
    EightSymmetries,
    RadioMapOptions,
    RadioMapSample,
    RadioMapSeer,
    path_gain_db,
    symmetry,
    transmitter_cell,
)
from radiodiff.scene import make_scene, stack_scenes
from radiodiff.simulate import DominantPath, city_tile, place_transmitters
from radiodiff.units import cell_to_m

SIZE, CELL_SIZE_M = 64, 2.0


def same(first, second) -> bool:
    tensors = ("radio_map", "condition", "outdoor_mask")
    equal = (torch.equal(getattr(first, name), getattr(second, name)) for name in tensors)
    return all(equal) and first.name == second.name


@pytest.fixture
def sample(dataset_root):
    return RadioMapSeer(dataset_root, "train", RadioMapOptions(measurements=(20, 20)))[1]


def test_eight_different_maps_and_the_first_is_the_sample(sample):
    images = [symmetry(sample, k) for k in range(8)]
    assert same(images[0], sample)
    assert not any(same(images[i], images[j]) for i in range(8) for j in range(i))


def test_they_are_a_group(sample):
    """Closed, each with an inverse, and associative as maps are; so are turns and mirrors."""
    images = [symmetry(sample, k) for k in range(8)]
    table = np.full((8, 8), -1)
    for i, j in product(range(8), repeat=2):
        composed = symmetry(images[i], j)
        (table[i, j],) = [k for k in range(8) if same(composed, images[k])]
    for line in (*table, *table.T):
        assert sorted(line) == list(range(8))
    assert (np.diag(table)[4:] == 0).all()  # mirrors undo themselves
    assert table[1, 3] == table[2, 2] == 0


def test_every_channel_goes_along_and_so_does_the_scene(sample):
    """The transmitter stays at its cell's value, outdoors outdoors, measurements on their cells."""
    dataset_channels = ("buildings", "transmitter", "measurements")
    for k in range(8):
        turned = symmetry(sample, k)
        row, col = transmitter_cell(turned)
        old_row, old_col = transmitter_cell(sample)
        assert turned.radio_map[0, row, col] == sample.radio_map[0, old_row, old_col]
        assert torch.equal(turned.condition[0] == 0, turned.outdoor_mask[0])
        measured = turned.condition[2] > 0
        gray = units.model_to_gray(turned.radio_map[0])
        assert torch.equal(turned.condition[2][measured], gray[measured].clamp_min(1 / 255))
        assert turned.name == sample.name
        assert turned.threshold == sample.threshold
        again = make_condition(stack_scenes([turned.scene]), dataset_channels)
        assert torch.equal(again[0], turned.condition)


def simulated(engine: DominantPath, position_m: tuple[float, float]) -> RadioMapSample:
    gain = torch.from_numpy(engine.path_gain_db(position_m))
    mask = torch.from_numpy(engine.building_mask)
    cell = units.m_to_cell(position_m, size=SIZE, cell_size_m=CELL_SIZE_M)
    scene = make_scene(mask, cell, cell_size_m=CELL_SIZE_M)
    return RadioMapSample(
        radio_map=units.path_gain_db_to_model(gain.nan_to_num(units.FLOOR_DB))[None],
        condition=make_condition(stack_scenes([scene]), ["buildings", "transmitter"])[0],
        scene=scene,
        outdoor_mask=~mask[None],
        name="0_0",
    )


@pytest.mark.parametrize("k", range(8))
def test_the_map_of_a_turned_city_is_the_turned_map(k):
    """simulate(turned city) == turned simulate(city), all channels."""
    rng = np.random.default_rng(5)
    side_m = SIZE * CELL_SIZE_M
    buildings = city_tile("munich", rng, side_m)
    engine = DominantPath(buildings, SIZE, CELL_SIZE_M)
    (cell,) = place_transmitters(engine.building_mask, 1, rng, cell_size_m=CELL_SIZE_M)
    position_m = cell_to_m(cell, size=SIZE, cell_size_m=CELL_SIZE_M)

    def turn(shape):
        if k >= 4:
            shape = shapely.affinity.affine_transform(shape, [-1, 0, 0, 1, side_m, 0])
        for _ in range(k % 4):  # (x, y) to (side - y, x)
            shape = shapely.affinity.affine_transform(shape, [0, -1, 1, 0, side_m, 0])
        return shape

    other = DominantPath([turn(building) for building in buildings], SIZE, CELL_SIZE_M)
    point = turn(shapely.Point(position_m))
    found = symmetry(simulated(engine, position_m), k)
    expected = simulated(other, (point.x, point.y))
    assert torch.equal(found.condition, expected.condition)
    assert torch.equal(found.outdoor_mask, expected.outdoor_mask)
    # Exact but for cells reached over roofs, which the engine looks for in a fan of directions.
    difference_db = np.abs(path_gain_db(found) - path_gain_db(expected))
    assert (difference_db < 1e-4).mean() > 0.9
    assert difference_db.mean() < 0.3
    wrong = symmetry(simulated(engine, position_m), (k + 1) % 8)
    assert np.abs(path_gain_db(wrong) - path_gain_db(expected)).mean() > 3


def test_dataset_eight_times_over(dataset_root):
    dataset = RadioMapSeer(dataset_root, "train")
    eight = EightSymmetries(dataset)
    assert len(eight) == 8 * len(dataset)
    for index in (0, 7, 8, 21, len(eight) - 1):
        assert same(eight[index], symmetry(dataset[index // 8], index % 8))


def test_bad_calls_are_refused(sample):
    with pytest.raises(ValueError, match=r"in 0 \.\.\. 7, got 8"):
        symmetry(sample, 8)
