"""Checking a dataset: what is broken has a name, what is missing a number, and nothing crashes."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from radiodiff import units
from radiodiff.data import (
    check_digests,
    format_report,
    pack_dataset,
    verify_dataset,
)
from radiodiff.data.verify import report as verify
from radiodiff.simulate import simulate_dataset

from .conftest import SHARED

REAL = SHARED / "data" / "radiomapseer_sample"
MAPS, TRANSMITTERS, SIZE = 4, 3, 64


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Four maps of a dense grid, so that 64 x 64 cells hold walls, corners and streets."""
    root = tmp_path_factory.mktemp("verify") / "maps"
    settings = {"size": SIZE, "cell_size_m": 4.0, "seed": 5}
    simulate_dataset(root, maps=MAPS, transmitters=TRANSMITTERS, **settings)
    (root / "SHA256SUMS").unlink()  # tests break single files; `test_digests` makes its own list
    return root


@pytest.fixture
def root(simulated, tmp_path):
    return shutil.copytree(simulated, tmp_path / "maps")


def check(root, **options):
    """Verify, and require of every report what holds for all: JSON, short lines, any terminal."""
    report = verify_dataset(root, **options)
    assert json.loads(json.dumps(report)) == report
    text = format_report(report)
    assert all(len(line) <= 100 for line in text.splitlines())
    text.encode("utf-8")
    assert text.startswith(f"{report['verdict']}: ")
    return report


def faults(report):
    return {row["file"]: row["fault"] for row in report["faults"]}


def missing(report):
    return {row["folder"]: row for row in report["missing"]}


def test_sound_dataset(root):
    calls = []
    report = check(root, progress=lambda done, total: calls.append((done, total)))
    assert report["verdict"] == "sound"
    assert not report["faults"] + report["missing"] + report["notes"]
    assert report["expected"] == "dataset.json: 4 maps x 3 transmitters, 64 x 64 cells"
    counts = {folder: row["found"] for folder, row in report["counts"].items()}
    assert counts == {
        "antenna": 4,
        "gain/DPM": 12,
        "png/antennas": 12,
        "png/buildings_complete": 4,
        "polygon/buildings_complete": 4,
    }
    assert calls[-1] == (28, 28)


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


def test_line_of_sight_law(root):
    """The simulator obeys it; maps that are one decibel too strong do not."""
    law = check(root)["line_of_sight"]["gain/DPM"]
    assert law["maps"] == [0, 1, 2, 3]
    assert law["targets"] == 8
    assert law["cells"] > 1000
    assert law["share_within_half_db"] > 0.99
    assert abs(law["median_db"]) < 0.1
    for path in (root / "gain/DPM").iterdir():
        gray = np.array(Image.open(path))
        shifted = np.where((gray > 0) & (gray < 252), gray + 3, gray)
        Image.fromarray(shifted.astype(np.uint8)).save(path)
    law = check(root)["line_of_sight"]["gain/DPM"]
    assert law["share_within_half_db"] < 0.05
    assert law["median_db"] == pytest.approx(3 * 99.16 / 255, abs=0.1)


def test_no_outlines_no_law(root):
    shutil.rmtree(root / "polygon")
    report = check(root)
    assert "no map has outlines" in report["line_of_sight"]["gain/DPM"]["skipped"]
    assert report["verdict"] == "incomplete"
    assert missing(report)["polygon/buildings_complete"]["found"] == 0


def test_splits(root):
    report = check(root)
    manifest = json.loads((root / "dataset.json").read_text())
    sizes = report["splits"]["its own"]["maps"]
    assert sum(sizes.values()) == MAPS
    assert sizes["train"] == sum(row["split"] == "train" for row in manifest["maps"])
    (root / "dataset.json").unlink()
    splits = check(root)["splits"]
    assert splits["radiodiff-r25"]["shared"]["train and test"] == [289]
    assert splits["city"]["shared"] == {}
    assert splits["city"]["maps"] == {"train": 501, "val": 100, "test": 99}
    assert sum(splits["city"]["there"].values()) == MAPS - 1  # map 0 is in no split


GAIN = "gain/DPM/1_2.png"


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
        path.write_text("not an image")
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


def test_missing_building_file(root):
    (root / "png/buildings_complete/1.png").unlink()
    report = check(root)
    assert report["verdict"] == "incomplete"
    assert not report["faults"]
    row = {"folder": "png/buildings_complete", "found": 3, "expected": 4, "first": ["1.png"]}
    assert missing(report)["png/buildings_complete"] == row
    row = missing(report)["buildings of gain/DPM"]
    assert (row["found"], row["expected"]) == (9, 12)
    assert row["first"] == ["png/buildings_complete/1.png"]


