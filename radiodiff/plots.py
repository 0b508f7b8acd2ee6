"""Figures of radio maps and training runs; the only module that imports matplotlib."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from shapely import Polygon
from shapely.geometry.polygon import orient

from radiodiff import units
from radiodiff.data import RadioMapSample, path_gain_db, transmitter_cell

__all__ = [
    "plot_calibration",
    "plot_difference",
    "plot_gain_over_distance",
    "plot_gray",
    "plot_kinds",
    "plot_losses",
    "plot_outlines",
    "plot_predictions",
    "plot_radio_map",
    "plot_sample",
    "plot_scales",
    "plot_value_shares",
]

_ERROR_LIMIT_DB = 30.0
#: Unlike for the colour-blind too. Source: M. Okabe, K. Ito, *Color Universal Design*.
_KIND_COLOURS = ("#f0e442", "#e69f00", "#56b4e9", "#000000", "#cc79a7", "#009e73", "#d55e00")
_BUILDING_COLOUR = "0.55"
_CAR_COLOUR = (0.85, 0.45, 0.1)


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


def plot_predictions(rows: Sequence[Mapping[str, object]]) -> Figure:
    """Draw truth, prediction and error of several radio maps, one a row.

    Args:
        rows: Each with ``name``, ``truth_db`` and ``prediction_db`` (path gain [dB], shape
            ``(h, w)``), ``building_mask`` (bool, same shape) and ``transmitter_cell``.

    Returns:
        A figure with one dB colour bar for the maps and one for the errors.
    """
    figure = Figure(figsize=(9.0, 3.1 * len(rows) + 0.8), layout="constrained")
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
        rmse = np.sqrt(np.nanmean(error**2))
        _finish(axes[2], cell, f"error, RMSE {rmse:.1f} dB")
    bar = {"location": "bottom", "shrink": 0.8, "aspect": 30, "pad": 0.02}
    figure.colorbar(panels[0, 1].images[0], ax=panels[:, :2], label="path gain [dB]", **bar)
    bar["aspect"] = 15
    figure.colorbar(panels[0, 2].images[0], ax=panels[:, 2], label="prediction − truth [dB]", **bar)
    return figure


def plot_sample(
    sample: RadioMapSample,
    *,
    title: str = "",
    cell_size_m: float = 1.0,
    cars_mask: np.ndarray | None = None,
) -> Figure:
    """Draw one sample: what the network is told, the radio map, and a profile through it.

    Args:
        sample: Its condition begins with buildings and transmitter.
        title: Title of the figure; the sample's name if empty.
        cell_size_m: Side of a cell [m].
        cars_mask: Cells with cars, shape ``(h, w)``; drawn if given.

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
    scene[sample.condition[0].numpy() > 0] = 0.55
    if cars_mask is not None:
        scene[cars_mask] = _CAR_COLOUR
    panels["scene"].imshow(scene, interpolation="nearest")
    kinds = "buildings, transmitter" + ("" if cars_mask is None else ", cars")
    _finish(panels["scene"], (row, column), kinds)
    plot_radio_map(
        panels["map"],
        gain_db,
        building_mask=building_mask,
        transmitter_cell=(row, column),
        title="path gain",
    )
    distance_m = (np.arange(gain_db.shape[1]) - column) * cell_size_m
    along = np.where(building_mask[row], np.nan, gain_db[row])
    axes = panels["profile"]
    axes.plot(distance_m, along, label=f"row {row}")
    law_db = units.line_of_sight_gain_db(abs(distance_m)).clip(units.FLOOR_DB)
    axes.plot(distance_m, law_db, "--", color="0.4", label="line-of-sight law")
    axes.set(xlabel="distance from the transmitter [m]", ylabel="path gain [dB]")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_losses(run_dir: Path) -> Figure:
    """Draw the loss of each stage of a run over its steps.

    Args:
        run_dir: Folder written by training.

    Returns:
        A figure with one panel a stage.

    Raises:
        FileNotFoundError: If the folder holds no log of a stage.
    """
    logs = [
        Path(run_dir) / stage / "log.jsonl"
        for stage in ("autoencoder", "diffusion")
        if (Path(run_dir) / stage / "log.jsonl").is_file()
    ]
    if not logs:
        raise FileNotFoundError(f"{run_dir} holds no log.jsonl of a stage: was it trained?")
    figure = Figure(figsize=(4.5 * len(logs), 3.2), layout="constrained")
    for axes, path in zip(figure.subplots(1, len(logs), squeeze=False)[0], logs, strict=True):
        stage = path.parent.name
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        axes.plot([row["step"] for row in rows], [row[stage] for row in rows])
        axes.set(title=stage, xlabel="step", ylabel="loss [1]", yscale="log")
        axes.grid(alpha=0.3)
    return figure


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


