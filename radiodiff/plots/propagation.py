"""Figures of how path gain behaves, and of datasets."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from radiodiff import units
from radiodiff.plots.colours import COLOURS, DASHES
from radiodiff.plots.style import Figure, styled

__all__ = [
    "plot_calibration",
    "plot_gain_over_distance",
    "plot_scales",
    "plot_value_shares",
]


@styled
def plot_gain_over_distance(
    axes: Axes,
    path_gain_db: np.ndarray,
    distance_m: np.ndarray,
    kinds: Mapping[str, np.ndarray],
    *,
    title: str = "",
) -> None:
    """Draw the path gain of every cell over its distance, beside the line-of-sight law.

    Args:
        axes: Where to draw.
        path_gain_db: Path gain [dB], shape ``(h, w)``.
        distance_m: Distance of each cell from the transmitter [m], shape ``(h, w)``.
        kinds: Name to cells, bool, shape ``(h, w)``; one colour each, bright to dark.
        title: Title of the panel.
    """
    colours = matplotlib.colormaps["viridis"](np.linspace(0.95, 0, len(kinds)))
    for (name, mask), colour in zip(kinds.items(), colours, strict=True):
        axes.scatter(
            *(distance_m[mask], path_gain_db[mask]),
            s=3,
            color=colour,
            linewidth=0,
            alpha=0.5,
            label=name,
            rasterized=True,
        )
    law_m = np.geomspace(1, max(2.0, float(distance_m.max())), 50)
    law_db = units.line_of_sight_gain_db(law_m)
    axes.plot(law_m, law_db, "--", color="red", label="line-of-sight law")
    axes.set(xlabel="distance from the transmitter [m]", ylabel="path gain [dB]", xscale="log")
    axes.grid(alpha=0.3)
    beneath = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2}
    legend = axes.legend(fontsize=9, markerscale=4, frameon=False, **beneath)
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    axes.set_title(title, fontsize=10)


@styled
def plot_scales() -> Figure:
    """Draw the scales of path gain beneath each other: one place, one value.

    Returns:
        A figure: dB, 8-bit level, gray level, model range, and RadioUNet's scale.
    """
    span = units.PEAK_DB - units.FLOOR_DB
    noise = (units.NOISE_THRESHOLD_DB - units.FLOOR_DB) / span
    scales = (
        ("8-bit level", 0.0, 255.0, np.arange(0, 256, 51)),
        ("gray level $g$ [1]", 0.0, 1.0, np.linspace(0, 1, 6)),
        ("model range $x = 2g - 1$ [1]", -1.0, 1.0, np.linspace(-1, 1, 5)),
        ("RadioUNet's scale [1]; 0 below", -noise / (1 - noise), 1.0, np.linspace(0, 1, 5)),
    )
    figure = Figure(figsize=(6.4, 3.8))
    axes = figure.add_axes((0.06, 0.83, 0.88, 0.1))
    extent = (units.FLOOR_DB, units.PEAK_DB, 0, 1)
    axes.imshow(np.linspace(0, 1, 256)[None], extent=extent, aspect="auto", cmap="viridis")
    axes.axvline(units.NOISE_THRESHOLD_DB, color="red")
    axes.set(yticks=[], xlabel="path gain $P$ [dB]")
    ticks_db = [units.FLOOR_DB, units.NOISE_THRESHOLD_DB, -110, -90, -70, units.PEAK_DB]
    axes.set_xticks(ticks_db, [f"{tick:g}".replace("-", "−") for tick in ticks_db])
    axes.set_title("noise", x=noise, fontsize=9, color="red")
    for k, (label, low, high, ticks) in enumerate(scales, 1):
        ruler = figure.add_axes((0.06, 0.83 - 0.18 * k, 0.88, 0.001))
        ruler.set(xlim=(low, high), yticks=[], xlabel=label, xticks=ticks)
        ruler.spines[["left", "right", "top"]].set_visible(False)
    return figure


@styled
def plot_calibration(metrics: Mapping[str, Any]) -> Figure:
    """Draw the error of the dominant-path engine against real gains.

    Args:
        metrics: Content of ``results/calibration/metrics.json``.

    Returns:
        A figure with the RMSE by transmitter, and by bends of the path. Cells to which no path
        leads are left out.
    """
    rows = [row for row in metrics["bends"] if row["bends"] != "none"]
    fitted, held_back = metrics["transmitters"], metrics.get("held_back", [])
    counts = (len(fitted) + len(held_back), len(rows))
    figure = Figure(figsize=(6.0, 1.8 + 0.32 * sum(counts)), layout="constrained")
    by_transmitter, by_bends = figure.subplots(2, 1, sharex=True, height_ratios=counts)
    styles = (("used for the fit", COLOURS[0]), ("held back", COLOURS[1]))
    for judged, (label, colour) in zip((fitted, held_back), styles, strict=True):
        if judged:
            names = [str(row["transmitter"]) for row in judged]
            errors = [row["rmse_db"] for row in judged]
            bars = by_transmitter.barh(names, errors, color=colour, label=label)
            by_transmitter.bar_label(bars, fmt="%.2f", padding=3)
    by_transmitter.set(ylabel="transmitter")
    if held_back:
        by_transmitter.legend(fontsize=8)
    names = [row["bends"].replace(" or more", "+") for row in rows]
    bars = by_bends.barh(names, [row["rmse_db"] for row in rows], color=COLOURS[2])
    labels = [f"{row['rmse_db']:.2f}, {row['cells']:,} cells" for row in rows]
    by_bends.bar_label(bars, labels, padding=3)
    by_bends.set(ylabel="bends of the path")
    for axes in (by_transmitter, by_bends):
        axes.set(xlabel="RMSE [dB]")
        axes.margins(x=0.4)  # room for the labels
        axes.set_xlim(left=0)
        axes.invert_yaxis()
        axes.tick_params(labelbottom=True)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    return figure


@styled
def plot_value_shares(report: Mapping[str, Any], *, title: str = "") -> Figure:
    """Draw how often each path gain occurs in a dataset, gray level 0 aside.

    Args:
        report: What `radiodiff.data.verify_dataset` found.
        title: Title of the figure.

    Returns:
        A figure with one line a variant; the legend tells its share of cells at gray level 0.

    Raises:
        ValueError: If there are more variants than colours.
    """
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    images = report["images"]
    if len(images) > len(COLOURS):
        raise ValueError(f"expected at most {len(COLOURS)} variants, got {len(images)}")
    styles = zip(COLOURS, DASHES, strict=True)
    for (folder, values), (colour, dashes) in zip(images.items(), styles, strict=False):
        shares = np.array(values["histogram"])
        shares[0] -= values["share_0"]
        label = f"{folder.removeprefix('gain/')} ({values['share_0']:.0%} at gray 0)"
        style = {"color": colour, "linestyle": dashes, "linewidth": 1.8}
        axes.stairs(100 * shares, values["edges_db"], label=label, **style)
    axes.set(xlabel="path gain [dB]", ylabel="share of all cells [%]", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
