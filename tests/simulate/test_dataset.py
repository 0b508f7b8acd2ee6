"""Simulated datasets: what they hold, what they depend on, interruptions and refusals."""

import dataclasses
import hashlib
import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest
import shapely
from PIL import Image

from radiodiff.simulate import (
    ATTRIBUTION,
    CITY_NAMES,
    SPLIT_OF_CITY,
    VARIANTS,
    DominantPath,
    city_of_map,
    dataset_outlines,
    simulate_dataset,
    simulate_outlines,
)
from radiodiff.simulate.outlines import RADIOMAPSEER_SHIFT_CELLS
from radiodiff.units import path_gain_db_to_uint8

from ..conftest import ROOT
from .conftest import FITTED, SMALL, cell_centers, digests


def test_splits_are_disjoint_by_city(dataset):
    assert set(SPLIT_OF_CITY) == set(CITY_NAMES)
    for count in (8, 20, 100):
        cities = [city_of_map(m) for m in range(count)]
        assert {SPLIT_OF_CITY[city] for city in cities} == {"train", "val", "test"}
    assert [cities.count(city) for city in CITY_NAMES] == [35, 20, 20, 10, 15]
    assert {city_of_map(m, ["paris", "munich"]) for m in range(20)} == {"munich", "paris"}
    manifest = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert manifest["maps"] == [
        {"id": m, "city": city_of_map(m), "split": SPLIT_OF_CITY[city_of_map(m)]} for m in range(5)
    ]
    assert manifest["attribution"] == ATTRIBUTION
    assert manifest["constants"]["dominant_path"] == dataclasses.asdict(FITTED)


def test_layout(dataset):
    names = {str(p.relative_to(dataset)) for p in dataset.rglob("*") if p.is_file()}
    expected = {"dataset.json", "SHA256SUMS"}
    for m in range(5):
        expected |= {
            f"antenna/{m}.json",
            f"png/buildings_complete/{m}.png",
            f"polygon/buildings_complete/{m}.json",
        }
        expected |= {
            f"png/buildings_missing{k}/{v}/{m}.png" for k in range(1, 5) for v in range(1, 7)
        }
        for t in range(2):
            expected |= {f"gain/DPM/{m}_{t}.png", f"png/antennas/{m}_{t}.png"}
    assert names == expected


def test_files_agree_with_each_other(dataset):
    for m in range(5):
        with Image.open(dataset / f"png/buildings_complete/{m}.png") as image:
            buildings = np.array(image)
        assert set(np.unique(buildings)) == {0, 255}
        rings = json.loads(
            (dataset / f"polygon/buildings_complete/{m}.json").read_text(encoding="utf-8")
        )
        assert all(ring[0] == ring[-1] for ring in rings)
        x, y = cell_centers(64, 1.0)
        inside = sum(shapely.contains_xy(shapely.Polygon(ring), x, y).astype(int) for ring in rings)
        assert ((inside % 2 == 1) != (buildings > 0)).sum() <= 2  # vertices are rounded
        positions = json.loads((dataset / f"antenna/{m}.json").read_text(encoding="utf-8"))
        for t, (col, up) in enumerate(positions):
            with Image.open(dataset / f"png/antennas/{m}_{t}.png") as image:
                antenna = np.array(image)
            with Image.open(dataset / f"gain/DPM/{m}_{t}.png") as image:
                gain = np.array(image)
            assert (antenna == 255).sum() == 1
            assert (antenna > 0).sum() == 1
            assert antenna[63 - up, col] == 255
            assert gain.shape == (64, 64)
            assert gain.dtype == np.uint8
            assert gain[63 - up, col] == gain.max() == 255
            assert (gain[buildings > 0] == 0).all()


def test_map_depends_on_seed_and_id_only(tmp_path):
    settings = SMALL | {"cities": ["munich"]}
    three = digests(simulate_dataset(tmp_path / "three", **settings | {"maps": 3}))
    two = digests(simulate_dataset(tmp_path / "two", **settings | {"maps": 2}))
    other = digests(simulate_dataset(tmp_path / "other", **settings | {"maps": 2, "seed": 4}))
    buildings = "png/buildings_complete/{}.png".format
    common = two.keys() - {"dataset.json", "SHA256SUMS"}
    assert all(three[name] == two[name] for name in common)
    assert len({three[buildings(0)], three[buildings(1)], three[buildings(2)]}) == 3
    assert other[buildings(0)] != two[buildings(0)]


