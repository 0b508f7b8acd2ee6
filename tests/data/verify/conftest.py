"""A small simulated dataset to damage, and what every report must fulfil."""

import json
import shutil

import pytest

from radiodiff.data import format_report, verify_dataset
from radiodiff.simulate import simulate_dataset

MAPS, TRANSMITTERS, SIZE = 4, 3, 64
GAIN = "gain/DPM/1_2.png"


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Four maps of a dense grid, so that 64 x 64 cells hold walls, corners and streets."""
    root = tmp_path_factory.mktemp("verify") / "maps"
    settings = {"size": SIZE, "cell_size_m": 4.0, "seed": 5}
    simulate_dataset(root, maps=MAPS, transmitters=TRANSMITTERS, **settings)
    (root / "SHA256SUMS").unlink()  # tests break single files; `test_digests` makes its own list
    return root


@pytest.fixture
def root(simulated, tmp_path):
    return shutil.copytree(simulated, tmp_path / "maps")


def simulate_variants(root, *variants):
    settings = {"maps": 2, "transmitters": 2, "size": SIZE, "cell_size_m": 4.0, "seed": 5}
    simulate_dataset(root, **settings, variants=variants)
    (root / "SHA256SUMS").unlink()
    return root


def check(root, **options):
    """Verify, and require of every report what holds for all: JSON, short lines, any terminal."""
    report = verify_dataset(root, **options)
    assert json.loads(json.dumps(report)) == report
    text = format_report(report)
    assert all(len(line) <= 100 for line in text.splitlines())
    text.encode("utf-8")
    assert text.startswith(f"{report['verdict']}: ")
    return report


def faults(report):
    return {row["file"]: row["fault"] for row in report["faults"]}


def missing(report):
    return {row["folder"]: row for row in report["missing"]}
