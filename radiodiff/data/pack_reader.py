"""Reading packed images: one memory-mapped array for each folder of a dataset.

`radiodiff.data.packed` writes ``packed/gain/DPM.npy`` (uint8, shape ``(n, h, w)``) and its index
``packed/gain/DPM.json``: the names in the order of the rows, the digest of names, sizes and times
of the image files, the CRC-32 of each row, the SHA-256 of the array, and a digest of all this.

The index is checked when a pack is opened, each image when a process reads it for the first time
(10 us at 256 x 256; the whole array would take a second for each 2 GB before every start), the
whole array by `PackedImages.verify`.
"""

import hashlib
import io
import json
import logging
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radiodiff.data.images import DatasetError, is_image_name
from radiodiff.files import FileError, read_json, sha256, shorten

__all__ = [
    "FOLDER",
    "FORMAT",
    "ImageFile",
    "PackedImages",
    "array_header",
    "array_path",
    "check_array",
    "digest_of",
    "index_digest",
    "read_index",
    "scan",
]

logger = logging.getLogger(__name__)

FOLDER = "packed"
#: Raised whenever packs of an older version cannot be read.
FORMAT = 2
_PACK_AGAIN = "delete it and call `radiodiff data pack` again"


class ImageFile(NamedTuple):
    """An image of the source, as the file system knows it."""

    name: str
    size: int
    mtime_ns: int


class PackedImages:
    """The packed images of one folder; may be handed to other processes.

    Args:
        path: The array.
        index: Its index, checked.

    Attributes:
        path: The array, readable by ``numpy.load``.
        shape: Images, rows and columns.
    """

    def __init__(self, path: Path, index: dict[str, Any]) -> None:
        self.path = path
        self.shape: tuple[int, ...] = tuple(index["shape"])
        self.sha256: str = index["sha256"]
        self._rows = {name: row for row, name in enumerate(index["names"])}
        self._crc32 = np.array(index["crc32"], np.uint32)
        self._is_checked = np.zeros(len(self._crc32), bool)
        self._array: np.ndarray | None = None

    @classmethod
    def open(cls, root: Path, folder: str, *, out: Path | None = None) -> "PackedImages | None":
        """Return the pack of a folder, or ``None`` where there is none to use.

        A pack whose images were changed, added or removed since, whose index is damaged, or whose
        array is not of the size and kind that the index says, is not used; a warning says what to
        do.

        Args:
            root: Dataset folder.
            folder: Folder of images below it, e.g. ``gain/DPM``.
            out: Where the packs are; ``packed`` in the dataset folder if ``None``.
        """
        array = array_path(root, folder, out)
        index_path = array.with_suffix(".json")
        if not os.path.lexists(index_path):
            return None
        try:
            index = read_index(index_path)
            files = scan(Path(root) / folder)
            if digest_of(files) != index["source"]:
                raise DatasetError(f"{Path(root) / folder} was changed since")
            if index["names"] != [file.name for file in files]:
                raise DatasetError("the names are in another order than the images")
            check_array(array, index)
            return cls(array, index)
        except (OSError, DatasetError, FileError) as error:
            logger.warning(
                "the pack %s is not used, its images are: %s; call `radiodiff data pack %s` again",
                index_path,
                error,
                root,
            )
            return None

    def __len__(self) -> int:
        """Return the number of images."""
        return self.shape[0]

    def __contains__(self, name: str) -> bool:
        """Whether there is an image of this file name."""
        return name in self._rows

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mapping behind: another process maps the file itself, and checks it again."""
        is_checked = np.zeros_like(self._is_checked)
        return self.__dict__ | {"_array": None, "_is_checked": is_checked}

    def read(self, name: str) -> np.ndarray:
        """Return one image by its file name: uint8, shape ``(h, w)``, a copy.

        Raises:
            DatasetError: If there is no such image, or it is not the one that was packed.
        """
        return self.read_many([name])[0]

    def read_many(self, names: Sequence[str]) -> np.ndarray:
        """Return images by their file names: uint8, shape ``(b, h, w)``, a copy.

        Raises:
            DatasetError: If one of them is not there, or not the one that was packed.
        """
        rows = [self._row(name) for name in names]
        images = self._mapped()[rows]
        for row, name, image in zip(rows, names, images, strict=True):
            if self._is_checked[row]:
                continue
            if zlib.crc32(image) != self._crc32[row]:
                raise DatasetError(f"{self.path} holds a damaged {name}: {_PACK_AGAIN}")
            self._is_checked[row] = True
        return images

    def verify(self) -> None:
        """Read the whole array.

        Raises:
            DatasetError: If it is not the one that was written.
        """
        if sha256(self.path) != self.sha256:
            raise DatasetError(f"{self.path} is not what was packed: {_PACK_AGAIN}")

    def _row(self, name: str) -> int:
        try:
            return self._rows[name]
        except KeyError:
            raise DatasetError(f"no image {name} in {self.path}: pack again") from None

    def _mapped(self) -> np.ndarray:
        if self._array is None:
            start = len(array_header(self.shape))
            try:
                array = np.memmap(self.path, np.uint8, "r", offset=start, shape=self.shape)
                # The index goes before the array changes, and comes back after.
                current = read_index(self.path.with_suffix(".json"))["sha256"]
            except (OSError, ValueError) as error:
                raise DatasetError(f"cannot read {self.path}: {error}; {_PACK_AGAIN}") from error
            if current != self.sha256:
                raise DatasetError(f"{self.path} was packed anew since it was opened: start again")
            self._array = np.asarray(array)  # slices of np.memmap itself are slow
        return self._array


def read_index(path: Path) -> dict[str, Any]:
    """Return the index of a pack.

    Raises:
        FileNotFoundError: If there is none.
        FileError: If it is damaged, or of another version; names it.
    """
    index = read_json(path)
    if index.get("format") != FORMAT:
        raise FileError(f"{path} has format {shorten(index.get('format'))}, expected {FORMAT}")
    if index.get("digest") != index_digest(index):
        raise FileError(f"{path} is damaged: its digest does not hold")
    return index


def index_digest(index: dict[str, Any]) -> str:
    """Return the digest of all that an index says."""
    content = {key: value for key, value in index.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def array_header(shape: Sequence[int]) -> bytes:
    """Return what a file of ``numpy.save`` begins with, for images of a shape."""
    stream = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


def check_array(path: Path, index: dict[str, Any]) -> None:
    """Raise a DatasetError unless a file is as long as an index says and begins as it must."""
    header = array_header(index["shape"])
    if path.stat().st_size != index["bytes"]:
        raise DatasetError(f"{path} is not of {index['bytes']} bytes")
    with path.open("rb") as file:
        if file.read(len(header)) != header:
            raise DatasetError(f"{path} does not begin as an array of {index['shape']} bytes")


def array_path(root: Path, folder: str, out: Path | None) -> Path:
    """Return where the array of a folder is."""
    path = (Path(root) / FOLDER if out is None else Path(out)) / folder
    return path.with_name(f"{path.name}.npy")


def scan(folder: Path) -> list[ImageFile]:
    """Return the images of a folder by name, without opening one."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if is_image_name(entry.name)]
    except OSError as error:
        raise DatasetError(f"cannot list {folder}: {error}") from error
    return sorted(ImageFile(name, status.st_size, status.st_mtime_ns) for name, status in found)


def digest_of(files: Sequence[ImageFile]) -> str:
    """Return a digest of names, sizes and times, which a change of the images changes."""
    lines = (os.fsencode(f"{name}/{size}/{mtime}") for name, size, mtime in files)
    return hashlib.sha256(b"\0".join(lines)).hexdigest()
