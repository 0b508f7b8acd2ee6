"""RadioMapSeer's layout, fake and real: what is read, how it is split, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from radiodiff import units
from radiodiff.data import DatasetError, RadioMapSeer, network_condition, split_maps

from .conftest import SHARED, TEST_MAPS, TRAIN_MAPS

REAL = SHARED / "data" / "radiomapseer_sample"


def test_sample(dataset_root):
    dataset = RadioMapSeer(dataset_root, "train")
    assert dataset.maps == list(TRAIN_MAPS)
    assert len(dataset) == 6
    sample = dataset[4]
    assert sample.name == "501_1"
    assert sample.radio_map.shape == (1, 32, 32)
    assert sample.condition.shape == (2, 32, 32)
    gray = np.array(Image.open(dataset_root / "gain/DPM/501_1.png"))
    assert torch.allclose(
        units.model_to_gray(sample.radio_map[0]) * 255, torch.tensor(gray).float()
    )
    buildings = np.array(Image.open(dataset_root / "png/buildings_complete/501.png")) > 0
    assert (sample.condition[0].numpy() == buildings).all()
    assert (sample.outdoor_mask[0].numpy() == ~buildings).all()


def test_y_is_flipped_and_agrees_with_the_antenna_image(dataset_root):
    """antenna [x, y] is pixel row h - 1 - y, column x."""
    for sample in RadioMapSeer(dataset_root, "all"):
        image = np.array(Image.open(dataset_root / f"png/antennas/{sample.name}.png"))
        assert (sample.condition[1].numpy() == image / 255).all()


def test_antenna_image_serves_where_there_is_no_list(dataset_root):
    expected = [sample.condition for sample in RadioMapSeer(dataset_root, "all")]
    for path in (dataset_root / "antenna").iterdir():
        path.unlink()
    found = [sample.condition for sample in RadioMapSeer(dataset_root, "all")]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_splits_share_no_map(tmp_path):
    chosen = {s: split_maps(tmp_path, s, range(701)) for s in ("train", "val", "test")}
    assert [len(chosen[s]) for s in ("train", "val", "test")] == [501, 100, 99]
    assert len(set().union(*chosen.values())) == 700
    assert 0 not in set().union(*chosen.values())
    assert {159, 501, 397, 156} <= set(chosen["train"])
    assert 419 in chosen["test"]


def test_splits_of_the_public_code(caplog):
    """X1: validation maps are test maps; in the 2025 release position 600 is a training map too."""
    everything, nowhere = range(1, 701), Path("nowhere")
    parts = {
        splits: {
            name: set(split_maps(nowhere, name, everything, splits=splits))
            for name in ("train", "val", "test")
        }
        for splits in ("city", "radiodiff-r24", "radiodiff-r25")
    }
    sizes = {k: [len(part) for part in v.values()] for k, v in parts.items()}
    assert sizes["city"] == [501, 100, 99]
    assert sizes["radiodiff-r24"] == [501, 51, 100]
    assert sizes["radiodiff-r25"] == [601, 51, 100]
    r24, r25 = parts["radiodiff-r24"], parts["radiodiff-r25"]
    assert r24["val"] < r24["test"]
    assert not r24["train"] & r24["test"]
    assert r25["train"] & r25["test"] == {289}  # position 600 of the permutation holds 288
    assert "splits radiodiff-r25: train and test share 1 maps: 289" in caplog.messages
    assert not any("city" in message for message in caplog.messages)


def test_simulated_datasets_split_by_city(tmp_path):
    rows = [{"id": k, "split": s} for k, s in enumerate(("train", "test", "val", "train"))]
    (tmp_path / "dataset.json").write_text(json.dumps({"maps": rows}))
    assert split_maps(tmp_path, "train", range(4)) == [0, 3]
    assert split_maps(tmp_path, "test", range(4)) == [1]
    with pytest.raises(DatasetError, match=r"lacks 1 of 2 train maps, first \[3\]"):
        split_maps(tmp_path, "train", range(3))
    (tmp_path / "dataset.json").write_text('{"maps": [')
    with pytest.raises(DatasetError, match=r"dataset\.json does not list"):
        split_maps(tmp_path, "train", range(4))


def test_missing_gain_of_a_simulated_dataset_is_named(dataset_root):
    rows = [{"id": m, "split": "train"} for m in TRAIN_MAPS]
    manifest = {"maps": rows, "parameters": {"transmitters": 3}}
    (dataset_root / "dataset.json").write_text(json.dumps(manifest))
    assert len(RadioMapSeer(dataset_root, "train")) == 6
    (dataset_root / "gain/DPM/501_1.png").unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 maps, first 501_1\.png"):
        RadioMapSeer(dataset_root, "train")


def test_batches_collate(dataset_root):
    batch = next(iter(DataLoader(RadioMapSeer(dataset_root, "test"), batch_size=4)))
    assert batch.radio_map.shape == (4, 1, 32, 32)
    assert batch.outdoor_mask.dtype == torch.bool
    first = min(TEST_MAPS)
    assert list(batch.name) == [f"{first}_0", f"{first}_1", f"{first}_2", f"{max(TEST_MAPS)}_0"]


def test_max_maps(dataset_root):
    assert RadioMapSeer(dataset_root, "all", max_maps=1).maps == [min(TEST_MAPS)]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"gain.DPM.*radiodiff simulate"):
        RadioMapSeer(tmp_path / "nowhere", "train")


def test_missing_cars_folder_is_named(dataset_root):
    with pytest.raises(DatasetError, match="carsDPM"):
        RadioMapSeer(dataset_root, "train", cars=True)


def test_empty_split_is_an_error(dataset_root):
    with pytest.raises(DatasetError, match="no val map"):
        RadioMapSeer(dataset_root, "val")


def break_file(root, kind):
    path = root / "gain/DPM/159_1.png"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:60])
    elif kind == "text":
        path.write_text("not an image")
    elif kind == "rgb":
        Image.open(path).convert("RGB").save(path)
    elif kind == "16 bit":
        Image.fromarray(np.zeros((32, 32), np.uint16)).save(path)
    elif kind == "size":
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("kind", ["truncated", "text", "rgb", "16 bit", "size"])
def test_broken_file_is_named(dataset_root, kind):
    break_file(dataset_root, kind)
    with pytest.raises(DatasetError, match=r"159_1\.png"):
        RadioMapSeer(dataset_root, "train")[1]


def test_missing_building_file_is_named(dataset_root):
    (dataset_root / "png/buildings_complete/159.png").unlink()
    with pytest.raises(DatasetError, match=r"159\.png"):
        RadioMapSeer(dataset_root, "train")[0]


@pytest.mark.parametrize("text", ["[[1, 2", "[[1, 2]]", "[[1, 2], [400, 2], [3, 3]]"])
def test_bad_antenna_list_is_named(dataset_root, text):
    (dataset_root / "antenna/159.json").write_text(text)
    with pytest.raises(DatasetError, match=r"159\.json"):
        RadioMapSeer(dataset_root, "train")[1]


def test_stray_file_is_named(dataset_root):
    (dataset_root / "gain/DPM/thumb.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"thumb\.png"):
        RadioMapSeer(dataset_root, "train")


def test_network_condition():
    condition = torch.rand(2, 2, 4, 4)
    three = network_condition(condition, 3)
    assert torch.equal(three[:, 0], three[:, 2])
    assert torch.allclose(three[:, :2], 2 * condition - 1)
    with pytest.raises(ValueError, match="5 condition channels"):
        network_condition(condition, 5)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real RadioMapSeer sample at {REAL}")
def test_real_radiomapseer():
    """Seven real maps: the transmitter is where the gain peaks, and line of sight obeys the law."""
    dataset = RadioMapSeer(REAL, "all")
    assert len(dataset) == 7
    for sample in dataset:
        assert sample.radio_map.shape == (1, 256, 256)
        place = np.array(divmod(int(sample.condition[1].argmax()), 256))
        peak = np.array(divmod(int(sample.radio_map[0].argmax()), 256))
        assert abs(place - peak).max() <= 1, sample.name
    sample = dataset[0]
    row, col = divmod(int(sample.radio_map[0].argmax()), 256)
    gain_db = units.model_to_path_gain_db(sample.radio_map[0]).numpy()
    distances = np.arange(5, 12)
    law = units.line_of_sight_gain_db(distances)
    assert gain_db[row, col + distances] == pytest.approx(law, abs=0.5)