def test_missing_gains_and_transmitters(root):
    for name in ("gain/DPM/2_0.png", "gain/DPM/0_1.png", "antenna/3.json", "png/antennas/3_1.png"):
        (root / name).unlink()
    report = check(root)
    assert report["verdict"] == "incomplete"
    gains = {"folder": "gain/DPM", "found": 10, "expected": 12, "first": ["0_1.png", "2_0.png"]}
    assert missing(report)["gain/DPM"] == gains
    assert missing(report)["transmitters of gain/DPM"]["first"] == ["antenna/3.json"]
    assert "gain/DPM                  10 of 12  missing first: 0_1.png, 2_0.png" in format_report(
        report
    )


def test_no_dataset(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, reason in (
        ("empty", "no images below gain/ or png/"),
        ("file", "a file, not a folder"),
        ("nowhere", "no such file or directory"),
    ):
        report = check(tmp_path / name)
        assert report["verdict"] == "no dataset"
        assert reason in format_report(report)


def test_begun_simulation_is_incomplete(root):
    for name in ("gain", "png", "antenna", "polygon"):
        shutil.rmtree(root / name)
    report = check(root)
    assert report["verdict"] == "incomplete"
    assert missing(report)["gain/DPM"]["found"] == 0


def test_loops_of_links_are_named_and_not_followed(root):
    (root / "gain/DPM/again").symlink_to(root / "gain")
    (root / "png/self").symlink_to("self")
    report = check(root)
    assert report["verdict"] == "broken"
    assert faults(report)["gain/DPM/again"] == "is a link to a folder it is in: not followed"
    assert "png/self" in faults(report)


def test_folder_on_another_disk_is_followed(root, tmp_path):
    shutil.move(root / "gain/DPM", tmp_path / "elsewhere")
    (root / "gain/DPM").symlink_to(tmp_path / "elsewhere")
    assert check(root)["verdict"] == "sound"


def test_name_that_is_no_utf8(root):
    source = os.fsencode(root / GAIN)
    shutil.copyfile(source, os.path.join(os.path.dirname(source), b"caf\xe9_1.png"))
    report = check(root)
    assert report["verdict"] == "broken"
    assert "gain/DPM/caf\\xe9_1.png" in faults(report)


@pytest.mark.parametrize("name", ["1.png", "a_b.png", "01_1.png", "1_2 (copy).png", "1\n_2.png"])
def test_name_that_is_no_map_and_transmitter(root, name):
    shutil.copyfile(root / GAIN, root / "gain/DPM" / name)
    (told,) = {row["file"] for row in check(root)["faults"]}
    assert told == "gain/DPM/" + name.replace("\n", "\\n")


def test_file_where_a_folder_should_be(root):
    shutil.rmtree(root / "gain")
    (root / "gain").write_text("")
    report = check(root)
    assert faults(report) == {"gain": "is a file where a folder should be"}
    assert missing(report)["gain/DPM"]["found"] == 0


def test_folder_without_permission(root, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("antennas"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(verify.os, "scandir", refuse)
    assert faults(check(root)) == {"png/antennas": "cannot be listed: Permission denied"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[1, 2", "cannot read"),
        ("{}", "must hold a list"),
        ("[[1], [2], [3]]", "must be a list of"),
        ("[[1, 2], [400, 2], [3, 3]]", "transmitter 1 at x=400, y=2 lies off the map"),
    ],
)
def test_bad_antenna_list_is_named(root, text, reason):
    (root / "antenna/1.json").write_text(text)
    report = check(root)
    assert report["verdict"] == "broken"
    assert reason in faults(report)["antenna/1.json"]
    assert str(root) not in faults(report)["antenna/1.json"]


def test_short_antenna_list(root):
    path = root / "antenna/1.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:2]))
    assert "has no transmitter: antenna/1.json lists 2" in faults(check(root))[GAIN]


def test_bad_polygon_is_named(root):
    (root / "polygon/buildings_complete/2.json").write_text('{"a": 1}')
    (root / "polygon/buildings_complete/3.json").write_text('[[["x", 1]]]')
    assert set(faults(check(root))) == {f"polygon/buildings_complete/{m}.json" for m in (2, 3)}


def test_gain_of_another_transmitter_is_named(root):
    """The brightest cell tells: so would lists whose y points down."""
    positions = np.array(json.loads((root / "antenna/1.json").read_text()))
    distances = abs(positions - positions[2]).max(axis=1)
    other = int(distances.argmax())
    assert distances[other] > 10
    shutil.copyfile(root / f"gain/DPM/1_{other}.png", root / GAIN)
    report = check(root)
    expected = f"is brightest {distances[other]} cells from its transmitter"
    assert expected in faults(report)[GAIN]
    worst = {"name": "1_2.png", "cells": int(distances[other])}
    assert report["transmitters"]["gain/DPM"]["worst"] == worst
    assert report["transmitters"]["gain/DPM"]["worse"] == 1


def test_peak_one_cell_off_is_no_fault(root):
    path = root / "png/antennas/1_2.png"
    image = np.roll(np.array(Image.open(path)), 1, axis=0)
    Image.fromarray(image).save(path)
    report = check(root)
    assert report["verdict"] == "sound"
    assert report["transmitters"]["png/antennas"]["within_1"] == 1


def test_buildings_of_another_map_are_named(root):
    path = root / "png/buildings_complete/1.png"
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    assert "does not fit gain/DPM" in faults(check(root))["png/buildings_complete/1.png"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"maps": 3}', '{"maps": []}', '{"maps": [{"id": "a", "split": "b"}]}']
)
def test_bad_manifest_is_named(root, text):
    (root / "dataset.json").write_text(text)
    report = check(root)
    assert report["verdict"] == "broken"
    assert "dataset.json" in faults(report)


def write_digests(root):
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(root).as_posix()}\n"
        for p in files
    ]
    (root / "SHA256SUMS").write_text("".join(lines))
    return len(files)


