"""Pictures and edges: same crop for both, a function of seed and index, trained and drawn."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from radiodiff.data import DatasetError, EdgeDataset, EdgeImages, EdgesConfig, path_gain_db
from radiodiff.data.edges import resized_window
from radiodiff.data.images import read_gray
from radiodiff.data.open import make_dataset
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.sample import sample_run
from radiodiff.runs.train import train_run

from ..conftest import write_edges


@pytest.fixture
def root(tmp_path):
    return write_edges(tmp_path / "edges")


def gray(sample):
    return (sample.radio_map[0] + 1) * 127.5


def test_picture_and_edge_are_cropped_alike(root):
    """The picture's colours tell which cell each came from; the edge is column 20."""
    dataset = EdgeDataset(root, EdgesConfig(crop_size=(24, 32), crops=20))
    assert len(dataset) == 60
    places, mirrored = set(), set()
    for index, sample in enumerate(dataset):
        assert sample.name == dataset.maps[index % 3]
        assert sample.condition.shape == (3, 24, 32)
        assert (sample.condition[2] * 255).round().unique() == 10 * int(sample.name[-1])
        rows, columns = (torch.round(sample.condition[k] * 255 / 5) for k in (0, 1))
        assert torch.equal(rows.diff(dim=0), torch.ones(23, 32))
        assert rows.diff(dim=1).abs().max() == 0
        assert columns.diff(dim=1).unique().numel() == 1
        expected = torch.where((columns == 20) | (columns == 21), 255.0, 0.0)
        expected[columns == 22] = 76  # below 0.3 x 255 levels stay
        torch.testing.assert_close(gray(sample), expected, atol=1e-3, rtol=0)
        assert sample.outdoor_mask.all()
        places.add((float(rows.min()), float(columns.min())))
        mirrored.add(bool(columns[0, 0] > columns[0, 1]))
    assert len(places) > 20
    assert mirrored == {True, False}


def test_no_flip(root):
    for sample in EdgeDataset(root, EdgesConfig(crop_size=(24, 32), crops=5, flip=False)):
        assert (sample.condition[1].diff(dim=1) > 0).all()


def test_resized_crops(root):
    dataset = EdgeDataset(root, EdgesConfig(crop_size=(24, 24), crop="resized", crops=20))
    for sample in dataset:
        assert sample.condition.shape == (3, 24, 24)
        assert set(gray(sample).round().unique().tolist()) <= {0.0, 76.0, 255.0}  # nearest


def test_resized_windows_have_the_promised_area_and_ratio():
    rng = np.random.default_rng(0)
    areas, ratios = [], []
    for _ in range(500):
        left, top, right, bottom = resized_window((400, 300), rng)
        assert 0 <= left < right <= 400
        assert 0 <= top < bottom <= 300
        areas.append((right - left) * (bottom - top) / 120000)
        ratios.append((right - left) / (bottom - top))
    assert 0.24 < min(areas) < 0.3
    assert 0.9 < max(areas) <= 1
    assert min(ratios) == pytest.approx(0.75, abs=0.02)
    assert max(ratios) == pytest.approx(4 / 3, abs=0.02)


@pytest.mark.parametrize(("size", "window"), [((400, 20), (27, 20)), ((20, 400), (20, 27))])
def test_resized_window_of_a_narrow_picture_is_central(size, window):
    left, top, right, bottom = resized_window(size, np.random.default_rng(0))
    assert (right - left, bottom - top) == window
    assert abs(left + right - size[0]) <= 1
    assert abs(top + bottom - size[1]) <= 1


@pytest.mark.parametrize("crop", ["random", "resized"])
def test_crops_depend_on_seed_and_index_alone(root, crop):
    options = {"crop_size": (24, 24), "crop": crop, "crops": 4}
    dataset = EdgeDataset(root, EdgesConfig(**options))
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    expected = [dataset[k] for k in reversed(range(12))][::-1]
    assert torch.equal(torch.random.get_rng_state(), state)
    loader = DataLoader(EdgeDataset(root, EdgesConfig(**options)), batch_size=5, num_workers=2)
    conditions = torch.cat([batch.condition for batch in loader])
    assert torch.equal(conditions, torch.stack([sample.condition for sample in expected]))
    other = EdgeDataset(root, EdgesConfig(**options), seed=1)
    assert not torch.equal(other[0].condition, expected[0].condition)


