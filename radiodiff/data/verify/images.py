"""Every file of a dataset read: images, outlines and packs, and what the gray levels say."""

from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from radiodiff import units
from radiodiff.data.images import DatasetError
from radiodiff.data.pack_reader import FOLDER as PACKED
from radiodiff.data.pack_reader import PackedImages, read_index
from radiodiff.data.verify.folder import DatasetFolder, parse_name
from radiodiff.data.verify.physics import (
    building_fit,
    peak_distance,
    summarise_fits,
    summarise_peaks,
)
from radiodiff.files import FileError, read_json

__all__ = [
    "check_antenna_images",
    "check_gains",
    "check_masks",
    "check_packs",
    "check_polygons",
]


class GainReport(NamedTuple):
    """What a folder of targets says."""

    values: dict[str, Any]
    buildings: dict[str, Any] | None
    transmitters: dict[str, Any]


def check_gains(data: DatasetFolder, folder: str) -> GainReport:
    """Read the targets of a folder; return their values, and how buildings and transmitters fit."""
    levels = np.zeros(256, np.int64)
    peaks: dict[str, int] = {}
    fits: dict[int, tuple[float, float]] = {}
    for map_id, names in groupby(data.chosen(folder), key=lambda name: parse_name(name)[0]):
        silent = None
        for name in names:
            gray = data.image(folder, name)
            if gray is None:
                continue
            levels += np.bincount(gray.ravel(), minlength=256)
            if not gray.any():
                data.fault(f"{folder}/{name}", "is black: no cell has a gain")
                continue
            silent = gray == 0 if silent is None else silent & (gray == 0)
            distance = peak_distance(data, gray, folder, name)
            if distance is not None:
                peaks[name] = distance
        fit = building_fit(data, folder, map_id, silent) if silent is not None else None
        if fit is not None:
            fits[map_id] = fit
    return GainReport(_values(levels), summarise_fits(fits), summarise_peaks(peaks))


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


def check_antenna_images(data: DatasetFolder) -> dict[str, Any]:
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
        distance = peak_distance(data, gray, folder, name)
        if distance is not None:
            peaks[name] = distance
    return summarise_peaks(peaks)


def check_masks(data: DatasetFolder, folder: str) -> list[float]:
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


def check_polygons(data: DatasetFolder) -> None:
    """Note polygon files that hold no list."""
    for folder in sorted(f for f in data.files if f.startswith("polygon/")):
        for name in data.chosen(folder):
            try:
                read_json(data.root / folder / name, list)
            except (OSError, ValueError) as error:
                data.fault(f"{folder}/{name}", error)


def check_packs(data: DatasetFolder) -> None:
    """Read the packs of the images; a damaged one is a fault, one of other images a note."""
    for folder in data.image_folders:
        try:
            index = data.root / PACKED / f"{folder}.json"
            if not index.exists():
                continue
            read_index(index)
            pack = PackedImages.open(data.root, folder)
            if pack is None:
                data.notes.append(f"{PACKED}/{folder} is out of date: it is not used")
                continue
            pack.verify()
        except FileError as error:
            data.fault(f"{PACKED}/{folder}.json", error)
        except (DatasetError, OSError) as error:
            data.fault(f"{PACKED}/{folder}.npy", error)
