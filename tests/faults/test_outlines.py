"""Outlines and transmitter lists of any kind: on the map, or named in one line and nothing written.

A map of a city that lies elsewhere would be an open field, and look like a result.
"""

import json

import numpy as np
import pytest
from PIL import Image

from radiodiff.cli.main import main
from radiodiff.simulate import dataset_outlines, rasterize, read_outlines

from ..conftest import SHARED

SIZE = 32
RING = [[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]
HUGE = "9" * 400
REAL = SHARED / "data" / "radiomapseer_sample"


@pytest.fixture
def simulate(tmp_path, capsys):
    """Return a function that simulates what two files say: status, what was said, the folder."""

    def run(outlines, antennas=((5, 5),), *more):
        for name, content in (("7.json", outlines), ("antennas.json", antennas)):
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name).write_bytes(text.encode("latin-1"))
        words = ["--outlines", str(tmp_path / "7.json"), "--size", str(SIZE), *more]
        words += ["--antennas", str(tmp_path / "antennas.json"), "--out", str(tmp_path / "out")]
        status = main(["simulate", *words])
        return status, capsys.readouterr().err.replace(str(tmp_path), ""), tmp_path / "out"

    return run


def moved(dx, dy, scale=1.0):
    return [[[x * scale + dx, y * scale + dy] for x, y in RING]]


# --- Elsewhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outlines", "reason"),
    [
        (moved(680100, 4849000), "no outline lies on it"),
        (moved(-500, 3), "no outline lies on it"),
        (moved(3, SIZE), "no outline lies on it"),
        (moved(11.57, 48.13, 1e-5), "look like degrees"),
        (moved(-122.4, 37.7, 1e-5), "look like degrees"),
        (moved(11.57, 8.13, 1e-5) + moved(12.9, 9.4, 1e-5), "look like degrees"),
    ],
)
def test_outlines_that_are_not_on_the_map_are_refused(simulate, outlines, reason):
    """Projected, west of it, above it; degrees, also those whose numbers fall on the map."""
    status, said, out = simulate(outlines)
    assert status == 2
    assert reason in said
    points = np.array(outlines)[..., 0]
    for text in ("/7.json spans x", f"{points.min():.7g} to {points.max():.7g}", "the map 0 to 32"):
        assert text in said
    assert said.count("\n") == 1
    assert len(said) < 330
    assert "divide by the cell size" in said
    assert not out.exists()


def test_outlines_that_are_partly_off_the_map_are_counted(simulate):
    status, said, out = simulate([RING, *moved(100, 0), *moved(0, -90)])
    assert status == 0
    assert "spans x 10 to 120, y -80 to 20, the map 0 to 32 cells: 2 of 3 outlines lie off" in said
    assert (np.asarray(Image.open(out / "png/buildings_complete/7.png")) > 0).sum() == 100


def test_a_city_without_a_built_cell_is_told(simulate):
    status, said, _ = simulate([[[3.6, 3], [3.9, 3], [3.9, 20], [3.6, 20]]], [[8, 8]])
    assert status == 0
    assert "7.json: no outline holds the centre of a cell: the map is open" in said


def test_an_open_field_is_no_fault(simulate):
    status, said, _ = simulate([])
    assert status == 0
    assert "off" not in said


@pytest.mark.skipif(not REAL.is_dir(), reason="no RadioMapSeer sample beside the repository")
def test_real_outlines_are_read_as_ever(caplog):
    path = REAL / "polygon/buildings_complete/0.json"
    built = rasterize(dataset_outlines(REAL, 0), 256, 1.0)
    assert built.sum() == 16_340
    assert (built == rasterize(read_outlines(path), 256, 1.0)).all()
    assert not caplog.records


# --- Misshapen ------------------------------------------------------------------------------------

BAD_LISTS = {
    "[" * 100_000: "nested too deep",
    "[[[0, 0], [1, NaN], [2, 2]]]": "NaN",
    "[[[0, 0], [1, -Infinity], [2, 2]]]": "-Infinity",
    "[[[0, 0], [1e999, 1], [2, 2]]]": "inf",
    f"[[[0, 0], [{HUGE}, 1], [2, 2]]]": "999",
    f"[[[0, 0], [{HUGE * 20}, 1], [2, 2]]]": "",
    "[[[0, 0], [1e200, 1], [2, 2]]]": "1e+200",
    "[[[0, 0], [-2e9, 1], [2, 2]]]": "-2000000000",
    '[[[0, 0], ["1", "2"], [2, 2]]]': "'1'",
    "[[[0, 0], [true, 1], [2, 2]]]": "True",
    "[[[0, 0], [null, 1], [2, 2]]]": "None",
    "[[[0, 0], [[1], 1], [2, 2]]]": "[1]",
    "[[[0, 0], 1e-320, [2, 2]]]": "1e-320",
    "[[[0, 0], {}, [2, 2]]]": "{}",
    "[[[0, 0], [1], [2, 2]]]": "[1]",
    "[1e-320]": "1e-320",
    "[[]]": "[]",
    "[null]": "None",
    '["[[1, 2], [3, 4]]"]': "[[1, 2], [3, 4]]",
    '[{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}]': "Polygon",
    '{"type": "FeatureCollection", "features": []}': "GeoJSON",
    '{"a": 1, "a": 2}': "twice",
    "7": "must hold a list",
    '"' + "x" * 20_000 + '"': "must hold a list",
    '["' + "x" * 20_000 + '"]': "characters",
    "": "not valid JSON",
    "[[[0, 0], [1": "not valid JSON",
    "\xff\xfe": "not UTF-8",
}


