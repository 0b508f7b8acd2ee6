"""A city of one's own: outlines and antennas in, radio maps out."""

import json
import math

import numpy as np
import pytest
import shapely
from PIL import Image

from radiodiff.simulate import (
    DominantPath,
    dataset_outlines,
    rasterize,
    read_outlines,
    simulate_outlines,
)
from radiodiff.simulate.outlines import RADIOMAPSEER_SHIFT_CELLS
from radiodiff.units import (
    path_gain_db_to_uint8,
)


@pytest.fixture
def outlines(tmp_path):
    """Two houses and three antennas, one of them indoors, in RadioMapSeer's formats."""
    rings = [
        [[10, 10], [10, 30], [40, 30], [40, 10], [10, 10]],
        [[50, 40], [70, 40], [70, 60], [50, 60], [50, 40]],
    ]
    (tmp_path / "7.json").write_text(json.dumps(rings))
    (tmp_path / "antennas.json").write_text(json.dumps([[45, 35], [20, 20], [80, 5]]))
    return tmp_path / "7.json", tmp_path / "antennas.json"


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"type": 1, "c": 2}]', "must be a list of rings"),
        ("[[[1], [2], [3]]]", "must be a list of rings"),
        ("[[[0, 0], [1", "cannot read .*7.json"),
        ('{"a": 1}', "must hold a list, got dict"),
        ('[["a", "b"]]', "must be a list of rings"),
        ("[[1, 2], [3, 4]]", "must be a list of rings"),
        ("[[[0, 0], [1, NaN], [2, 2]]]", "not finite"),
    ],
)
def test_bad_outlines_are_named(outlines, tmp_path, text, message):
    outlines[0].write_text(text)
    with pytest.raises(ValueError, match=message):
        simulate_outlines(tmp_path / "out", *outlines, size=96)
    outlines[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"7\.json"):
        simulate_outlines(tmp_path / "out", *outlines, size=96)


def test_outlines_of_simulated_and_of_3d_datasets(dataset, tmp_path):
    """Courtyards stay open; heights are passed over."""
    for m in range(5):
        mask = np.array(Image.open(dataset / f"png/buildings_complete/{m}.png")) > 0
        again = rasterize(dataset_outlines(dataset, m), 64, 2.0)
        assert (again != mask).sum() <= 2  # vertices are rounded
    path = tmp_path / "3d.json"
    path.write_text("[[[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [12.5]]]")
    assert read_outlines(path, shift_cells=0)[0].area == 16
