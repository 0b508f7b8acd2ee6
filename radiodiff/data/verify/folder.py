"""A dataset folder while it is checked: what it holds, what it should hold, what was found."""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radiodiff.data.images import DatasetError, decode_png, parse_name, png_header
from radiodiff.data.pack_reader import FOLDER as PACKED
from radiodiff.data.splits import read_manifest
from radiodiff.simulate.manifest import MANIFEST
from radiodiff.simulate.missing import MISSING_FOLDERS
from radiodiff.simulate.outlines import read_antennas

__all__ = ["LAYOUT", "DatasetFolder", "is_image_folder", "missing_row", "parse_name", "printable"]


class _Content(NamedTuple):
    """What one folder of a dataset should hold: a file a map, or one a transmitter of it."""

    transmitters: Mapping[int, Sequence[int] | None]
    suffix: str

    def names(self) -> list[str]:
        """Return the names of the files."""
        return [
            f"{m}{end}{self.suffix}"
            for m, ids in self.transmitters.items()
            for end in ([""] if ids is None else [f"_{t}" for t in ids])
        ]


class DatasetFolder:
    """A dataset while it is checked: what it holds, what it should, and what was found.

    Args:
        root: Folder in RadioMapSeer's layout.
        sample: Images to read of each folder; all if ``None``.
        progress: Called as ``progress(done, images)`` for each image that is read.

    Attributes:
        files: File names of every folder below the root.
        image_folders: Folders that hold images with a proper name.
        manifest: Content of ``dataset.json``, if there is one and it is sound.
        parameters: Parameters of the simulation; none for the real dataset.
        expected: What each folder should hold.
        size: Rows and columns of all images.
        antennas: Transmitters of each map as ``(x, y)`` [cells], y up.
        faults: What is wrong, in order of discovery: ``file`` and ``fault``.
        notes: What is worth a word, but no fault.
    """

    def __init__(
        self, root: Path, sample: int | None, progress: Callable[[int, int], None] | None
    ) -> None:
        self.root = root
        self.sample = sample
        self.faults: list[dict[str, str]] = []
        self.notes: list[str] = []
        self.files = _list_files(self)
        self._proper = {
            f: sorted(filter(parse_name, names), key=parse_name) for f, names in self.files.items()
        }
        self.manifest: dict[str, Any] | None = None
        try:
            manifest = read_manifest(root)
            self.parameters = _parameters(manifest)
            self.manifest = manifest if manifest and manifest["maps"] else None
        except (DatasetError, OSError, RecursionError) as error:
            self.parameters = {}
            self.fault(MANIFEST, error)
        self.expected = _expected(self)
        self.size = self._size()
        self.antennas = self._antennas()
        self.image_folders = sorted(f for f in self.files if is_image_folder(f) and self.names(f))
        self._progress = progress
        self._done = 0
        self._total = sum(len(self.chosen(folder)) for folder in self.image_folders)

    def fault(self, path: str, reason: object) -> None:
        """Note what is wrong with a file or folder, named as below the root."""
        text = str(reason).replace(f"{self.root / path} ", "").replace(f" {self.root / path}", "")
        self.faults.append({"file": printable(path), "fault": printable(text)})

    def names(self, folder: str) -> list[str]:
        """Return the files of a folder with a proper name, in order of map and transmitter."""
        return self._proper.get(folder, [])

    def chosen(self, folder: str) -> list[str]:
        """Return the files to read: all, or so many drawn by the folder's name."""
        names = self.names(folder)
        if self.sample is None or len(names) <= self.sample:
            return names
        generator = np.random.default_rng(zlib.crc32(folder.encode()))
        rows = generator.choice(len(names), self.sample, replace=False)
        return [names[row] for row in sorted(rows)]

    def image(self, folder: str, name: str) -> np.ndarray | None:
        """Read one image; note a fault and return ``None`` if it is not as it should be."""
        path = f"{folder}/{name}"
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)
        try:
            return decode_png((self.root / path).read_bytes(), self.size)
        except Exception as error:  # a broken file fails in any way
            self.fault(path, error)
            return None

    def building_mask(self, map_id: int) -> np.ndarray | None:
        """Return the buildings of a map, if they can be read; `check_masks` tells if not."""
        path = self.root / "png" / "buildings_complete" / f"{map_id}.png"
        try:
            return decode_png(path.read_bytes(), self.size) > 127
        except Exception:  # as above
            return None

    def _size(self) -> tuple[int, int] | None:
        """Return rows and columns of all images: as stated, or those that most images have."""
        if isinstance(self.parameters.get("size"), int):
            return self.parameters["size"], self.parameters["size"]
        folders = [folder for folder in self.files if is_image_folder(folder)]
        names = [f"{folder}/{name}" for folder in folders for name in self.names(folder)]
        sizes: Counter[tuple[int, int]] = Counter()
        for name in names[:: max(1, len(names) // 200)]:
            try:
                with (self.root / name).open("rb") as file:
                    width, height, *_ = png_header(file.read(33))
                sizes[height, width] += 1
            except (OSError, ValueError):
                continue
        return sizes.most_common(1)[0][0] if sizes else None

    def _antennas(self) -> dict[int, list[tuple[float, float]]]:
        """Read the transmitter lists that are sound."""
        lists: dict[int, list[tuple[float, float]]] = {}
        for name in self.names("antenna"):
            try:
                positions = read_antennas(self.root / "antenna" / name)
                rows, columns = self.size or (np.inf, np.inf)
                for t, (x, y) in enumerate(positions):
                    if not (-0.5 <= x < columns - 0.5 and -0.5 <= y < rows - 0.5):
                        raise ValueError(f"transmitter {t} at x={x:g}, y={y:g} lies off the map")
                lists[parse_name(name)[0]] = positions
            except Exception as error:  # as above
                self.fault(f"antenna/{name}", error)
        return lists


def _list_files(data: DatasetFolder) -> dict[str, list[str]]:
    """Return the file names of every folder below the root; caches of ours are left out."""
    found: dict[str, list[str]] = {}
    root = data.root.resolve()
    todo = [("", tuple(_identity(folder) for folder in (root, *root.parents)))]
    while todo:
        folder, above = todo.pop()
        try:
            with os.scandir(data.root / folder) as entries:
                rows = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            data.fault(folder or ".", f"cannot be listed: {error.strerror}")
            continue
        for entry in rows:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
                identity = _identity(data.root / path) if is_folder else None
            except OSError as error:
                data.fault(path, f"cannot be followed: {error.strerror}")
                continue
            if printable(path) != path:
                data.fault(path, "has a name that is not printable UTF-8")
            if is_file:
                found.setdefault(folder, []).append(entry.name)
            elif identity in above:
                data.fault(path, "is a link to a folder it is in: not followed")
            elif is_folder and path.count("/") > 2:
                data.notes.append(f"{printable(path)} lies too deep for this layout: not read")
            elif is_folder and path not in (PACKED, "features"):
                todo.append((path, (*above, identity)))
            elif not is_folder:
                kind = "a link that leads nowhere" if entry.is_symlink() else "no file, no folder"
                data.fault(path, f"is {kind}")
    return found


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a folder from all others."""
    status = path.stat()
    return status.st_dev, status.st_ino


def is_image_folder(folder: str) -> bool:
    """Whether a folder of the layout is one of images."""
    return folder.startswith(("gain/", "png/"))


def printable(text: str) -> str:
    """Return text as any terminal and JSON can hold it."""
    decoded = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)


def missing_row(folder: str, found: int, wanted: int, names: Sequence[str]) -> dict[str, Any]:
    """Return what a report says of a folder that lacks files, with the first of their names."""
    return {"folder": folder, "found": found, "expected": wanted, "first": names[:3]}


def _parameters(manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Return the parameters of a simulation; for the real dataset, which has none, nothing."""
    if manifest is None:
        return {}
    parameters, rows = manifest["parameters"], manifest["maps"]
    if not rows and ("transmitters" in parameters or "cell_size_m" not in parameters):
        raise DatasetError("lists no map")
    if not all("gains" in row for row in rows) and "transmitters" not in parameters:
        raise DatasetError("must say how many transmitters a map has, says None")
    return parameters


def _expected(data: DatasetFolder) -> dict[str, _Content]:
    """Return what each folder should hold."""
    if data.manifest is None and any(row["file"] == MANIFEST for row in data.faults):
        return {}
    suffix = {True: ".png", False: ".json"}
    if data.manifest is None:
        each = {"map": None, "transmitter": range(80), "sparse": range(2)}
        return {
            folder: _Content(dict.fromkeys(range(701), each[kind]), suffix[is_image_folder(folder)])
            for folder, kind in LAYOUT.items()
        }
    everywhere = range(data.parameters.get("transmitters", 0))
    variants = data.parameters.get("variants", ["DPM"])
    gains = {
        row["id"]: row.get("gains", dict.fromkeys(variants, everywhere))
        for row in sorted(data.manifest["maps"], key=lambda row: row["id"])
    }
    names = sorted({name for of_map in gains.values() for name in of_map})
    folders = {
        f"gain/{name}": {m: g[name] for m, g in gains.items() if name in g} for name in names
    }
    own = [f for f in LAYOUT if f in _SIMULATED or (f in data.files and f not in folders)]
    if any(name.startswith("cars") for name in names):
        own += ["png/cars", "polygon/cars"]
    for folder in own:
        per_map = LAYOUT.get(folder, "map") == "map"
        folders[folder] = {
            m: None if per_map else sorted({t for ids in g.values() for t in ids})
            for m, g in gains.items()
        }
    return {f: _Content(ids, suffix[is_image_folder(f)]) for f, ids in folders.items()}


def _layout() -> dict[str, str]:
    """Return RadioMapSeer's folders, and what they hold one file for."""
    gains = ("DPM", "IRT2", "carsDPM", "carsIRT2")
    layout = {f"gain/{name}": "transmitter" for name in gains}
    layout |= {"gain/IRT4": "sparse", "gain/carsIRT4": "sparse", "png/antennas": "transmitter"}
    layout["antenna"] = "map"
    layout |= {f"png/{name}": "map" for name in ("buildings_complete", "cars", "roads")}
    names = ("buildings_complete", "buildings_and_cars", "roads")
    layout |= {f"polygon/{name}": "map" for name in names}
    for top in ("png", "polygon"):
        for kind in ("missing", "removed"):
            for folder in MISSING_FOLDERS.values():
                layout[folder.replace("png", top).replace("missing", kind)] = "map"
    return layout


#: RadioMapSeer's folders, and what they hold one file for: a map, a transmitter, or, where it is
#: sparse, one of the first two transmitters.
LAYOUT = _layout()
_SIMULATED = ("png/antennas", "antenna", "png/buildings_complete", "polygon/buildings_complete")
