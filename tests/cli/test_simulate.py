"""`radiodiff simulate`: a dataset by options or by file, one's own city, and wrong mixtures."""

import json

import pytest

from radiodiff.cli.main import main

CITY = {
    "7.json": [[[10, 10], [10, 30], [40, 30], [40, 10], [10, 10]]],
    "antennas.json": [[45, 35], [20, 20], [60, 5]],
}


@pytest.fixture
def city(tmp_path):
    for name, content in CITY.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    paths = (tmp_path / "7.json", tmp_path / "antennas.json")
    return ["--outlines", str(paths[0]), "--antennas", str(paths[1]), "--size", "64"]


def test_dataset_by_file_is_the_dataset_by_options(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(
        "maps: 1\ntransmitters: 1\nsize: 32\ncell_size_m: 4.0\nworkers: 1\nvariants: [DPM, IRT2]\n",
        encoding="utf-8",
    )
    by_file, by_options = tmp_path / "a", tmp_path / "b"
    assert main(["simulate", "--config", str(tmp_path / "tiny.yaml"), "--out", str(by_file)]) == 0
    words = "--maps 1 --transmitters 1 --size 32 --cell 4 --variants DPM,IRT2"
    assert main(["simulate", *words.split(), "--out", str(by_options)]) == 0
    assert (by_file / "SHA256SUMS").read_text(encoding="utf-8") == (
        by_options / "SHA256SUMS"
    ).read_text(encoding="utf-8")
    assert len(json.loads((by_file / "dataset.json").read_text(encoding="utf-8"))["commit"]) >= 7
    assert main(["data", "verify", str(by_file)]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("sound")


def test_city_of_ones_own(city, tmp_path, capsys):
    out = tmp_path / "maps"
    assert main(["simulate", *city, "--antenna-ids", "0,2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == [str(out / f"gain/DPM/7_{t}.png") for t in (0, 2)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--maps 1 --transmitters 1", "--out is needed"),
        ("--out OUT --maps 1", "--transmitters is needed"),
        ("--out OUT --config sim-demo --maps 1", "--maps does not go with --config"),
        ("--out OUT --config sim-dmo", "configs/data/ holds sim-demo, sim-full"),
        ("--out OUT --antenna-ids 1 --maps 1 --transmitters 1", "--antenna-ids belongs to --outl"),
        ("--out OUT --maps 1 --transmitters 1 --variants DPN", "variants to be a list out of DPM"),
        ("--out OUT CITY --maps 3", "--maps does not go with --outlines"),
        ("--out OUT CITY --antenna-ids 1,x", "--antenna-ids must be numbers with commas, got 1,x"),
        ("--out OUT CITY --antenna-ids 1", "antenna 1 at x=20, y=20 lies inside a building"),
        ("--out OUT CITY --antenna-ids 9", "has antennas 0 to 2, not 9"),
        ("--out OUT --outlines nowhere.json", "--outlines needs --antennas"),
        ("--out OUT --outlines nowhere.json --antennas nowhere.json", "nowhere.json"),
    ],
)
def test_wrong_words_are_explained(city, tmp_path, capsys, words, message):
    arguments = []
    for word in words.split():
        arguments += city if word == "CITY" else [word.replace("OUT", str(tmp_path / "out"))]
    assert main(["simulate", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