def test_digests_are_those_of_sha256sum(dataset):
    assert json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["commit"] == "unknown"
    lines = [
        line.split("  ")
        for line in (dataset / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    ]
    files = {p.relative_to(dataset).as_posix() for p in dataset.rglob("*") if p.is_file()}
    assert {name for _, name in lines} == files - {"SHA256SUMS"}
    for digest, name in lines:
        assert hashlib.sha256((dataset / name).read_bytes()).hexdigest() == digest


def test_variants(dataset, tmp_path):
    """Each variant is the same whatever others are made with it."""
    settings = SMALL | {"maps": 1}
    out = simulate_dataset(tmp_path / "all", **settings, variants=VARIANTS)
    cars = simulate_dataset(tmp_path / "cars", **settings, variants=["carsDPM"])
    one, few, many = digests(dataset), digests(cars), digests(out)
    assert {name for name in many if name.startswith("gain/")} == {
        f"gain/{variant}/0_{t}.png" for variant in VARIANTS for t in range(2)
    }
    for name in many.keys() & one.keys() - {"dataset.json", "SHA256SUMS"}:
        assert many[name] == one[name]
    for name in few.keys() - {"dataset.json", "SHA256SUMS"}:
        assert many[name] == few[name]
    gains = {v: np.array(Image.open(out / f"gain/{v}/0_0.png")).astype(int) for v in VARIANTS}
    assert (gains["IRT4"] >= gains["IRT2"]).all()
    for variant in ("DPM", "IRT2", "IRT4"):
        with_cars = gains[f"cars{variant}"]
        assert (with_cars <= gains[variant] + 1).all()  # rays meet cars in another order
        assert with_cars.sum() < gains[variant].sum()
    car_mask = np.array(Image.open(out / "png/cars/0.png"))
    buildings = np.array(Image.open(out / "png/buildings_complete/0.png"))
    assert set(np.unique(car_mask)) == {0, 255}
    assert not (car_mask & buildings).any()
    rings = json.loads((out / "polygon/cars/0.json").read_text(encoding="utf-8"))
    assert all(len(ring) == 5 for ring in rings)


# --- Outlines of one's own ------------------------------------------------------------------------


def test_simulate_outlines(outlines, tmp_path):
    out = tmp_path / "out"
    written = simulate_outlines(
        out, *outlines, antenna_ids=[0, 2], size=96, variants=["DPM", "IRT2"]
    )
    assert [p.relative_to(out).as_posix() for p in written] == [
        f"gain/{variant}/7_{t}.png" for t in (0, 2) for variant in ("DPM", "IRT2")
    ]
    boxes = [
        shapely.box(*(np.array(box) + RADIOMAPSEER_SHIFT_CELLS))
        for box in ([10, 10, 40, 30], [50, 40, 70, 60])
    ]
    gain = DominantPath(boxes, 96, 1.0).path_gain_db((80.5, 5.5))
    np.testing.assert_array_equal(
        np.array(Image.open(out / "gain/DPM/7_2.png")), path_gain_db_to_uint8(gain)
    )
    assert np.array(Image.open(out / "png/antennas/7_2.png"))[96 - 1 - 5, 80] == 255
    again = dataset_outlines(out, 7)
    assert shapely.union_all(again).symmetric_difference(shapely.union_all(boxes)).area < 1e-9
    # Another map may join it.
    other = outlines[0].rename(outlines[0].with_name("8.json"))
    simulate_outlines(out, other, outlines[1], antenna_ids=[0], size=96)
    assert (out / "gain/DPM/7_0.png").exists()
    assert (out / "gain/DPM/8_0.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"antenna_ids": [1]}, r"antenna 1 at x=20, y=20 lies inside a building"),
        ({"antenna_ids": [2], "size": 64}, r"antenna 2 at x=80, y=5 lies off the map"),
        ({"antenna_ids": [3]}, r"has antennas 0 to 2, not 3"),
        ({"variants": ["carsDPM"]}, r"variants without cars"),
        ({"variants": ["DPN"]}, r"expected variants to be a list out of DPM"),
        ({"antenna_ids": []}, r"no antenna is chosen"),
        ({"shift_cells": math.nan}, r"finite shift"),
    ],
    ids=str,
)
def test_simulate_outlines_refuses(outlines, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        simulate_outlines(tmp_path / "out", *outlines, **{"size": 96} | change)
    assert not (tmp_path / "out").exists()


def test_simulate_outlines_overwrites_no_dataset(dataset, outlines, tmp_path):
    with pytest.raises(FileExistsError, match="holds a simulated dataset"):
        simulate_outlines(dataset, *outlines, size=96)
    with pytest.raises(FileExistsError, match="choose another folder"):
        simulate_outlines(tmp_path, *outlines, size=96)


# --- Workers and interruptions --------------------------------------------------------------------


def test_workers_do_not_matter(dataset, tmp_path):
    calls = []
    two = simulate_dataset(
        tmp_path / "two", **SMALL, workers=2, progress=lambda *c: calls.append(c)
    )
    assert digests(two) == digests(dataset)
    assert calls == [(done, 5) for done in range(1, 6)]


def test_finished_maps_are_left_alone(dataset, tmp_path):
    out = simulate_dataset(tmp_path / "out", **SMALL)
    (out / "antenna/2.json").unlink()
    stray = out / "gain/DPM/.2_0.png.123.tmp"
    stray.write_bytes(b"half a file")
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    calls = []
    simulate_dataset(out, **SMALL, progress=lambda *c: calls.append(c))
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert calls == [(5, 5)]
    changed = {p.name.split(".")[0].split("_")[0] for p in after if after[p] != before.get(p)}
    assert changed == {"2", "SHA256SUMS"}
    assert not stray.exists()
    assert digests(out) == digests(dataset)


def test_killed_run_is_completed(tmp_path):
    """SIGKILL of the main process ends its workers too; the same call then finishes the rest."""
    settings = SMALL | {"maps": 60, "size": 96}
    out = tmp_path / "killed"
    script = (
        "from pathlib import Path\n"
        "from radiodiff.simulate import simulate_dataset\n"
        f"simulate_dataset(Path({str(out)!r}), workers=2, **{settings!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not any((out / "antenna").glob("[0-9]*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    time.sleep(0.5)
    finished = {p: p.stat().st_mtime_ns for p in (out / "antenna").glob("[0-9]*.json")}
    assert 1 <= len(finished) < 60
    time.sleep(1.0)
    assert len(list((out / "antenna").glob("[0-9]*.json"))) == len(finished)

    simulate_dataset(out, **settings)
    assert all(p.stat().st_mtime_ns == mtime for p, mtime in finished.items())
    assert digests(out) == digests(simulate_dataset(tmp_path / "whole", **settings))


# --- Failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"maps": 6},
        {"transmitters": 3},
        {"size": 96},
        {"cell_size_m": 1.0},
        {"seed": 4},
        {"cities": ["munich", "paris"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_parameters_are_refused(dataset, change):
    before = digests(dataset)
    with pytest.raises(ValueError, match=next(iter(change)) + ": there .*choose a new folder"):
        simulate_dataset(dataset, **SMALL | change)
    assert digests(dataset) == before


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch", encoding="utf-8")
    with pytest.raises(FileExistsError, match="choose another folder"):
        simulate_dataset(tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "change",
    [
        {"maps": 0},
        {"transmitters": 0},
        {"size": 8},
        {"seed": -1},
        {"workers": 0},
        {"cell_size_m": 0.0},
        {"cities": ["atlantis"]},
        {"cities": []},
        {"variants": ["DPN"]},
        {"variants": []},
    ],
    ids=str,
)
def test_bad_parameters(tmp_path, change):
    with pytest.raises(ValueError, match=f"expected {next(iter(change))}"):
        simulate_dataset(tmp_path / "out", **SMALL | change)
    assert not (tmp_path / "out").exists()
