"""Figures of radio maps and cities."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from shapely import Polygon
from shapely.geometry.polygon import orient

from radiodiff import units
from radiodiff.data import RadioMapSample, path_gain_db, transmitter_cell
from radiodiff.plots.style import Figure, styled
from radiodiff.scoring import rmse_of_map

__all__ = [
    "plot_difference",
    "plot_gray",
    "plot_kinds",
    "plot_outlines",
    "plot_predictions",
    "plot_radio_map",
    "plot_sample",
]

_ERROR_LIMIT_DB = 30.0
#: Unlike for the colour-blind too. Source: M. Okabe, K. Ito, *Color Universal Design*.
_KIND_COLOURS = ("#f0e442", "#e69f00", "#56b4e9", "#000000", "#cc79a7", "#009e73", "#d55e00")
_BUILDING_COLOUR = "0.55"
_CAR_COLOUR = (0.85, 0.45, 0.1)


@styled
def plot_radio_map(
    axes: Axes,
    path_gain_db: np.ndarray,
    *,
    building_mask: np.ndarray | None = None,
    transmitter_cell: tuple[int, int] | None = None,
    title: str = "",
    colour_bar: bool = True,
) -> None:
    """Draw one radio map with a dB colour bar; buildings gray, the transmitter a red cross.

    Args:
        axes: Where to draw.
        path_gain_db: Path gain [dB], shape ``(h, w)``; NaN counts as building, -inf (no path) is
            drawn as the darkest value.
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of the transmitter.
        title: Title of the panel.
        colour_bar: Draw a colour bar beside the panel.
    """
    values = np.array(path_gain_db, dtype=float)
    values[np.isneginf(values)] = units.FLOOR_DB
    if building_mask is not None:
        values[building_mask] = np.nan
    axes.set_facecolor("0.55")
    image = axes.imshow(
        values, vmin=units.FLOOR_DB, vmax=units.PEAK_DB, cmap="viridis", interpolation="nearest"
    )
    _finish(axes, transmitter_cell, title)
    if colour_bar:
        axes.figure.colorbar(image, ax=axes, label="path gain [dB]", shrink=0.85)


@styled
def plot_predictions(rows: Sequence[Mapping[str, object]]) -> Figure:
    """Draw truth, prediction and error of several radio maps, one a row.

    Args:
        rows: Each with ``name``, ``truth_db`` and ``prediction_db`` (path gain [dB], shape
            ``(h, w)``), ``building_mask`` (bool, same shape) and ``transmitter_cell``.

    Returns:
        A figure with one dB colour bar for the maps and one for the errors.
    """
    figure = Figure(figsize=(6.2, 2.15 * len(rows) + 0.9), layout="constrained")
    panels = figure.subplots(len(rows), 3, squeeze=False)
    for axes, row in zip(panels, rows, strict=True):
        mask = np.asarray(row["building_mask"])
        truth, prediction = np.asarray(row["truth_db"]), np.asarray(row["prediction_db"])
        cell = row["transmitter_cell"]
        kwargs = {"building_mask": mask, "transmitter_cell": cell, "colour_bar": False}
        plot_radio_map(axes[0], truth, title=f"{row['name']}: truth", **kwargs)
        plot_radio_map(axes[1], prediction, title="prediction", **kwargs)
        error = np.where(mask, np.nan, prediction - truth)
        axes[2].set_facecolor("0.55")
        axes[2].imshow(
            error,
            vmin=-_ERROR_LIMIT_DB,
            vmax=_ERROR_LIMIT_DB,
            cmap="RdBu_r",
            interpolation="nearest",
        )
        rmse = rmse_of_map(prediction, truth, ~mask)
        _finish(axes[2], cell, f"error, RMSE {rmse:.1f} dB")
    bar = {"location": "bottom", "shrink": 0.8, "aspect": 30, "pad": 0.02}
    figure.colorbar(panels[0, 1].images[0], ax=panels[:, :2], label="path gain [dB]", **bar)
    bar["aspect"] = 15
    figure.colorbar(panels[0, 2].images[0], ax=panels[:, 2], label="prediction − truth [dB]", **bar)
    return figure


@styled
def plot_sample(
    sample: RadioMapSample,
    *,
    title: str = "",
) -> Figure:
    """Draw one sample: what the network is told, the radio map, and a profile through it.

    Args:
        sample: Of a dataset whose maps are path gain.
        title: Title of the figure; the sample's name if empty.

    Returns:
        A figure with buildings, transmitter and cars, the path gain with its dB bar, and the path
        gain along the row of the transmitter beside the line-of-sight law.
    """
    gain_db, building_mask = path_gain_db(sample), ~sample.outdoor_mask[0].numpy()
    row, column = transmitter_cell(sample)
    figure = Figure(figsize=(9.5, 8.0), layout="constrained")
    figure.suptitle(title or sample.name)
    panels = figure.subplot_mosaic([["scene", "map"], ["profile", "profile"]], height_ratios=[2, 1])
    scene = np.full((*building_mask.shape, 3), 0.97)
    scene[sample.scene.building_mask.numpy()] = 0.55
    has_cars = bool(sample.scene.cars_known)
    if has_cars:
        scene[sample.scene.cars_mask.numpy()] = _CAR_COLOUR
    panels["scene"].imshow(scene, interpolation="nearest")
    kinds = "buildings, transmitter" + (", cars" if has_cars else "")
    _finish(panels["scene"], (row, column), kinds)
    plot_radio_map(
        panels["map"],
        gain_db,
        building_mask=building_mask,
        transmitter_cell=(row, column),
        title="path gain",
    )
    distance_m = (np.arange(gain_db.shape[1]) - column) * float(sample.scene.cell_size_m)
    along = np.where(building_mask[row], np.nan, gain_db[row])
    axes = panels["profile"]
    axes.plot(distance_m, along, label=f"row {row}")
    law_db = units.line_of_sight_gain_db(abs(distance_m)).clip(units.FLOOR_DB)
    axes.plot(distance_m, law_db, "--", color="0.4", label="line-of-sight law")
    axes.set(xlabel="distance from the transmitter [m]", ylabel="path gain [dB]")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


@styled
def plot_outlines(
    axes: Axes,
    buildings: Sequence[Polygon],
    extent_m: float,
    *,
    cars: Sequence[Polygon] = (),
    transmitter_m: tuple[float, float] | None = None,
    title: str = "",
) -> None:
    """Draw the outlines of a tile in metres: buildings gray, cars orange, the transmitter a cross.

    Args:
        axes: Where to draw.
        buildings: Outlines [m], y up; courtyards stay open.
        extent_m: Side of the tile [m].
        cars: Outlines of parked cars [m].
        transmitter_m: Position ``(x, y)`` of the transmitter [m].
        title: Title of the panel.
    """
    for polygons, colour in ((buildings, _BUILDING_COLOUR), (cars, _CAR_COLOUR)):
        for polygon in map(orient, polygons):  # holes run the other way round
            rings = [Outline(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]
            outline = Outline.make_compound_path(*rings)
            axes.add_patch(PathPatch(outline, facecolor=colour, edgecolor="0.25", linewidth=0.5))
    if transmitter_m is not None:
        axes.plot(*transmitter_m, marker="+", color="red", markersize=9, markeredgewidth=1.8)
    axes.set(xlim=(0, extent_m), ylim=(0, extent_m), aspect="equal", xlabel="x [m]", ylabel="y [m]")
    axes.set_title(title, fontsize=10)


@styled
def plot_difference(
    axes: Axes,
    difference_db: np.ndarray,
    *,
    building_mask: np.ndarray | None = None,
    transmitter_cell: tuple[int, int] | None = None,
    title: str = "",
    limit_db: float = _ERROR_LIMIT_DB,
    label: str = "difference [dB]",
) -> None:
    """Draw the difference of two radio maps, red where the first is brighter.

    Args:
        axes: Where to draw.
        difference_db: First minus second path gain [dB], shape ``(h, w)``; NaN counts as building.
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of the transmitter.
        title: Title of the panel.
        limit_db: End of the colour bar in both directions [dB].
        label: Label of the colour bar.
    """
    values = np.array(difference_db, dtype=float)
    if building_mask is not None:
        values[building_mask] = np.nan
    axes.set_facecolor(_BUILDING_COLOUR)
    image = axes.imshow(
        values, vmin=-limit_db, vmax=limit_db, cmap="RdBu_r", interpolation="nearest"
    )
    _finish(axes, transmitter_cell, title)
    axes.figure.colorbar(image, ax=axes, label=label, shrink=0.85, extend="both")


@styled
def plot_gray(axes: Axes, gray: np.ndarray, *, title: str = "", colour_bar: bool = True) -> None:
    """Draw an image as it lies in a file: 0 black, 1 white.

    Args:
        axes: Where to draw.
        gray: Gray levels in [0, 1], shape ``(h, w)``.
        title: Title of the panel.
        colour_bar: Draw a colour bar beside the panel.
    """
    image = axes.imshow(gray, vmin=0, vmax=1, cmap="gray", interpolation="nearest")
    _finish(axes, None, title)
    if colour_bar:
        axes.figure.colorbar(image, ax=axes, label="gray level [1]", shrink=0.85)


@styled
def plot_kinds(
    axes: Axes,
    kinds: Mapping[str, np.ndarray],
    *,
    building_mask: np.ndarray | None = None,
    transmitter_cell: tuple[int, int] | None = None,
    title: str = "",
    is_ordered: bool = False,
) -> None:
    """Draw which kind each cell is of; the legend beneath tells the share of all cells.

    Args:
        axes: Where to draw.
        kinds: Name to cells, bool, shape ``(h, w)``; later kinds cover earlier ones. Without an
            order at most seven.
        building_mask: True inside buildings, shape ``(h, w)``; covers all kinds.
        transmitter_cell: ``(row, col)`` of the transmitter.
        title: Title of the panel.
        is_ordered: Colours run from bright to dark instead of being as unlike as possible.

    Raises:
        ValueError: If there are more kinds than colours.
    """
    if not is_ordered and len(kinds) > len(_KIND_COLOURS):
        raise ValueError(f"expected at most {len(_KIND_COLOURS)} kinds, got {len(kinds)}")
    bright_to_dark = matplotlib.colormaps["viridis"](np.linspace(1, 0, len(kinds)))
    drawn = dict(zip(kinds, bright_to_dark if is_ordered else _KIND_COLOURS, strict=False))
    masks = dict(kinds)
    if building_mask is not None:
        masks["building"], drawn["building"] = building_mask, _BUILDING_COLOUR
    picture = np.ones((*next(iter(masks.values())).shape, 3))
    shown = np.full(picture.shape[:2], "", dtype=object)
    for name, mask in masks.items():
        picture[mask] = matplotlib.colors.to_rgb(drawn[name])
        shown[mask] = name
    axes.imshow(picture, interpolation="nearest")
    _finish(axes, transmitter_cell, title)
    patches = [
        Patch(
            facecolor=drawn[name],
            edgecolor="0.25",
            linewidth=0.5,
            label=f"{name} ({(shown == name).mean():.1%})",
        )
        for name in masks
    ]
    beneath = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.01)}
    axes.legend(handles=patches, fontsize=9, frameon=False, **beneath)


def _finish(axes: Axes, transmitter_cell: object, title: str) -> None:
    """Mark the transmitter, drop the ticks and set the title."""
    if transmitter_cell is not None:
        row, col = transmitter_cell
        axes.plot(col, row, marker="+", color="red", markersize=9, markeredgewidth=1.8)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
