"""Engines as predictors: the engine itself over the raster, whatever the batch."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from radiodiff import units
from radiodiff.data import RadioMapOptions, RadioMapSeer
from radiodiff.predictors import dominant_path, ray_tracing
from radiodiff.scene import make_scene, stack_scenes
from radiodiff.simulate import DominantPath, RayTracing, simulate_dataset, trace_outlines

from ..scoring.errors import city_errors


@pytest.mark.parametrize(("variant", "largest_db"), [("DPM", 3.0), ("IRT2", 40.0)])
def test_dominant_path_from_the_raster(tmp_path, variant, largest_db):
    """Close to the engine over exact outlines, which made the maps, and no batch changes it."""
    settings = {"maps": 2, "transmitters": 3, "size": 64, "cell_size_m": 2.0}
    root = simulate_dataset(tmp_path / "sim", **settings, variants=[variant])
    dataset = RadioMapSeer(root, "train", RadioMapOptions(simulation=variant))
    (batch,) = DataLoader(dataset, batch_size=len(dataset))
    gain = dominant_path(batch.scene)
    errors = city_errors(gain, batch)["rmse_db"]
    assert errors.max() < largest_db
    alone = torch.cat([dominant_path(one.scene) for one in DataLoader(dataset, batch_size=1)])
    assert torch.equal(alone, gain)


def streets():
    """Two blocks of buildings and a row of cars."""
    mask, cars = np.zeros((2, 32, 32), bool)
    mask[4:14, 6:20] = mask[18:28, 10:26] = True
    cars[16, 8:24] = True
    return mask, cars


@pytest.mark.parametrize("predict", [dominant_path, ray_tracing])
def test_it_is_the_engine_over_traced_outlines(predict):
    """Cell by cell; buildings hold the floor instead of NaN."""
    mask, _ = streets()
    scene = make_scene(mask, (15, 4), cell_size_m=2.0)
    engine = {dominant_path: DominantPath, ray_tracing: RayTracing}[predict](
        trace_outlines(mask, 2.0), 32, 2.0
    )
    more = {"interactions": 2} if predict is ray_tracing else {}
    expected = engine.path_gain_db(units.cell_to_m((15, 4), size=32, cell_size_m=2.0), **more)
    found = predict(stack_scenes([scene]))
    assert (found.shape, found.dtype) == ((1, 1, 32, 32), torch.float64)
    is_there = np.isfinite(expected)
    assert np.array_equal(found[0, 0].numpy()[is_there], expected[is_there])
    assert (found[0, 0].numpy()[~is_there] == units.FLOOR_DB).all()


def test_rays_lose_power_in_cars_that_are_known_and_gain_by_reflections():
    mask, cars = streets()
    scenes = stack_scenes(
        [
            make_scene(mask, (16, 4), cell_size_m=2.0, cars_mask=cars),
            make_scene(mask, (16, 4), cell_size_m=2.0),
        ]
    )
    known, unknown = ray_tracing(scenes)[:, 0]
    assert (known <= unknown + 1e-9).all()
    assert unknown[16, 28] - known[16, 28] > 3  # behind the whole row of cars
    direct, reflected = (ray_tracing(scenes, interactions=count)[1, 0] for count in (0, 2))
    assert (reflected >= direct - 1e-9).all()
    assert (reflected > direct + 1).any()


@pytest.mark.parametrize(("predict", "added_db"), [(dominant_path, 0), (ray_tracing, 3)])
def test_a_transmitter_in_a_nook_is_left_room(predict, added_db):
    """Smoothing closes a dent of one cell; the path must begin there all the same."""
    mask = np.zeros((32, 32), bool)
    mask[8:20, 8:20] = True
    mask[8, 13] = False
    gain = predict(stack_scenes([make_scene(mask, (8, 13), cell_size_m=1.0)]))
    assert gain.shape == (1, 1, 32, 32)
    assert gain[0, 0, 8, 13] == gain.max()
    assert -47.86 <= gain.max() <= -47.86 + added_db  # what the nook's walls reflect
    assert gain.isfinite().all()


def test_maps_that_are_not_square_are_answered():
    """On open ground the law of distance holds to the last column."""
    scenes = stack_scenes([make_scene(np.zeros((16, 24), bool), (0, 0), cell_size_m=1.0)])
    (gain_db,) = dominant_path(scenes)[0]
    assert gain_db.shape == (16, 24)
    law_db = units.line_of_sight_gain_db(np.hypot(*np.indices((16, 24))))
    np.testing.assert_allclose(gain_db, law_db)
