"""Condition channels that are computed once a map and kept beside the dataset."""

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from radiodiff.data.images import decode_png
from radiodiff.files import write_atomically

__all__ = ["ChannelCache"]

logger = logging.getLogger(__name__)

#: Maps kept in memory where none can be written.
_KEPT_MAPS = 1024


class ChannelCache:
    """Channels on disk, made when asked for and again when what they are made from has changed.

    A file names the digest of what it was made from, and of its cells. Files appear whole, so
    several processes may share a folder. Where nothing can be written, the last maps stay in
    memory.

    Args:
        folder: Receives ``<name>.png``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._kept: dict[str, tuple[str, np.ndarray]] = {}

    @property
    def is_writable(self) -> bool:
        """Whether files can be kept in the folder, which is made if need be."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        return os.access(self.folder, os.W_OK)

    def names(self) -> list[str]:
        """Return the names of the maps that have a file, sound or not."""
        return [path.stem for path in self.folder.glob("*.png")]

    def get(self, name: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return a channel of a map, kept or made.

        Args:
            name: Name of the map.
            key: Digest of all that the channel depends on.
            make: Makes it, uint8, shape ``(h, w)``.

        Returns:
            Gray levels, uint8, shape ``(h, w)``.
        """
        path = self.folder / f"{name}.png"
        found = self._kept[name] if name in self._kept else _read(path)
        if found is not None and found[0] == key:
            return found[1]
        result = make()
        try:
            _write(path, key, result)
        except OSError as error:
            if not self._kept:
                logger.warning("condition channels stay in memory: %s", error)
            while len(self._kept) >= _KEPT_MAPS:
                del self._kept[next(iter(self._kept))]
            self._kept[name] = key, result
        return result


def _read(path: Path) -> tuple[str, np.ndarray] | None:
    """Return digest and map of a file; ``None`` if it is not there or not sound."""
    try:
        data = path.read_bytes()
        gray = decode_png(data, None)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            made_from, cells = image.info.get("made-from"), image.info.get("cells")
    except (OSError, ValueError):
        return None
    # Files of earlier versions do not tell the digest of their cells: the PNG's own must do.
    return (str(made_from), gray) if cells in (None, _digest(gray)) else None


def _write(path: Path, key: str, gray: np.ndarray) -> None:
    """Write a map with its digest and that of what it was made from."""
    note = PngInfo()
    note.add_text("made-from", key)
    note.add_text("cells", _digest(gray))
    save = partial(Image.fromarray(gray).save, format="PNG", pnginfo=note)
    write_atomically(path, save, use_fsync=False)


def _digest(gray: np.ndarray) -> str:
    """Return a digest of the cells of a map."""
    return hashlib.sha256(np.ascontiguousarray(gray)).hexdigest()
