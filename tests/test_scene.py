"""Scenes: what is checked, and that one and many are the same type."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from radiodiff.scene import (
    make_scene,
    one_scene,
    resample_maps,
    resample_scene,
    stack_scenes,
    transmitter_distance_cells,
)


def tile(row=3, col=1, **more):
    mask = np.zeros((4, 6), bool)
    mask[0, :2] = True
    return make_scene(mask, (row, col), cell_size_m=2.0, name="7_1", **more)


def test_a_batch_is_what_collation_makes_of_scenes():
    scenes = [tile(), tile(2, 5, cars_mask=np.ones((4, 6), bool))]
    stacked, collated = stack_scenes(scenes), default_collate(scenes)
    for ours, torchs in zip(stacked[:-1], collated[:-1], strict=True):
        assert torch.equal(ours.nan_to_num(), torchs.nan_to_num())
    assert list(collated.name) == stacked.name
    back = one_scene(stacked, 1)
    assert back.name == "7_1"
    assert back.transmitter_cell.tolist() == [2, 5]
    assert back.cars_known
    assert not stacked.cars_known[0]


def test_distance_to_the_transmitter():
    distance = transmitter_distance_cells(stack_scenes([tile()]))
    assert distance.shape == (1, 4, 6)
    assert distance[0, 3, 1] == distance[0, 3, 2] == 1  # held at one cell
    assert distance[0, 0, 5] == 5  # 3 rows and 4 columns away


def test_absent_knowledge_is_told_from_empty_knowledge():
    assert not tile().cars_known
    assert tile(cars_mask=np.zeros((4, 6), bool)).cars_known
    assert tile().measured_gain_db.isnan().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": 4}, "lies outside"),
        ({"row": -1}, "lies outside"),
        ({"row": 0}, "inside a building"),
        ({"cars_mask": np.zeros((4, 5), bool)}, "one shape"),
        ({"measured_gain_db": np.zeros((6, 4))}, "one shape"),
    ],
)
def test_bad_scenes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        tile(**change)


def test_other_bad_arguments():
    mask = np.zeros((4, 6), bool)
    with pytest.raises(ValueError, match=r"shape \(h, w\)"):
        make_scene(mask[None], (1, 1), cell_size_m=1)
    with pytest.raises(ValueError, match="cell_size_m must be positive"):
        make_scene(mask, (1, 1), cell_size_m=0)
    with pytest.raises(ValueError, match="one size"):
        stack_scenes([tile(), make_scene(np.zeros((4, 4)), (1, 1), cell_size_m=2)])
    with pytest.raises(ValueError, match="one or more"):
        stack_scenes([])


def test_resampling_to_the_same_cells_changes_nothing():
    scene = tile(cars_mask=np.eye(4, 6, dtype=bool), measured_gain_db=np.full((4, 6), -90.0))
    same = resample_scene(scene, 2.0)
    for before, after in zip(scene[:-1], same[:-1], strict=True):
        assert torch.equal(before, after)


def test_resampling_keeps_places():
    """A block of 2 x 2 cells becomes one; measurements in it are averaged."""
    mask = np.zeros((8, 12), bool)
    mask[2:4, 4:8] = True
    measured = np.full((8, 12), np.nan)
    measured[6, 0], measured[7, 1] = -80.0, -90.0
    scene = make_scene(mask, (5, 3), cell_size_m=2.0, measured_gain_db=measured)
    coarse = resample_scene(scene, 4.0)
    assert coarse.building_mask.nonzero().tolist() == [[1, 2], [1, 3]]
    assert coarse.transmitter_cell.tolist() == [2, 1]
    assert coarse.measured_gain_db[3, 0] == -85
    assert (~coarse.measured_gain_db.isnan()).sum() == 1
    fine = resample_scene(coarse, 2.0)
    assert torch.equal(fine.building_mask, scene.building_mask)
    padded = resample_scene(scene, 4.0, multiple=4)
    assert padded.building_mask.shape == (4, 8)
    assert not padded.building_mask[:, 6:].any()


def test_resampled_maps_take_the_cell_they_lie_in():
    maps = torch.arange(6.0).view(1, 2, 3)
    assert resample_maps(maps, 2, (4, 6))[0, 1].tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(resample_maps(resample_maps(maps, 2, (4, 6)), 0.5, (2, 3)), maps)
    assert resample_maps(maps, 2, (3, 5)).shape == (1, 3, 5)
