"""Reading one image of a dataset, and the error that names the file at fault."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

__all__ = ["DatasetError", "decode_png", "is_image_name", "png_header", "read_gray"]

_PNG_KINDS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray and alpha", 6: "RGB and alpha"}


class DatasetError(Exception):
    """A dataset folder that is missing, incomplete or broken; says where and what to do."""


def is_image_name(name: str) -> bool:
    """Return whether a file name is that of an image, not of one still being written."""
    return name.endswith(".png") and not name.startswith(".")


def read_gray(path: Path) -> np.ndarray:
    """Return an 8-bit gray image, shape ``(h, w)``, uint8.

    Raises:
        DatasetError: If the file is missing, unreadable or of another mode; names it.
    """
    try:
        with Image.open(path) as image:
            if image.mode != "L":
                raise DatasetError(f"{path} must be 8-bit gray (mode L), got mode {image.mode}")
            return np.array(image)
    except FileNotFoundError:
        raise DatasetError(f"no file {path}: the dataset is incomplete") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(f"cannot read {path}: {error}; fetch or make it again") from error


def decode_png(data: bytes, size: tuple[int, int] | None) -> np.ndarray:
    """Return an 8-bit gray image, shape ``(h, w)``, uint8, strictly: every checksum must hold.

    Args:
        data: Content of the file.
        size: Rows and columns that it must have, if any.

    Raises:
        ValueError: If it is anything else or damaged; says what is wrong.
    """
    width, height, bits, colour = png_header(data)
    if (bits, colour) != (8, 0):
        kind = _PNG_KINDS.get(colour, "unknown colours")
        raise ValueError(f"is {bits}-bit {kind}, must be 8-bit gray")
    if size is not None and (height, width) != size:
        raise ValueError(f"is {height} x {width}, must be {size[0]} x {size[1]}")
    start = 8
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        stop = start + 8 + length
        if stop + 4 > len(data):
            break
        if zlib.crc32(data[start + 4 : stop]) != struct.unpack_from(">I", data, stop)[0]:
            raise ValueError("is damaged: a checksum inside does not hold")
        if data[start + 4 : start + 8] == b"IEND":
            with Image.open(io.BytesIO(data)) as image:
                return np.array(image)
        start = stop + 4
    raise ValueError("is cut off: the end of the image is missing")


def png_header(data: bytes) -> tuple[int, int, int, int]:
    """Return width, height, bits and colour type of a PNG file, whose first 33 bytes suffice.

    Raises:
        ValueError: If it is none.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 33:
        raise ValueError("is empty" if not data else "is no PNG file, or is cut off")
    return struct.unpack(">IIBB", data[16:26])
