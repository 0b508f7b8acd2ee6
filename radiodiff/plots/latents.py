"""Figures of the autoencoder: what compression loses and where, and how its latents look."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from radiodiff import units
from radiodiff.plots.colours import COLOURS, DASHES, MARKERS
from radiodiff.plots.maps import plot_difference, plot_kinds, plot_radio_map
from radiodiff.plots.style import Figure, styled
from radiodiff.scoring import ErrorOverDistance, Spectrum

__all__ = [
    "plot_compressions",
    "plot_decoded",
    "plot_error_over_distance",
    "plot_kl_weight",
    "plot_latent_histograms",
    "plot_latents",
    "plot_region_errors",
    "plot_spectra",
]

_TRUTH_COLOUR = "0.3"


def _styled(
    values: Mapping[str, Any], looks: Sequence[Any] = DASHES
) -> Iterator[tuple[str, Any, str, Any]]:
    """Yield each name and value with a colour and a look; used up, they begin anew."""
    for k, (name, value) in enumerate(values.items()):
        yield name, value, COLOURS[k % len(COLOURS)], looks[k % len(looks)]


@styled
def plot_kl_weight(
    weights: np.ndarray,
    found: Mapping[str, Mapping[str, np.ndarray]],
    best: Mapping[str, np.ndarray],
) -> Figure:
    """Draw what training reached over the weight of the KL term, beside the exact optimum.

    Args:
        weights: Weights of the KL term [1], shape ``(n,)``.
        found: Name of a start to its quantities: label to values, shape ``(n,)``.
        best: The same labels to their values at the optimum, shape ``(n,)``.

    Returns:
        A figure with one panel a quantity.
    """
    figure = Figure(figsize=(4.6 * len(best), 3.5), layout="constrained")
    panels = figure.subplots(1, len(best), squeeze=False)[0]
    for axes, (label, values) in zip(panels, best.items(), strict=True):
        axes.plot(weights, values, color=_TRUTH_COLOUR, label="optimum")
        for name, quantities, colour, marker in _styled(found, MARKERS):
            axes.plot(weights, quantities[label], marker, color=colour, label=name)
        axes.set(xscale="log", yscale="log", xlabel="weight of the KL term [1]", ylabel=label)
        low, high = axes.get_ylim()
        if high < 30 * low:  # powers of ten alone would leave such an axis without labels
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


@styled
def plot_compressions(
    truth_db: np.ndarray,
    restored_db: Mapping[str, np.ndarray],
    edges: Mapping[str, np.ndarray],
    *,
    building_mask: np.ndarray,
    transmitter_cell: tuple[int, int] | None = None,
    limit_db: float = 20.0,
) -> Figure:
    """Draw a radio map with its edges, and below it what each compression made of it.

    Args:
        truth_db: Path gain [dB], shape ``(h, w)``.
        restored_db: Name of a compression to the map it gives back [dB], shape ``(h, w)``.
        edges: Kinds of edges, bool, shape ``(h, w)``; later ones cover earlier ones.
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of the transmitter.
        limit_db: End of the colour bar of errors [dB].

    Returns:
        A figure with a row for the truth and one for each compression: map and error.
    """
    rows = 1 + len(restored_db)
    figure = Figure(figsize=(8.6, 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, 2)
    scene = {"building_mask": building_mask, "transmitter_cell": transmitter_cell}
    plot_radio_map(panels[0, 0], truth_db, title="truth", **scene)
    plot_kinds(panels[0, 1], edges, title="its edges", **scene)
    for (left, right), (name, values) in zip(panels[1:], restored_db.items(), strict=True):
        plot_radio_map(left, values, title=name, **scene)
        plot_difference(
            right,
            values - truth_db,
            title=f"{name}: error",
            limit_db=limit_db,
            label="error [dB]",
            **scene,
        )
    return figure


@styled
def plot_region_errors(errors_db: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the error of several compressions in each region.

    Args:
        errors_db: Name of a compression to its errors: region to RMSE [dB].

    Returns:
        A figure with a group of bars for each region, the first on top.
    """
    regions = list(next(iter(errors_db.values())))
    height = 0.8 / len(errors_db)
    figure = Figure(figsize=(7.2, 0.75 * len(regions) + 1.0), layout="constrained")
    axes = figure.subplots()
    for k, (name, errors, colour, _) in enumerate(_styled(errors_db)):
        places = np.arange(len(regions)) + (k - (len(errors_db) - 1) / 2) * height
        bars = axes.barh(places, [errors[r] for r in regions], height, color=colour, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axes.set_yticks(range(len(regions)), regions)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("RMSE [dB]")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(fontsize=8, loc="outside upper center", ncols=len(errors_db))
    return figure


@styled
def plot_error_over_distance(axes: Axes, found: ErrorOverDistance, *, title: str = "") -> None:
    """Draw the root-mean-square error over the distance from something.

    Args:
        axes: Where to draw.
        found: Of `radiodiff.scoring.error_over_distance`.
        title: Title of the panel.
    """
    for name, errors, colour, dashes in _styled(found.rmse_db):
        axes.plot(
            *(found.distance_m, errors), color=colour, linestyle=dashes, marker=".", label=name
        )
    axes.set(xlabel="distance from the nearest edge [m]", ylabel="RMSE [dB]", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)


@styled
def plot_spectra(
    axes: Axes,
    truth: Spectrum,
    restored: Mapping[str, Spectrum],
    errors: Mapping[str, Spectrum],
    *,
    limit: float,
    title: str = "",
) -> None:
    """Draw the power of radio maps over spatial frequency, and the power of their errors.

    Args:
        axes: Where to draw.
        truth: Of the maps, as `radiodiff.scoring.power_spectrum` gives it.
        restored: Name of a compression to the spectrum of the maps it gives back.
        errors: The same names to the spectra of the errors of these.
        limit: Largest frequency that cells of a latent can tell [1/m]; a line marks it.
        title: Title of the panel.
    """
    axes.plot(*truth, color=_TRUTH_COLOUR, linewidth=3, label="truth")
    for name, spectrum, colour, _ in _styled(restored):
        axes.plot(*spectrum, color=colour, label=name)
        axes.plot(*errors[name], color=colour, linestyle=":", label=f"{name}: error")
    axes.axvline(limit, color="0.6", linewidth=1, linestyle="--")
    axes.set(xlabel="spatial frequency [1/m]", ylabel="power [dB² m²]", yscale="log")
    axes.annotate(
        "two latent cells",
        (limit, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -10),
        textcoords="offset points",
        fontsize=8,
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    axes.set_title(title, fontsize=10)


@styled
def plot_latents(
    path_gain_db: np.ndarray, latents: np.ndarray, *, building_mask: np.ndarray
) -> Figure:
    """Draw a radio map and the channels of its latent.

    Args:
        path_gain_db: Path gain [dB], shape ``(h, w)``.
        latents: Latent of the map, shape ``(c, h / 4, w / 4)``.
        building_mask: True inside buildings, shape ``(h, w)``.

    Returns:
        A figure with the map at the left; all channels share one symmetric colour bar.
    """
    columns = 2 if len(latents) <= 4 else 4
    rows = -(-len(latents) // columns)
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1))
    plot_radio_map(left.subplots(), path_gain_db, building_mask=building_mask, title="radio map")
    panels = right.subplots(rows, columns, squeeze=False).flatten()
    limit = float(abs(latents).max())
    for k, channel in enumerate(latents):
        axes = panels[k]
        image = axes.imshow(channel, vmin=-limit, vmax=limit, cmap="PuOr", interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"channel {k}", fontsize=10)
    right.colorbar(image, ax=panels, label="latent [1]", shrink=0.85)
    for axes in panels[len(latents) :]:
        axes.set_visible(False)
    return figure


@styled
def plot_latent_histograms(axes: Axes, latents: np.ndarray, *, title: str = "") -> None:
    """Draw how the values of each latent channel are spread, beside the standard normal density.

    Args:
        axes: Where to draw.
        latents: Latents, shape ``(n, c, h, w)``.
        title: Title of the panel.
    """
    limit = max(4.0, float(np.quantile(abs(latents), 0.999)))
    bounds = np.linspace(-limit, limit, 61)
    centres = (bounds[1:] + bounds[:-1]) / 2
    normal = np.exp(-(centres**2) / 2) / np.sqrt(2 * np.pi)
    axes.fill_between(centres, normal, color="0.85", label="standard normal")
    channels = {f"channel {k}": values for k, values in enumerate(latents.swapaxes(0, 1))}
    for name, values, colour, dashes in _styled(channels):
        density = np.histogram(values, bounds)[0] / values.size / (bounds[1] - bounds[0])
        axes.plot(centres, density, color=colour, linestyle=dashes, label=name)
    axes.set(xlabel="latent [1]", ylabel="density [1]", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)


@styled
def plot_decoded(maps_db: Mapping[str, np.ndarray], *, columns: int = 3) -> Figure:
    """Draw decoded radio maps side by side, buildings and all, with one colour bar.

    Args:
        maps_db: Title to path gain [dB], shape ``(h, w)``.
        columns: Maps in a row.

    Returns:
        The figure.
    """
    rows = -(-len(maps_db) // columns)
    figure = Figure(figsize=(2.7 * columns + 1.0, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (title, values) in zip(panels, maps_db.items(), strict=False):
        plot_radio_map(axes, values, title=title, colour_bar=False)
    for axes in panels[len(maps_db) :]:
        axes.remove()
    label = f"path gain [dB]; buildings are decoded as {units.FLOOR_DB:g}"
    figure.colorbar(panels[0].images[0], ax=panels[: len(maps_db)], label=label, shrink=0.85)
    return figure
