"""Fitted predictors: laws are recovered, means are means, a training scene finds its own map."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from radiodiff import units
from radiodiff.predictors import DistanceLaw, MeanMap, NearestMap
from radiodiff.scene import make_scene, stack_scenes


def batch_of(dataset):
    return next(iter(DataLoader(dataset, batch_size=len(dataset))))


def test_distance_law_is_recovered(training):
    """The fake maps obey gray = 255 - 70 log10 d outdoors, up to rounding and clipping."""
    law = DistanceLaw.fit(training)
    step_db = (units.PEAK_DB - units.FLOOR_DB) / 255
    assert law.offset_db == pytest.approx(units.PEAK_DB, abs=0.3)
    assert law.slope_db == pytest.approx(-70 * step_db, abs=0.3)


def test_distance_law_is_the_least_squares_fit(training):
    """Against NumPy's fit of a straight line through all outdoor cells."""
    batch = batch_of(training)
    outdoor = batch.outdoor_mask[:, 0]
    row, col = batch.scene.transmitter_cell.view(-1, 2, 1, 1).unbind(1)
    rows, cols = torch.meshgrid(*map(torch.arange, outdoor.shape[1:]), indexing="ij")
    distance = torch.hypot((rows - row).double(), (cols - col).double()).clamp_min(1)
    gain_db = units.model_to_path_gain_db(batch.radio_map[:, 0]).double()
    slope, offset = np.polyfit(distance[outdoor].log10(), gain_db[outdoor], 1)
    law = DistanceLaw.fit(training)
    assert (law.slope_db, law.offset_db) == pytest.approx((slope, offset), rel=1e-5)
    assert law(batch.scene).shape == (len(training), 1, *outdoor.shape[1:])
    assert torch.allclose(law(batch.scene)[:, 0], offset + slope * distance.log10(), atol=1e-3)


def test_mean_map_is_the_mean(training):
    """Over the maps where a cell is outdoors; buildings hold no path gain."""
    gains = torch.stack([units.model_to_path_gain_db(sample.radio_map) for sample in training])
    outdoor = torch.stack([sample.outdoor_mask for sample in training])
    mean_map = MeanMap.fit(training).mean_map_db
    everywhere = outdoor.all(0)
    assert torch.allclose(mean_map[everywhere], gains.double().mean(0)[everywhere])
    sometimes = outdoor.any(0) & ~everywhere
    expected = torch.where(outdoor, gains, 0).double().sum(0) / outdoor.sum(0)
    assert sometimes.any()
    assert torch.allclose(mean_map[sometimes], expected[sometimes])
    assert torch.allclose(mean_map[~outdoor.any(0)], gains[outdoor].double().mean())


def test_a_training_scene_finds_its_own_map(training):
    """Each of them: the map itself, whatever else is in the batch."""
    batch = batch_of(training)
    found = NearestMap.fit(training)(batch.scene)
    assert torch.equal(found, units.model_to_path_gain_db(batch.radio_map).double())


def test_nearest_map_weighs_buildings_and_distance(training):
    """``(1 - overlap) + distance / diagonal``, written out for every training map."""
    nearest = NearestMap.fit(training)
    scenes = [sample.scene for sample in training]
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = scenes[rng.integers(len(scenes))].building_mask.numpy().copy()
        mask[rng.integers(32) :, :20] ^= True
        mask[0, 0] = False
        row, col = np.argwhere(~mask)[rng.integers((~mask).sum())]
        asked = make_scene(mask, (row, col), cell_size_m=1.0)
        apart = []
        for scene in scenes:
            other = scene.building_mask.numpy()
            overlap = (mask & other).sum() / (mask | other).sum()
            step = scene.transmitter_cell.numpy() - np.array([row, col])
            apart.append(1 - overlap + np.hypot(*step) / np.hypot(32, 32))
        expected = training[int(np.argmin(apart))].radio_map
        found = nearest(stack_scenes([asked]))[0]
        assert torch.equal(found, units.model_to_path_gain_db(expected).double())


def test_open_ground_is_like_open_ground(training):
    """Without any building on either side the overlap is whole, not 0 / 0."""
    nearest = NearestMap.fit(training)
    nearest.masks[:] = 0
    empty = make_scene(np.zeros((32, 32), bool), nearest.cells[3], cell_size_m=1.0)
    expected = units.model_to_path_gain_db(training[3].radio_map).double()
    assert torch.equal(nearest(stack_scenes([empty]))[0], expected)


@pytest.mark.parametrize("kind", [MeanMap, NearestMap])
def test_scenes_of_other_sides_are_refused(training, kind):
    scenes = stack_scenes([make_scene(np.zeros((16, 24), bool), (0, 0), cell_size_m=1.0)])
    with pytest.raises(ValueError, match=r"expected scenes of 32 x 32 cells.*got 16 x 24"):
        kind.fit(training)(scenes)
