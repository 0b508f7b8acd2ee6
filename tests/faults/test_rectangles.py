"""Maps that are longer than wide, or wider: everything that takes a map takes them."""

import json

import numpy as np
import pytest
import shapely
import torch
from PIL import Image
from shapely import box
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, default_collate

from radiodiff.config import load_config
from radiodiff.data import (
    EightSymmetries,
    GrayBatches,
    RadioMapOptions,
    RadioMapSeer,
    pack_dataset,
    region_masks,
    symmetry,
    to_samples,
    verify_dataset,
)
from radiodiff.explorer import RadioMapExplorer, predict_grid, static_page
from radiodiff.predictors import PREDICTORS, RadioDiffPipeline
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.sample import sample_run
from radiodiff.runs.train import train_run
from radiodiff.scene import make_scene, stack_scenes
from radiodiff.simulate.dominant_path import DominantPath, DominantPathConstants
from radiodiff.simulate.ray_tracing import RayTracing

from ..conftest import TEST_MAPS, TRAIN_MAPS

SIDES = [(32, 48), (48, 32)]
CHANNELS = ("buildings", "transmitter", "distance_law", "line_of_sight", "occlusion")


def write_maps(root, shape, maps=(*TRAIN_MAPS, *TEST_MAPS)):
    """Maps whose gain falls with distance, with two transmitters and a building each."""
    rows, cols = np.indices(shape)
    for folder in ("gain/DPM", "png/buildings_complete", "antenna"):
        (root / folder).mkdir(parents=True)
    for m in maps:
        buildings = np.zeros(shape, np.uint8)
        buildings[4:9, 4 : 9 + m % 5] = 255
        Image.fromarray(buildings).save(root / f"png/buildings_complete/{m}.png")
        cells = [(shape[0] - 3, 2), (12, shape[1] - 2)]
        for t, (row, col) in enumerate(cells):
            gray = 250 - 60 * np.log10(np.hypot(rows - row, cols - col).clip(1))
            gray[buildings > 0] = 0
            Image.fromarray(gray.astype(np.uint8)).save(root / f"gain/DPM/{m}_{t}.png")
        positions = [[col, shape[0] - 1 - row] for row, col in cells]
        (root / f"antenna/{m}.json").write_text(json.dumps(positions), encoding="utf-8")
    (root / "dataset.json").write_text('{"parameters": {"cell_size_m": 1.0}}', encoding="utf-8")
    return root


@pytest.fixture(scope="module", params=SIDES, ids=str)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    root = write_maps(folder / "RadioMapSeer", request.param)
    overrides = [f"data.root={root}", "data.simulate=null", "data.augment=true"]
    overrides += [f"data.condition=[{', '.join(CHANNELS)}]", f"network.conv.in_channels={5}"]
    for stage in ("autoencoder_training", "training"):
        keys = ("max_steps=1", "batch_size=8", "log_every=1", "checkpoint_every=1", "ema_start=1")
        overrides += [f"{stage}.{key}" for key in keys]
    config = load_config("smoke", [*overrides, "evaluate.bootstrap=10"])
    return train_run(config, folder / "run"), request.param


def test_a_run_trains_scores_and_draws(run, tmp_path):
    """Under every predictor that needs no extra package, with symmetries in training."""
    run_dir, shape = run
    names = [name for name in PREDICTORS if name != "kriging"]
    result = evaluate_run(run_dir, tmp_path / "results", predictors=names)
    assert (tmp_path / "results/predictions.png").is_file()
    for metrics in result["protocols"]["city"]["scores"].values():
        assert np.isfinite(metrics["rmse_db"]["value"])
    out = sample_run(run_dir, tmp_path / "drawn", steps=1, max_maps=1)
    with Image.open(next(out.glob("*.png"))) as picture:
        assert picture.size == shape[::-1]
    mask = np.zeros(shape, bool)
    mask[4:9, 4:9] = True
    scene = make_scene(mask, (2, shape[1] - 2), cell_size_m=1.0)
    assert RadioDiffPipeline.from_run(run_dir)(scene, samples=2).shape == (2, *shape)


