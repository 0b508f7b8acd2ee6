"""Figures of the diffusion process: paths, laws, and quantities over diffusion time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from radiodiff.plots.colours import COLOURS, DASHES, MARKERS
from radiodiff.plots.style import styled

__all__ = [
    "plot_law",
    "plot_law_errors",
    "plot_over_time",
    "plot_paths",
]

TIME = "diffusion time $t$ [1]"


def _styles(count: int) -> list[dict[str, Any]]:
    """Return a colour and a dash pattern for each of ``count`` curves."""
    if count > len(COLOURS):
        raise ValueError(f"at most {len(COLOURS)} curves can be told apart, got {count}")
    pairs = list(zip(COLOURS, DASHES, strict=True))[:count]
    return [{"color": colour, "linestyle": dashes} for colour, dashes in pairs]


@styled
def plot_paths(
    axes: Axes,
    times: np.ndarray,
    paths: np.ndarray,
    *,
    centre: np.ndarray,
    spread: np.ndarray,
    title: str = "",
) -> None:
    """Draw paths of a process with the mean and the standard deviation it should have.

    Args:
        axes: Where to draw.
        times: Diffusion times [1], shape ``(n,)``.
        paths: One path a column, shape ``(n, k)``.
        centre: Mean at each time, shape ``(n,)``.
        spread: Standard deviation at each time, shape ``(n,)``; the band is two of them wide on
            either side.
        title: Title of the panel.
    """
    axes.plot(times, paths, color="0.45", linewidth=0.5, alpha=0.5)
    band = (centre - 2 * spread, centre + 2 * spread)
    label = "mean ± 2 standard deviations"
    axes.fill_between(times, *band, color=COLOURS[0], alpha=0.2, linewidth=0, label=label)
    axes.plot(times, centre, color=COLOURS[0], linewidth=2, label="mean")
    axes.set(xlabel=TIME, ylabel="$x_t$ [1]", xlim=(times.min(), times.max()))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)


@styled
def plot_law(
    axes: Axes,
    times: np.ndarray,
    levels: np.ndarray,
    density: np.ndarray,
    *,
    trajectory_times: np.ndarray,
    trajectories: np.ndarray,
    title: str = "",
) -> None:
    """Draw the density of a process over time, and trajectories on top of it.

    Each time's density is divided by its largest value, else the narrow law at 0 outshines all.

    Args:
        axes: Where to draw.
        times: Increasing, evenly spaced times of the density [1], shape ``(n,)``.
        levels: Increasing, evenly spaced values of ``x_t`` [1], shape ``(m,)``.
        density: Density, shape ``(m, n)``.
        trajectory_times: Times of the trajectories [1], shape ``(l,)``.
        trajectories: One trajectory a column, shape ``(l, k)``.
        title: Title of the panel.
    """
    extent = (times[0], times[-1], levels[0], levels[-1])
    image = axes.imshow(
        density / density.max(0), extent=extent, origin="lower", aspect="auto", cmap="viridis"
    )
    axes.plot(trajectory_times, trajectories, color="white", linewidth=0.9)
    axes.set(xlabel=TIME, ylabel="$x_t$ [1]", xlim=extent[:2], ylim=extent[2:])
    axes.set_title(title, fontsize=10)
    axes.figure.colorbar(image, ax=axes, label="density over its maximum at $t$ [1]")


@styled
def plot_law_errors(
    axes: Axes,
    steps: Sequence[int],
    errors: Mapping[str, Sequence[float]],
    *,
    floor: float,
    ylabel: str,
    title: str = "",
) -> None:
    """Draw the error of sampled laws over the number of steps.

    Args:
        axes: Where to draw.
        steps: Steps of the sampler, shape ``(n,)``.
        errors: Name to one error for each number of steps, shape ``(n,)``; no more than `COLOURS`.
        floor: What draws of the true law are away from it; nothing below it means anything.
        ylabel: Error, with its unit.
        title: Title of the panel.

    Raises:
        ValueError: If there are more errors than colours.
    """
    styles = _styles(len(errors))
    for (name, values), style, marker in zip(errors.items(), styles, MARKERS, strict=False):
        axes.loglog(steps, values, marker=marker, label=name, **style)
    axes.axhspan(0, floor, color="0.85", label="draws of the true law")
    axes.set(xlabel="steps of the sampler [1]", ylabel=ylabel)
    axes.set_xticks(list(steps), [str(count) for count in steps])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)


@styled
def plot_over_time(
    axes: Axes,
    times: np.ndarray,
    curves: Mapping[str, np.ndarray],
    *,
    ylabel: str,
    xlabel: str = TIME,
    title: str = "",
    yscale: str = "linear",
) -> None:
    """Draw curves over diffusion time.

    Args:
        axes: Where to draw.
        times: Times [1], shape ``(n,)``.
        curves: Name to values, shape ``(n,)``; no more than `COLOURS`.
        ylabel: What the values are, with their unit.
        xlabel: Which time it is, with its unit.
        title: Title of the panel.
        yscale: Scale of the values, ``linear`` or ``log``.

    Raises:
        ValueError: If there are more curves than colours.
    """
    for (name, values), style in zip(curves.items(), _styles(len(curves)), strict=True):
        axes.plot(times, values, linewidth=2, label=name, **style)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale=yscale, xlim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)
