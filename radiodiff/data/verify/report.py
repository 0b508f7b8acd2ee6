"""The report on a dataset, as values and as text."""

import re
import stat
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radiodiff.data.verify.digests import check_digests
from radiodiff.data.verify.folder import DatasetFolder, printable
from radiodiff.data.verify.images import (
    check_antenna_images,
    check_gains,
    check_masks,
    check_packs,
    check_polygons,
)
from radiodiff.data.verify.layout import (
    compare_splits,
    count_files,
    describe_expected,
    find_missing,
)
from radiodiff.data.verify.physics import check_line_of_sight
from radiodiff.simulate.layout import DIGESTS
from radiodiff.simulate.manifest import MANIFEST

__all__ = ["format_report", "verify_dataset"]

_SHOWN_FAULTS = 40
_WIDTH = 100


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
    reason = _why_no_folder(root)
    if reason is not None:
        return _no_dataset(root, reason)
    data = DatasetFolder(root, sample, progress)
    if not data.image_folders and not data.faults and data.manifest is None:
        return _no_dataset(root, f"no images below gain/ or png/ and no {MANIFEST}")
    report: dict[str, Any] = {
        "root": printable(str(root)),
        "verdict": "",
        "expected": describe_expected(data),
        "sample": sample,
        "faults": data.faults,
        "missing": find_missing(data),
        "notes": data.notes,
        "counts": count_files(data),
        **_read_files(data),
        "splits": compare_splits(data),
        "digests": check_digests(root, sample=sample, progress=progress),
    }
    if report["digests"] is not None:
        told = {row["file"] for row in data.faults}
        data.faults += [row for row in report["digests"]["faults"] if row["file"] not in told]
        report["missing"] += report["digests"]["missing"]
    check_packs(data)
    report["verdict"] = "broken" if data.faults else "incomplete" if report["missing"] else "sound"
    return report


def _why_no_folder(root: Path) -> str | None:
    """Return what is there instead of a folder; ``None`` for a folder."""
    try:
        return None if stat.S_ISDIR(root.stat().st_mode) else "a file, not a folder"
    except OSError as error:
        return str(error.strerror).lower()


def _no_dataset(root: Path, reason: str) -> dict[str, Any]:
    """Return the report on what is none."""
    return {"root": printable(str(root)), "verdict": "no dataset", "reason": reason}


def _read_files(data: DatasetFolder) -> dict[str, Any]:
    """Read images and outlines; return what they say."""
    images, transmitters, fits = {}, {}, {}
    buildings: dict[str, Any] = {}
    for folder in data.image_folders:
        if folder.startswith("gain/"):
            images[folder], fits[folder], transmitters[folder] = check_gains(data, folder)
        elif folder == "png/antennas":
            transmitters[folder] = check_antenna_images(data)
        else:
            shares = check_masks(data, folder)
            if folder == "png/buildings_complete" and shares:
                buildings["outdoor_share"] = _spread(1 - np.array(shares))
    check_polygons(data)
    laws = {
        folder: check_line_of_sight(data, folder)
        for folder in ("gain/DPM", "gain/carsDPM")
        if data.names(folder)
    }
    return {
        "images": images,
        "buildings": buildings | {"against_gains": fits},
        "transmitters": transmitters,
        "line_of_sight": laws,
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    """Return mean, least and greatest of some values."""
    names = {"mean": values.mean(), "min": values.min(), "max": values.max()}
    return {name: round(float(value), 4) for name, value in names.items()}


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
