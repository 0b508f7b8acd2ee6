"""Packs that were altered, torn or filled a disk: never other training data, always one line."""

import errno
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from radiodiff.cli.main import main
from radiodiff.data import DatasetError, PackedImages, RadioMapSeer, pack_dataset, verify_dataset
from radiodiff.data import packed as packing
from radiodiff.data.channel_cache import ChannelCache

from ..conftest import write_radiomapseer


@pytest.fixture
def root(tmp_path):
    root = write_radiomapseer(tmp_path / "RadioMapSeer", (3, 4), transmitters=2)
    pack_dataset(root)
    return root


def samples(root):
    return [sample.radio_map for sample in RadioMapSeer(root, "all")]


def header(shape="(4, 32, 32)", descr="'|u1'", order="False"):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    text = text.ljust(128 - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def permute_names(index):
    index["names"] = index["names"][::-1]


def edit(change):
    def damage(array, path):
        index = json.loads(path.read_text(encoding="utf-8"))
        change(index)
        path.write_text(json.dumps(index), encoding="utf-8")

    return damage


def begin_with(content):
    def damage(array, path):
        array.write_bytes((content + array.read_bytes()[len(content) :])[: array.stat().st_size])

    return damage


INDEX_DAMAGES = {
    "permuted names": edit(permute_names),
    "another shape": edit(lambda index: index.update(shape=[4, 16, 64])),
    "shape of text": edit(lambda index: index.update(shape="4")),
    "another digest": edit(lambda index: index.update(sha256="0" * 64)),
    "no names": edit(lambda index: index.pop("names")),
    "a name of another type": edit(lambda index: index["names"].__setitem__(0, 3)),
    "no digest": edit(lambda index: index.pop("digest")),
    "another format": edit(lambda index: index.update(format=1)),
    "a list": lambda array, path: path.write_text("[1]", encoding="utf-8"),
    "empty": lambda array, path: path.write_text("", encoding="utf-8"),
    "no text": lambda array, path: path.write_bytes(b"\xff\xfe\x00"),
    "nested": lambda array, path: path.write_text("[" * 100_000, encoding="utf-8"),
    "torn": lambda array, path: path.write_bytes(path.read_bytes()[:-9]),
}
ARRAY_DAMAGES = {
    "header of one long line": begin_with(header(shape="((((")),
    "void cells": begin_with(header(descr="'|V1'")),
    "text cells": begin_with(header(descr="'|S1'")),
    "columns first": begin_with(header(order="True")),
    "another shape": begin_with(header(shape="(4, 64, 16)")),
    "no header": begin_with(b"\0" * 128),
    "shorter": lambda array, path: array.write_bytes(array.read_bytes()[:-1]),
    "gone": lambda array, path: array.unlink(),
    "a folder": lambda array, path: (array.unlink(), array.mkdir()),
}


@pytest.mark.parametrize("damage", [*INDEX_DAMAGES.values(), *ARRAY_DAMAGES.values()])
def test_an_altered_pack_is_not_used_and_one_line_says_so(root, damage, caplog):
    expected = samples(root)
    path = root / "packed/gain/DPM.json"
    damage(path.with_suffix(".npy"), path)
    with caplog.at_level(logging.WARNING):
        found = samples(root)
    assert all(map(np.array_equal, found, expected))
    (record,) = caplog.records
    assert "DPM.json is not used, its images are: " in record.message
    assert len(record.message) - 3 * len(str(root)) < 300
    assert "\n" not in record.message


@pytest.mark.parametrize("damage", INDEX_DAMAGES)
def test_the_check_of_a_dataset_names_a_damaged_index(root, damage):
    path = root / "packed/gain/DPM.json"
    INDEX_DAMAGES[damage](path.with_suffix(".npy"), path)
    report = verify_dataset(root)
    assert [row["file"] for row in report["faults"]] == ["packed/gain/DPM.json"]


@pytest.mark.parametrize("damage", ["permuted names", "another format", "torn"])
def test_packing_again_mends_an_altered_pack(root, damage):
    path = root / "packed/gain/DPM.json"
    before = path.read_bytes()
    INDEX_DAMAGES[damage](path.with_suffix(".npy"), path)
    pack_dataset(root)
    assert path.read_bytes() == before


def test_an_altered_image_is_named_when_it_is_read(root):
    """Also by a process that inherited the pack, and after others were found sound."""
    array = root / "packed/gain/DPM.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1  # the last cell of 4_1
    array.write_bytes(content)
    pack = PackedImages.open(root, "gain/DPM")
    pack.read("3_0.png")
    for copy in (pack, pickle.loads(pickle.dumps(pack))):
        for read in (copy.read, lambda name, copy=copy: copy.read_many(["3_0.png", name])):
            with pytest.raises(DatasetError, match=r"DPM\.npy holds a damaged 4_1\.png: delete"):
                read("4_1.png")


def test_a_full_disk_ends_packing_with_one_line_and_it_goes_on(root, monkeypatch, capsys):
    expected = {p: p.read_bytes() for p in (root / "packed").rglob("*.*") if p.is_file()}
    for path in expected:
        path.unlink()
    note = packing._note

    def full(plan, shard):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing, "_note", full)
    assert main(["data", "pack", str(root)]) == 2
    (line,) = [s for s in capsys.readouterr().err.splitlines() if "error" in s]
    assert "packs in " in line
    assert "No space left on device; what is done is kept" in line
    assert not list((root / "packed").rglob("[!.]*.npy"))
    monkeypatch.setattr(packing, "_note", note)
    assert main(["data", "pack", str(root)]) == 0
    assert {p: p.read_bytes() for p in expected} == expected


def test_a_process_that_dies_while_packing_is_told_in_one_line(root, monkeypatch):
    def die(function, jobs, workers):
        raise packing.BrokenProcessPool("terminated abruptly")
        yield

    (root / "packed/gain/DPM.json").unlink()
    monkeypatch.setattr(packing, "run_jobs", die)
    with pytest.raises(DatasetError, match="died, perhaps for want of memory: call it again"):
        pack_dataset(root, workers=2)


def damage_channel(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "torn":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "other pixels":
        note = PngInfo()  # as an image sound, but not the map that was kept
        with Image.open(path) as image:
            for key, text in image.info.items():
                note.add_text(key, text)
            other = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        other.save(path, "PNG", pnginfo=note)
    elif kind == "one bit":
        place = content.index(b"IDAT") + 8
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    elif kind == "bomb":
        path.write_bytes(content[:16] + b"\x7f\xff\xff\xff\x7f\xff\xff\xff" + content[24:])


@pytest.mark.parametrize("kind", ["torn", "empty", "other pixels", "one bit", "bomb"])
def test_a_damaged_channel_is_made_again(tmp_path, kind):
    """Never read wrongly: the file carries a digest of its cells too."""
    made = []

    def make():
        made.append(1)
        return np.arange(64, dtype=np.uint8).reshape(8, 8)

    first = ChannelCache(tmp_path).get("3_1", "key", make)
    damage_channel(tmp_path / "3_1.png", kind)
    assert np.array_equal(ChannelCache(tmp_path).get("3_1", "key", make), first)
    assert np.array_equal(ChannelCache(tmp_path).get("3_1", "key", make), first)
    assert len(made) == 2
