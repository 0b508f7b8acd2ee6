"""Is a dataset whole and sound? Counts, every file's state, and what its values say.

`verify_dataset` looks at a folder in RadioMapSeer's layout and returns a report that JSON can
hold; `format_report` makes text of it. What should be there is told by ``dataset.json``, or, where
there is none, is the real RadioMapSeer (355 408 files; C. Yapar et al., *Dataset of Pathloss and
ToA Radio Maps*, arXiv:2212.11777). Nothing in a folder makes the check stop: whatever cannot be
read is a fault and has a name in the report.
"""

import io
import json
import os
import re
import stat
import struct
import textwrap
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import shapely
from PIL import Image

from radiodiff import units
from radiodiff.data.images import DatasetError
from radiodiff.data.packed import FOLDER as PACKED
from radiodiff.data.packed import PackedImages
from radiodiff.data.splits import Splits, read_manifest, split_overlap, split_parts
from radiodiff.files import sha256
from radiodiff.simulate.dataset import VARIANTS
from radiodiff.simulate.outlines import dataset_outlines, read_antennas
from radiodiff.simulate.visibility import line_of_sight_mask

__all__ = ["check_digests", "format_report", "verify_dataset"]

DIGESTS = "SHA256SUMS"
#: A transmitter this far from the brightest cell, or this share of the building cells with a
#: gain, is a fault: the files belong to different maps. Real maps: 1 cell, 6 %.
MAX_PEAK_CELLS = 10
MAX_BUILDING_GAIN_SHARE = 0.5
#: Maps and transmitters of each on which the line-of-sight law is tried.
LAW_MAPS, LAW_TRANSMITTERS = 4, 2
#: Agreement with the law [dB]: one gray level is 0.39 dB.
LAW_TOLERANCE_DB = 0.5
#: Least share of visible cells that agree; 99.6 % on the real map 0.
MIN_LAW_SHARE = 0.5

_SHOWN_FAULTS = 40
_WIDTH = 100
_PNG_KINDS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray and alpha", 6: "RGB and alpha"}


class _Content(NamedTuple):
    """What one folder of a dataset should hold: a file a map, or one a transmitter."""

    maps: Sequence[int]
    transmitters: int
    suffix: str

    def names(self) -> list[str]:
        if not self.transmitters:
            return [f"{m}{self.suffix}" for m in self.maps]
        return [f"{m}_{t}{self.suffix}" for m in self.maps for t in range(self.transmitters)]


