"""Buildings, transmitters and gains that do not belong together; the line-of-sight law."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from radiodiff.data import verify_dataset

from .conftest import GAIN, SIZE, check, faults, missing


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


def test_short_antenna_list(root):
    path = root / "antenna/1.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))[:2]), encoding="utf-8")
    assert "has no transmitter: antenna/1.json lists 2" in faults(check(root))[GAIN]


def test_gain_of_another_transmitter_is_named(root):
    """The brightest cell tells: so would lists whose y points down."""
    positions = np.array(json.loads((root / "antenna/1.json").read_text(encoding="utf-8")))
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