def test_digests(root):
    assert check_digests(root) is None
    count = write_digests(root)
    assert check_digests(root) == {"listed": count, "checked": count, "faults": [], "missing": []}
    assert check(root)["verdict"] == "sound"

    image = np.array(Image.open(root / GAIN))
    image[0, 0] ^= 1
    Image.fromarray(image).save(root / GAIN)  # in order but for its content
    report = check(root)
    assert report["verdict"] == "broken"
    assert faults(report) == {GAIN: "is not the file that SHA256SUMS lists"}
    (root / "polygon/buildings_complete/0.json").unlink()
    row = missing(check(root))["SHA256SUMS"]
    assert row["first"] == ["polygon/buildings_complete/0.json"]
    with (root / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  ../outside\nnonsense\n")
    told = [row["fault"] for row in check(root)["faults"] if row["file"] == "SHA256SUMS"]
    assert told == [f"line {count + n} is no digest and path" for n in (1, 2)]


def test_sample_reads_the_same_few(root):
    report = check(root, sample=2)
    assert report["verdict"] == "sound"
    assert report["counts"]["gain/DPM"] == {"found": 12, "expected": 12, "decoded": 2}
    assert report["transmitters"]["gain/DPM"]["compared"] == 2
    assert verify_dataset(root, sample=2) == report
    assert check(root, sample=12) == verify_dataset(root) | {"sample": 12}
    with pytest.raises(ValueError, match="sample of 1 or more, got 0"):
        verify_dataset(root, sample=0)


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


def test_what_is_not_expected_is_noted(root):
    shutil.copyfile(root / GAIN, root / "gain/DPM/9_0.png")
    shutil.copyfile(root / "antenna/1.json", root / "antenna/9.json")
    shutil.copyfile(root / "png/buildings_complete/1.png", root / "png/buildings_complete/9.png")
    (root / "gain/DPM/.1_2.png.77.tmp").write_bytes(b"")
    (root / "png/heights").mkdir()
    shutil.copyfile(root / GAIN, root / "png/heights/1.png")
    notes = "\n".join(check(root)["notes"])
    assert "gain/DPM/.1_2.png.77.tmp is a temporary file" in notes
    assert "antenna holds 1 files that are not expected" in notes
    assert "png/heights is not part of such a dataset" in notes
    assert "png/heights: 1 images have levels other than 0 and 255" in notes


def test_a_further_simulation_must_be_whole_too(root):
    (root / "gain/carsDPM").mkdir()
    shutil.copyfile(root / GAIN, root / "gain/carsDPM/1_2.png")
    report = check(root)
    row = missing(report)["gain/carsDPM"]
    assert (row["found"], row["expected"]) == (1, 12)
    assert report["line_of_sight"]["gain/carsDPM"]["targets"] == 1


def test_complete_layout_is_the_size_of_the_real_one():
    """355 408 files and 35 751 polygons, as published."""
    counts = {"map": 701, "transmitter": 56_080, "sparse": 1_402}
    sizes = {folder: counts[each] for folder, each in verify._LAYOUT.items()}
    assert sum(sizes.values()) + 1 == 355_408
    assert sum(n for folder, n in sizes.items() if folder.startswith("polygon/")) == 35_751


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real RadioMapSeer sample at {REAL}")
def test_real_sample_is_incomplete():
    report = check(REAL)
    assert report["verdict"] == "incomplete"
    assert not report["faults"]
    text = format_report(report)
    assert "gain/DPM                      7 of 56,080  missing first: 0_1.png, 0_2.png" in text
    assert "png/buildings_missing*/*      0 of 16,824" in text
    placed = report["transmitters"]["gain/DPM"]
    assert placed["exact"] + placed["within_1"] == 7
    assert report["buildings"]["against_gains"]["gain/DPM"]["mean_iou"] == pytest.approx(
        0.909, abs=0.001
    )
    law = report["line_of_sight"]["gain/DPM"]
    assert law["share_within_half_db"] > 0.99
    assert abs(law["median_db"]) < 0.05


def simulate_variants(root, *variants):
    settings = {"maps": 2, "transmitters": 2, "size": SIZE, "cell_size_m": 4.0, "seed": 5}
    simulate_dataset(root, **settings, variants=variants)
    (root / "SHA256SUMS").unlink()
    return root


def test_promised_variants_are_wanted_and_no_others(tmp_path):
    whole = simulate_variants(tmp_path / "irt", "IRT2")
    assert verify_dataset(whole)["verdict"] == "sound"
    cars = simulate_variants(tmp_path / "cars", "DPM", "carsDPM")
    assert verify_dataset(cars)["verdict"] == "sound"
    shutil.rmtree(cars / "gain/carsDPM")
    shutil.rmtree(cars / "png/cars")
    report = verify_dataset(cars)
    assert report["verdict"] == "incomplete"
    assert {row["folder"] for row in report["missing"]} >= {"gain/carsDPM", "png/cars"}


def test_link_to_a_folder_above_is_not_followed(root, tmp_path):
    (root / "png/up").symlink_to(tmp_path)
    report = verify_dataset(root)
    assert [row["file"] for row in report["faults"]] == ["png/up"]


def test_lost_building_file_of_a_lone_map_is_named(tmp_path):
    root = simulate_variants(tmp_path / "one", "DPM")
    for path in (root / "png/buildings_complete").iterdir():
        path.unlink()
    report = verify_dataset(root)
    assert report["verdict"] == "incomplete"
    assert "png/buildings_complete/0.png" in format_report(report)


def test_empty_building_image_and_wrong_units_are_faults(root):
    path = root / "png/buildings_complete/1.png"
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(path)
    (fault,) = verify_dataset(root)["faults"]
    assert fault["file"] == "png/buildings_complete/1.png"
    assert "is empty, but" in fault["fault"]
    for gain in (root / "gain/DPM").iterdir():
        gray = np.array(Image.open(gain))
        Image.fromarray((0.7 * gray).astype(np.uint8)).save(gain)
    faults = {row["file"]: row["fault"] for row in verify_dataset(root)["faults"]}
    assert "wrong units or positions" in faults["gain/DPM"]


ONE_MAP = '{"maps": [{"id": 0, "split": "train"}], "parameters": {"transmitters": 1, %s}}'


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ('{"maps": [], "parameters": {"transmitters": 3}}', "lists no map"),
        ('{"maps": [{"id": 0, "split": "train"}], "parameters": {"transmitters": 0}}', "says 0"),
        ('{"maps": [{"id": 0, "split": "train"}], "parameters": null}', "section of keys"),
        (ONE_MAP % '"variants": 3', "must list variants"),
        (ONE_MAP % '"variants": ["NOPE"]', "must list variants"),
        (ONE_MAP % '"size": 0', "how many cells"),
        (ONE_MAP % '"cell_size_m": "a"', "how long a cell"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_manifest_that_promises_nothing_is_the_one_fault(root, manifest, message):
    (root / "dataset.json").write_text(manifest)
    report = verify_dataset(root)
    assert report["verdict"] == "broken"
    assert [row["file"] for row in report["faults"]] == ["dataset.json"]
    assert message in report["faults"][0]["fault"]
