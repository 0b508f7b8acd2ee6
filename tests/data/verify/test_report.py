"""The whole report: a sound dataset, none at all, a sample, the real one."""

import pytest

from radiodiff.data import format_report, verify_dataset
from radiodiff.simulate.missing import MISSING_FOLDERS

from ...conftest import SHARED
from .conftest import check

REAL = SHARED / "data" / "radiomapseer_sample"


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
        **dict.fromkeys(MISSING_FOLDERS.values(), 4),
    }
    assert calls[-1] == (28 + 24 * 4, 28 + 24 * 4)


def test_no_dataset(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    for name, reason in (
        ("empty", "no images below gain/ or png/"),
        ("file", "a file, not a folder"),
        ("nowhere", "no such file or directory"),
    ):
        report = check(tmp_path / name)
        assert report["verdict"] == "no dataset"
        assert reason in format_report(report)


def test_sample_reads_the_same_few(root):
    report = check(root, sample=2)
    assert report["verdict"] == "sound"
    assert report["counts"]["gain/DPM"] == {"found": 12, "expected": 12, "decoded": 2}
    assert report["transmitters"]["gain/DPM"]["compared"] == 2
    assert verify_dataset(root, sample=2) == report
    assert check(root, sample=12) == verify_dataset(root) | {"sample": 12}
    with pytest.raises(ValueError, match="sample of 1 or more, got 0"):
        verify_dataset(root, sample=0)


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
