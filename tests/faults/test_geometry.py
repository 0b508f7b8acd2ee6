"""Geometry keeps its units: where a transmitter stands, how long a cell is, what a folder says."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from radiodiff.cli.main import main
from radiodiff.data import DatasetError, RadioMapSeer, verify_dataset
from radiodiff.data.splits import read_manifest, split_maps
from radiodiff.simulate import (
    antenna_cell,
    dataset_outlines,
    rasterize,
    read_antennas,
    simulate_dataset,
    simulate_outlines,
)

from ..conftest import SHARED, write_radiomapseer

SIZE = 20
REAL = SHARED / "data" / "radiomapseer_sample"


@pytest.fixture
def own_city(tmp_path):
    """Return a function that simulates given transmitters over given outlines."""

    def simulate(positions, rings=(), *, name="7.json", **options):
        (tmp_path / name).write_text(json.dumps(list(rings)), encoding="utf-8")
        (tmp_path / "antennas.json").write_text(json.dumps(positions), encoding="utf-8")
        out = tmp_path / "out"
        options = {"size": SIZE} | options
        simulate_outlines(out, tmp_path / name, tmp_path / "antennas.json", **options)
        return out

    return simulate


def marked_cell(path):
    return tuple(np.argwhere(np.asarray(Image.open(path)))[0].tolist())


# --- Where a transmitter stands -------------------------------------------------------------------


def test_writer_and_readers_agree_on_every_position(own_city):
    """Whole and half positions, odd and even, up to every border cell; no two rules."""
    steps = [k / 2 for k in range(2 * SIZE - 1)]  # 0, 1/2, ..., size - 1
    places = [(x, y) for x in steps for y in (0, 3.5, 6.5, SIZE - 1)]
    places += [(x, y) for y in steps for x in (0, 3.5, 6.5, SIZE - 1)]
    places += [(-0.49, 0), (0, -0.49), (SIZE - 0.51, 2), (2, SIZE - 0.51)]
    out = own_city([list(place) for place in places])
    data = RadioMapSeer(out, "all")
    pictures = shutil.copytree(out, out.with_name("pictures"))
    shutil.rmtree(pictures / "antenna")
    by_picture = RadioMapSeer(pictures, "all")
    for t, (x, y) in enumerate(places):
        expected = SIZE - 1 - int(y + 0.5), int(x + 0.5)
        assert antenna_cell((x, y), (SIZE, SIZE)) == expected
        assert marked_cell(out / f"png/antennas/7_{t}.png") == expected
        assert data.transmitter_cell(7, t, (SIZE, SIZE)) == expected
        assert by_picture.transmitter_cell(7, t, (SIZE, SIZE)) == expected
    report = verify_dataset(out)
    assert report["verdict"] == "sound", report["faults"]
    assert report["transmitters"]["png/antennas"]["exact"] == len(places)


def test_the_rule_does_not_depend_on_the_length_of_a_cell(own_city):
    """0.1 m and 0.7 m are no binary fractions: metres and back may miss the cell."""
    places = [[k + 0.5, SIZE - 1] for k in range(SIZE - 1)]
    for cell_size_m in (0.1, 0.7):
        out = own_city(places, cell_size_m=cell_size_m)
        cells = [marked_cell(out / f"png/antennas/7_{t}.png") for t in range(len(places))]
        assert cells == [(0, k + 1) for k in range(SIZE - 1)]
        shutil.rmtree(out)


@pytest.mark.parametrize(
    "place", [(-0.6, 3), (3, -0.6), (SIZE - 0.5, 3), (3, SIZE - 0.5), (1e9, 0)]
)
def test_what_lies_off_the_map_is_refused_alike(own_city, place):
    with pytest.raises(ValueError, match=r"lies off the map, which holds x from -0\.5 to 19\.5"):
        antenna_cell(place, (SIZE, SIZE))
    with pytest.raises(ValueError, match=r"antennas\.json: antenna 0 at .*lies off the map"):
        own_city([place])
    out = own_city([[2, 2]])
    (out / "antenna/7.json").write_text(json.dumps([place]), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"7\.json: transmitter 0 at .*lies off the map"):
        RadioMapSeer(out, "all").transmitter_cell(7, 0, (SIZE, SIZE))
    assert "antenna/7.json" in {row["file"] for row in verify_dataset(out)["faults"]}


def test_a_transmitter_on_the_very_edge_is_refused_before_a_file_is_written(own_city, tmp_path):
    with pytest.raises(ValueError, match=r"antenna 0 at x=-0\.5, y=3 lies on the edge of the map"):
        own_city([[-0.5, 3]])
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="no RadioMapSeer sample beside the repository")
def test_real_lists_are_read_as_ever():
    """All positions of the real dataset are whole: column x, row 255 - y; its cells are 1 m."""
    positions = read_antennas(REAL / "antenna/0.json")
    assert [antenna_cell(p, (256, 256)) for p in positions] == [
        (255 - round(y), round(x)) for x, y in positions
    ]
    data = RadioMapSeer(REAL, "all")
    assert data.cell_size_m == 1.0
    picture = marked_cell(REAL / "png/antennas/0_0.png")
    assert data.transmitter_cell(0, 0, (256, 256)) == picture


# --- How long a cell is ---------------------------------------------------------------------------

RING = [[4, 4], [4, 12], [12, 12], [12, 4], [4, 4]]


@pytest.mark.parametrize("shift", [None, 0.0])
def test_given_outlines_keep_their_cell_size(own_city, tmp_path, shift):
    """By function and by command line; reader, outlines and report know the 4 m."""
    more = {} if shift is None else {"shift_cells": shift}
    out = own_city([[2, 2], [15, 15]], [RING], cell_size_m=4.0, **more)
    words = ["--outlines", str(tmp_path / "7.json"), "--antennas", str(tmp_path / "antennas.json")]
    words += [] if shift is None else ["--shift", str(shift)]
    again = tmp_path / "again"
    assert main(["simulate", *words, "--size", str(SIZE), "--cell", "4", "--out", str(again)]) == 0
    for root in (out, again):
        data = RadioMapSeer(root, "all")
        assert data.cell_size_m == 4.0
        assert float(data[0].scene.cell_size_m) == 4.0
        mask = rasterize(dataset_outlines(root, 7), SIZE, 4.0)
        stored = np.asarray(Image.open(root / "png/buildings_complete/7.png")) > 0
        assert mask.any()
        assert (mask == stored).all()
        report = verify_dataset(root)
        assert report["verdict"] == "sound", (report["faults"], report["missing"])
        assert report["line_of_sight"]["gain/DPM"]["share_within_half_db"] > 0.95
        origin = read_manifest(root)["origin"]
        assert origin["antenna"] == [0.5, 0.5]
        assert origin["polygon"] == [data_shift(shift)] * 2


def data_shift(shift):
    return -0.501 if shift is None else shift


def test_a_dataset_says_its_cell_size_and_origin(tmp_path):
    settings = {"maps": 1, "transmitters": 1, "size": 32, "cell_size_m": 4.0}
    out = simulate_dataset(tmp_path / "maps", **settings)
    manifest = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    assert manifest["parameters"]["cell_size_m"] == 4.0
    assert manifest["origin"]["polygon"] == [0.0, 0.0]
    assert RadioMapSeer(out, "all").cell_size_m == 4.0
    del manifest["parameters"]["cell_size_m"]
    (out / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"dataset\.json does not say how long a cell is: add"):
        RadioMapSeer(out, "all")
    with pytest.raises(ValueError, match=r"dataset\.json does not say how long a cell is"):
        dataset_outlines(out, 0)


def test_a_silent_folder_is_asked(tmp_path):
    """Maps of 256 x 256 cells without a word are RadioMapSeer; of others nothing is assumed."""
    root = write_radiomapseer(tmp_path / "maps", (159,))
    (root / "dataset.json").unlink()
    with pytest.raises(DatasetError, match=r"maps of 32 x 32 cells.*how long is a cell") as raised:
        RadioMapSeer(root, "all")
    said = str(raised.value)
    assert "\n" not in said
    law = verify_dataset(root)["line_of_sight"]
    assert law["gain/DPM"]["skipped"]
    (root / "dataset.json").write_text(said[said.index("{") :], encoding="utf-8")  # as it says
    assert RadioMapSeer(root, "train").cell_size_m == 2.0
    whole = write_radiomapseer(tmp_path / "whole", (159,), transmitters=1, size=256)
    assert not (whole / "dataset.json").exists()
    assert RadioMapSeer(whole, "train").cell_size_m == 1.0


def test_other_maps_join_a_folder_only_with_its_units(own_city):
    out = own_city([[2, 2], [15, 15]], [RING], cell_size_m=4.0, antenna_ids=[1])
    own_city([[2, 2], [15, 15]], [RING], cell_size_m=4.0, antenna_ids=[0], variants=["IRT2"])
    own_city([[3, 2]], [RING], name="9.json", cell_size_m=4.0)
    rows = {row["id"]: row["gains"] for row in read_manifest(out)["maps"]}
    assert rows == {7: {"DPM": [1], "IRT2": [0]}, 9: {"DPM": [0]}}
    assert RadioMapSeer(out, "all").names == ["7_1", "9_0"]
    assert split_maps(out, "train", [7, 9, 159]) == split_maps(REAL / "none", "train", [7, 9, 159])
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for change in ({"cell_size_m": 2.0}, {"cell_size_m": 4.0, "shift_cells": 0.0}, {"size": 24}):
        with pytest.raises(ValueError, match=rf"{next(reversed(change))}: there .*new folder"):
            own_city([[3, 2]], [RING], name="9.json", **{"cell_size_m": 4.0} | change)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    (out / "gain/DPM/9_0.png").unlink()
    (out / "gain/DPM/7_1.png").rename(out / "gain/DPM/9_5.png")
    with pytest.raises(DatasetError, match=r"lacks 1 maps, first 9_0\.png"):
        RadioMapSeer(out, "all")


# --- Manifests ------------------------------------------------------------------------------------

#: Content of ``dataset.json``, MAP and HUGE to be put in, and what is said of it.
BAD_MANIFESTS = {
    "[" * 100_000: "nested too deep",
    '{"maps": [MAP], "maps": []}': "names 'maps' twice",
    '{"maps": [{"id": NaN, "split": "train"}]}': "holds NaN",
    '{"maps": [{"id": true, "split": "train"}]}': "no map with an id",
    '{"maps": [{"id": -1, "split": "train"}]}': "no map with an id",
    '{"maps": [{"id": "../1", "split": "train"}]}': "no map with an id",
    '{"maps": [7]}': "no map with an id",
    '{"maps": [{"id": 0, "split": "../../x"}]}': "none of train, val, test",
    '{"maps": [{"id": 0, "split": ["train"]}]}': "none of train, val, test",
    '{"maps": [{"id": 0, "split": "train", "city": []}]}': "none of train, val, test",
    '{"maps": [MAP, {"id": 1}]}': "some maps a split",
    '{"maps": [{"id": 0, "gains": {"DPM": ["0"]}}]}': "no lists of transmitters",
    '{"maps": [MAP], "parameters": 2147483648}': "section of keys",
    '{"maps": [MAP], "parameters": []}': "section of keys",
    '{"maps": [MAP], "generator": "x"}': "section of keys",
    '{"maps": [MAP], "parameters": {"transmitters": 1e99}}': "how many transmitters",
    '{"maps": [MAP], "parameters": {"transmitters": HUGE}}': "how many transmitters",
    '{"maps": [MAP], "parameters": {"size": 99999999}}': "how many cells",
    '{"maps": [MAP], "parameters": {"cell_size_m": 0}}': "how long a cell",
    '{"maps": [MAP], "parameters": {"cell_size_m": HUGE}}': "how long a cell",
    '{"maps": [MAP], "parameters": {"variants": ["../DPM"]}}': "must list variants",
    '{"maps": "HUGE"}': "must list maps",
    "{}": "must list maps",
    "\xff": "JSON",
}


@pytest.mark.parametrize("text", BAD_MANIFESTS, ids=lambda text: text[:60])
def test_bad_manifests_are_one_line(tmp_path, text):
    """For the reader, the report and the simulator alike, which then writes nothing."""
    root = write_radiomapseer(tmp_path / "maps", (0,), transmitters=1)
    path, reason = root / "dataset.json", BAD_MANIFESTS[text]
    text = text.replace("MAP", '{"id": 0, "split": "train"}').replace("HUGE", "9" * 4000)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"dataset\.json does not list maps") as raised:
        RadioMapSeer(root, "all")
    for said in (str(raised.value), simulate_error(root)):
        said = said.replace(str(root), "")
        assert reason in said or reason == "JSON"
        assert "\n" not in said
        assert len(said) < 300
    assert [row["file"] for row in verify_dataset(root)["faults"]] == ["dataset.json"]
    assert path.read_bytes() == text.encode("latin-1")


def simulate_error(root):
    with pytest.raises(ValueError, match=r"dataset\.json") as raised:
        simulate_dataset(root, maps=1, transmitters=1, size=32)
    return str(raised.value)


def test_altered_parameters_are_refused_shortly(tmp_path):
    settings = {"maps": 1, "transmitters": 1, "size": 32, "cell_size_m": 4.0}
    out = simulate_dataset(tmp_path / "maps", **settings)
    path = out / "dataset.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    for section, key, value in (
        ("generator", "version", "9" * 9000),
        ("parameters", "k" * 9000, 1),
        ("constants", "dominant_path", [[["x"] * 99] * 99]),
    ):
        altered = json.loads(json.dumps(whole))
        altered[section][key] = value
        path.write_text(json.dumps(altered), encoding="utf-8")
        with pytest.raises(ValueError, match="begun with other parameters") as raised:
            simulate_dataset(out, **settings)
        assert len(str(raised.value).replace(str(out), "")) < 300
    whole["maps"][0]["city"] = "paris"
    path.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(ValueError, match="other cities or splits"):
        simulate_dataset(out, **settings)
