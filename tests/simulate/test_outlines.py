"""Outlines of buildings in RadioMapSeer's formats: read, misread, and real."""

import numpy as np
import pytest
from PIL import Image

from radiodiff.simulate import dataset_outlines, rasterize, read_outlines, simulate_outlines

from .conftest import SAMPLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"type": 1, "c": 2}]', "must be a list of rings"),
        ("[[[1], [2], [3]]]", "must be a list of rings"),
        ("[[[0, 0], [1", "cannot read .*7.json"),
        ('{"a": 1}', "must hold a list, got dict"),
        ('[["a", "b"]]', "must be a list of rings"),
        ("[[1, 2], [3, 4]]", "must be a list of rings"),
        ("[[[0, 0], [1, NaN], [2, 2]]]", "7.json: holds NaN"),
    ],
)
def test_bad_outlines_are_named(outlines, tmp_path, text, message):
    outlines[0].write_text(text, encoding="utf-8")
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
    path.write_text("[[[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [12.5]]]", encoding="utf-8")
    assert read_outlines(path, shift_cells=0)[0].area == 16


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="no RadioMapSeer sample beside the repository")
def test_real_outlines_hold_the_cells_without_gain():
    gains = [np.array(Image.open(path)) for path in sorted((SAMPLE / "gain/DPM").glob("*.png"))]
    silent = np.max(gains, axis=0) == 0
    built = rasterize(dataset_outlines(SAMPLE, 0), 256, 1.0)
    assert (silent & built).sum() / (silent | built).sum() > 0.999
