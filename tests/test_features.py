"""k² maps: the formula cell by cell, known answers, and a cache that cannot be stale."""

import numpy as np
import pytest
from PIL import Image

from radiodiff.data import k2_map
from radiodiff.data.features import FeatureCache


@pytest.fixture
def gray():
    rows, columns = np.mgrid[:20, :24]
    result = 255 - 60 * np.log10(np.hypot(rows - 8, columns - 11).clip(1))
    return np.rint(result).astype(np.uint8)


@pytest.fixture
def transmitter_map(gray):
    result = np.zeros(gray.shape)
    result[8, 11] = 1
    return result


def k2_by_hand(gray, transmitter_map):
    """The definition, one cell after the other, in double precision."""
    height, width = gray.shape
    power_w = 10 ** ((23 - 30 - 147 + 100 * (gray / 255)) / 10)
    q = np.zeros((height, width))
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            u = power_w[row, column]
            around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            laplace = sum(power_w[cell] for cell in around) - 4 * u
            q[row, column] = min((laplace + transmitter_map[row, column] * u) / u, 0)
    inner = q[1:-1, 1:-1]
    result = np.full((height, width), 255.0)
    result[1:-1, 1:-1] = 255 * (inner - inner.min()) / (inner.max() - inner.min())
    return result


def test_formula(gray, transmitter_map):
    """Bytes are cut off, not rounded."""
    found = k2_map(gray, transmitter_map)
    expected = k2_by_hand(gray, transmitter_map)
    assert found.dtype == np.uint8
    difference = expected - found
    assert difference.min() > -1e-2
    assert difference.max() < 1
    assert (found[[0, -1]] == 255).all()
    assert (found[:, [0, -1]] == 255).all()


def test_peaks_are_dark_and_the_transmitter_is_less_so():
    """A lone bright cell has q = -4; its transmitter adds 1; flat cells have 0."""
    gray = np.full((9, 9), 50, np.uint8)
    gray[2, 2] = gray[6, 6] = 250
    nowhere = np.zeros((9, 9))
    found = k2_map(gray, nowhere)
    assert found[2, 2] == found[6, 6] == 0
    assert (found == 255).sum() == 81 - 2
    nowhere[6, 6] = 1
    found = k2_map(gray, nowhere)
    assert found[2, 2] == 0
    assert found[6, 6] == pytest.approx(255 / 4, abs=1)


def test_a_map_without_structure():
    """The public code divides by zero there."""
    assert (k2_map(np.full((5, 5), 80, np.uint8), np.zeros((5, 5))) == 255).all()


@pytest.mark.parametrize("shape", [(2, 5), (5, 6)])
def test_shapes_that_do_not_fit(shape):
    with pytest.raises(ValueError, match="two maps of one shape"):
        k2_map(np.zeros(shape, np.uint8), np.zeros((5, 5)))


def test_cache_is_read_and_made_again_when_the_map_changed(gray, transmitter_map, tmp_path):
    cache = FeatureCache(tmp_path / "k2")
    expected = k2_map(gray, transmitter_map)
    np.testing.assert_array_equal(cache.k2("3_1", gray, transmitter_map), expected)
    file = tmp_path / "k2/3_1.png"
    np.testing.assert_array_equal(np.array(Image.open(file)), expected)
    stamp = file.stat().st_mtime_ns
    np.testing.assert_array_equal(
        FeatureCache(tmp_path / "k2").k2("3_1", gray, transmitter_map), expected
    )
    assert file.stat().st_mtime_ns == stamp
    changed, moved = gray.copy(), np.roll(transmitter_map, 1, axis=0)
    changed[3, 3] = 255
    for source in ((changed, transmitter_map), (gray, moved), (gray, transmitter_map)):
        found = cache.k2("3_1", *source)
        np.testing.assert_array_equal(found, k2_map(*source))
        np.testing.assert_array_equal(np.array(Image.open(file)), found)
    assert [path.name for path in (tmp_path / "k2").iterdir()] == ["3_1.png"]


def test_damaged_and_foreign_files_are_made_again(gray, transmitter_map, tmp_path):
    cache, file = FeatureCache(tmp_path), tmp_path / "3_1.png"
    expected = cache.k2("3_1", gray, transmitter_map)
    whole = file.read_bytes()
    for content in (whole[:100], b"not an image"):
        file.write_bytes(content)
        np.testing.assert_array_equal(cache.k2("3_1", gray, transmitter_map), expected)
        assert file.read_bytes() == whole
    Image.fromarray(np.zeros_like(gray)).save(file)  # sound, but of unknown origin
    np.testing.assert_array_equal(cache.k2("3_1", gray, transmitter_map), expected)


def test_where_nothing_can_be_written_maps_stay_in_memory(
    gray, transmitter_map, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file" / "k2")  # no folder can be made here
    expected = k2_map(gray, transmitter_map)
    calls = []
    monkeypatch.setattr(
        "radiodiff.data.features.k2_map", lambda *maps: calls.append(1) or k2_map(*maps)
    )
    monkeypatch.setattr("radiodiff.data.features._KEPT_MAPS", 2)
    for name in ("a", "a", "b", "a", "c", "b"):
        np.testing.assert_array_equal(cache.k2(name, gray, transmitter_map), expected)
    assert len(calls) == 3
    assert len(cache._kept) == 2
    cache.k2("a", gray, transmitter_map)  # the oldest was dropped
    assert len(calls) == 4
    assert len([r for r in caplog.records if "stay in memory" in r.message]) == 1
