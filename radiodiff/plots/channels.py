"""Figure of a condition: what a network is told about one scene, channel by channel."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from radiodiff import units
from radiodiff.conditions import CHANNELS, OCCLUSION_HALF_M
from radiodiff.plots.style import Figure, styled

__all__ = ["plot_channels"]

#: A channel with fewer values above 0 than this share of its cells is drawn as dots.
_SPARSE = 0.01


@styled
def plot_channels(condition: np.ndarray, names: Sequence[str], *, columns: int = 3) -> Figure:
    """Draw the channels of a condition, each with a bar that says what its values stand for.

    Single cells that are not 0, a transmitter or a few measurements, are drawn as dots: a cell of a
    large map could not be seen.

    Args:
        condition: Channels in [0, 1], shape ``(k, h, w)``.
        names: What they are, names of `radiodiff.conditions.CHANNELS`.
        columns: Channels in a row.

    Returns:
        A figure with a panel and a bar a channel.

    Raises:
        ValueError: If there are more or fewer names than channels, or no such channel.
    """
    unknown = [name for name in names if name not in CHANNELS]
    if unknown or len(names) != len(condition):
        raise ValueError(
            f"expected a name among {', '.join(CHANNELS)} for each of the {len(condition)} "
            f"channels, got {list(names)}"
        )
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, name, values in zip(panels, names, np.asarray(condition), strict=False):
        _plot_channel(axes, name, values)
    for axes in panels[len(names) :]:
        axes.remove()
    return figure


def _plot_channel(axes: Axes, name: str, values: np.ndarray) -> None:
    """Draw one channel and its bar."""
    limits = {"cmap": "cividis", "vmin": 0, "vmax": 1}
    image = axes.imshow(values, interpolation="nearest", **limits)
    rows, cols = np.nonzero(values)
    if 0 < len(rows) < _SPARSE * values.size:
        dots = {"s": 11, "edgecolors": "white", "linewidths": 0.4}
        axes.scatter(cols, rows, c=values[rows, cols], **dots, **limits)
    axes.set(xticks=[], yticks=[])
    axes.set_title(name, fontsize=10)
    bar = axes.figure.colorbar(image, ax=axes, location="bottom", pad=0.02, aspect=16)
    readings = channel_readings(name)
    bar.set_ticks(list(readings), labels=list(readings.values()), fontsize=7)
    for value, label in zip(readings, bar.ax.get_xticklabels(), strict=True):
        label.set_horizontalalignment({0.0: "left", 1.0: "right"}.get(value, "center"))
    meaning = CHANNELS[name].meaning.replace("`", "")
    bar.set_label(textwrap.fill(meaning, 36), fontsize=7)


def channel_readings(name: str) -> dict[float, str]:
    """Return values of a channel and how they read, with units where they have any."""
    if name == "occlusion":
        shares = (0.0, 0.5, 0.8)
        return {share: f"{OCCLUSION_HALF_M * share / (1 - share):.0f} m" for share in shares}
    if name == "k2":
        return {0.0: "lowest", 1.0: "0"}
    if not (CHANNELS[name].is_gain or name == "measurements"):
        return {0.0: "0", 1.0: "1"}
    decibels = {gray: f"{units.gray_to_path_gain_db(gray):.0f} dB" for gray in (0.0, 0.5, 1.0)}
    return decibels | ({0.0: "none"} if name == "measurements" else {})