@pytest.mark.parametrize("shape", SIDES, ids=str)
def test_bytes_and_samples_are_the_same_under_their_symmetries(tmp_path, shape):
    """Every batch collates: no symmetry swaps the sides."""
    root = write_maps(tmp_path, shape, (159,))
    options = RadioMapOptions(condition=("buildings", "transmitter", "distance_law"))
    turned = EightSymmetries(RadioMapSeer(root, "all", options))
    expected = default_collate([turned[index] for index in range(16)])
    pack_dataset(root)
    packed = EightSymmetries(RadioMapSeer(root, "all", options))
    batches = BatchSampler(SequentialSampler(range(16)), batch_size=16, drop_last=True)
    loader = DataLoader(GrayBatches(packed), batch_size=None, sampler=batches)
    found = to_samples(next(iter(loader)))
    for name in ("radio_map", "condition", "outdoor_mask"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert torch.equal(found.scene.transmitter_cell, expected.scene.transmitter_cell)
    assert verify_dataset(root)["faults"] == []


@pytest.mark.parametrize("k", range(8))
def test_a_turned_rectangle_keeps_its_transmitter(tmp_path, k):
    """`symmetry` itself turns rectangles too: the brightest cell stays the transmitter's."""
    sample = RadioMapSeer(write_maps(tmp_path, (24, 40), (159,)), "all")[1]
    turned = symmetry(sample, k)
    assert turned.radio_map.shape == ((1, 40, 24) if k % 2 else (1, 24, 40))
    row, col = turned.scene.transmitter_cell.tolist()
    assert turned.condition[1, row, col] == 1
    assert turned.radio_map[0, row, col] == turned.radio_map.max()


def test_regions_of_a_rectangle(tmp_path):
    sample = RadioMapSeer(write_maps(tmp_path, (24, 40), (159,)), "all")[0]
    regions = region_masks(sample, cell_size_m=1.0)
    assert {mask.shape for mask in regions.values()} == {(24, 40)}
    assert (regions["line of sight"] ^ regions["shadow"] == regions["outdoors"]).all()
    assert regions["shadow"].any()


@pytest.mark.parametrize("engine", ["dominant path", "ray tracing"])
@pytest.mark.parametrize("shape", [(20, 50), (50, 20)], ids=str)
def test_an_engine_on_a_rectangle_is_that_of_the_mirrored_one(engine, shape):
    """Exact under x and y swapped; buildings stick out of the tile on every side."""
    rng, (height, width), cell_m = np.random.default_rng(1), shape, 2.0
    corners = rng.uniform(-5, (width * cell_m - 5, height * cell_m - 5), (12, 2))
    buildings = [box(x, y, x + 12, y + 7) for x, y in corners]
    swapped = [shapely.transform(building, lambda p: p[:, ::-1]) for building in buildings]
    kind, options = (DominantPath, {}) if engine == "dominant path" else (RayTracing, {})
    options = {} if kind is DominantPath else {"interactions": 2}
    tile = kind(buildings, shape, cell_m)
    assert tile.building_mask.shape == shape
    row, col = np.argwhere(~tile.building_mask)[7]
    place_m = ((col + 0.51) * cell_m, (height - row - 0.48) * cell_m)
    found = tile.path_gain_db(place_m, **options)
    other = kind(swapped, shape[::-1], cell_m).path_gain_db(place_m[::-1], **options)
    assert found.shape == shape
    np.testing.assert_allclose(found, other[::-1, ::-1].T, atol=1e-9)
    assert np.isfinite(found).mean() > 0.1


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)], ids=str)
def test_no_path_leaves_a_rectangle(shape):
    """A wall across it hides all that lies behind: none leads round its ends."""
    height, width = shape
    wall = box(20, -5, 24, height + 5) if width > height else box(-5, 20, width + 5, 24)
    streets = DominantPathConstants(roof_height_m=np.inf)
    found = DominantPath([wall], shape, 1.0, streets).path_gain_db((10.5, 10.5))
    near = found[:, :20] if width > height else found[-20:]
    assert np.isfinite(near).all()
    assert np.isfinite(found).sum() == near.size


@pytest.mark.parametrize("shape", SIDES, ids=str)
def test_the_explorer_moves_a_transmitter_over_a_rectangle(shape):
    mask = np.zeros(shape, bool)
    mask[4:9, 4:9] = True
    page = RadioMapExplorer("dominant_path", mask, 2.0, transmitter_cell=(2, shape[1] - 1))
    assert page.maps.mean_db.shape == (1, *shape)
    assert (page._tile["rows"], page._tile["size"]) == shape
    page.transmitter_cell = (shape[0] - 1, 0)
    assert np.nanargmax(page.maps.mean_db[0]) == (shape[0] - 1) * shape[1]
    grid = predict_grid("dominant_path", [box(8, 8, 20, 18)], 2.0, size=shape, transmitters=3)
    assert grid.mean_db.shape == (3, *shape)
    assert f'"size": {shape[1]}, "rows": {shape[0]}' in static_page(grid)


def test_kriging_on_a_rectangle():
    pytest.importorskip("sklearn")
    measured = np.full((24, 40), np.nan)
    measured[3, 30] = measured[20, 2] = -90.0
    scene = make_scene(np.zeros((24, 40)), (12, 20), cell_size_m=1.0, measured_gain_db=measured)
    assert PREDICTORS["kriging"](None)(stack_scenes([scene])).shape == (1, 1, 24, 40)