def test_other_suffix_serves(root):
    path = root / "edge/set0/0.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()
    assert len(EdgeDataset(root, EdgesConfig(crop_size=(8, 8), crops=1))) == 3
    path.with_suffix(".jpg").unlink()
    with pytest.raises(DatasetError, match=r"no edges .*0\.png of .*0\.png, nor 0\.jpg"):
        EdgeDataset(root, EdgesConfig(crop_size=(8, 8)))


def test_bad_input_is_named(root, tmp_path):
    with pytest.raises(DatasetError, match=r"no folder .*image: .*edge/<folder>/<file>"):
        EdgeDataset(tmp_path)
    with pytest.raises(DatasetError, match="40 x 48, smaller than a crop of 320 x 320"):
        EdgeDataset(root)[0]
    with pytest.raises(ValueError, match="must be at least 1"):
        EdgeDataset(root, EdgesConfig(crops=0))
    with pytest.raises(IndexError):
        EdgeDataset(root, EdgesConfig(crop_size=(8, 8), crops=2))[6]
    (root / "image/set0/0.png").write_text("no picture", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"cannot read .*0\.png"):
        EdgeDataset(root, EdgesConfig(crop_size=(8, 8)))[0]
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(root / "image/set0/0.png")
    with pytest.raises(DatasetError, match=r"0\.png is \(9, 9\)"):
        EdgeDataset(root, EdgesConfig(crop_size=(8, 8)))[0]
    (tmp_path / "image").mkdir()
    (tmp_path / "edge").mkdir()
    with pytest.raises(DatasetError, match="no picture in a folder of"):
        EdgeDataset(tmp_path)


def test_pictures_to_draw_edges_for(root, tmp_path):
    dataset = EdgeImages(root / "test")
    assert dataset.names == [sample.name for sample in (dataset[0], dataset[1])] == ["a", "b"]
    assert dataset[1].condition.shape == (3, 36, 44)
    assert dataset[1].radio_map.isnan().all()
    assert len(EdgeImages(root / "test", max_maps=1)) == 1
    with pytest.raises(ValueError, match="a has no path gain in dB"):
        path_gain_db(dataset[0])
    Image.new("RGB", (8, 8)).save(root / "test/b.png")
    with pytest.raises(DatasetError, match="edges of one name"):
        EdgeImages(root / "test")
    with pytest.raises(DatasetError, match="no folder"):
        EdgeImages(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no picture"):
        EdgeImages(tmp_path)


def test_edges_are_learned_and_drawn_by_the_same_commands(tiny, root, tmp_path):
    data = dataclasses.replace(
        tiny.data, source="edges", root=str(root), edges=EdgesConfig(crop_size=(32, 32), crops=4)
    )
    unet = dataclasses.replace(
        tiny.network, conv=dataclasses.replace(tiny.network.conv, in_channels=3)
    )
    config = dataclasses.replace(tiny, data=data, network=unet)
    assert len(make_dataset(config, "train")) == 12
    assert len(make_dataset(config, "train", max_maps=1)) == 4
    with pytest.raises(DatasetError, match="no split val"):
        make_dataset(config, "val")
    run = train_run(config, tmp_path / "run")
    out = sample_run(run, tmp_path / "drawn")
    shapes = {path.name: read_gray(path).shape for path in out.glob("*.png")}
    assert shapes == {"a.png": (32, 32), "b.png": (36, 44)}
    with pytest.raises(ValueError, match="those of split test"):
        sample_run(run, tmp_path / "other", split="train")
    with pytest.raises(ValueError, match=r"data\.source edges"):
        evaluate_run(run, tmp_path / "results")
