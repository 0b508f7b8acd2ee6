"""RadioMap3DSeer's layout, fake and real: heights, transmitters on roofs, no decibels."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from radiodiff import units
from radiodiff.data import DatasetError, RadioMap3DSeer, building_height_m, path_gain_db

from ..conftest import SHARED, TEST_MAPS, TRAIN_MAPS, write_radiomap3dseer

REAL = SHARED / "data" / "radiomap3dseer_sample"


@pytest.fixture
def root(tmp_path):
    return write_radiomap3dseer(tmp_path / "RadioMap3DSeer", (*TRAIN_MAPS, *TEST_MAPS))


def test_sample(root):
    dataset = RadioMap3DSeer(root, "train")
    assert dataset.maps == list(TRAIN_MAPS)
    assert (
        dataset.names == [sample.name for sample in dataset] == ["159_0", "159_1", "501_0", "501_1"]
    )
    sample = dataset[2]
    gray = np.array(Image.open(root / "gain/501_0.png"))
    found = 255 * units.model_to_gray(sample.radio_map[0])
    torch.testing.assert_close(found, torch.from_numpy(gray).float(), atol=1e-4, rtol=0)
    heights = np.array(Image.open(root / "png/buildingsWHeight/501.png"))
    assert torch.equal(sample.condition[0], torch.from_numpy(heights / 255).float())
    antenna = np.array(Image.open(root / "png/antennasWHeight/501_0.png"))
    assert torch.equal(sample.condition[1], torch.from_numpy(antenna > 0).float())
    assert torch.equal(sample.outdoor_mask[0], torch.from_numpy(heights == 0))
    assert len(RadioMap3DSeer(root, "test", max_maps=1)) == 2


def test_gray_levels_are_not_read_as_decibels(root):
    with pytest.raises(ValueError, match="501_0 has no path gain in dB"):
        path_gain_db(RadioMap3DSeer(root, "train")[2])


def test_heights():
    """Gray 1 is 6.6 m, gray 256 would be 19.8 m; 0 is no building."""
    found = building_height_m(np.array([0, 1, 128, 255], np.uint8))
    assert found == pytest.approx([0, 6.6, 6.6 + 127 * 13.2 / 255, 19.8 - 13.2 / 255])


@pytest.mark.parametrize("folder", ["gain", "png/buildingsWHeight", "png/antennasWHeight"])
def test_missing_folder_is_named(root, folder):
    (root / folder).rename(root / "elsewhere")
    with pytest.raises(DatasetError, match=f"no folder .*{folder}"):
        RadioMap3DSeer(root, "train")


def test_broken_files_are_named(root):
    for path in (root / "gain").glob("501_*"):
        path.unlink()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(root / "png/buildingsWHeight/159.png")
    with pytest.raises(
        DatasetError, match=r"159_0\.png is \(32, 32\), but .*159\.png is \(16, 16\)"
    ):
        RadioMap3DSeer(root, "train")[0]
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "png/buildingsWHeight/159.png")
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "png/antennasWHeight/159_0.png")
    with pytest.raises(DatasetError, match=r"159_0\.png shows no antenna"):
        RadioMap3DSeer(root, "train")[0]


def test_the_other_datasets_layout_is_not_taken_for_it(dataset_root):
    for folder in ("buildingsWHeight", "antennasWHeight"):
        (dataset_root / "png" / folder).mkdir()
    with pytest.raises(DatasetError, match="whose gains lie one folder deeper"):
        RadioMap3DSeer(dataset_root, "train")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real RadioMap3DSeer sample at {REAL}")
def test_real_radiomap3dseer():
    """The heights are those of the outlines; the antenna stands 3 m above its roof."""
    (sample,) = RadioMap3DSeer(REAL, "all")
    assert sample.radio_map.shape == (1, 256, 256)
    heights = building_height_m(np.rint(255 * sample.condition[0].numpy()).astype(int))
    listed = np.unique(
        [
            height
            for _, (height,) in json.loads(
                (REAL / "polygon/buildings/0.json").read_text(encoding="utf-8")
            )
        ]
    )
    drawn = np.unique(heights[heights > 0])
    assert abs(drawn[:, None] - listed[None]).min(1).max() <= 13.2 / 255
    x, y, antenna_m = json.loads((REAL / "antenna/0.json").read_text(encoding="utf-8"))[0]
    row, col = divmod(int(sample.condition[1].argmax()), 256)
    assert (row, col) == (255 - y, x)
    assert heights[row, col] == pytest.approx(antenna_m - 3, abs=13.2 / 255)
    assert not sample.outdoor_mask[0, row, col]
