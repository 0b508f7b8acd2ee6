"""Channels kept beside a dataset: read, and never stale."""

import numpy as np
import pytest
from PIL import Image

from radiodiff.conditions import k2_map, k2_map_key
from radiodiff.data.channel_cache import ChannelCache

CELL = (8, 11)


@pytest.fixture
def gray():
    rows, columns = np.mgrid[:20, :24]
    result = 255 - 60 * np.log10(np.hypot(rows - 8, columns - 11).clip(1))
    return np.rint(result).astype(np.uint8)


def kept(cache, name, gray, cell, make=k2_map):
    return cache.get(name, k2_map_key(gray, cell), lambda: make(gray, cell))


def test_cache_is_read_and_made_again_when_the_map_changed(gray, tmp_path):
    cache = ChannelCache(tmp_path / "k2")
    expected = k2_map(gray, CELL)
    np.testing.assert_array_equal(kept(cache, "3_1", gray, CELL), expected)
    file = tmp_path / "k2/3_1.png"
    np.testing.assert_array_equal(np.array(Image.open(file)), expected)
    stamp = file.stat().st_mtime_ns
    np.testing.assert_array_equal(kept(ChannelCache(tmp_path / "k2"), "3_1", gray, CELL), expected)
    assert file.stat().st_mtime_ns == stamp
    changed, moved = gray.copy(), (9, 11)
    changed[3, 3] = 255
    for source in ((changed, CELL), (gray, moved), (gray, CELL)):
        found = kept(cache, "3_1", *source)
        np.testing.assert_array_equal(found, k2_map(*source))
        np.testing.assert_array_equal(np.array(Image.open(file)), found)
    assert [path.name for path in (tmp_path / "k2").iterdir()] == ["3_1.png"]


def test_damaged_and_foreign_files_are_made_again(gray, tmp_path):
    cache, file = ChannelCache(tmp_path), tmp_path / "3_1.png"
    expected = kept(cache, "3_1", gray, CELL)
    whole = file.read_bytes()
    for content in (whole[:100], b"not an image"):
        file.write_bytes(content)
        np.testing.assert_array_equal(kept(cache, "3_1", gray, CELL), expected)
        assert file.read_bytes() == whole
    Image.fromarray(np.zeros_like(gray)).save(file)  # sound, but of unknown origin
    np.testing.assert_array_equal(kept(cache, "3_1", gray, CELL), expected)


def test_where_nothing_can_be_written_maps_stay_in_memory(gray, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = ChannelCache(tmp_path / "file" / "k2")  # no folder can be made here
    expected = k2_map(gray, CELL)
    calls = []

    def make(*arguments):
        calls.append(1)
        return k2_map(*arguments)

    monkeypatch.setattr("radiodiff.data.channel_cache._KEPT_MAPS", 2)
    for name in ("a", "a", "b", "a", "c", "b"):
        np.testing.assert_array_equal(kept(cache, name, gray, CELL, make), expected)
    assert len(calls) == 3
    assert len(cache._kept) == 2
    kept(cache, "a", gray, CELL, make)  # the oldest was dropped
    assert len(calls) == 4
    assert len([r for r in caplog.records if "stay in memory" in r.message]) == 1