def plot_kinds(
    axes: Axes,
    kinds: Mapping[str, np.ndarray],
    *,
    building_mask: np.ndarray | None = None,
    transmitter_cell: tuple[int, int] | None = None,
    title: str = "",
    is_ordered: bool = False,
) -> None:
    """Draw which kind each cell is of, with a legend that tells the share of all cells.

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
    axes.legend(
        handles=patches, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, frameon=False
    )


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
    axes.legend(fontsize=8, markerscale=3)
    axes.set_title(title, fontsize=10)


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
    figure = Figure(figsize=(9.0, 3.8))
    axes = figure.add_axes((0.05, 0.83, 0.9, 0.1))
    extent = (units.FLOOR_DB, units.PEAK_DB, 0, 1)
    axes.imshow(np.linspace(0, 1, 256)[None], extent=extent, aspect="auto", cmap="viridis")
    axes.axvline(units.NOISE_THRESHOLD_DB, color="red")
    axes.set(yticks=[], xlabel="path gain $P$ [dB]")
    ticks_db = [units.FLOOR_DB, units.NOISE_THRESHOLD_DB, -110, -90, -70, units.PEAK_DB]
    axes.set_xticks(ticks_db, [f"{tick:g}".replace("-", "−") for tick in ticks_db])
    axes.set_title("noise", x=noise, fontsize=9, color="red")
    for k, (label, low, high, ticks) in enumerate(scales, 1):
        ruler = figure.add_axes((0.05, 0.83 - 0.18 * k, 0.9, 0.001))
        ruler.set(xlim=(low, high), yticks=[], xlabel=label, xticks=ticks)
        ruler.spines[["left", "right", "top"]].set_visible(False)
    return figure


def plot_calibration(metrics: Mapping[str, Any]) -> Figure:
    """Draw the error of the dominant-path engine against real gains.

    Args:
        metrics: Content of ``results/calibration/metrics.json``.

    Returns:
        A figure with the RMSE by transmitter, and by bends of the path. Cells to which no path
        leads are left out.
    """
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    by_transmitter, by_bends = figure.subplots(1, 2)
    fitted, held_back = metrics["transmitters"], metrics.get("held_back", [])
    for rows, label in ((fitted, "used for the fit"), (held_back, "held back")):
        if rows:
            names = [str(row["transmitter"]) for row in rows]
            bars = by_transmitter.bar(names, [row["rmse_db"] for row in rows], label=label)
            by_transmitter.bar_label(bars, fmt="%.2f", fontsize=8)
    by_transmitter.legend(fontsize=8)
    by_transmitter.set(xlabel="transmitter", ylabel="RMSE [dB]")
    rows = [row for row in metrics["bends"] if row["bends"] != "none"]
    names = [row["bends"].replace(" or more", "+") for row in rows]
    bars = by_bends.bar(names, [row["rmse_db"] for row in rows], color="tab:green")
    labels = [f"{row['rmse_db']:.2f}\n{row['cells']:,} cells" for row in rows]
    by_bends.bar_label(bars, labels, fontsize=7)
    by_bends.set(xlabel="bends of the dominant path", ylabel="RMSE [dB]")
    for axes in (by_transmitter, by_bends):
        axes.margins(y=0.2)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    return figure


def plot_value_shares(report: Mapping[str, Any], *, title: str = "") -> Figure:
    """Draw how often each path gain occurs in a dataset, gray level 0 aside.

    Args:
        report: What `radiodiff.data.verify_dataset` found.
        title: Title of the figure.

    Returns:
        A figure with one line a variant; the legend tells its share of cells at gray level 0.
    """
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    axes = figure.subplots()
    for folder, values in report["images"].items():
        shares = np.array(values["histogram"])
        shares[0] -= values["share_0"]
        label = f"{folder.removeprefix('gain/')} ({values['share_0']:.0%} at gray 0)"
        axes.stairs(100 * shares, values["edges_db"], label=label, linewidth=1.6)
    axes.set(xlabel="path gain [dB]", ylabel="share of all cells [%]", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _finish(axes: Axes, transmitter_cell: object, title: str) -> None:
    """Mark the transmitter, drop the ticks and set the title."""
    if transmitter_cell is not None:
        row, col = transmitter_cell
        axes.plot(col, row, marker="+", color="red", markersize=9, markeredgewidth=1.8)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
