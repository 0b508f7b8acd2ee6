"""Evaluations as text tables."""

import textwrap
from collections.abc import Mapping
from typing import Any

from radiodiff.scoring.probabilistic import SAMPLE_SCORES

__all__ = ["format_samples", "format_table"]


def format_table(result: Mapping[str, Any], protocol: str = "city") -> str:
    """Return an evaluation under one protocol as a text table with its meaning.

    Raises:
        ValueError: If the evaluation does not hold the protocol.
    """
    if protocol not in result["protocols"]:
        raise ValueError(f"no protocol {protocol!r}: there are {', '.join(result['protocols'])}")
    found = result["protocols"][protocol]
    scale = found["rule"]["scale"]
    first = next(iter(found["scores"]))
    has_intervals = "differences" in found
    # With intervals the error in dB says it all; in gray level it is the same in another unit.
    hidden = {"rmse_db", "rmse"} if has_intervals else {"rmse_db"}
    metrics = [name for name in next(iter(found["scores"].values())) if name not in hidden]
    heads = {"nmse": "NMSE", "rmse": f"RMSE [{scale}]", "ssim": "SSIM", "psnr_db": "PSNR [dB]"}
    digits = {"nmse": 4, "rmse": 4, "ssim": 3, "psnr_db": 2}
    widths = {metric: max(8, len(heads[metric]) + 1) for metric in metrics}
    lines = [
        f"{protocol:<18}"
        + f"{'RMSE [dB]':>{21 if has_intervals else 11}}"
        + "".join(f"{heads[metric]:>{widths[metric]}}" for metric in metrics)
        + ("  difference [dB]" if has_intervals else "")
    ]
    for method, scores in found["scores"].items():
        error = scores["rmse_db"]
        if has_intervals:
            cells = f"{error['value']:.2f} [{error['low']:.2f}, {error['high']:.2f}]"
            line = f"{method:<18}{cells:>21}"
        else:
            line = f"{method:<18}{error['value']:>11.2f}"
        for metric in metrics:
            line += f"{scores[metric]['value']:>{widths[metric]}.{digits[metric]}f}"
        if method in found.get("differences", {}):
            gap = found["differences"][method]
            line += f"  {gap['value']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"
        lines.append(line)
    notes = f"{result['maps']} maps of {result['tiles']} tiles. {found['meaning']}"
    if has_intervals:
        notes += (
            f" Difference: RMSE of {first} minus that of the row; an interval below 0 is a gain."
        )
    lines += textwrap.wrap(notes, width=max(map(len, lines)))
    return "\n".join(lines)


_SAMPLE_NOTES = (
    "CRPS: that of the law behind the samples, the mean absolute error of a single map. Spread: "
    "RMSE that the mean of the samples should have. In range: share of cells whose truth lies "
    "between the least and the largest of k samples, (k - 1) / (k + 1) if truth and samples are "
    "drawn alike. Outdoor cells; mean over the transmitters of a tile, then over tiles; 95 % "
    "percentile bootstrap over tiles."
)


def format_samples(result: Mapping[str, Any]) -> str:
    """Return the scores of samples of an evaluation as a text table with their meaning.

    Raises:
        ValueError: If no predictor gave several samples.
    """
    if "samples" not in result:
        raise ValueError("no predictor gave several samples: set evaluate.samples to 2 or more")
    found = result["samples"]
    heads = "".join(f"{score.title:>21}" for score in SAMPLE_SCORES.values())
    lines = [f"{'samples':<22}{'k':>3}{heads}"]
    for method, count in found["count"].items():
        line = f"{method:<22}{count:>3}"
        for name in SAMPLE_SCORES:
            score = found[name].get(method)
            shown = "{value:.2f} [{low:.2f}, {high:.2f}]".format(**score) if score else ""
            line += f"{shown:>21}"
        lines.append(line.rstrip())
    notes = f"{result['maps']} maps of {result['tiles']} tiles. {_SAMPLE_NOTES}"
    lines += textwrap.wrap(notes, width=max(map(len, lines)))
    return "\n".join(lines)
