"""Figures of radio maps and training runs; the only module that imports matplotlib."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from radiodiff import units
from radiodiff.data import RadioMapSample, path_gain_db, transmitter_cell

__all__ = ["plot_losses", "plot_predictions", "plot_radio_map", "plot_sample"]

_ERROR_LIMIT_DB = 30.0


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
        path_gain_db: Path gain [dB], shape ``(h, w)``; NaN counts as building.
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of the transmitter.
        title: Title of the panel.
        colour_bar: Draw a colour bar beside the panel.
    """
    values = np.array(path_gain_db, dtype=float)
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
        scene[cars_mask] = (0.85, 0.45, 0.1)
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


def _finish(axes: Axes, transmitter_cell: object, title: str) -> None:
    """Mark the transmitter, drop the ticks and set the title."""
    if transmitter_cell is not None:
        row, col = transmitter_cell
        axes.plot(col, row, marker="+", color="red", markersize=9, markeredgewidth=1.8)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
