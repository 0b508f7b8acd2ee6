"""Figures of how maps are drawn, how samples differ, and what their spread is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from radiodiff.plots.colours import COLOURS
from radiodiff.plots.maps import plot_radio_map
from radiodiff.plots.style import Figure, styled
from radiodiff.scoring import Averaging, Coverage, SpreadAndError, rmse_of_map

__all__ = [
    "plot_averaging",
    "plot_coverage",
    "plot_cut",
    "plot_spread",
    "plot_spread_and_error",
    "plot_steps",
    "plot_trajectory",
]

_BUILDING_COLOUR = "0.55"


@styled
def plot_trajectory(
    times: Sequence[float],
    noisy_db: Sequence[np.ndarray],
    estimates_db: Sequence[np.ndarray],
    *,
    result_db: np.ndarray,
    truth_db: np.ndarray,
    building_mask: np.ndarray,
    transmitter_cell: tuple[int, int],
) -> Figure:
    """Draw what the sampler holds at each time, and what it takes the answer to be.

    Args:
        times: Times of the denoiser calls, from 1 down.
        noisy_db: Decoded latents at these times [dB], each shape ``(h, w)``.
        estimates_db: Decoded estimates of the clean latents [dB], each shape ``(h, w)``.
        result_db: The drawn map [dB], shape ``(h, w)``.
        truth_db: Simulated path gain [dB], shape ``(h, w)``.
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of the transmitter.

    Returns:
        A figure with a column for each time, result and truth last, and one dB colour bar.
    """
    columns = len(times) + 1
    figure = Figure(figsize=(1.8 * columns, 4.7), layout="constrained")
    panels = figure.subplots(2, columns, squeeze=False)
    scene = {
        "building_mask": building_mask,
        "transmitter_cell": transmitter_cell,
        "colour_bar": False,
    }
    outdoors = ~building_mask
    for (above, below), t, noisy, estimate in zip(
        panels.T, times, noisy_db, estimates_db, strict=False
    ):
        rmse = rmse_of_map(estimate, truth_db, outdoors)
        plot_radio_map(above, noisy, title=f"$t = {t:.3g}$", **scene)
        plot_radio_map(below, estimate, title=f"RMSE {rmse:.1f} dB", **scene)
    plot_radio_map(panels[0, -1], result_db, title="$t = 0$: the result", **scene)
    plot_radio_map(panels[1, -1], truth_db, title="truth", **scene)
    panels[0, 0].set_ylabel("$x_t$, decoded")
    panels[1, 0].set_ylabel("estimate of $x_0$")
    bar = {"location": "bottom", "shrink": 0.6, "aspect": 40, "pad": 0.02}
    figure.colorbar(panels[0, 0].images[0], ax=panels, label="path gain [dB]", **bar)
    return figure


@styled
def plot_cut(
    axes: Axes,
    position_m: np.ndarray,
    truth_db: np.ndarray,
    samples_db: np.ndarray,
    one_step_db: np.ndarray,
    *,
    title: str = "",
) -> None:
    """Draw a cut through a radio map: truth, samples, their mean, and the map of one step.

    Args:
        axes: Where to draw.
        position_m: Position along the cut [m], shape ``(n,)``.
        truth_db: Simulated path gain [dB], shape ``(n,)``; NaN inside buildings.
        samples_db: Samples of many steps [dB], shape ``(k, n)``.
        one_step_db: Map of one step [dB], shape ``(n,)``.
        title: Title of the panel.
    """
    label = "samples"
    for sample in samples_db:
        axes.plot(position_m, sample, color="0.7", linewidth=0.7, label=label)
        label = None
    axes.plot(position_m, samples_db.mean(0), color=COLOURS[1], label="mean of samples")
    axes.plot(position_m, one_step_db, color=COLOURS[0], linestyle="--", label="one step")
    axes.plot(position_m, truth_db, color="black", linewidth=1.8, label="truth")
    axes.set(xlabel="position along the cut [m]", ylabel="path gain [dB]")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)


@styled
def plot_spread(
    axes: Axes,
    values_db: np.ndarray,
    *,
    limit_db: float,
    label: str,
    building_mask: np.ndarray,
    transmitter_cell: tuple[int, int],
    title: str = "",
) -> None:
    """Draw a map of values that are 0 or more: a standard deviation, or the size of an error.

    Args:
        axes: Where to draw.
        values_db: The values [dB], shape ``(h, w)``.
        limit_db: End of the colour bar [dB].
        label: Label of the colour bar, with its unit.
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of the transmitter.
        title: Title of the panel.
    """
    values = np.where(building_mask, np.nan, values_db)
    axes.set_facecolor(_BUILDING_COLOUR)
    image = axes.imshow(values, vmin=0, vmax=limit_db, cmap="magma", interpolation="nearest")
    row, col = transmitter_cell
    axes.plot(col, row, marker="+", color="cyan", markersize=9, markeredgewidth=1.8)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    axes.figure.colorbar(image, ax=axes, label=label, shrink=0.85, extend="max")


@styled
def plot_spread_and_error(axes: Axes, found: SpreadAndError) -> None:
    """Draw the error of the samples' mean over their standard deviation.

    If truth and samples were drawn alike the points would lie on the dashed line.

    Args:
        axes: Where to draw.
        found: Of `radiodiff.scoring.spread_and_error`, in dB.
    """
    top = 1.05 * max(found.deviation.max(), found.error.max())
    line = np.array([0, top])
    axes.plot(line, found.ratio * line, "--", color="0.4", label="drawn alike")
    axes.plot(found.deviation, found.error, "o-", color=COLOURS[0], label="measured")
    axes.set(
        xlabel="standard deviation of the samples [dB]",
        ylabel="RMSE of their mean [dB]",
        xlim=(0, 1.1 * found.deviation.max()),
        ylim=(0, top),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title("does the spread tell the error?", fontsize=10)


@styled
def plot_coverage(axes: Axes, found: Coverage) -> None:
    """Draw how often the truth lies between two ordered samples.

    Args:
        axes: Where to draw.
        found: Of `radiodiff.scoring.coverage`.
    """
    axes.plot([0, 100], [0, 100], "--", color="0.4", label="drawn alike")
    axes.plot(100 * found.promised, 100 * found.held, "o-", color=COLOURS[0], label="measured")
    axes.set(
        xlabel="interval should hold [% of cells]",
        ylabel="interval holds [% of cells]",
        xlim=(0, 100),
        ylim=(0, 100),
        aspect="equal",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title("do intervals hold the truth?", fontsize=10)


@styled
def plot_averaging(axes: Axes, found: Averaging) -> None:
    """Draw the mean square error of averages of K samples over K.

    The points are means over disjoint groups of K samples, the line needs only the variance and
    the error of the mean of all; the dashed line is its limit for ever more samples.

    Args:
        axes: Where to draw.
        found: Of `radiodiff.scoring.averaging_curve`, in dB.
    """
    many = np.geomspace(1, found.sizes[-1], 100)
    axes.plot(many, found.predicted(many), color=COLOURS[1], label="$b^2 + v / K$")
    axes.plot(found.sizes, found.measured, "o", color=COLOURS[0], label="measured")
    axes.axhline(found.bias, linestyle="--", color="0.4", label="$b^2$, all of it bias")
    axes.set(
        xlabel="samples averaged, $K$",
        ylabel="mean square error [dB²]",
        xscale="log",
        ylim=(0, 1.08 * max(found.measured)),
    )
    axes.set_xticks(found.sizes, [str(k) for k in found.sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


@styled
def plot_steps(result: Mapping[str, Any]) -> Figure:
    """Draw error, gain over one step, spread and time over the number of denoiser calls.

    Args:
        result: Content of ``results/steps/metrics.json``.

    Returns:
        A figure with four panels; bars are the intervals of the file, in the first for single
        samples alone.
    """
    figure = Figure(figsize=(9.5, 7.6), layout="constrained")
    panels = figure.subplot_mosaic([["error", "difference"], ["spread", "time"]])
    most = max(row["samples"] for row in result["rows"])
    kinds = list(dict.fromkeys((row["sampler"], row["samples"]) for row in result["rows"]))
    samplers = list(dict.fromkeys(sampler for sampler, _ in kinds))
    for number, (sampler, samples) in enumerate(kinds):
        rows = [r for r in result["rows"] if (r["sampler"], r["samples"]) == (sampler, samples)]
        calls = np.array([row["calls"] for row in rows])
        shifted = calls * 1.06 ** (number - (len(kinds) - 1) / 2)  # bars side by side
        several = samples > 1
        style = {
            "color": COLOURS[samplers.index(sampler) % len(COLOURS)],
            "marker": "s" if several else "o",
            "linestyle": "--" if several else "-",
            "markersize": 4,
            "label": sampler + (f", mean of {samples}" if several else ""),
        }
        for panel, key in (("error", "rmse_db"), ("difference", "difference_db")):
            mean, low, high = (
                np.array([row[key][k] for row in rows]) for k in ("mean", "low", "high")
            )
            bars = np.stack([mean - low, high - mean]).clip(0)
            if panel == "error" and several:  # as long as the others: they are of the tiles
                bars = None
            panels[panel].errorbar(shifted, mean, bars, linewidth=1, elinewidth=0.6, **style)
        if samples == most:
            panels["spread"].plot(calls, [row["spread_db"] for row in rows], **style)
        if samples == 1:
            panels["time"].plot(calls, [row["ms_per_map"] for row in rows], **style)
    panels["difference"].axhline(0, color="0.4", linewidth=0.8)
    panels["time"].set_yscale("log")
    titles = {
        "error": ("error", "RMSE [dB]"),
        "difference": ("further steps, same maps", "RMSE − that of one step [dB]"),
        "spread": (f"how far {most} samples lie apart", "standard deviation [dB]"),
        "time": ("time of one map", "time [ms]"),
    }
    low_ms, high_ms = panels["time"].get_ylim()
    ticks_ms = [k * 10**p for p in range(6) for k in (1, 2, 5) if low_ms <= k * 10**p <= high_ms]
    panels["time"].set_yticks(ticks_ms, [str(tick) for tick in ticks_ms])
    ticks = sorted({row["calls"] for row in result["rows"] if row["sampler"] == samplers[0]})
    for name, axes in panels.items():
        title, label = titles[name]
        axes.set(xlabel="denoiser calls", ylabel=label, xscale="log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.set_title(title, fontsize=10)
    handles, labels = panels["error"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure
