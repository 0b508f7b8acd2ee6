"""Figures of errors: rules, published pairs, scores with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from radiodiff.plots.colours import COLOURS, MARKERS
from radiodiff.plots.style import Figure, styled
from radiodiff.scoring import PUBLISHED, fingerprint

__all__ = ["plot_fingerprints", "plot_nmse_rules", "plot_scores", "plot_tile_errors"]


@styled
def plot_nmse_rules(nmse: Mapping[str, float]) -> Figure:
    """Draw the NMSE of one prediction under several rules, on a logarithmic axis.

    Args:
        nmse: Name of the rule to NMSE [1], drawn from top to bottom.
    """
    figure = Figure(figsize=(7.5, 0.42 * len(nmse) + 1), layout="constrained")
    axes = figure.subplots()
    names = list(nmse)
    values = np.array([nmse[name] for name in names])
    axes.hlines(names, values.min() / 2, values, color="0.8")
    axes.plot(values, names, "o", color=COLOURS[0])
    for name, value in nmse.items():
        axes.annotate(
            f"{value:.4f}", (value, name), (8, 0), textcoords="offset points", va="center"
        )
    axes.set(xscale="log", xlabel="NMSE of the same prediction [1]")
    axes.set_xlim(values.min() / 2, 6 * values.max())
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


@styled
def plot_fingerprints(ours: Mapping[str, tuple[float, float]] | None = None) -> Figure:
    """Draw published pairs of NMSE and RMSE with lines of equal mean square of the targets.

    Args:
        ours: Further pairs, name to ``(nmse, rmse)`` [1]; drawn as stars.
    """
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    pairs = np.array([[row.nmse, row.rmse] for row in PUBLISHED] + [*(ours or {}).values()])
    span = np.array([pairs[:, 0].min() / 1.4, pairs[:, 0].max() * 1.4])
    for mean_square, name in ((0.05, "thresholded, about 0.05"), (0.10, "gray, about 0.10")):
        axes.plot(span, np.sqrt(mean_square * span), color="0.6", lw=1, zorder=0)
        place = (span[0], np.sqrt(mean_square * span[0]))
        axes.annotate(name, place, (0, 14), textcoords="offset points", fontsize=8)
    for number, key in enumerate(dict.fromkeys(row.key for row in PUBLISHED)):
        rows = [row for row in PUBLISHED if row.key == key]
        axes.plot(
            [row.nmse for row in rows],
            [row.rmse for row in rows],
            MARKERS[number],
            color=COLOURS[number],
            label=f"printed by {key}",
        )
    for name, (nmse, rmse) in (ours or {}).items():
        label = f"{name}: {fingerprint(nmse=nmse, rmse=rmse):.3f}"
        axes.plot(nmse, rmse, "*", color="black", ms=11)
        axes.annotate(label, (nmse, rmse), (-8, 8), textcoords="offset points", ha="right")
    axes.set(xscale="log", yscale="log", xlabel="NMSE [1]", ylabel="RMSE [gray level of its scale]")
    axes.legend(loc="lower right", fontsize=8)
    return figure


@styled
def plot_scores(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw RMSE [dB] with intervals, one panel an evaluation, under the protocol ``city``.

    Args:
        results: Title to the content of a ``metrics.json``.
    """
    figure = Figure(figsize=(4.3 * len(results), 2.6), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False, sharex=True)[0]
    for axes, (title, result) in zip(panels, results.items(), strict=True):
        scores = result["protocols"]["city"]["scores"]
        for name, metrics in scores.items():
            error = metrics["rmse_db"]
            bars = [[error["value"] - error["low"]], [error["high"] - error["value"]]]
            colour = COLOURS[1] if name == next(iter(scores)) else COLOURS[0]
            axes.errorbar(error["value"], name, xerr=bars, fmt="o", color=colour, capsize=4)
        axes.set(title=title, xlabel="RMSE outdoors [dB]", xlim=(0, None))
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
    return figure


@styled
def plot_tile_errors(
    axes: Axes, errors_db: np.ndarray, tiles: Sequence[str], *, title: str = ""
) -> None:
    """Draw the error of every map over its tile, tiles in order of their mean.

    Args:
        axes: Where to draw.
        errors_db: One RMSE a map [dB], shape ``(n,)``.
        tiles: Tile of each map.
        title: Title of the panel.
    """
    names = np.array(tiles)
    means = {name: errors_db[names == name].mean() for name in dict.fromkeys(tiles)}
    for place, name in enumerate(sorted(means, key=means.get)):
        values = errors_db[names == name]
        axes.plot(np.full(len(values), place), values, "o", ms=4, alpha=0.6, color=COLOURS[0])
        axes.plot(place, means[name], "_", ms=14, mew=2, color="black")
    axes.set_xticks(range(len(means)), sorted(means, key=means.get), fontsize=7, rotation=90)
    axes.set(xlabel="tile, in order of its mean", ylabel="RMSE of a map [dB]", title=title)
