"""Figures of one tile with many transmitters: what a threshold covers, and where a model errs."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from radiodiff.plots.style import Figure, styled

__all__ = ["plot_covered_share", "plot_transmitter_errors"]

_BUILDING_GRAY = 0.55


@styled
def plot_covered_share(
    axes: Axes,
    thresholds_db: np.ndarray,
    *,
    of_samples: np.ndarray,
    of_mean: np.ndarray,
    of_simulator: np.ndarray,
    chosen_db: float,
) -> None:
    """Draw the covered share of the outdoor cells over the threshold.

    Args:
        axes: Where to draw.
        thresholds_db: Thresholds [dB], shape ``(n,)``.
        of_samples: Share that each of ``k`` samples covers [1], shape ``(n, k)``; a band holds
            them.
        of_mean: Share that the mean of the samples covers [1], shape ``(n,)``.
        of_simulator: Share that the truth covers [1], shape ``(n,)``.
        chosen_db: Threshold that a line marks [dB].
    """
    low, high = of_samples.min(1), of_samples.max(1)
    axes.fill_between(thresholds_db, low, high, color="C0", alpha=0.3, label="single samples")
    axes.plot(thresholds_db, of_mean, "C0", label="mean of the samples")
    axes.plot(thresholds_db, of_simulator, "k--", label="simulator")
    axes.axvline(chosen_db, color="0.4", linestyle=":", label="threshold of this chapter")
    axes.set(xlabel="threshold [dB]", ylabel="covered share of outdoor cells [1]")
    axes.grid(alpha=0.3)
    axes.legend()


@styled
def plot_transmitter_errors(
    cells: np.ndarray,
    rmse_db: np.ndarray,
    error_db: np.ndarray,
    *,
    building_mask: np.ndarray,
    cell_size_m: float,
    trained_share: float,
) -> Figure:
    """Draw where a model errs, by the place of the transmitter and by cell, on one scale.

    Args:
        cells: Cells ``(row, col)`` of ``n`` transmitters, shape ``(n, 2)``.
        rmse_db: Error of the map of each [dB], shape ``(n,)``.
        error_db: Error of each cell over the maps of all [dB], NaN in buildings, shape ``(h, h)``.
        building_mask: True inside buildings, shape ``(h, h)``.
        cell_size_m: Side of a cell [m].
        trained_share: Side of the square in the middle of the tile that training transmitters
            stand in, over that of the tile [1]; a dashed line marks it.

    Returns:
        A figure with the transmitters at the left and the cells at the right.
    """
    centers_m = (cells[:, ::-1] + 0.5) * cell_size_m  # x, and y downwards as in an image
    extent_m = len(building_mask) * cell_size_m
    limits = {"cmap": "viridis", "vmin": 0, "vmax": max(rmse_db.max(), np.nanmax(error_db))}
    extent = (0, extent_m, extent_m, 0)
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    tile = np.where(building_mask, _BUILDING_GRAY, 1)
    left.imshow(tile, cmap="gray", vmin=0, vmax=1, extent=extent)
    dots = left.scatter(*centers_m.T, c=rmse_db, s=60, edgecolors="black", linewidths=0.6, **limits)
    corner, side = (1 - trained_share) * extent_m / 2, trained_share * extent_m
    look = {"fill": False, "linestyle": "--", "edgecolor": "C3", "linewidth": 2}
    left.add_patch(Rectangle((corner, corner), side, side, **look))
    left.set_title("error by the transmitter's place")
    right.set_facecolor(str(_BUILDING_GRAY))
    right.imshow(error_db, extent=extent, interpolation="nearest", **limits)
    right.set_title("error by cell, all transmitters")
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
    bar = {"location": "bottom", "shrink": 0.6, "aspect": 35}
    figure.colorbar(dots, ax=[left, right], label="RMSE [dB]", **bar)
    return figure
