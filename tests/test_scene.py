"""Scenes: what is checked, and that one and many are the same type."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from radiodiff.scene import make_scene, one_scene, stack_scenes, transmitter_distance_cells


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
