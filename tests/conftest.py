"""Shared fixtures: a fake dataset in RadioMapSeer's real layout, and a tiny configuration."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.config import Config, load_config
from radiodiff.data import RadioMapSeer

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
        (root / f"antenna/{m}.json").write_text(json.dumps(positions), encoding="utf-8")
    if size != 256:  # only the real dataset need not say how long a cell is
        (root / "dataset.json").write_text('{"parameters": {"cell_size_m": 1.0}}', encoding="utf-8")
    return root


def write_variants(root: Path) -> Path:
    """Add the real dataset's other simulations, cars and missing buildings to a fake one.

    IRT2 is 20 gray levels below DPM, IRT4 has the first two transmitters, cars take 10 levels
    from every simulation; buildings lose their first row for each one missing and their first
    column for each version.
    """
    kinds = {"IRT2": 20, "IRT4": 30, "carsDPM": 10, "carsIRT2": 30, "carsIRT4": 40}
    for kind, below in kinds.items():
        (root / "gain" / kind).mkdir()
        for path in (root / "gain/DPM").iterdir():
            if "IRT4" not in kind or int(path.stem.split("_")[1]) < 2:
                gray = np.array(Image.open(path)).astype(int) - below
                Image.fromarray(gray.clip(0).astype(np.uint8)).save(
                    root / "gain" / kind / path.name
                )
    (root / "png/cars").mkdir()
    for path in (root / "png/buildings_complete").iterdir():
        buildings = np.array(Image.open(path))
        cars = np.zeros_like(buildings)
        cars[14, 2:6] = 255
        Image.fromarray(cars).save(root / "png/cars" / path.name)
        for missing in range(1, 5):
            for version in range(1, 7):
                folder = root / f"png/buildings_missing{missing}/{version}"
                folder.mkdir(parents=True, exist_ok=True)
                fewer = buildings.copy()
                fewer[: 4 + missing] = 0
                fewer[:, : 4 + version] = 0
                Image.fromarray(fewer).save(folder / path.name)
    return root


def write_radiomap3dseer(root: Path, maps, transmitters: int = 2, size: int = 32) -> Path:
    """Write a small dataset in RadioMap3DSeer's layout."""
    rng = np.random.default_rng(1)
    for folder in ("gain", "png/buildingsWHeight", "png/antennasWHeight"):
        (root / folder).mkdir(parents=True)
    for m in maps:
        heights = np.zeros((size, size), np.uint8)
        heights[4:12, 4:12], heights[16:20, 8:24] = 1 + m % 200, 130
        Image.fromarray(heights).save(root / f"png/buildingsWHeight/{m}.png")
        for t in range(transmitters):
            row, col = rng.choice(np.argwhere(heights > 0))
            antenna = np.zeros_like(heights)
            antenna[row, col] = heights[row, col]
            Image.fromarray(antenna).save(root / f"png/antennasWHeight/{m}_{t}.png")
            gray = rng.integers(0, 240, (size, size), dtype=np.uint8)
            Image.fromarray(gray).save(root / f"gain/{m}_{t}.png")
    return root


def write_edges(root: Path, *, size: tuple[int, int] = (40, 48), pictures: int = 3) -> Path:
    """Write pictures with edges, ``(height, width)``, and pictures to draw edges for.

    Red is 5 times the row, green 5 times the column; an edge runs down column 20.
    """
    rows, columns = np.mgrid[: size[0], : size[1]]
    for k in range(pictures):
        blue = np.full_like(rows, 10 * k)
        picture = np.stack([5 * rows, 5 * columns, blue], -1).astype(np.uint8)
        edge = np.zeros(size, np.uint8)
        edge[:, 20], edge[:, 21], edge[:, 22] = 200, 77, 76
        for kind, image in (("image", picture), ("edge", edge)):
            folder = root / kind / f"set{k % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{k}.png")
    (root / "test").mkdir()
    Image.fromarray(picture[:32, :32]).save(root / "test/a.png")
    Image.fromarray(picture[:36, :44]).save(root / "test/b.jpg")
    return root


@pytest.fixture(autouse=True)
def _package_logger_as_found():
    """The command line points the package's log at a stream that a test may close."""
    yield
    package = logging.getLogger("radiodiff")
    package.handlers, package.propagate = [], True
    package.setLevel(logging.NOTSET)


@pytest.fixture
def dataset_root(tmp_path: Path) -> Path:
    return write_radiomapseer(tmp_path / "RadioMapSeer", (*TRAIN_MAPS, *TEST_MAPS))


@pytest.fixture
def training(dataset_root: Path) -> RadioMapSeer:
    return RadioMapSeer(dataset_root, "train")


@pytest.fixture
def variants_root(dataset_root: Path) -> Path:
    return write_variants(dataset_root)


@pytest.fixture
def tiny(dataset_root: Path) -> Config:
    """The smoke configuration on the fake dataset, four steps a stage."""
    return tiny_config(dataset_root)


def tiny_config(dataset_root: Path) -> Config:
    """The same, for a fixture of another scope."""
    return load_config(
        "smoke",
        [
            f"data.root={dataset_root}",
            "data.simulate=null",
            "autoencoder_loss.discriminator_start=2",
            *(
                f"{stage}.{key}"
                for stage in ("autoencoder_training", "training")
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


def overrides(tiny) -> list[str]:
    """The tiny configuration as command-line options."""
    pairs = [f"data.root={tiny.data.root}", "data.simulate=null"]
    for stage in ("autoencoder_training", "training"):
        pairs += [f"{stage}.{k}" for k in ("max_steps=4", "batch_size=2", "checkpoint_every=2")]
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.fixture
def command(tiny, tmp_path):
    return ["train", "--config", "smoke", "--run-dir", str(tmp_path / "run"), *overrides(tiny)]


def with_data(config, channels=2, **changes):
    """The configuration on other data, with a network that takes their condition."""
    conv = dataclasses.replace(config.network.conv, in_channels=channels)
    network = dataclasses.replace(config.network, conv=conv)
    data = dataclasses.replace(config.data, **changes)
    return dataclasses.replace(config, data=data, network=network)
