"""Chapters as a reader runs them: papermill from the repository's root, straight after set-up."""

import os
import subprocess
import sys

import nbformat
import pytest

from radiodiff.simulate import ATTRIBUTION

from .conftest import ROOT


def papermill(output, *parameters: str, chapter: str = "train") -> subprocess.CompletedProcess[str]:
    notebook = f"notebooks/{chapter}.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, str(output)]
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    return subprocess.run(
        [*command, *parameters],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("papermill")
    done = papermill(folder / "out.ipynb", "-p", "config", "smoke", "-p", "run_dir", str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(folder / "out.ipynb", as_version=4)


def test_train_shows_its_figures_and_its_table(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3  # training maps, losses, predictions
    text = "".join(output.get("text", "") for output in outputs)
    assert "distance law" in text
    assert "U-Net" in text


def test_train_prints_no_warning(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


def test_radio_maps_of_another_city(tmp_path):
    parameters = ("-p", "city", "florence", "-p", "seed", "2")
    done = papermill(tmp_path / "out.ipynb", *parameters, chapter="radio_maps")
    assert done.returncode == 0, done.stderr[-3000:]
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    # Tile, scales, zeros, measurements, bends, losses at corners, engines, cars, channels,
    # calibration, values, an exercise.
    assert len(pictures) == 12
    text = "".join(output.get("text", "") for output in outputs)
    assert ATTRIBUTION in text
    assert "train and test share 1 maps: [289]" in text
    assert "\nsound: " in "\n" + text  # the verdict on the dataset it made


def test_misspelt_parameter_stops_the_run(tmp_path):
    done = papermill(tmp_path / "out.ipynb", "-p", "cofnig", "smoke")
    assert done.returncode != 0
    assert "unknown notebook parameter 'cofnig'" in done.stderr
    assert "did you mean 'config'" in done.stderr
