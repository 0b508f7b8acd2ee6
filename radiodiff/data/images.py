"""Reading one image of a dataset, and the error that names the file at fault.

Images of a dataset are gray PNG files: 8 bits a cell, or 1, 2 or 4, whose levels are stretched to 0
... 255. Whatever could be read in two ways is refused: 16 bits, palettes, colours, transparency,
animations, other formats. Every checksum must hold.
"""

import io
import logging
import os
import re
import stat
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from radiodiff.files import shorten

__all__ = [
    "DatasetError",
    "check_size",
    "decode_png",
    "is_image_name",
    "list_pairs",
    "parse_name",
    "png_header",
    "read_gray",
    "read_picture",
]

logger = logging.getLogger(__name__)

_PNG_KINDS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray and alpha", 6: "RGB and alpha"}
_GRAY_BITS = (1, 2, 4, 8)
#: Chunks of a PNG file that change what its gray levels mean.
_REFUSED_CHUNKS = {b"tRNS": "has transparent cells", b"acTL": "is animated"}
#: Largest image that is read [cells]: 8192 x 8192.
MAX_CELLS = 1 << 26
#: Largest file of an image that is read [bytes].
MAX_BYTES = 1 << 28


class DatasetError(Exception):
    """A dataset folder that is missing, incomplete or broken; says where and what to do."""


def is_image_name(name: str) -> bool:
    """Return whether a file name is that of an image, not of one still being written."""
    return name.endswith(".png") and not name.startswith(".")


def parse_name(name: str) -> tuple[int, ...]:
    """Return map, and transmitter if any, of a file name; empty if it is not named so.

    Numbers are written in one way, so no two files are one map: ``3_1.png``, not ``03_1.png``.
    """
    match = re.fullmatch(r"(0|[1-9][0-9]{0,17})(?:_(0|[1-9][0-9]{0,17}))?\.(?:png|json)", name)
    return tuple(int(number) for number in match.groups() if number) if match else ()


def list_pairs(folder: Path) -> list[tuple[int, int]]:
    """Return (map, transmitter) of all images of a folder.

    Images in folders below it are not read, which a warning tells.

    Raises:
        DatasetError: If the folder cannot be listed, or holds an image of another name, or images
            in folders below it alone.
    """
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
        names = [name for name, is_folder in found.items() if not is_folder]
        below = [name for name, is_folder in found.items() if is_folder and not name[0] == "."]
        hidden = [name for name in below if any(map(is_image_name, os.listdir(folder / name)))]
    except OSError as error:
        raise DatasetError(f"cannot list {folder}: {error.strerror}") from error
    _check_names(folder, names)
    pairs = [parse_name(name) for name in names if is_image_name(name)]
    deeper = folder / hidden[0] if hidden else None
    if hidden and not pairs:
        raise DatasetError(
            f"{folder} holds no image, but {deeper} does: move them up, folders below are not "
            "read (RadioMapSeer is the dataset whose gains lie one folder deeper)"
        )
    if hidden:
        logger.warning("images in %s are not read: they lie one folder too deep", deeper)
    return pairs


def check_size(path: Path, shape: tuple[int, ...], first: Path, expected: tuple[int, ...]) -> None:
    """Refuse a map of another size than the first of its dataset.

    Raises:
        DatasetError: If it is; names both.
    """
    if tuple(shape) != tuple(expected):
        raise DatasetError(
            f"{path} is {shape[0]} x {shape[1]} cells, but {first} is {expected[0]} x "
            f"{expected[1]}: all maps of a dataset must be of one size"
        )


def _check_names(folder: Path, names: Sequence[str]) -> None:
    """Refuse a file of a folder that is an image by its name, but not one that would be read."""
    for name in names:
        is_image = name.lower().endswith(".png") and not name.startswith(".")
        if is_image and (not name.endswith(".png") or len(parse_name(name)) != 2):
            raise DatasetError(
                f"{folder / shorten(name)} is not named <map>_<transmitter>.png (small letters, no "
                "leading zeros): rename it, or move it out of the folder"
            )


def read_gray(path: Path) -> np.ndarray:
    """Return a gray image, shape ``(h, w)``, uint8.

    Raises:
        DatasetError: If the file is missing, unreadable, damaged or no gray PNG; names it.
    """
    try:
        return decode_png(_bytes_of(path), None)
    except FileNotFoundError:
        raise DatasetError(f"no file {path}: the dataset is incomplete") from None
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DatasetError(f"{path} {error}; fetch or make it again") from error


