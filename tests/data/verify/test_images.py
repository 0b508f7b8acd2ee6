"""Every file is read: what is broken has a name, and the values are those of the images."""

import os

import numpy as np
import pytest
from PIL import Image

from radiodiff import units
from radiodiff.data import pack_dataset

from .conftest import GAIN, MAPS, SIZE, TRANSMITTERS, check, faults


def test_values_are_those_of_the_files(root):
    first = np.array(Image.open(root / "gain/DPM/0_0.png"))
    first[first < np.median(first[first > 0])] = 0  # where the other transmitters are heard
    Image.fromarray(first).save(root / "gain/DPM/0_0.png")
    report = check(root)
    grays = {path.name: np.array(Image.open(path)) for path in (root / "gain/DPM").iterdir()}
    together = np.stack(list(grays.values()))
    values = report["images"]["gain/DPM"]
    assert (values["gray_min"], values["gray_max"]) == (0, 255)
    assert (values["min_db"], values["max_db"]) == (units.FLOOR_DB, units.PEAK_DB)
    assert values["share_0"] == pytest.approx((together == 0).mean(), abs=1e-5)
    assert values["share_255"] == pytest.approx((together == 255).mean(), abs=1e-7)
    counts, _ = np.histogram(together, bins=np.linspace(0, 255, 11))
    assert values["histogram"] == pytest.approx(counts / together.size, abs=1e-5)
    assert values["edges_db"][::10] == pytest.approx([units.FLOOR_DB, units.PEAK_DB], abs=0.05)

    masks = [
        np.array(Image.open(root / f"png/buildings_complete/{m}.png")) > 0 for m in range(MAPS)
    ]
    assert report["buildings"]["outdoor_share"]["mean"] == pytest.approx(
        1 - np.mean(masks), abs=1e-4
    )
    overlaps = []
    for m, mask in enumerate(masks):
        silent = np.all([grays[f"{m}_{t}.png"] == 0 for t in range(TRANSMITTERS)], axis=0)
        overlaps.append((mask & silent).sum() / (mask | silent).sum())
    fit = report["buildings"]["against_gains"]["gain/DPM"]
    assert fit["mean_iou"] == pytest.approx(np.mean(overlaps), abs=1e-4)
    assert fit["worst"]["map"] == int(np.argmin(overlaps))
    assert fit["building_cells_with_gain"] == 0
    for folder in ("gain/DPM", "png/antennas"):
        placed = report["transmitters"][folder]
        assert placed == {"compared": 12, "exact": 12, "within_1": 0, "worse": 0, "worst": None}


def break_file(root, kind):
    """Damage one file and return it."""
    path = root / GAIN
    image = Image.fromarray(np.array(Image.open(path)))
    data = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "last bytes":
        path.write_bytes(data[:-6])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not an image", encoding="utf-8")
    elif kind == "bit":
        path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    elif kind == "16 bit":
        Image.fromarray(np.zeros((SIZE, SIZE), np.uint16)).save(path)
    elif kind == "size":
        image.resize((32, 32)).save(path)
    elif kind in ("RGB", "P"):
        image.convert(kind).save(path)
    elif kind == "black":
        Image.new("L", (SIZE, SIZE)).save(path)
    elif kind == "gone under a link":
        path.unlink()
        path.symlink_to("nowhere.png")
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated", "is cut off"),
        ("last bytes", "is cut off"),
        ("empty", "is empty"),
        ("text", "is no PNG file"),
        ("bit", "is damaged"),
        ("16 bit", "is 16-bit gray, must be 8-bit gray"),
        ("size", "is 32 x 32, must be 64 x 64"),
        ("RGB", "is 8-bit RGB, must be 8-bit gray"),
        ("P", "is 8-bit palette, must be 8-bit gray"),
        ("black", "is black"),
        ("gone under a link", "is a link that leads nowhere"),
        ("pipe", "is no file, no folder"),
    ],
)
def test_broken_image_is_named(root, kind, reason):
    break_file(root, kind)
    report = check(root)
    assert report["verdict"] == "broken"
    assert list(faults(report)) == [GAIN]
    assert reason in faults(report)[GAIN]


@pytest.mark.parametrize("folder", ["png/buildings_complete", "png/antennas"])
def test_broken_input_is_named(root, folder):
    path = next((root / folder).iterdir())
    path.write_bytes(path.read_bytes()[:50])
    assert f"{folder}/{path.name}" in faults(check(root))


def test_bad_polygon_is_named(root):
    (root / "polygon/buildings_complete/2.json").write_text('{"a": 1}', encoding="utf-8")
    (root / "polygon/buildings_complete/3.json").write_text('[[["x", 1]]]', encoding="utf-8")
    assert set(faults(check(root))) == {f"polygon/buildings_complete/{m}.json" for m in (2, 3)}


def test_packs_are_checked(root):
    pack_dataset(root)
    assert check(root)["verdict"] == "sound"
    path = root / "packed/gain/DPM.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert list(faults(check(root))) == ["packed/gain/DPM.npy"]
    os.utime(root / GAIN, ns=(1, 1))
    report = check(root)
    assert report["verdict"] == "sound"
    assert report["notes"] == ["packed/gain/DPM is out of date: it is not used"]