@pytest.mark.parametrize("text", BAD_LISTS, ids=lambda text: text[:40] or "empty")
def test_misshapen_lists_are_one_line(simulate, text):
    """As outlines, and, taken out of the ring, as transmitters."""
    for name, arguments in (("7.json", (text,)), ("antennas.json", ([], text))):
        status, said, out = simulate(*arguments)
        assert status == 2, said
        assert f"/{name}" in said
        assert BAD_LISTS[text] in said or name != "7.json"
        assert said.count("\n") == 1
        assert len(said) < 330
        assert "Traceback" not in said
        assert not out.exists()


BAD_ANTENNAS = {
    "[[5, NaN]]": "NaN",
    f"[[{HUGE}, 7, 18]]": "999",
    "[[1e308, 7]]": "1e+308",
    '[["5", "5"]]': "'5'",
    '["55"]': "55",
    "[[5]]": "[5]",
    "[[false, true]]": "False",
    "[]": "no antenna is chosen",
    "[[1e8, 5]]": "lies off the map, which holds x from -0.5 to 31.5",
    "[[11.57, 48.13]]": "lies off the map",
    "[[15, 15]]": "inside a building",
}


@pytest.mark.parametrize("text", BAD_ANTENNAS)
def test_misplaced_transmitters_are_one_line(simulate, text):
    status, said, out = simulate([RING], text)
    assert status == 2
    assert "/antennas.json" in said
    assert BAD_ANTENNAS[text] in said
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "rings",
    [
        [[[4, 4], [20, 20], [20, 4], [4, 20]]],  # a bow tie
        [RING, RING, RING[::-1]],
        [[*RING[:-1], *RING]],
        [[[4, 4], [28, 4], [28, 28], [4, 28], [4, 4], [8, 8], [8, 20], [20, 20], [20, 8], [8, 8]]],
        [[[0, 0], [SIZE, 0], [SIZE, SIZE], [0, 20], [0, 10], [0, 30]]],  # a spike
        [RING, [[1, 1], [1, 1], [1, 1]], [[1, 1], [2, 2]], [[3, 3]]],
        [[[10, 10], [20, 10 + 1e-15], [20, 20], [10, 20 - 1e-15], [10 + 1e-16, 10]]],
        [[[-1e9, 10], [1e9, 10], [1e9, 20], [-1e9, 20]]],
        [[[25 + k % 7 * 1e-9, 25 + k % 5 * 1e-9] for k in range(99)] + RING],
        [[[16 + 9 * np.cos(k * 2.6), 16 + 9 * np.sin(k * 2.6)] for k in range(60)]],
        [[[10, 10, 7.5], [20, 10, 7.5], [20, 20, 7.5]], [RING, [12.5]]],
    ],
)
def test_rings_that_are_no_fine_polygons_are_taken(simulate, rings):
    """Crossings, repeats, spikes, huge and tiny steps: simulated, with some cells built."""
    status, said, out = simulate(rings, [[31, 1]] if rings[0][0] != [0, 0] else [[1, 31]])
    assert status == 0, said
    assert (np.asarray(Image.open(out / "png/buildings_complete/7.png")) > 0).any()
    assert (np.asarray(Image.open(out / "gain/DPM/7_0.png")) > 0).any()


# --- Sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--cell", text) for text in ("nan", "inf", "1e300", "-1", "1e-300")),
        ("--shift", "nan"),
        ("--shift", "inf"),
        ("--size", "1000000"),
    ],
)
def test_sizes_without_meaning_are_refused(simulate, option, value):
    status, said, out = simulate([RING], [[5, 5]], option, value)
    assert status == 2
    assert said.count("\n") == 1
    assert "expected" in said
    assert not out.exists()


def test_a_file_of_too_many_corners_is_refused(simulate, monkeypatch):
    monkeypatch.setattr("radiodiff.simulate.outlines.MAX_CORNERS", 8)
    status, said, _ = simulate([RING, RING])
    assert status == 2
    assert "more than 8 corners" in said


@pytest.mark.parametrize("number", ["1e400", HUGE, "nan", "0", "1.5", "1000000000000"])
def test_numbers_of_maps_without_meaning_are_refused(tmp_path, number):
    from radiodiff.simulate import simulate_dataset

    value = int(number) if number.isdecimal() else float(number)
    for name in ("maps", "transmitters", "size", "workers"):
        settings = {"maps": 1, "transmitters": 1, "size": 32} | {name: value}
        with pytest.raises(ValueError, match=f"expected {name} to be a whole number") as raised:
            simulate_dataset(tmp_path / "out", **settings)
        assert len(str(raised.value)) < 300
    assert not (tmp_path / "out").exists()
