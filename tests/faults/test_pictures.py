"""Pictures and names that are not as they should be: each is told in one line, none misread."""

import io
import logging
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from radiodiff.data import (
    DatasetError,
    EdgeImages,
    RadioMap3DSeer,
    RadioMapSeer,
    verify_dataset,
)
from radiodiff.data.images import MAX_CELLS, read_gray

from ..conftest import write_radiomap3dseer, write_radiomapseer

GRAY = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) % 256


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width=32, height=32, *, bits=8, colour=0, extra=b"", rows=None):
    rows = bytes(33 * 32) if rows is None else rows
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
    return head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gray_image():
    return Image.fromarray(GRAY.astype(np.uint8))


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


SOUND = encoded(gray_image())
REFUSED = {
    "bomb": png(60000, 60000),
    "large, but for Pillow": png(9000, 9000),
    "bomb of 4.6e18 cells": png(2**31 - 1, 2**31 - 1),
    "text bomb": png(extra=chunk(b"zTXt", b"note\0\0" + zlib.compress(b"a" * 3_000_000))),
    "no cells": png(0, 32),
    "damaged": flipped(SOUND, len(SOUND) // 2),
    "checksum of the cells": flipped(SOUND, SOUND.index(b"IEND") - 6),
    "damaged header": flipped(SOUND, 30),
    "too little data": png(rows=bytes(33)),
    "no compressed data": png().replace(b"IDAT", b"IDAT", 1)[:60],
    "cut off": SOUND[: len(SOUND) // 2],
    "last byte": SOUND[:-1],
    "empty": b"",
    "no image": b"<html>404 not found</html>",
    "16 bits": encoded(Image.fromarray(256 * GRAY.astype(np.uint16))),
    "palette": encoded(gray_image().convert("P")),
    "colours": encoded(gray_image().convert("RGB")),
    "alpha": encoded(gray_image().convert("LA")),
    "transparency": encoded(gray_image(), transparency=0),
    "animated": encoded(
        gray_image(), save_all=True, append_images=[gray_image().rotate(90)], duration=9
    ),
    "JPEG": encoded(gray_image(), "JPEG"),
    "CMYK": encoded(gray_image().convert("CMYK"), "TIFF"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_image_that_is_no_plain_gray_png_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "3_1.png"
    path.write_bytes(REFUSED[kind])
    with pytest.raises(DatasetError, match=r"3_1\.png") as error:
        read_gray(path)
    assert "\n" not in str(error.value)
    is_large = kind.startswith("large") or "bomb" in kind.split(" ")[:1]
    assert ("claims" in str(error.value)) == (is_large or kind == "no cells")
    assert len(str(error.value)) < 300


def test_what_is_no_file_is_refused_by_name(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    for path in tmp_path.iterdir():
        with pytest.raises(DatasetError, match=path.name):
            read_gray(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_of_fewer_bits_is_stretched(tmp_path, bits):
    """The one way to read it: the highest level is white."""
    row = b"\0" + bytes([0b1111_0000, 0b0000_1111] if bits < 8 else [255, 0, 0, 255])
    width = 16 // bits if bits < 8 else 4
    path = tmp_path / "3.png"
    path.write_bytes(png(width, 2, bits=bits, rows=2 * row))
    gray = read_gray(path)
    assert gray[:, 0].tolist() == [255, 255]
    assert gray[:, -1].tolist() == [255, 255]
    assert gray[:, gray.shape[1] // 2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("transparent", encoded(gray_image().convert("RGB"), transparency=(7, 7, 7))),
        ("16 bits", REFUSED["16 bits"]),
        ("CMYK", encoded(gray_image().convert("CMYK"), "JPEG")),
        ("animated", REFUSED["animated"]),
        ("bomb", REFUSED["bomb"]),
        ("text bomb", REFUSED["text bomb"]),
        ("empty", b""),
    ],
)
def test_a_picture_that_can_be_read_in_two_ways_is_refused_by_name(tmp_path, kind, content):
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot read .*0\.png: .*8 bits") as error:
        EdgeImages(tmp_path)[0]
    assert len(str(error.value)) < 300 + len(str(tmp_path))


def test_an_opaque_picture_is_read_whatever_its_channels(tmp_path):
    for name, mode in (("a", "RGB"), ("b", "RGBA"), ("c", "L"), ("d", "P"), ("e", "LA")):
        gray_image().convert(mode).save(tmp_path / f"{name}.png")
    pictures = [EdgeImages(tmp_path)[index].condition for index in range(5)]
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)


def two_sizes(root):
    write_radiomapseer(root, (159,), transmitters=1)
    return write_radiomapseer(root, (501,), transmitters=1, size=64)


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (0, 2), (1, 1)])
def test_a_map_of_another_size_is_named(tmp_path, workers, batch_size):
    """Whatever comes first in which process: the first map of the dataset tells the size."""
    dataset = RadioMapSeer(two_sizes(tmp_path), "all")
    match = r"501_0\.png is 64 x 64 cells, but .*159_0\.png is 32 x 32: all maps"
    with pytest.raises(DatasetError, match=match):
        list(DataLoader(dataset, batch_size=batch_size, num_workers=workers))
    with pytest.raises(DatasetError, match=match):
        RadioMapSeer(tmp_path, "all")[1]


def test_a_map_of_another_size_is_named_in_the_other_layout(tmp_path):
    write_radiomap3dseer(tmp_path / "a", (159,))
    write_radiomap3dseer(tmp_path / "b", (501,), size=64)
    for path in (tmp_path / "b").rglob("*.png"):
        path.rename(tmp_path / "a" / path.relative_to(tmp_path / "b"))
    dataset = RadioMap3DSeer(tmp_path / "a", "train")
    with pytest.raises(DatasetError, match=r"501_0\.png is 64 x 64 cells, but .*159_0\.png"):
        dataset[2]


@pytest.mark.parametrize(
    "name", ["03_1.png", "3_01.png", "3_1.PNG", "3.png", "3_1_1.png", "+3_1.png", "٣_1.png"]
)
@pytest.mark.parametrize("kind", [RadioMapSeer, RadioMap3DSeer])
def test_an_image_of_another_name_is_named(tmp_path, name, kind):
    write_radiomap3dseer(tmp_path, (3,))
    write_radiomapseer(tmp_path, (3,))
    folder = tmp_path / ("gain/DPM" if kind is RadioMapSeer else "gain")
    gray_image().save(folder / name, "PNG")
    with pytest.raises(DatasetError, match=r"is not named <map>_<transmitter>\.png") as error:
        kind(tmp_path, "all")
    assert name in str(error.value)


def test_images_in_a_folder_below_are_named(tmp_path, caplog):
    root = write_radiomapseer(tmp_path, (3,))
    (root / "gain/DPM/old").mkdir()
    gray_image().save(root / "gain/DPM/old/4_0.png")
    with caplog.at_level(logging.WARNING):
        assert len(RadioMapSeer(root, "all")) == 3
    assert "gain/DPM/old are not read" in caplog.text
    for path in (root / "gain/DPM").glob("*.png"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"gain/DPM holds no image, but .*gain/DPM/old does"):
        RadioMapSeer(root, "all")


def test_the_check_of_a_dataset_names_them_too(tmp_path):
    root = write_radiomapseer(tmp_path, (3,))
    for name, kind in (("3_7.PNG", "damaged"), ("3_0.png", "transparency"), ("3_1.png", "bomb")):
        (root / "gain/DPM" / name).write_bytes(REFUSED[kind])
    faults = {row["file"]: row["fault"] for row in verify_dataset(root)["faults"]}
    assert faults.keys() >= {f"gain/DPM/{name}" for name in ("3_7.PNG", "3_0.png", "3_1.png")}
    assert "transparent" in faults["gain/DPM/3_0.png"]
    assert MAX_CELLS < 60000**2
