"""Which files are there, which are missing, and which maps the splits of a dataset hold."""

from collections.abc import Iterator
from typing import Any, get_args

from radiodiff.data.splits import Splits, has_own_splits, split_overlap, split_parts
from radiodiff.data.verify.folder import (
    DatasetFolder,
    is_image_folder,
    missing_row,
    parse_name,
    printable,
)

__all__ = ["compare_splits", "count_files", "describe_expected", "find_missing"]


def describe_expected(data: DatasetFolder) -> str:
    """Say in words what should be there."""
    if not data.expected:
        return "unknown: dataset.json cannot be read"
    size = f", {data.size[0]} x {data.size[1]} cells" if data.size else ""
    if data.manifest is None:
        why = "lists no maps" if data.parameters else "is not there"
        return f"RadioMapSeer (dataset.json {why}): 701 maps x 80 transmitters{size}"
    maps = len(data.manifest["maps"])
    if "transmitters" not in data.parameters:
        return f"dataset.json: {maps} maps of given outlines{size}"
    return f"dataset.json: {maps} maps x {data.parameters['transmitters']} transmitters{size}"


def find_missing(data: DatasetFolder) -> list[dict[str, Any]]:
    """Return a row for each folder that lacks files."""
    rows = []
    for folder, content in data.expected.items():
        wanted = content.names()
        there = set(data.files.get(folder, ()))
        lacking = [name for name in wanted if name not in there]
        if lacking:
            rows.append(missing_row(folder, len(wanted) - len(lacking), len(wanted), lacking))
    for folder in sorted(f for f in data.files if f.startswith("gain/")):
        rows += _missing_inputs(data, folder)
    if data.manifest is None and "dataset.csv" not in {n.lower() for n in data.files.get("", ())}:
        rows += [missing_row("dataset.csv", 0, 1, [])] if data.expected else []
    for folder in data.expected:
        for path in (folder, folder.split("/")[0]):
            above, _, name = path.rpartition("/")
            is_told = any(row["file"] == path for row in data.faults)
            if name in data.files.get(above, ()) and not is_told:
                data.fault(path, "is a file where a folder should be")
    return rows


def _missing_inputs(data: DatasetFolder, folder: str) -> Iterator[dict[str, Any]]:
    """Yield a row for the targets of a folder that lack their buildings or transmitter."""
    pairs = [pair for name in data.names(folder) if len(pair := parse_name(name)) == 2]
    buildings = set(data.files.get("png/buildings_complete", ()))
    lists, images = set(data.files.get("antenna", ())), set(data.files.get("png/antennas", ()))
    without = [m for m, _ in pairs if f"{m}.png" not in buildings]
    unplaced = [
        (m, t) for m, t in pairs if f"{m}.json" not in lists and f"{m}_{t}.png" not in images
    ]
    if without:
        names = [f"png/buildings_complete/{m}.png" for m in sorted(set(without))]
        yield missing_row(f"buildings of {folder}", len(pairs) - len(without), len(pairs), names)
    if unplaced:
        names = [f"antenna/{m}.json" for m in sorted({m for m, _ in unplaced})]
        found = len(pairs) - len(unplaced)
        yield missing_row(f"transmitters of {folder}", found, len(pairs), names)


def count_files(data: DatasetFolder) -> dict[str, dict[str, int | None]]:
    """Return how many files folders hold; note what is misnamed or not expected."""
    counts = {}
    for folder in sorted({*data.expected, *filter(None, data.files)}):
        there = data.files.get(folder, [])
        content = data.expected.get(folder)
        wanted = set(content.names()) if content else set()
        parts = 2 if folder.startswith("gain/") or folder == "png/antennas" else 1
        for name in there:
            if name.startswith("."):
                data.notes.append(f"{printable(f'{folder}/{name}')} is a temporary file")
            elif (
                content and name.lower().endswith(content.suffix) and len(parse_name(name)) != parts
            ):
                form = "<map>_<transmitter>" if parts == 2 else "<map>"
                data.fault(f"{folder}/{name}", f"is not named {form}{content.suffix}")
        further = sum(name not in wanted for name in there) if content else 0
        if further:
            data.notes.append(f"{folder} holds {further:,} files that are not expected")
        elif not content and is_image_folder(folder) and data.expected:
            data.notes.append(f"{printable(folder)} is not part of such a dataset")
        found = len(wanted & set(there)) if content else len(there)
        decoded = len(data.chosen(folder)) if is_image_folder(folder) else 0
        expected = len(wanted) if content else None
        counts[printable(folder)] = {"found": found, "expected": expected, "decoded": decoded}
    return counts


def compare_splits(data: DatasetFolder) -> dict[str, dict[str, Any]]:
    """Return size, maps at hand and shared maps of every split that the dataset can have."""
    if not data.expected:
        return {}
    there = {
        parse_name(name)[0] for f in data.files if f.startswith("gain/") for name in data.names(f)
    }
    result = {}
    has_own = has_own_splits(data.manifest)
    for splits in ("city",) if has_own else get_args(Splits):
        parts = split_parts(data.manifest, splits)
        shared = split_overlap(splits, root=data.root)
        result["its own" if has_own else splits] = {
            "maps": {name: len(part) for name, part in parts.items()},
            "there": {name: len(part & there) for name, part in parts.items()},
            "shared": {" and ".join(pair): maps for pair, maps in shared.items()},
        }
    return result
