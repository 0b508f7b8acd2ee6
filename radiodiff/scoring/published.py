"""Published errors on RadioMapSeer, each with its source, its protocol and how sure we are.

They are other people's numbers, typed from their papers. None was measured here, and rows of
different protocols must not be compared. Keys are those of ``book/references.bib``.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from radiodiff.scoring.protocols import fingerprint, likely_scale

__all__ = ["PUBLISHED", "Published", "format_published"]

#: What `Published.sure` means.
SURE = {
    "read": "read in the source of the paper",
    "chart": "not read in the paper; agrees within 2 % with a chart of a later one",
    "unread": "as quoted; we could not read it in a source, check before you print it",
}


class Published(NamedTuple):
    """One row of a published table."""

    method: str
    key: str
    """Publication that printed the numbers; baselines stand under the paper that ran them."""
    maps: str
    """Which maps: ``DPM``, ``IRT2``, with or without cars."""
    nmse: float
    rmse: float
    ssim: float | None
    psnr_db: float | None
    protocol: str
    """Key of `radiodiff.PROTOCOLS`: the authors' rule as far as it is known."""
    sure: Literal["read", "chart", "unread"]


def _read() -> Iterator[Published]:
    """Read the rows: text, numbers where the columns hold numbers, `None` where a cell is empty."""
    numbers = ("nmse", "rmse", "ssim", "psnr_db")
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = {name: float(row[name]) if row[name] else None for name in numbers}
            yield Published(**(row | values))


#: RadioUNet: test maps of its own split. RadioDiff's Table II: static (SRM) and dynamic (DRM) maps.
PUBLISHED: tuple[Published, ...] = tuple(_read())


def format_published() -> str:
    """Return the published numbers as a text table, with the scale that each pair speaks for."""
    head = (
        f"  {'method':<11}{'maps':<11}{'NMSE':>7}{'RMSE':>8}{'SSIM':>8}{'PSNR [dB]':>11}"
        f"{'RMSE²/NMSE':>12}  {'scale':<13}sure"
    )
    lines, source = [head], None
    for row in PUBLISHED:
        if row.key != source:
            source = row.key
            lines.append(f"{row.key}, protocol {row.protocol}")
        mean_square = fingerprint(nmse=row.nmse, rmse=row.rmse)
        ssim = "" if row.ssim is None else f"{row.ssim:.4f}"
        psnr = "" if row.psnr_db is None else f"{row.psnr_db:.2f}"
        lines.append(
            f"  {row.method:<11}{row.maps:<11}{row.nmse:>7.4f}{row.rmse:>8.4f}{ssim:>8}{psnr:>11}"
            f"{mean_square:>12.3f}  {likely_scale(mean_square):<13}{row.sure}"
        )
    lines += [f"{name}: {meaning}." for name, meaning in SURE.items()]
    return "\n".join(lines)
