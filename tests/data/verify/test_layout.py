"""Which files are there, which are missing, and what nobody expected."""

import json
import shutil

import pytest

from radiodiff.data import format_report, verify_dataset

from .conftest import GAIN, MAPS, check, faults, missing, simulate_variants


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


def test_lost_building_file_of_a_lone_map_is_named(tmp_path):
    root = simulate_variants(tmp_path / "one", "DPM")
    for path in (root / "png/buildings_complete").iterdir():
        path.unlink()
    report = verify_dataset(root)
    assert report["verdict"] == "incomplete"
    assert "png/buildings_complete/0.png" in format_report(report)


def test_begun_simulation_is_incomplete(root):
    for name in ("gain", "png", "antenna", "polygon"):
        shutil.rmtree(root / name)
    report = check(root)
    assert report["verdict"] == "incomplete"
    assert missing(report)["gain/DPM"]["found"] == 0


def test_file_where_a_folder_should_be(root):
    shutil.rmtree(root / "gain")
    (root / "gain").write_text("", encoding="utf-8")
    report = check(root)
    assert faults(report) == {"gain": "is a file where a folder should be"}
    assert missing(report)["gain/DPM"]["found"] == 0


@pytest.mark.parametrize("name", ["1.png", "a_b.png", "01_1.png", "1_2 (copy).png", "1\n_2.png"])
def test_name_that_is_no_map_and_transmitter(root, name):
    shutil.copyfile(root / GAIN, root / "gain/DPM" / name)
    (told,) = {row["file"] for row in check(root)["faults"]}
    assert told == "gain/DPM/" + name.replace("\n", "\\n")


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


def test_splits(root):
    report = check(root)
    manifest = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    sizes = report["splits"]["its own"]["maps"]
    assert sum(sizes.values()) == MAPS
    assert sizes["train"] == sum(row["split"] == "train" for row in manifest["maps"])
    (root / "dataset.json").unlink()
    splits = check(root)["splits"]
    assert splits["radiodiff-r25"]["shared"]["train and test"] == [289]
    assert splits["city"]["shared"] == {}
    assert splits["city"]["maps"] == {"train": 501, "val": 100, "test": 99}
    assert sum(splits["city"]["there"].values()) == MAPS - 1  # map 0 is in no split
