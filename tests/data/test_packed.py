"""Packs: the same pixels as the images, or none; killed, broken and outdated ones."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, default_collate

from radiodiff.data import (
    DatasetError,
    EightSymmetries,
    GrayBatches,
    PackedImages,
    RadioMapOptions,
    RadioMapSeer,
    pack_dataset,
    packed,
    radiomapseer,
    to_samples,
)

from ..conftest import ROOT, write_radiomapseer

FOLDERS = ("gain/DPM", "png/antennas", "png/buildings_complete")


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        if isinstance(one, tuple) and hasattr(one, "_fields"):  # the scene
            assert_same(one, other)
        elif isinstance(one, torch.Tensor):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
        else:
            assert list(one) == list(other)


def write_gray(path, shape):
    Image.fromarray(np.full(shape, 7, np.uint8)).save(path)


def test_packs_hold_the_images(dataset_root):
    calls = []
    out = pack_dataset(dataset_root, progress=lambda done, total: calls.append((done, total)))
    assert out == dataset_root / "packed"
    assert calls[-1] == (28, 28)
    for folder in FOLDERS:
        pack = PackedImages.open(dataset_root, folder)
        paths = sorted((dataset_root / folder).glob("*.png"))
        assert len(pack) == len(paths)
        assert np.load(out / f"{folder}.npy", mmap_mode="r").shape == pack.shape
        for path in paths:
            image = np.array(Image.open(path))
            assert path.name in pack
            assert (pack.read(path.name) == image).all()
        names = [path.name for path in reversed(paths)]
        assert (pack.read_many(names) == [pack.read(name) for name in names]).all()
        pack.verify()
    assert not list(out.rglob(".*"))


def test_read_is_a_copy_and_unknown_names_are_named(dataset_root):
    pack_dataset(dataset_root)
    pack = PackedImages.open(dataset_root, "gain/DPM")
    pack.read("159_0.png")[:] = 0
    assert pack.read("159_0.png").any()
    with pytest.raises(DatasetError, match=r"no image 9_9\.png"):
        pack.read("9_9.png")


def test_result_does_not_depend_on_workers(dataset_root, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "SHARD", 3)
    one = content(pack_dataset(dataset_root, out=tmp_path / "one"))
    two = content(pack_dataset(dataset_root, out=tmp_path / "two", workers=2))
    assert one == two
    assert len(one) == 6


def test_second_call_leaves_packs_alone(dataset_root):
    out = pack_dataset(dataset_root)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    pack_dataset(dataset_root)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def test_dataset_reads_packs_and_gives_the_same_samples(dataset_root, monkeypatch):
    expected = list(RadioMapSeer(dataset_root, "all"))
    pack_dataset(dataset_root)
    dataset = RadioMapSeer(dataset_root, "all")
    monkeypatch.setattr(radiomapseer, "read_gray", lambda path: pytest.fail(f"decodes {path}"))
    for one, other in zip(expected, dataset, strict=True):
        assert_same(one, other)


def test_packs_of_a_read_only_dataset_lie_elsewhere(dataset_root, tmp_path):
    before = content(dataset_root)
    pack_dataset(dataset_root, out=tmp_path / "elsewhere")
    assert content(dataset_root) == before
    assert PackedImages.open(dataset_root, "gain/DPM") is None
    assert PackedImages.open(dataset_root, "gain/DPM", out=tmp_path / "elsewhere") is not None
    assert RadioMapSeer(
        dataset_root, "all", RadioMapOptions(packed=str(tmp_path / "elsewhere"))
    ).packs


def test_loader_processes_map_the_file_themselves(dataset_root):
    pack_dataset(dataset_root)
    pack = PackedImages.open(dataset_root, "gain/DPM")
    expected = pack.read("501_1.png")
    pickled = pickle.dumps(pack)
    assert len(pickled) < expected.nbytes
    assert (pickle.loads(pickled).read("501_1.png") == expected).all()
    dataset = RadioMapSeer(dataset_root, "train")
    alone, helped = (next(iter(DataLoader(dataset, 4, num_workers=n))) for n in (0, 1))
    assert_same(alone, helped)


def change(root, kind):
    path = root / "gain/DPM/159_1.png"
    if kind == "rewritten":
        write_gray(path, (32, 32))
    elif kind == "touched":
        os.utime(path, ns=(1, 1))
    elif kind == "added":
        shutil.copy2(path, root / "gain/DPM/159_3.png")
    elif kind == "removed":
        path.unlink()
    elif kind == "renamed":
        path.rename(root / "gain/DPM/159_7.png")
    elif kind == "array cut off":
        os.truncate(root / "packed/gain/DPM.npy", 200)
    elif kind == "array gone":
        (root / "packed/gain/DPM.npy").unlink()
    elif kind == "index cut off":
        (root / "packed/gain/DPM.json").write_text('{"format": 1', encoding="utf-8")
    elif kind == "another format":
        index = root / "packed/gain/DPM.json"
        index.write_text(
            json.dumps(json.loads(index.read_text(encoding="utf-8")) | {"format": 0}),
            encoding="utf-8",
        )


KINDS = ["rewritten", "touched", "added", "removed", "renamed"]
KINDS += ["array cut off", "array gone", "index cut off", "another format"]


@pytest.mark.parametrize("kind", KINDS)
def test_outdated_or_damaged_pack_is_not_used(dataset_root, caplog, kind):
    pack_dataset(dataset_root)
    change(dataset_root, kind)
    assert PackedImages.open(dataset_root, "gain/DPM") is None
    (warning,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert f"call `radiodiff data pack {dataset_root}` again" in warning.getMessage()
    assert PackedImages.open(dataset_root, "png/antennas") is not None

    pack_dataset(dataset_root)
    pack = PackedImages.open(dataset_root, "gain/DPM")
    for path in (dataset_root / "gain/DPM").iterdir():
        assert (pack.read(path.name) == np.array(Image.open(path))).all()
    pack.verify()


def test_damage_inside_the_array_is_found_on_request(dataset_root):
    path = pack_dataset(dataset_root) / "gain/DPM.npy"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    pack = PackedImages.open(dataset_root, "gain/DPM")
    with pytest.raises(DatasetError, match=r"DPM\.npy is not what was packed"):
        pack.verify()


@pytest.mark.parametrize(("kind", "workers"), [("truncated", 1), ("size", 1), ("truncated", 2)])
def test_broken_image_is_named_and_leaves_no_pack(dataset_root, monkeypatch, kind, workers):
    monkeypatch.setattr(packed, "SHARD", 4)
    path = dataset_root / "gain/DPM/501_1.png"
    good = path.read_bytes()
    path.write_bytes(good[:60])
    if kind == "size":
        write_gray(path, (16, 16))
    with pytest.raises(DatasetError, match=r"501_1\.png"):
        pack_dataset(dataset_root, workers=workers)
    assert PackedImages.open(dataset_root, "gain/DPM") is None
    assert not (dataset_root / "packed/gain/DPM.npy").exists()

    path.write_bytes(good)
    progress = []
    pack_dataset(dataset_root, progress=lambda done, total: progress.append(done))
    assert progress[0] > 4, "the shards that were fine are packed again"
    assert (PackedImages.open(dataset_root, "gain/DPM").read("501_1.png") > 7).any()


def test_image_changed_between_two_calls_is_packed_again(dataset_root, monkeypatch):
    """A shard in the journal counts only while its files are those that were decoded."""
    monkeypatch.setattr(packed, "SHARD", 2)
    broken = dataset_root / "gain/DPM/501_2.png"
    good = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"501_2\.png"):
        pack_dataset(dataset_root, folders=["gain/DPM"])
    broken.write_bytes(good)
    write_gray(dataset_root / "gain/DPM/103_0.png", (32, 32))
    pack_dataset(dataset_root, folders=["gain/DPM"])
    assert (PackedImages.open(dataset_root, "gain/DPM").read("103_0.png") == 7).all()


def test_killed_packing_is_completed(tmp_path, monkeypatch):
    """SIGKILL of the main process ends its workers too; the same call then packs the rest."""
    root = write_radiomapseer(tmp_path / "maps", range(60), size=64)
    script = (
        "from pathlib import Path\n"
        "from radiodiff.data import packed\n"
        "if __name__ == '__main__':\n"
        "    packed.SHARD = 1\n"
        f"    packed.pack_dataset(Path({str(root)!r}), folders=['gain/DPM'], workers=2)\n"
    )
    (tmp_path / "run.py").write_text(script, encoding="utf-8")
    process = subprocess.Popen([sys.executable, tmp_path / "run.py"], cwd=ROOT)
    journal = root / "packed/gain/.DPM.journal"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if journal.exists() and journal.read_text(encoding="utf-8").count("end\n") >= 3:
            break
        time.sleep(0.001)
    process.kill()
    process.wait()
    time.sleep(0.5)
    finished = journal.read_text(encoding="utf-8").count("end\n")
    assert 3 <= finished < 180
    assert PackedImages.open(root, "gain/DPM") is None

    monkeypatch.setattr(packed, "SHARD", 1)
    progress = []
    pack_dataset(root, folders=["gain/DPM"], progress=lambda done, total: progress.append(done))
    assert progress == list(range(finished + 1, 181))
    assert not list((root / "packed").rglob(".*"))
    whole = pack_dataset(root, folders=["gain/DPM"], out=tmp_path / "whole")
    assert content(whole) == content(root / "packed")


def test_what_a_killed_writer_left_goes(dataset_root):
    out = pack_dataset(dataset_root)
    for name in ("DPM.json", "DPM.journal"):
        (out / f"gain/.{name}.0a1b2c3d.tmp").write_text("half", encoding="utf-8")
    (out / "gain/DPM.json").unlink()
    pack_dataset(dataset_root)
    assert PackedImages.open(dataset_root, "gain/DPM") is not None
    assert not list(out.rglob(".*"))


def test_what_cannot_be_packed(dataset_root, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="workers >= 1, got 0"):
        pack_dataset(dataset_root, workers=0)
    with pytest.raises(DatasetError, match="nothing to pack"):
        pack_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"cannot list .*gain.IRT2"):
        pack_dataset(dataset_root, folders=["gain/IRT2"])
    (dataset_root / "gain/IRT2").mkdir()
    with pytest.raises(DatasetError, match=r"no PNG file in .*gain.IRT2"):
        pack_dataset(dataset_root, folders=["gain/IRT2"])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1000))
    with pytest.raises(DatasetError, match=r"0\.0 GB more.*name another folder"):
        pack_dataset(dataset_root)


def test_links_are_packed_once(dataset_root):
    (dataset_root / "png/buildings_complete/loop").symlink_to(dataset_root / "png")
    (dataset_root / "png/again").symlink_to(dataset_root / "png/antennas")
    out = pack_dataset(dataset_root)
    assert len(list(out.rglob("*.npy"))) == 3


def with_cars(root):
    shutil.copytree(root / "gain/DPM", root / "gain/carsDPM")
    shutil.copytree(root / "png/buildings_complete", root / "png/cars")


@pytest.mark.parametrize("cars", [False, True])
def test_batches_of_bytes_become_the_same_samples(dataset_root, cars):
    with_cars(dataset_root)
    pack_dataset(dataset_root)
    dataset = RadioMapSeer(dataset_root, "all", RadioMapOptions(cars=cars))
    indices = [7, 0, 11, 0]
    batch = GrayBatches(dataset)[indices]
    assert batch.radio_map.dtype == batch.masks.dtype == torch.uint8
    assert_same(to_samples(batch), default_collate([dataset[index] for index in indices]))


def test_batches_of_bytes_through_a_loader(dataset_root):
    pack_dataset(dataset_root)
    dataset = RadioMapSeer(dataset_root, "all")
    sampler = BatchSampler(SequentialSampler(dataset), 5, drop_last=False)
    batches = GrayBatches(dataset)
    assert len(batches) == 12
    loader = DataLoader(batches, batch_size=None, sampler=sampler, num_workers=1)
    for found, expected in zip(loader, DataLoader(dataset, batch_size=5), strict=True):
        assert_same(to_samples(found), expected)


@pytest.mark.parametrize("cars", [False, True])
def test_batches_of_bytes_are_turned_as_samples_are(dataset_root, cars):
    with_cars(dataset_root)
    pack_dataset(dataset_root)
    dataset = EightSymmetries(RadioMapSeer(dataset_root, "all", RadioMapOptions(cars=cars)))
    assert GrayBatches.serve(dataset)
    batches = GrayBatches(dataset)
    assert len(batches) == len(dataset)
    indices = [*range(8), 61, 8, 90, 17]
    found, expected = to_samples(batches[indices]), default_collate([dataset[k] for k in indices])
    assert_same(found, expected)
    assert torch.equal(found.scene.transmitter_cell, expected.scene.transmitter_cell)
    assert torch.equal(found.scene.cars_mask, expected.scene.cars_mask)


def test_batches_of_bytes_need_packs_and_stored_images(dataset_root):
    with pytest.raises(DatasetError, match=r"gain.DPM is not packed: `radiodiff data pack"):
        GrayBatches(RadioMapSeer(dataset_root, "all"))
    pack_dataset(dataset_root)
    with pytest.raises(ValueError, match="not measurements, threshold"):
        GrayBatches(
            RadioMapSeer(dataset_root, "all", RadioMapOptions(measurements=(3, 3), threshold=0.2))
        )
    for path in (dataset_root / "png/buildings_complete").iterdir():
        write_gray(path, (16, 16))
    pack_dataset(dataset_root)
    with pytest.raises(DatasetError, match=r"\(32, 32\), .*\(16, 16\)"):
        GrayBatches(RadioMapSeer(dataset_root, "all"))[[0]]