class _Dataset:
    """A dataset while it is checked: what it holds, what it should, and what was found."""

    def __init__(self, root: Path, sample: int | None, tick: Callable[[int], None]) -> None:
        self.root = root
        self.sample = sample
        self.tick = tick
        self.faults: list[dict[str, str]] = []
        self.notes: list[str] = []
        self.files = _list_files(self)
        #: Files with a proper name, in order of map and transmitter.
        self.proper = {
            f: sorted(filter(_parse, names), key=_parse) for f, names in self.files.items()
        }
        self.manifest: dict[str, Any] | None = None
        try:
            manifest = read_manifest(root)
            self.parameters = _parameters(manifest)
            self.manifest = manifest
        except (DatasetError, OSError, RecursionError) as error:
            self.parameters = {}
            self.fault("dataset.json", error)
        self.expected = _expected(self)
        self.size = self._size()
        self.antennas = self._antennas()

    def fault(self, path: str, reason: object) -> None:
        """Note what is wrong with a file or folder, named as below the root."""
        text = str(reason).replace(f"{self.root / path} ", "").replace(f" {self.root / path}", "")
        self.faults.append({"file": _printable(path), "fault": _printable(text)})

    def names(self, folder: str) -> list[str]:
        """Return the files of a folder that have a proper name."""
        return self.proper.get(folder, [])

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
        self.tick(1)
        try:
            return _read_png((self.root / path).read_bytes(), self.size)
        except Exception as error:  # a broken file fails in any way
            self.fault(path, error)
            return None

    def building_mask(self, map_id: int) -> np.ndarray | None:
        """Return the buildings of a map, if they can be read; `_check_masks` tells if not."""
        path = self.root / "png" / "buildings_complete" / f"{map_id}.png"
        try:
            return _read_png(path.read_bytes(), self.size) > 127
        except Exception:  # as above
            return None

    def _size(self) -> tuple[int, int] | None:
        """Return rows and columns of all images: as stated, or those that most images have."""
        if isinstance(self.parameters.get("size"), int):
            return self.parameters["size"], self.parameters["size"]
        folders = [folder for folder in self.files if folder.startswith(("gain/", "png/"))]
        names = [f"{folder}/{name}" for folder in folders for name in self.names(folder)]
        sizes: Counter[tuple[int, int]] = Counter()
        for name in names[:: max(1, len(names) // 200)]:
            try:
                with (self.root / name).open("rb") as file:
                    width, height, *_ = _header(file.read(33))
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
                lists[_parse(name)[0]] = positions
            except Exception as error:  # as above
                self.fault(f"antenna/{name}", error)
        return lists


def verify_dataset(
    root: Path,
    *,
    sample: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Check a dataset folder.

    The verdict is ``sound``, ``incomplete`` (what is there is in order, but files are missing),
    ``broken`` (``faults`` names them) or ``no dataset``.

    Args:
        root: Folder in RadioMapSeer's layout, real or simulated.
        sample: Read so many images of each folder, the same in every call; all if ``None``.
        progress: Called as ``progress(done, files)`` for each file that is read.

    Returns:
        The report: ``verdict``, ``expected`` (in words), ``faults``, ``missing``, ``notes``,
        ``counts``, ``images`` (values of each target folder), ``buildings``, ``transmitters``,
        ``line_of_sight``, ``splits`` and ``digests``.

    Raises:
        ValueError: If ``sample`` is below 1.
    """
    if sample is not None and sample < 1:
        raise ValueError(f"expected a sample of 1 or more, got {sample}")
    root = Path(root)
    try:
        is_folder = stat.S_ISDIR(root.stat().st_mode)
        what = "a file, not a folder"
    except OSError as error:
        is_folder, what = False, str(error.strerror).lower()
    if not is_folder:
        return {"root": _printable(str(root)), "verdict": "no dataset", "reason": what}
    done, total = 0, 0

    def tick(files: int) -> None:
        nonlocal done
        done += files
        if progress is not None:
            progress(done, total)

    data = _Dataset(root, sample, tick)
    folders = sorted(f for f in data.files if f.startswith(("gain/", "png/")) and data.names(f))
    if not folders and not data.faults and data.manifest is None:
        reason = "no images below gain/ or png/ and no dataset.json"
        return {"root": _printable(str(root)), "verdict": "no dataset", "reason": reason}
    total = sum(len(data.chosen(folder)) for folder in folders)
    report: dict[str, Any] = {
        "root": _printable(str(root)),
        "verdict": "",
        "expected": _describe(data),
        "sample": sample,
        "faults": data.faults,
        "missing": _missing(data),
        "notes": data.notes,
        "counts": _counts(data, folders),
        "images": {},
        "buildings": {},
        "transmitters": {},
        "line_of_sight": {},
        "splits": _splits(data),
    }
    for folder in folders:
        if folder.startswith("gain/"):
            report["images"][folder], report["transmitters"][folder] = _check_gains(data, folder)
        elif folder == "png/antennas":
            report["transmitters"][folder] = _check_antenna_images(data)
        else:
            shares = _check_masks(data, folder)
            if folder == "png/buildings_complete" and shares:
                report["buildings"]["outdoor_share"] = _spread(1 - np.array(shares))
    fits = [report["images"][folder].pop("building_fit") for folder in report["images"]]
    report["buildings"]["against_gains"] = dict(zip(report["images"], fits, strict=True))
    _check_polygons(data)
    for folder in ("gain/DPM", "gain/carsDPM"):
        if data.names(folder):
            report["line_of_sight"][folder] = _line_of_sight(data, folder)
    report["digests"] = check_digests(root, sample=sample, progress=progress)
    if report["digests"] is not None:
        told = {row["file"] for row in data.faults}
        data.faults += [row for row in report["digests"]["faults"] if row["file"] not in told]
        report["missing"] += report["digests"]["missing"]
    _check_packs(data, folders)
    report["verdict"] = "broken" if data.faults else "incomplete" if report["missing"] else "sound"
    return report


def check_digests(
    root: Path,
    *,
    sample: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any] | None:
    """Compare files with ``SHA256SUMS``, which lists them as ``sha256sum`` does.

    Args:
        root: Folder that holds the list; its paths count from there.
        sample: Read so many of the files, the same in every call; all if ``None``.
        progress: Called as ``progress(done, files)`` for each file.

    Returns:
        ``listed`` and ``checked`` files, ``faults`` and ``missing`` as in a report, or ``None`` if
        there is no list.
    """
    root = Path(root)
    try:
        lines = (root / DIGESTS).read_bytes().splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        fault = {"file": DIGESTS, "fault": str(error)}
        return {"listed": 0, "checked": 0, "faults": [fault], "missing": []}
    chosen = range(len(lines))
    if sample is not None and len(lines) > sample:
        chosen = sorted(np.random.default_rng(0).choice(len(lines), sample, replace=False))
    faults, missing = [], []
    for done, number in enumerate(chosen, 1):
        if progress is not None:
            progress(done, len(chosen))
        match = re.fullmatch(rb"([0-9a-f]{64}) [ *](.+)", lines[number])
        name = os.fsdecode(match[2]) if match else ""
        if match is None or name.startswith("/") or ".." in name.split("/"):
            faults.append({"file": DIGESTS, "fault": f"line {number + 1} is no digest and path"})
            continue
        try:
            if not stat.S_ISREG((root / name).stat().st_mode):
                raise OSError("is no regular file")  # to open a pipe would wait for ever
            if sha256(root / name) != match[1].decode():
                fault = f"is not the file that {DIGESTS} lists"
                faults.append({"file": _printable(name), "fault": fault})
        except FileNotFoundError:
            missing.append(_printable(name))
        except OSError as error:
            faults.append({"file": _printable(name), "fault": str(error)})
    row = {"folder": DIGESTS, "found": len(chosen) - len(missing), "expected": len(chosen)}
    return {
        "listed": len(lines),
        "checked": len(chosen),
        "faults": faults,
        "missing": [row | {"first": missing[:3]}] if missing else [],
    }


# What is there, and what should be


def _list_files(data: _Dataset) -> dict[str, list[str]]:
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
            if _printable(path) != path:
                data.fault(path, "has a name that is not printable UTF-8")
            if is_file:
                found.setdefault(folder, []).append(entry.name)
            elif identity in above:
                data.fault(path, "is a link to a folder it is in: not followed")
            elif is_folder and path.count("/") > 2:
                data.notes.append(f"{_printable(path)} lies too deep for this layout: not read")
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


def _printable(text: str) -> str:
    """Return text as any terminal and JSON can hold it."""
    decoded = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)


def _parse(name: str) -> tuple[int, ...]:
    """Return map, and transmitter if any, of a file name; empty if it is not named so."""
    match = re.fullmatch(r"(0|[1-9][0-9]*)(?:_(0|[1-9][0-9]*))?\.(?:png|json)", name)
    return tuple(int(number) for number in match.groups() if number) if match else ()


def _parameters(manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Return the parameters of a simulation; for the real dataset, which has none, nothing."""
    if manifest is None:
        return {}
    parameters = manifest.get("parameters")
    transmitters = parameters.get("transmitters") if isinstance(parameters, dict) else None
    if type(transmitters) is not int or transmitters < 1:
        raise DatasetError(f"must say how many transmitters a map has, says {transmitters!r}")
    if not manifest["maps"]:
        raise DatasetError("lists no map")
    variants = parameters.get("variants", ["DPM"])
    if not isinstance(variants, list) or not variants or set(map(str, variants)) - set(VARIANTS):
        raise DatasetError(f"must list variants out of {', '.join(VARIANTS)}, says {variants!r}")
    size, cell_size_m = parameters.get("size", 1), parameters.get("cell_size_m", 1.0)
    if type(size) is not int or size < 1:
        raise DatasetError(f"must say how many cells a side has, says {size!r}")
    if type(cell_size_m) not in (int, float) or not 0 < cell_size_m < np.inf:
        raise DatasetError(f"must say how long a cell is [m], says {cell_size_m!r}")
    return parameters


def _expected(data: _Dataset) -> dict[str, _Content]:
    """Return what each folder should hold."""
    if data.manifest is None and any(row["file"] == "dataset.json" for row in data.faults):
        return {}
    if data.manifest is None:
        maps, transmitters, sparse = range(701), 80, 2
        wanted = _LAYOUT
    else:
        maps = sorted({row["id"] for row in data.manifest["maps"]})
        transmitters = sparse = data.parameters.get("transmitters", 0)
        variants = data.parameters.get("variants", ["DPM"])
        promised = {f"gain/{variant}": "transmitter" for variant in variants}
        promised |= {f: c for f, c in _LAYOUT.items() if f in _SIMULATED or f in data.files}
        if any(str(variant).startswith("cars") for variant in variants):
            promised |= {"png/cars": "map", "polygon/cars": "map"}
        wanted = promised
    counts = {"map": 0, "transmitter": transmitters, "sparse": sparse}
    suffix = {True: ".png", False: ".json"}
    return {
        folder: _Content(maps, counts[each], suffix[folder.startswith(("gain/", "png/"))])
        for folder, each in wanted.items()
    }


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
            folders = [f"{top}/buildings_{kind}{k}/{v}" for k in range(1, 5) for v in range(1, 7)]
            layout |= dict.fromkeys(folders, "map")
    return layout


_LAYOUT = _layout()
_SIMULATED = ("png/antennas", "antenna", "png/buildings_complete", "polygon/buildings_complete")


def _describe(data: _Dataset) -> str:
    """Say in words what should be there."""
    if not data.expected:
        return "unknown: dataset.json cannot be read"
    size = f", {data.size[0]} x {data.size[1]} cells" if data.size else ""
    if data.manifest is None:
        return f"RadioMapSeer (there is no dataset.json): 701 maps x 80 transmitters{size}"
    maps = len(data.manifest["maps"])
    return f"dataset.json: {maps} maps x {data.parameters['transmitters']} transmitters{size}"


def _missing(data: _Dataset) -> list[dict[str, Any]]:
    """Return a row for each folder that lacks files."""
    rows = []
    for folder, content in data.expected.items():
        wanted = content.names()
        there = set(data.files.get(folder, ()))
        lacking = [name for name in wanted if name not in there]
        if lacking:
            row = {"folder": folder, "found": len(wanted) - len(lacking), "expected": len(wanted)}
            rows.append(row | {"first": lacking[:3]})
    for folder in sorted(f for f in data.files if f.startswith("gain/")):
        rows += _missing_inputs(data, folder)
    if data.manifest is None and "dataset.csv" not in {n.lower() for n in data.files.get("", ())}:
        row = {"folder": "dataset.csv", "found": 0, "expected": 1, "first": []}
        rows += [row] if data.expected else []
    for folder in data.expected:
        for path in (folder, folder.split("/")[0]):
            above, _, name = path.rpartition("/")
            is_told = any(row["file"] == path for row in data.faults)
            if name in data.files.get(above, ()) and not is_told:
                data.fault(path, "is a file where a folder should be")
    return rows


def _missing_inputs(data: _Dataset, folder: str) -> Iterator[dict[str, Any]]:
    """Yield a row for the targets of a folder that lack their buildings or transmitter."""
    pairs = [pair for name in data.names(folder) if len(pair := _parse(name)) == 2]
    buildings = set(data.files.get("png/buildings_complete", ()))
    lists, images = set(data.files.get("antenna", ())), set(data.files.get("png/antennas", ()))
    without = [m for m, _ in pairs if f"{m}.png" not in buildings]
    unplaced = [
        (m, t) for m, t in pairs if f"{m}.json" not in lists and f"{m}_{t}.png" not in images
    ]
    if without:
        names = [f"png/buildings_complete/{m}.png" for m in sorted(set(without))]
        row = {"folder": f"buildings of {folder}", "found": len(pairs) - len(without)}
        yield row | {"expected": len(pairs), "first": names[:3]}
    if unplaced:
        names = [f"antenna/{m}.json" for m in sorted({m for m, _ in unplaced})]
        row = {"folder": f"transmitters of {folder}", "found": len(pairs) - len(unplaced)}
        yield row | {"expected": len(pairs), "first": names[:3]}


def _counts(data: _Dataset, folders: Sequence[str]) -> dict[str, dict[str, int | None]]:
    """Return how many files folders hold; note what is misnamed or not expected."""
    counts = {}
    for folder in sorted({*data.expected, *folders, *(f for f in data.files if f)}):
        there = data.files.get(folder, [])
        content = data.expected.get(folder)
        wanted = set(content.names()) if content else set()
        is_image_folder = folder.startswith(("gain/", "png/"))
        parts = 2 if folder.startswith("gain/") or folder == "png/antennas" else 1
        for name in there:
            if name.startswith("."):
                data.notes.append(f"{_printable(f'{folder}/{name}')} is a temporary file")
            elif content and name.endswith(content.suffix) and len(_parse(name)) != parts:
                form = "<map>_<transmitter>" if parts == 2 else "<map>"
                data.fault(f"{folder}/{name}", f"is not named {form}{content.suffix}")
        further = sum(name not in wanted for name in there) if content else 0
        if further:
            data.notes.append(f"{folder} holds {further:,} files that are not expected")
        elif not content and is_image_folder and data.expected:
            data.notes.append(f"{_printable(folder)} is not part of such a dataset")
        found = len(wanted & set(there)) if content else len(there)
        decoded = len(data.chosen(folder)) if is_image_folder else 0
        expected = len(wanted) if content else None
        counts[_printable(folder)] = {"found": found, "expected": expected, "decoded": decoded}
    return counts


def _splits(data: _Dataset) -> dict[str, dict[str, Any]]:
    """Return size, maps at hand and shared maps of every split that the dataset can have."""
    if not data.expected:
        return {}
    there = {_parse(name)[0] for f in data.files if f.startswith("gain/") for name in data.names(f)}
    result = {}
    for splits in get_args(Splits) if data.manifest is None else ("city",):
        parts = split_parts(data.manifest, splits)
        shared = split_overlap(splits, root=data.root)
        result["its own" if data.manifest is not None else splits] = {
            "maps": {name: len(part) for name, part in parts.items()},
            "there": {name: len(part & there) for name, part in parts.items()},
            "shared": {" and ".join(pair): maps for pair, maps in shared.items()},
        }
    return result


# Images


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Return width, height, bits and colour type of a PNG file."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 33:
        raise ValueError("is empty" if not data else "is no PNG file, or is cut off")
    return struct.unpack(">IIBB", data[16:26])


def _read_png(data: bytes, size: tuple[int, int] | None) -> np.ndarray:
    """Decode an 8-bit gray image, uint8, shape ``(h, w)``; raise ValueError with what is wrong."""
    width, height, bits, colour = _header(data)
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


def _check_gains(data: _Dataset, folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the targets of a folder; return what their values say, and how transmitters fit."""
    levels = np.zeros(256, np.int64)
    peaks: dict[str, int] = {}
    fits: dict[int, tuple[float, float]] = {}
    for map_id, names in groupby(data.chosen(folder), key=lambda name: _parse(name)[0]):
        buildings, silent, count = data.building_mask(map_id), None, 0
        for name in names:
            gray = data.image(folder, name)
            if gray is None:
                continue
            levels += np.bincount(gray.ravel(), minlength=256)
            if not gray.any():
                data.fault(f"{folder}/{name}", "is black: no cell has a gain")
                continue
            silent, count = gray == 0 if silent is None else silent & (gray == 0), count + 1
            distance = _peak_distance(data, gray, folder, name)
            if distance is not None:
                peaks[name] = distance
        if buildings is not None and silent is not None and buildings.shape == silent.shape:
            union = (buildings | silent).sum()
            carrying = (buildings & ~silent).sum() / max(1, buildings.sum())
            if not buildings.any() and _has_rings(data, map_id):
                path = f"png/buildings_complete/{map_id}.png"
                data.fault(path, "is empty, but the map's outlines hold buildings")
            fits[map_id] = (buildings & silent).sum() / max(1, union), carrying
            if carrying > MAX_BUILDING_GAIN_SHARE:
                path = f"png/buildings_complete/{map_id}.png"
                data.fault(path, f"does not fit {folder}: {carrying:.0%} of it carries gain")
    return _values(levels) | {"building_fit": _building_fit(fits)}, _placement(peaks)


def _has_rings(data: _Dataset, map_id: int) -> bool:
    """Whether the outlines of a map can be read and hold any."""
    try:
        return len(dataset_outlines(data.root, map_id)) > 0
    except Exception:  # `_check_polygons` tells why not
        return False


def _peak_distance(data: _Dataset, gray: np.ndarray, folder: str, name: str) -> int | None:
    """Return how far the brightest cell is from the listed transmitter [cells], if there is one."""
    map_id, *rest = _parse(name)
    positions = data.antennas.get(map_id)
    if positions is None or not rest:
        return None
    if rest[0] >= len(positions):
        listed = f"antenna/{map_id}.json lists {len(positions)}"
        data.fault(f"{folder}/{name}", f"has no transmitter: {listed}")
        return None
    x, y = positions[rest[0]]
    rows, columns = np.nonzero(gray == gray.max())
    row, column = gray.shape[0] - 1 - round(y), round(x)  # y points up in the lists
    distance = int(np.maximum(abs(rows - row), abs(columns - column)).min())
    if distance > MAX_PEAK_CELLS:
        reason = f"is brightest {distance} cells from its transmitter, row {row}, column {column}"
        data.fault(f"{folder}/{name}", reason)
    return distance


def _placement(peaks: dict[str, int]) -> dict[str, Any]:
    """Return how many maps are brightest at their transmitter."""
    distances = np.array(list(peaks.values()), int)
    worst = max(peaks, key=lambda name: peaks[name]) if peaks else None
    return {
        "compared": len(peaks),
        "exact": int((distances == 0).sum()),
        "within_1": int((distances == 1).sum()),
        "worse": int((distances > 1).sum()),
        "worst": {"name": worst, "cells": peaks[worst]} if worst and peaks[worst] else None,
    }


def _values(levels: np.ndarray) -> dict[str, Any]:
    """Return range and histogram of gray levels, given how often each of the 256 occurs."""
    present, total = np.flatnonzero(levels), max(1, int(levels.sum()))
    edges = np.linspace(0, 255, 11)
    bins = np.clip(np.searchsorted(edges, np.arange(256), side="right") - 1, 0, 9)
    histogram = np.bincount(bins, weights=levels, minlength=10) / total
    low, high = (int(present[0]), int(present[-1])) if len(present) else (0, 0)
    to_db = units.gray_to_path_gain_db
    return {
        "gray_min": low,
        "gray_max": high,
        "min_db": round(to_db(low / 255), 2),
        "max_db": round(to_db(high / 255), 2),
        "share_0": round(float(levels[0]) / total, 5),
        "share_255": round(float(levels[255]) / total, 7),
        "histogram": [round(float(share), 5) for share in histogram],
        "edges_db": [round(float(to_db(edge / 255)), 1) for edge in edges],
    }


def _building_fit(fits: dict[int, tuple[float, float]]) -> dict[str, Any] | None:
    """Return how buildings agree with the cells that are 0 in all targets of their map."""
    if not fits:
        return None
    worst = min(fits, key=lambda map_id: fits[map_id][0])
    overlap, carrying = np.array(list(fits.values())).T
    return {
        "maps": len(fits),
        "mean_iou": round(float(overlap.mean()), 4),
        "worst": {"map": worst, "iou": round(float(overlap.min()), 4)},
        "building_cells_with_gain": round(float(carrying.mean()), 4),
    }


def _check_antenna_images(data: _Dataset) -> dict[str, Any]:
    """Read the images of transmitters; return how they fit the lists."""
    folder = "png/antennas"
    peaks = {}
    for name in data.chosen(folder):
        gray = data.image(folder, name)
        if gray is None:
            continue
        marked = np.count_nonzero(gray)
        if marked != 1:
            data.fault(f"{folder}/{name}", f"marks {marked} cells, must mark one")
            continue
        distance = _peak_distance(data, gray, folder, name)
        if distance is not None:
            peaks[name] = distance
    return _placement(peaks)


def _check_masks(data: _Dataset, folder: str) -> list[float]:
    """Read the images of buildings, cars or roads; return the share that each covers."""
    shares, grays = [], 0
    for name in data.chosen(folder):
        gray = data.image(folder, name)
        if gray is not None:
            shares.append(float((gray > 127).mean()))
            grays += bool(((gray > 0) & (gray < 255)).any())
    if grays:
        data.notes.append(f"{folder}: {grays:,} images have levels other than 0 and 255")
    return shares


def _spread(values: np.ndarray) -> dict[str, float]:
    """Return mean, least and greatest of some values."""
    names = {"mean": values.mean(), "min": values.min(), "max": values.max()}
    return {name: round(float(value), 4) for name, value in names.items()}


# Polygons, line of sight, packs


def _check_polygons(data: _Dataset) -> None:
    """Note polygon files that hold no list."""
    for folder in sorted(f for f in data.files if f.startswith("polygon/")):
        for name in data.chosen(folder):
            try:
                content = json.loads((data.root / folder / name).read_bytes())
                if not isinstance(content, list):
                    raise ValueError(f"holds no list but {type(content).__name__}")
            except Exception as error:  # a broken file fails in any way
                data.fault(f"{folder}/{name}", error)


def _line_of_sight(data: _Dataset, folder: str) -> dict[str, Any]:
    """Try the line-of-sight law on a few maps (eq. ``line-of-sight``)."""
    faulty = {row["file"] for row in data.faults}
    if "dataset.json" in faulty:
        return {"skipped": "dataset.json does not tell the size of a cell"}
    polygons = {_parse(name)[0] for name in data.names("polygon/buildings_complete")}
    pairs: dict[int, list[int]] = {}
    for name in data.names(folder):
        map_id, *rest = _parse(name)
        files = f"{folder}/{name}", f"polygon/buildings_complete/{map_id}.json"
        if rest and map_id in data.antennas and map_id in polygons and not faulty & {*files}:
            pairs.setdefault(map_id, []).append(rest[0])
    if not pairs:
        return {"skipped": "no map has outlines in polygon/buildings_complete and transmitters"}
    if data.size is None or data.size[0] != data.size[1]:
        return {"skipped": "the maps are not square"}
    maps = sorted(pairs)
    maps = [maps[k] for k in np.unique(np.linspace(0, len(maps) - 1, LAW_MAPS).round().astype(int))]
    errors = []
    for map_id in maps:
        try:
            outlines = dataset_outlines(data.root, map_id)
            for transmitter in pairs[map_id][:LAW_TRANSMITTERS]:
                errors.append(_law_errors_db(data, folder, map_id, transmitter, outlines))
        except Exception as error:  # outlines can be wrong in any way
            data.fault(f"polygon/buildings_complete/{map_id}.json", error)
    together = np.concatenate([*errors, np.empty(0)])
    if not len(together):
        return {"skipped": "no cell of the maps tried has line of sight"}
    matched = float((abs(together) <= LAW_TOLERANCE_DB).mean())
    if folder == "gain/DPM" and matched < MIN_LAW_SHARE:
        text = f"follow the line-of-sight law, expected {MIN_LAW_SHARE:.0%} or more"
        data.fault(folder, f"{matched:.0%} of the visible cells {text}: wrong units or positions")
    return {
        "maps": maps,
        "targets": len(errors),
        "cells": len(together),
        "share_within_half_db": round(matched, 4),
        "median_db": round(float(np.median(together)), 3),
    }


def _law_errors_db(
    data: _Dataset, folder: str, map_id: int, transmitter: int, outlines: Sequence[Any]
) -> np.ndarray:
    """Return path gain minus the law [dB] at the outdoor cells that a transmitter sees."""
    size = data.size[0]
    cell_size_m = float(data.parameters.get("cell_size_m", 1.0))
    path = data.root / folder / f"{map_id}_{transmitter}.png"
    gray = _read_png(path.read_bytes(), data.size)
    x, y = data.antennas[map_id][transmitter]
    cell = size - 1 - round(y), round(x)
    x_m, y_m = units.cell_to_m(cell, size=size, cell_size_m=cell_size_m)
    if shapely.contains_xy(shapely.union_all(list(outlines)), x_m, y_m):
        return np.empty(0)
    seen = line_of_sight_mask(outlines, (x_m, y_m), size, cell_size_m)
    buildings = data.building_mask(map_id)
    if buildings is not None:
        seen &= ~buildings
    rows, columns = np.mgrid[:size, :size]
    distance_m = cell_size_m * np.hypot(rows - cell[0], columns - cell[1])
    law_db = units.line_of_sight_gain_db(distance_m)
    seen &= law_db > units.FLOOR_DB
    return (units.gray_to_path_gain_db(gray / 255) - law_db)[seen]


def _check_packs(data: _Dataset, folders: Sequence[str]) -> None:
    """Read the packs of the images; a damaged one is a fault, one of other images a note."""
    for folder in folders:
        try:
            if not (data.root / PACKED / f"{folder}.json").exists():
                continue
            pack = PackedImages.open(data.root, folder)
            if pack is None:
                data.notes.append(f"{PACKED}/{folder} is out of date: it is not used")
                continue
            pack.verify()
        except (DatasetError, OSError) as error:
            data.fault(f"{PACKED}/{folder}.npy", error)


# Text


def format_report(report: dict[str, Any]) -> str:
    """Return a report as text, most important first, lines of 100 columns at most."""
    lines = [f"{report['verdict']}: {report['root']}"]
    if report["verdict"] == "no dataset":
        return "\n".join(_wrap([*lines, f"  {report['reason']}"]))
    sample = report["sample"]
    lines += [f"expected: {report['expected']}"]
    lines += [f"read: {sample} images of each folder"] if sample else []
    faults = report["faults"]
    if faults:
        lines += ["", f"faults: {len(faults):,}"]
        lines += [f"  {row['file']}: {row['fault']}" for row in faults[:_SHOWN_FAULTS]]
        if len(faults) > _SHOWN_FAULTS:
            lines += [f"  and {len(faults) - _SHOWN_FAULTS:,} more; --json names all"]
    if report["missing"]:
        lines += ["", "missing files"]
        lines += _table([_missing_cells(row) for row in _grouped(report["missing"])])
    lines += ["", "files"]
    found = [
        {"folder": folder, "first": [], **row}
        for folder, row in report["counts"].items()
        if row["found"] or row["expected"] is None
    ]
    lines += _table([_count_cells(row) for row in _grouped(found)])
    lines += _format_values(report) + _format_splits(report["splits"])
    if report["digests"] is not None:
        row = report["digests"]
        lines += ["", f"{DIGESTS}: {row['checked']:,} of {row['listed']:,} files compared"]
    if report["notes"]:
        lines += ["", "notes", *(f"  {note}" for note in report["notes"][:_SHOWN_FAULTS])]
    return "\n".join(_wrap(lines))


def _wrap(lines: Sequence[str]) -> list[str]:
    """Break lines that are too long."""
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, _WIDTH, subsequent_indent="      ") or [""]
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as aligned lines: the second column to the right."""
    if not rows:
        return []
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  " + "  ".join(_pad(cell, widths[k], k) for k, cell in enumerate(row)).rstrip()
        for row in rows
    ]


def _pad(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column == 1 else cell.ljust(width)


def _grouped(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the folders of missing and removed buildings of one kind together."""
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        label = re.sub(r"(buildings_(?:missing|removed))\d/\d$", r"\g<1>*/*", row["folder"])
        group = groups.setdefault(label, {"folder": label, "found": 0, "expected": 0, "first": []})
        group["found"] += row["found"]
        group["expected"] = None if row["expected"] is None else group["expected"] + row["expected"]
        prefix = row["folder"].removeprefix(label.split("*")[0]) if "*" in label else ""
        names = [f"{prefix}/{name}" if prefix else name for name in row["first"]]
        group["first"] = (group["first"] + names)[:3]
    return list(groups.values())


def _missing_cells(row: dict[str, Any]) -> list[str]:
    share = f"{row['found']:,} of {row['expected']:,}"
    is_input = row["folder"].startswith(("buildings of", "transmitters of"))
    names = ", ".join(row["first"]) if is_input or row["found"] or row["expected"] <= 3 else ""
    return [row["folder"], share, f"missing first: {names}" if names else ""]


def _count_cells(row: dict[str, Any]) -> list[str]:
    of = "" if row["expected"] is None else f"of {row['expected']:,}"
    return [row["folder"], f"{row['found']:,}", of]


def _format_values(report: dict[str, Any]) -> list[str]:
    """Return the lines on gray levels, buildings, transmitters and the line-of-sight law."""
    lines = []
    for folder, row in report["images"].items():
        shares = " ".join(f"{100 * share:.1f}" for share in row["histogram"])
        lines += [
            f"{folder}: gray {row['gray_min']} to {row['gray_max']}, {row['min_db']:g} to "
            f"{row['max_db']:g} dB; {row['share_0']:.1%} at 0, {row['share_255']:.4%} at 255",
            f"  {shares} % in ten bins of {row['edges_db'][1] - row['edges_db'][0]:.1f} dB "
            f"from {row['edges_db'][0]:g} dB",
        ]
        fit = report["buildings"]["against_gains"][folder]
        if fit is not None:
            lines += [
                f"  buildings against cells always 0, {fit['maps']} maps: IoU {fit['mean_iou']:.3f}"
                f", worst {fit['worst']['iou']:.3f} (map {fit['worst']['map']}); "
                f"{fit['building_cells_with_gain']:.1%} of them carry gain"
            ]
    for folder, row in report["transmitters"].items():
        worst = f", worst {row['worst']['name']}: {row['worst']['cells']}" if row["worst"] else ""
        lines += [
            f"transmitter at the brightest cell of {folder}: {row['exact']:,} of "
            f"{row['compared']:,}, one cell off {row['within_1']:,}, more {row['worse']:,}{worst}"
        ]
    for folder, row in report["line_of_sight"].items():
        text = (
            f"skipped, {row['skipped']}"
            if "skipped" in row
            else (
                f"{row['share_within_half_db']:.1%} of {row['cells']:,} cells of {row['targets']} "
                f"targets within 0.5 dB, median {row['median_db']:+.2f} dB"
            )
        )
        lines += [f"line-of-sight law in {folder}: {text}"]
    share = report["buildings"].get("outdoor_share")
    if share is not None:
        span = f"{share['min']:.1%} to {share['max']:.1%}"
        lines += [f"outdoor cells: {share['mean']:.1%} on average, {span}"]
    return ["", "values", *(f"  {line}" for line in lines)] if lines else []


def _format_splits(splits: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines on splits: maps at hand, of how many, and shared ones."""
    rows = []
    for name, row in splits.items():
        counts = ", ".join(f"{part} {row['there'][part]}/{n}" for part, n in row["maps"].items())
        shared = "; ".join(
            f"{pair} share {len(maps)}" + (f" ({maps[0]})" if len(maps) == 1 else "")
            for pair, maps in row["shared"].items()
        )
        rows.append([name, "", counts, shared])
    return ["", "maps of the splits, there/in all", *_table(rows)] if rows else []
