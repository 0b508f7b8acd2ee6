"""Regions of a map: known answers on a street with one wall, and what must always hold."""

import numpy as np
import pytest
import shapely
import torch

from radiodiff import units
from radiodiff.conditions import make_condition
from radiodiff.data import RadioMapSample, distance_to_m, region_masks
from radiodiff.scene import make_scene, stack_scenes
from radiodiff.simulate import DominantPath, trace_outlines

SIZE, CELL_M = 24, 2.0
TRANSMITTER = (12, 4)


def make_sample(building_mask, gain_db, cell=TRANSMITTER, threshold=0.0):
    scene = make_scene(building_mask, cell, cell_size_m=CELL_M)
    return RadioMapSample(
        radio_map=units.path_gain_db_to_model(torch.from_numpy(gain_db).float())[None],
        condition=make_condition(stack_scenes([scene]), ["buildings", "transmitter"])[0],
        scene=scene,
        outdoor_mask=torch.from_numpy(~building_mask)[None],
        name="0_0",
        threshold=torch.tensor(threshold),
    )


@pytest.fixture(scope="module")
def sample():
    """A wall across the middle, open at the top and the bottom, and what the simulator says."""
    building_mask = np.zeros((SIZE, SIZE), dtype=bool)
    building_mask[6:18, 10:13] = True
    outlines = trace_outlines(building_mask, CELL_M)
    place_m = units.cell_to_m(TRANSMITTER, size=SIZE, cell_size_m=CELL_M)
    gain_db = DominantPath(outlines, SIZE, CELL_M).path_gain_db(place_m)
    return make_sample(building_mask, np.nan_to_num(gain_db, nan=units.FLOOR_DB))


def test_regions_nest_and_divide(sample):
    regions = region_masks(sample, cell_size_m=CELL_M)
    outdoors = sample.outdoor_mask[0].numpy()
    assert (regions["outdoors"] == outdoors).all()
    assert not any((mask & ~outdoors).any() for mask in regions.values())
    assert (regions["line of sight"] ^ regions["shadow"] == outdoors).all()
    assert not (regions["deep shadow"] & ~regions["shadow"]).any()
    edges = regions["building edge"] | regions["shadow edge"]
    assert (regions["smooth"] ^ edges == outdoors).all()


def test_wall_hides_what_lies_behind_it(sample):
    regions = region_masks(sample, cell_size_m=CELL_M)
    assert regions["shadow"][12, 20]
    assert regions["line of sight"][TRANSMITTER]
    assert regions["line of sight"][:, :9].all()
    # The dominant path model keeps to the law in sight and only there.
    rows, cols = np.mgrid[:SIZE, :SIZE]
    distance_m = np.hypot(rows - TRANSMITTER[0], cols - TRANSMITTER[1]) * CELL_M
    gain_db = units.model_to_path_gain_db(sample.radio_map[0]).numpy()
    on_law = abs(gain_db - units.line_of_sight_gain_db(distance_m)) < 0.1
    assert (on_law == regions["line of sight"])[regions["outdoors"]].all()


def test_building_edge_is_the_ring_round_a_building(sample):
    ring = region_masks(sample, cell_size_m=CELL_M)["building edge"]
    assert ring.sum() == 14 * 5 - 12 * 3
    assert ring[5, 9]  # diagonal neighbours touch it too


def test_steep_fall_beside_the_transmitter_is_no_shadow_edge():
    """Eq. ``line-of-sight``: an open field is smooth, a step of 8 dB marks both its sides."""
    empty = np.zeros((SIZE, SIZE), dtype=bool)
    rows, cols = np.mgrid[:SIZE, :SIZE]
    distance_m = np.hypot(rows - TRANSMITTER[0], cols - TRANSMITTER[1]) * CELL_M
    law_db = units.line_of_sight_gain_db(distance_m)
    assert abs(np.diff(law_db)).max() > 7
    regions = region_masks(make_sample(empty, law_db), cell_size_m=CELL_M)
    assert regions["smooth"].all()
    assert regions["line of sight"].all()

    darker = np.where(cols >= 15, law_db - 8, law_db)
    edge = region_masks(make_sample(empty, darker), cell_size_m=CELL_M)["shadow edge"]
    assert (edge == ((cols == 14) | (cols == 15))).all()
    weak = region_masks(make_sample(empty, darker), cell_size_m=CELL_M, edge_db=9)
    assert not weak["shadow edge"].any()


def test_a_wall_between_two_cells_is_no_shadow_edge():
    """A step is counted between outdoor neighbours only."""
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[:, 10] = True
    cols = np.mgrid[:SIZE, :SIZE][1]
    gain_db = np.where(cols > 10, -140.0, -60.0)
    regions = region_masks(make_sample(mask, gain_db), cell_size_m=CELL_M, deep_db=30)
    assert not regions["shadow edge"][:, 11:].any()
    assert (regions["deep shadow"] == (cols > 10)).all()


def test_exact_outlines_decide_what_is_seen(sample):
    nothing = region_masks(sample, cell_size_m=CELL_M, buildings=[])
    assert (nothing["line of sight"] == nothing["outdoors"]).all()


def test_smoothed_outlines_leave_room_to_the_transmitter():
    """A wall in steps is traced as a slant, which would swallow a transmitter beside a step."""
    rows, cols = np.mgrid[:SIZE, :SIZE]
    mask = (cols < 8 + rows // 3) & (rows >= 2) & (rows < 14) & (cols > 2)
    cell = (11, 11)
    place_m = units.cell_to_m(cell, size=SIZE, cell_size_m=CELL_M)
    traced = shapely.union_all(trace_outlines(mask, CELL_M))
    assert not mask[cell]
    assert shapely.intersects_xy(traced, *place_m)
    sample = make_sample(mask, np.full(mask.shape, -90.0), cell)
    regions = region_masks(sample, cell_size_m=CELL_M)
    assert regions["line of sight"][11, 12:].all()
    assert regions["shadow"][2:14, :2].all()


def test_distance():
    mask = np.zeros((5, 5), dtype=bool)
    assert np.isinf(distance_to_m(mask, 2.0)).all()
    mask[0, 0] = True
    assert distance_to_m(mask, 2.0)[3, 4] == 10
    assert distance_to_m(mask, 2.0)[0, 0] == 0


def test_what_has_no_decibels_is_refused(sample):
    with pytest.raises(ValueError, match="no path gain in dB"):
        region_masks(sample._replace(threshold=torch.tensor(torch.nan)), cell_size_m=CELL_M)
