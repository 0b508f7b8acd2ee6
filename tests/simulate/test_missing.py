"""Maps with buildings missing: which are drawn, what is left, and that readers find the files."""

import json

import numpy as np
import pytest
import shapely
from PIL import Image

from radiodiff.data import RadioMapOptions, RadioMapSeer, verify_dataset
from radiodiff.simulate import missing_building_masks, rasterize, simulate_outlines
from radiodiff.simulate.missing import MISSING_FOLDERS

from .conftest import make_tile

VERSIONS, COUNTS = range(1, 7), range(1, 5)


def boxes(count, side=3):
    """Return so many houses in a row on a map of 48 cells of 1 m."""
    return [shapely.box(5 * k + 1, 10, 5 * k + 1 + side, 10 + side) for k in range(count)]


def draw(buildings, size=48, cell_size_m=1.0, seed=(0, 0)):
    """Return the raster of all buildings, and those with some missing."""
    mask = rasterize(buildings, size, cell_size_m)
    return mask, missing_building_masks(buildings, mask, cell_size_m, seed)


def read(path):
    return np.array(Image.open(path)) > 0


def test_names_are_radiomapseers():
    """``png/buildings_missing{1..4}/{1..6}``, as the real archive has them."""
    assert list(MISSING_FOLDERS) == [(k, v) for k in COUNTS for v in VERSIONS]
    assert MISSING_FOLDERS[3, 6] == "png/buildings_missing3/6"


@pytest.mark.parametrize("city", ["munich", "procedural"])
def test_one_more_building_is_gone_for_each_that_is_missing(city):
    buildings, engine, _ = make_tile(city, seed=2)
    size, mask = len(engine.building_mask), engine.building_mask
    rasters = [raster for b in buildings if (raster := rasterize([b], size, 2.0)).any()]
    _, masks = draw(buildings, size, 2.0)
    for version in VERSIONS:
        before, gone = mask, set()
        for missing in COUNTS:
            left = masks[missing, version]
            lost = before & ~left
            assert not (left & ~before).any()
            (which,) = [k for k, raster in enumerate(rasters) if (raster == lost).all()]
            gone.add(which)
            before = left
        assert len(gone) == 4


def test_the_draw_depends_on_outlines_and_seed_alone():
    buildings, engine, _ = make_tile("munich", seed=2)
    size = len(engine.building_mask)
    one, again, other = (draw(buildings, size, 2.0, seed)[1] for seed in ((3, 1), (3, 1), (3, 2)))
    assert all((one[which] == again[which]).all() for which in one)
    assert any((one[which] != other[which]).any() for which in one)
    assert len({one[4, version].tobytes() for version in VERSIONS}) > 3


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_map_with_fewer_buildings_loses_all(count):
    mask, masks = draw(boxes(count))
    for (missing, _), left in masks.items():
        assert left.sum() == 9 * max(0, count - missing)
        assert not (left & ~mask).any()


def test_buildings_between_the_cells_or_off_the_map_are_never_drawn():
    """Only houses that show in the raster can be missing from it."""
    unseen = [shapely.box(40.6, 40.6, 41.4, 41.4), shapely.box(-9, 5, -2, 9)]
    far = [shapely.box(1e6, 5, 1e6 + 9, 9), shapely.box(2, 60, 9, 70)]
    _, masks = draw([*unseen, *boxes(5), *far])
    assert all(left.sum() == 9 * (5 - missing) for (missing, _), left in masks.items())


def test_a_building_over_the_edge_is_drawn():
    _, masks = draw([shapely.box(-4, -4, 3, 2), shapely.box(45, 46, 60, 60)])
    lefts = {masks[1, version].sum() for version in VERSIONS}
    assert lefts == {6}
    assert not masks[2, 1].any()


def test_a_simulated_folder_is_sound_and_read(dataset):
    report = verify_dataset(dataset)
    assert report["verdict"] == "sound", (report["faults"], report["missing"])
    assert report["counts"]["png/buildings_missing4/6"]["expected"] == 5
    for m in range(5):
        complete = read(dataset / f"png/buildings_complete/{m}.png")
        gain = np.array(Image.open(dataset / f"gain/DPM/{m}_0.png"))
        for version in VERSIONS:
            known = read(dataset / f"png/buildings_missing4/{version}/{m}.png")
            assert known.sum() < complete.sum()
            assert not (gain[complete & ~known] > 0).any()  # the answer is the whole city's
    options = RadioMapOptions(missing_buildings=2)
    sample = RadioMapSeer(dataset, "all", options)[0]
    whole = RadioMapSeer(dataset, "all")[0]
    assert (sample.radio_map == whole.radio_map).all()
    assert (sample.outdoor_mask == whole.outdoor_mask).all()
    known = sample.condition[0].numpy() > 0
    files = [dataset / f"png/buildings_missing2/{version}/0.png" for version in VERSIONS]
    assert any((read(file) == known).all() for file in files)


def test_a_city_of_ones_own_has_them_too(outlines, tmp_path):
    """Of two houses one is missing, and all of them where more should be."""
    out = tmp_path / "out"
    simulate_outlines(out, *outlines, antenna_ids=[0, 2], size=96)
    complete = read(out / "png/buildings_complete/7.png")
    lost = {read(out / f"png/buildings_missing1/{v}/7.png").sum() for v in VERSIONS}
    assert lost <= {600, 400}
    assert complete.sum() == 1000
    for missing in (2, 3, 4):
        assert not read(out / f"png/buildings_missing{missing}/1/7.png").any()
    report = verify_dataset(out)
    assert report["verdict"] == "sound", (report["faults"], report["missing"])
    constants = json.loads((out / "dataset.json").read_text(encoding="utf-8"))["constants"]
    assert constants["missing_buildings"] == {"most": 4, "versions": 6}
    sample = RadioMapSeer(out, "all", RadioMapOptions(missing_buildings=1))[0]
    assert int(sample.scene.building_mask.sum()) in lost
    (out / "png/buildings_missing1/2/7.png").unlink()
    simulate_outlines(out, *outlines, antenna_ids=[0, 2], size=96)
    assert (out / "png/buildings_missing1/2/7.png").exists()
