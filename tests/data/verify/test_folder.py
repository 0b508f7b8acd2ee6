"""What a folder holds and should hold: links, names, lists and promises that cannot be read."""

import os
import shutil

import pytest

from radiodiff.data import verify_dataset
from radiodiff.data.verify import folder

from .conftest import GAIN, check, faults


def test_loops_of_links_are_named_and_not_followed(root):
    (root / "gain/DPM/again").symlink_to(root / "gain")
    (root / "png/self").symlink_to("self")
    report = check(root)
    assert report["verdict"] == "broken"
    assert faults(report)["gain/DPM/again"] == "is a link to a folder it is in: not followed"
    assert "png/self" in faults(report)


def test_link_to_a_folder_above_is_not_followed(root, tmp_path):
    (root / "png/up").symlink_to(tmp_path)
    report = verify_dataset(root)
    assert [row["file"] for row in report["faults"]] == ["png/up"]


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


def test_folder_without_permission(root, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("antennas"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
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
    (root / "antenna/1.json").write_text(text, encoding="utf-8")
    report = check(root)
    assert report["verdict"] == "broken"
    assert reason in faults(report)["antenna/1.json"]
    assert str(root) not in faults(report)["antenna/1.json"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"maps": 3}', '{"maps": []}', '{"maps": [{"id": "a", "split": "b"}]}']
)
def test_bad_manifest_is_named(root, text):
    (root / "dataset.json").write_text(text, encoding="utf-8")
    report = check(root)
    assert report["verdict"] == "broken"
    assert "dataset.json" in faults(report)


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
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_manifest_that_promises_nothing_is_the_one_fault(root, manifest, message):
    (root / "dataset.json").write_text(manifest, encoding="utf-8")
    report = verify_dataset(root)
    assert report["verdict"] == "broken"
    assert [row["file"] for row in report["faults"]] == ["dataset.json"]
    assert message in report["faults"][0]["fault"]


def test_complete_layout_is_the_size_of_the_real_one():
    """355 408 files and 35 751 polygons, as published."""
    counts = {"map": 701, "transmitter": 56_080, "sparse": 1_402}
    sizes = {folder: counts[each] for folder, each in folder.LAYOUT.items()}
    assert sum(sizes.values()) + 1 == 355_408
    assert sum(n for folder, n in sizes.items() if folder.startswith("polygon/")) == 35_751