def decode_png(data: bytes, size: tuple[int, int] | None) -> np.ndarray:
    """Return a gray image of 1, 2, 4 or 8 bits, shape ``(h, w)``, uint8: every checksum must hold.

    Args:
        data: Content of the file.
        size: Rows and columns that it must have, if any.

    Raises:
        ValueError: If it is anything else or damaged; says what is wrong.
    """
    width, height, bits, colour = png_header(data)
    if colour != 0 or bits not in _GRAY_BITS:
        kind = _PNG_KINDS.get(colour, "unknown colours")
        raise ValueError(f"is {bits}-bit {kind}, must be 8-bit gray")
    if size is not None and (height, width) != size:
        raise ValueError(f"is {height} x {width}, must be {size[0]} x {size[1]}")
    _check_cells(width, height)
    start, packed = 8, []
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        stop = start + 8 + length
        if stop + 4 > len(data):
            break
        kind = data[start + 4 : start + 8]
        if zlib.crc32(data[start + 4 : stop]) != struct.unpack_from(">I", data, stop)[0]:
            raise ValueError("is damaged: a checksum inside does not hold")
        if kind in _REFUSED_CHUNKS:
            raise ValueError(f"{_REFUSED_CHUNKS[kind]}, must be plain 8-bit gray")
        if kind == b"IDAT":
            packed.append(data[start + 8 : stop])
        if kind == b"IEND":
            gray = _decoded(data)
            if not gray[-1].any():  # Pillow leaves cells 0 that no data is there for
                _check_length(packed, height * (1 + (width * bits + 7) // 8))
            return gray
        start = stop + 4
    raise ValueError("is cut off: the end of the image is missing")


def _decoded(data: bytes) -> np.ndarray:
    """Return the gray levels of a PNG file whose chunks are in order."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.array(image.convert("L"))
    except Exception as error:  # Pillow raises whatever it meets
        raise ValueError(f"is damaged: {shorten(str(error))}") from error


def _check_length(packed: Sequence[bytes], expected: int) -> None:
    """Refuse compressed cells that end too early."""
    try:
        found = len(zlib.decompressobj().decompress(b"".join(packed), expected))
    except zlib.error as error:
        raise ValueError(f"is damaged: {error}") from error
    if found < expected:
        raise ValueError("is cut off: cells are missing")


def png_header(data: bytes) -> tuple[int, int, int, int]:
    """Return width, height, bits and colour type of a PNG file, whose first 33 bytes suffice.

    Raises:
        ValueError: If it is none.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 33:
        raise ValueError("is empty" if not data else "is no PNG file, or is cut off")
    return struct.unpack(">IIBB", data[16:26])


def read_picture(path: Path, mode: str) -> Image.Image:
    """Return a picture of any format as ``L`` or ``RGB``, if there is one way to read it.

    Gray, palette and colour of 8 bits are taken, an alpha channel if it is opaque everywhere.

    Raises:
        DatasetError: If the file is missing, unreadable or anything else; names it.
    """
    try:
        content = io.BytesIO(_bytes_of(path))
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        with Image.open(content) as image:
            _check_cells(*image.size)
            if getattr(image, "n_frames", 1) > 1:
                raise ValueError("is animated")
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                if image.getextrema()[3][0] < 255:
                    raise ValueError("has transparent cells")
            elif image.mode not in ("1", "L", "P", "RGB"):
                raise ValueError(f"has mode {image.mode}")
            return image.convert(mode)
    except Exception as error:  # Pillow raises whatever it meets
        raise DatasetError(
            f"cannot read {path}: {shorten(str(error), 160)}; expected one gray or colour picture "
            "of 8 bits, whole and opaque"
        ) from error


def _bytes_of(path: Path) -> bytes:
    """Return the content of a regular file of a size that an image may have."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no file")
    if status.st_size > MAX_BYTES:
        raise OSError(f"it has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
    return path.read_bytes()


def _check_cells(width: int, height: int) -> None:
    """Refuse an image that claims to be empty or huge, before memory is taken for it."""
    if not 0 < width * height <= MAX_CELLS:
        raise ValueError(f"claims {height} x {width} cells; 1 to {MAX_CELLS:,} are read")
