"""Shared fixtures: a fake dataset in RadioMapSeer's real layout, and a tiny configuration."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.config import Config, load_config

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# Two maps of each split of the published permutation.
TRAIN_MAPS, TEST_MAPS = (159, 501), (419, 103)


def pytest_addoption(parser):
    parser.addoption(
        "--vectors",
        type=Path,
        metavar="DIR",
        default=ROOT / "tests" / "parity" / "vectors",
        help="folder of numbers of the public code for tests/parity (default: the committed one)",
    )


def write_radiomapseer(root: Path, maps, transmitters: int = 3, size: int = 32) -> Path:
    """Write a small dataset with Pillow alone, independent of our own writer."""
    rng = np.random.default_rng(0)
    for folder in ("gain/DPM", "png/buildings_complete", "png/antennas", "antenna"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for m in maps:
        buildings = np.zeros((size, size), np.uint8)
        buildings[4:12, 4 : 12 + m % 7] = 255
        Image.fromarray(buildings).save(root / f"png/buildings_complete/{m}.png")
        positions = []
        for t in range(transmitters):
            row, col = int(rng.integers(16, size - 2)), int(rng.integers(2, size - 2))
            positions.append([col, size - 1 - row])
            rows, cols = np.mgrid[:size, :size]
            distance = np.hypot(rows - row, cols - col).clip(1)
            gray = np.rint(255 - 70 * np.log10(distance)).clip(0, 255).astype(np.uint8)
            gray[buildings > 0] = 0
            Image.fromarray(gray).save(root / f"gain/DPM/{m}_{t}.png")
            antenna = np.zeros((size, size), np.uint8)
            antenna[row, col] = 255
            Image.fromarray(antenna).save(root / f"png/antennas/{m}_{t}.png")
        (root / f"antenna/{m}.json").write_text(json.dumps(positions))
    return root


@pytest.fixture(autouse=True)
def _package_logger_as_found():
    """The command line points the package's log at a stream that a test may close."""
    yield
    package = logging.getLogger("radiodiff")
    package.handlers, package.propagate = [], True


@pytest.fixture
def dataset_root(tmp_path: Path) -> Path:
    return write_radiomapseer(tmp_path / "RadioMapSeer", (*TRAIN_MAPS, *TEST_MAPS))


@pytest.fixture
def tiny(dataset_root: Path) -> Config:
    """The smoke configuration on the fake dataset, four steps a stage."""
    return load_config(
        "smoke",
        [
            f"data.root={dataset_root}",
            "data.simulate=null",
            "autoencoder_loss.discriminator_start=2",
            *(
                f"{stage}.{key}"
                for stage in ("train_autoencoder", "train")
                for key in (
                    "max_steps=4",
                    "batch_size=2",
                    "log_every=1",
                    "checkpoint_every=2",
                    "ema_start=1",
                )
            ),
        ],
    )
