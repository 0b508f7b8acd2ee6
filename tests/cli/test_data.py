"""``radiodiff data``: what it prints, what it writes and how it ends."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from radiodiff.cli.main import main
from radiodiff.simulate import simulate_dataset

from ..conftest import SHARED

REAL = SHARED / "data" / "radiomapseer_sample"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli") / "maps"
    return simulate_dataset(root, maps=2, transmitters=2, size=32, cell_size_m=4.0, seed=5)


@pytest.fixture
def root(simulated, tmp_path):
    return shutil.copytree(simulated, tmp_path / "maps")


def test_verify_sound(root, capsys):
    assert main(["data", "verify", str(root)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"sound: {root}\n")
    assert "gain/DPM" in out
    assert err == ""  # it takes no second


def test_verify_json_and_sample(root, capsys):
    assert main(["data", "verify", str(root), "--json", "--sample", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["counts"]["gain/DPM"]["decoded"] == 1
    assert main(["data", "verify", str(root), "--sample", "0"]) == 2
    assert "a sample of 1 or more" in capsys.readouterr().err


def test_verify_not_sound(root, tmp_path, capsys):
    path = root / "gain/DPM/1_0.png"
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    assert main(["data", "verify", str(root)]) == 1
    assert "gain/DPM/1_0.png: is 16 x 16, must be 32 x 32" in capsys.readouterr().out
    path.unlink()
    assert main(["data", "verify", str(root)]) == 1
    assert capsys.readouterr().out.startswith("incomplete: ")
    assert main(["data", "verify", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().out.startswith("no dataset: ")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real RadioMapSeer sample at {REAL}")
def test_verify_real_sample(capsys):
    assert main(["data", "verify", str(REAL)]) == 1
    assert "gain/DPM                      7 of 56,080" in capsys.readouterr().out


def test_show(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "show", str(root), "1_0"]) == 0
    assert capsys.readouterr().out == "picture: 1_0_DPM.png\n"
    assert np.array(Image.open(tmp_path / "1_0_DPM.png")).std() > 0

    shutil.copytree(root / "gain/DPM", root / "gain/carsIRT2")
    shutil.copytree(root / "png/buildings_complete", root / "png/cars")
    out = tmp_path / "cars.png"
    assert (
        main(["data", "show", str(root), "1_0", "--simulation", "carsIRT2", "--out", str(out)]) == 0
    )
    assert out.is_file()


def test_show_names_what_there_is(root, capsys):
    assert main(["data", "show", str(root), "1_9"]) == 2
    assert "no sample 1_9" in (err := capsys.readouterr().err)
    assert "is it one of 1_1, 1_0" in err
    assert main(["data", "show", str(root), "Z"]) == 2
    assert "4 radio maps of 2 tiles; is it one of 0_0, 0_1, 1_0?" in capsys.readouterr().err
    assert main(["data", "show", str(root), "1_0", "--simulation", "IRT4"]) == 2
    assert "gain/IRT4" in capsys.readouterr().err


def test_pack(root, tmp_path, capsys):
    assert main(["data", "pack", str(root), "--out", str(tmp_path / "packs")]) == 0
    out, err = capsys.readouterr()
    assert out == f"packs: {tmp_path / 'packs'}\n"
    assert err.count("packed ") == 27  # the folders; it takes no second
    assert main(["data", "pack", str(root), "--folder", "gain/DPM"]) == 0
    assert [path.name for path in (root / "packed").rglob("*.npy")] == ["DPM.npy"]
    (root / "gain/DPM/1_0.png").write_bytes(b"")
    assert main(["data", "pack", str(root)]) == 2
    assert "1_0.png" in capsys.readouterr().err
