"""Maps computed from a radio map that serve as further condition channels.

They are functions of the map that is to be predicted. A network that is given them has been told
part of the answer, as in the public RadioDiff-k² code; its scores are those of an oracle.
"""

import hashlib
import logging
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from radiodiff.files import write_atomically

__all__ = ["FeatureCache", "k2_map"]

logger = logging.getLogger(__name__)

#: Raised whenever the same radio map would give another feature map.
_VERSION = 1
#: Maps kept in memory where none can be written.
_KEPT_MAPS = 1024


def k2_map(gray: np.ndarray, transmitter_map: np.ndarray) -> np.ndarray:
    """Return the negative part of the squared wave number in a radio map, as gray levels.

    With the received power ``u`` [W] of 23 dBm sent, ``q = (laplace(u) + T u) / u`` solves the
    Helmholtz equation for its coefficient; ``min(q, 0)`` is stretched to 0 ... 255. It is dark
    where a cell is brighter than its four neighbours are on average, 255 elsewhere and on the
    border. Source: X. Wang et al., *RadioDiff-k²*, arXiv:2504.15623, and its pre-processing in
    ``UNIC-Lab/RadioDiff-k``, whose path gain spans 100 dB and not 99.16 dB.

    Args:
        gray: Radio map, uint8, shape ``(h, w)``, sides of 3 or more.
        transmitter_map: 1 at the transmitter, 0 elsewhere, shape ``(h, w)``.

    Returns:
        Gray levels, uint8, shape ``(h, w)``.

    Raises:
        ValueError: If a shape does not fit.
    """
    if gray.shape != transmitter_map.shape or min(gray.shape) < 3:
        raise ValueError(
            "expected two maps of one shape, sides of 3 or more, got "
            f"{gray.shape} and {transmitter_map.shape}"
        )
    # As upstream: float32 throughout, so that the last bit is cut off at the same value.
    path_gain_db = -147 + 100 * (gray.astype(np.float32) / 255)
    u = 10 ** ((path_gain_db - 7) / 10)
    inner = u[1:-1, 1:-1]
    laplace = (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]) - 4 * inner
    source = transmitter_map[1:-1, 1:-1].astype(np.float32)
    negative = np.minimum((laplace + source * inner) / inner, 0)
    low, high = negative.min(), negative.max()
    # Upstream divides by zero on a map without structure.
    scaled = (negative - low) / (high - low) if high > low else np.ones_like(negative)
    return np.pad((scaled * 255).astype(np.uint8), 1, constant_values=255)


class FeatureCache:
    """Feature maps on disk, made when asked for and again when the radio map has changed.

    A file names the digest of what it was made from. Files appear whole, so several processes
    may share a folder. Where nothing can be written, the last maps stay in memory.

    Args:
        folder: Receives ``<name>.png``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._kept: dict[str, tuple[str, np.ndarray]] = {}

    def k2(self, name: str, gray: np.ndarray, transmitter_map: np.ndarray) -> np.ndarray:
        """Return `k2_map` of a radio map.

        Args:
            name: Name of the radio map.
            gray: Radio map, uint8, shape ``(h, w)``.
            transmitter_map: 1 at the transmitter, shape ``(h, w)``.

        Returns:
            Gray levels, uint8, shape ``(h, w)``.
        """
        digest = hashlib.sha256(f"k2 {_VERSION} {gray.shape} ".encode())
        digest.update(np.ascontiguousarray(gray).tobytes())
        digest.update(np.argwhere(transmitter_map).tobytes())
        key = digest.hexdigest()
        path = self.folder / f"{name}.png"
        found = self._kept[name] if name in self._kept else _read(path)
        if found is not None and found[0] == key:
            return found[1]
        result = k2_map(gray, transmitter_map)
        try:
            _write(path, key, result)
        except OSError as error:
            if not self._kept:
                logger.warning("feature maps stay in memory: %s", error)
            while len(self._kept) >= _KEPT_MAPS:
                del self._kept[next(iter(self._kept))]
            self._kept[name] = key, result
        return result


def _read(path: Path) -> tuple[str, np.ndarray] | None:
    """Return digest and map of a file; ``None`` if it is not there or not sound."""
    try:
        with Image.open(path) as image:
            return str(image.info.get("made-from")), np.array(image)
    except (OSError, SyntaxError, ValueError):
        return None


def _write(path: Path, key: str, gray: np.ndarray) -> None:
    """Write a map with its digest."""
    note = PngInfo()
    note.add_text("made-from", key)
    save = partial(Image.fromarray(gray).save, format="PNG", pnginfo=note)
    write_atomically(path, save, use_fsync=False)
