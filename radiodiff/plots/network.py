"""Figures of the conditional U-Net: its plan, its costs, what its layers do."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor
from torch.nn import functional

from radiodiff.models import (
    Cost,
    FourierFilter,
    RelationAttention,
    UNetConfig,
    filter_response,
    sum_costs,
)
from radiodiff.plots.colours import COLOURS
from radiodiff.plots.style import Figure, styled

__all__ = [
    "plot_costs",
    "plot_filter_response",
    "plot_heads",
    "plot_pyramid",
    "plot_relation_attention",
    "plot_swin_windows",
    "plot_unet",
]

#: Fill of the boxes, by what they do.
_BOX = {"condition": "#f6e3b4", "way": "#d6e6f2", "filter": "#ecd3e2"}


@styled
def plot_unet(config: UNetConfig, size: tuple[int, int]) -> Figure:
    """Draw the plan of a U-Net with the shape of every level.

    Args:
        config: Size of the network.
        size: Sides of the condition [cells]; a latent has a quarter of them.

    Returns:
        A figure: the condition pyramid, then the way down between its two decoders.
    """
    levels, widths = len(config.multipliers), config.widths
    figure = Figure(figsize=(7.2, 1.15 * levels + 2.6), layout="constrained")
    axes = figure.subplots()
    place = {"condition": 0.0, "drift": 1.15, "down": 2.3, "noise": 3.45}
    bottom = -float(levels)

    def box(x: float, y: float, text: str, colour: str) -> None:
        shape = FancyBboxPatch(
            (x - 0.36, y - 0.24), 0.72, 0.48, "round,pad=0.03", fc=_BOX[colour], ec="0.25", lw=0.8
        )
        axes.add_patch(shape)
        axes.text(x, y, text, ha="center", va="center", fontsize=9)

    def arrow(start: tuple[float, float], end: tuple[float, float], **style: object) -> None:
        line = {"arrowstyle": "-|>", "color": "0.25", "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end, start, arrowprops=line | style)

    relation, skip = {"color": COLOURS[1]}, {"color": COLOURS[0], "linestyle": "--"}
    for i in range(levels):
        y = -float(i)
        stride = 4 * 2**i  # an odd side is rounded up in the pyramid and down in the U-Net
        coarse = " × ".join(str(-(-side // stride)) for side in size)
        box(place["condition"], y, f"{config.condition_channels[i]} ch\n{coarse}", "condition")
        shape = " × ".join(str(side // stride) for side in size)
        box(place["down"], y, f"{widths[i]} ch\n{shape}", "way")
        arrow((place["down"], y - 0.28), (place["down"], y - 0.72))
        for way, side in (("drift", 1), ("noise", -1)):
            x = place[way]
            box(x, y, f"{widths[i + 1]} ch\n{shape}", "way")
            arrow((x, y - 0.72), (x, y - 0.28))
            arrow((place["down"] - 0.4 * side, y + 0.1), (x + 0.4 * side, y + 0.1), **skip)
        for x in (place["drift"], place["down"], place["noise"]):
            arrow((x - 0.75, y - 0.1), (x - 0.4, y - 0.1), **relation)
        if i < levels - 1:
            arrow((place["condition"], y - 0.28), (place["condition"], y - 0.72))
    box(place["down"], bottom, f"middle\n{widths[-1]} ch", "way")
    for way, side in (("drift", 1), ("noise", -1)):
        box(place[way], bottom, "frequency\nfilter", "filter")
        arrow((place["down"] - 0.4 * side, bottom), (place[way] + 0.4 * side, bottom))
    for way, name, outside in (
        ("condition", "condition pyramid", "condition"),
        ("drift", "drift decoder", "$F_1$"),
        ("down", "way down", "$x_t$, level 0, time"),
        ("noise", "noise decoder", "$F_2$"),
    ):
        ends = [(place[way], 0.62), (place[way], 0.28)]
        arrow(*(ends if way in ("condition", "down") else ends[::-1]))
        axes.text(place[way], 0.68, outside, ha="center", va="bottom", fontsize=9)
        axes.text(place[way], 0.98, name, ha="center", va="bottom", fontsize=10, weight="bold")
    for y, name, style in ((0.12, "relation block", relation), (-0.12, "two skips", skip)):
        arrow((-0.36, bottom + y), (-0.1, bottom + y), **style)
        axes.text(-0.04, bottom + y, name, va="center", fontsize=9)
    axes.set(xlim=(-0.5, 3.95), ylim=(bottom - 0.35, 1.2))
    axes.axis("off")
    return figure


@styled
def plot_pyramid(
    features: Sequence[Tensor],
    building_mask: np.ndarray,
    *,
    transmitter_cell: tuple[int, int] | None = None,
    channels: int = 2,
) -> Figure:
    """Draw a feature pyramid: the size of the features of each cell, and single channels.

    Args:
        features: Pyramid of one condition, finest first, each shape ``(1, c, h, w)``.
        building_mask: True inside buildings, shape ``(h, w)``; drawn as outlines.
        transmitter_cell: ``(row, col)`` of the transmitter.
        channels: How many channels to draw, those that vary most over the map.

    Returns:
        A figure with a column for each level; the first row is the root mean square over channels.
    """
    figure = Figure(figsize=(7.5, 2.35 * (channels + 1)), layout="constrained")
    panels = figure.subplots(channels + 1, len(features), squeeze=False)
    for i, level in enumerate(features):
        maps = level[0].detach().float().cpu()
        size = maps.square().mean(0).sqrt()
        image = _image(panels[0, i], size, building_mask, cmap="viridis", vmin=0)
        _mark(panels[0, i], transmitter_cell)
        sides = f"{maps.shape[1]} × {maps.shape[2]}"
        panels[0, i].set_title(f"level {i}: {len(maps)} ch, {sides}", fontsize=9)
        figure.colorbar(image, ax=panels[0, i], label="RMS of channels [1]", shrink=0.8)
        liveliest = maps.flatten(1).var(1).argsort(descending=True)[:channels].tolist()
        for axes, channel in zip(panels[1:, i], liveliest, strict=True):
            limit = float(maps[channel].abs().max()) or 1.0
            image = _image(axes, maps[channel], building_mask, cmap="PuOr", vmin=-limit, vmax=limit)
            _mark(axes, transmitter_cell)
            axes.set_title(f"channel {channel}", fontsize=10)
            figure.colorbar(image, ax=axes, label="feature [1]", shrink=0.8)
    return figure


@styled
def plot_swin_windows(
    axes: Axes,
    labels: Tensor,
    building_mask: np.ndarray,
    *,
    cell: tuple[int, int] | None = None,
    title: str = "",
) -> None:
    """Draw the attention windows of a Swin block over a map.

    Args:
        axes: Where to draw.
        labels: Window of each token from `swin_window_labels`, shape ``(rows, columns)``.
        building_mask: True inside buildings, shape ``(h, w)``.
        cell: ``(row, col)`` of a place on the map; what it can attend to is coloured.
        title: Title of the panel.
    """
    height, width = building_mask.shape
    # Tokens that a padded map has beyond the map are not drawn.
    picture = np.where(building_mask[..., None], 0.6, 0.96) * np.ones(3)
    token = (height / labels.shape[0], width / labels.shape[1])
    if cell is not None:
        own = labels[int(cell[0] / token[0]), int(cell[1] / token[1])]
        shared = functional.interpolate((labels == own)[None, None].float(), size=(height, width))
        colour = np.array([0.9, 0.62, 0.0])
        is_shared = shared[0, 0, :, :, None].bool().numpy()
        picture = np.where(is_shared, 0.45 * picture + 0.55 * colour, picture)
    axes.imshow(picture, interpolation="nearest")
    line = {"colors": COLOURS[0], "linewidth": 1.3}
    for row, column in (labels[1:] != labels[:-1]).nonzero().tolist():
        axes.hlines(
            (row + 1) * token[0] - 0.5,
            column * token[1] - 0.5,
            (column + 1) * token[1] - 0.5,
            **line,
        )
    for row, column in (labels[:, 1:] != labels[:, :-1]).nonzero().tolist():
        axes.vlines(
            (column + 1) * token[1] - 0.5, row * token[0] - 0.5, (row + 1) * token[0] - 0.5, **line
        )
    _mark(axes, cell)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_title(title, fontsize=10)


def _draw_attention(
    axes: Axes, weights: Tensor, attention: RelationAttention, norm: LogNorm
) -> None:
    """Draw what one window gives to each other, shape ``(rows, columns)``, over the map's cells."""
    # A window may reach beyond the map, where it is filled up with zeros.
    height, width = (
        side * cells for side, cells in zip(weights.shape, attention.key_cells, strict=True)
    )
    axes.imshow(
        weights.clamp(norm.vmin, norm.vmax).numpy(),
        norm=norm,
        cmap="PuOr_r",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
    )


def _draw_query(
    axes: Axes, cell: tuple[int, int], attention: RelationAttention, *, linewidth: float
) -> None:
    """Draw the window that asks, the one with a cell."""
    height, width = attention.query_cells
    place = (cell[1] // width * width - 0.5, cell[0] // height * height - 0.5)
    axes.add_patch(
        Rectangle(place, width, height, fill=False, edgecolor=COLOURS[2], linewidth=linewidth)
    )


@styled
def plot_relation_attention(
    levels: Sequence[RelationAttention],
    cell: tuple[int, int],
    building_mask: np.ndarray,
    *,
    transmitter_cell: tuple[int, int] | None = None,
    limit: float = 8.0,
) -> Figure:
    """Draw what the window with one cell attends to, at each level, for all heads and for each.

    Args:
        levels: Attention of relation blocks, finest level first; the first map of a batch is drawn.
        cell: ``(row, col)`` of the place that asks.
        building_mask: True inside buildings, shape ``(h, w)``; drawn as outlines.
        transmitter_cell: ``(row, col)`` of the transmitter.
        limit: End of the colour bar: attention so many times as strong as if all windows got the
            same; its inverse is the other end.

    Returns:
        A figure with a row for each level: the mean over heads, then the heads.
    """
    figure = Figure(figsize=(7.5, 2.7 * len(levels) + 0.7), layout="constrained")
    norm = LogNorm(1 / limit, limit)
    half = -(-levels[0].weights.shape[1] // 2)
    grid = figure.add_gridspec(2 * len(levels), half + 2)
    for i, attention in enumerate(levels):
        heads = attention.seen_from(cell)[0].float().cpu()
        heads = heads * heads[0].numel()  # 1 where attention is spread evenly
        panels = [figure.add_subplot(grid[2 * i : 2 * i + 2, :2])]
        for n in range(len(heads)):
            panels.append(figure.add_subplot(grid[2 * i + n // half, 2 + n % half]))
        for n, axes in enumerate(panels):
            weights = heads.mean(0) if n == 0 else heads[n - 1]
            _draw_attention(axes, weights, attention, norm)
            _outline(axes, building_mask)
            _draw_query(axes, cell, attention, linewidth=2.2 if n == 0 else 1.4)
            _mark(axes, transmitter_cell)
            axes.set_title(f"level {i}, mean of heads" if n == 0 else f"head {n}", fontsize=9)
    bar = figure.colorbar(
        ScalarMappable(norm, "PuOr_r"),
        ax=figure.axes,
        location="bottom",
        label="attention, times an even share [1]",
        extend="both",
        aspect=40,
        shrink=0.7,
    )
    ticks = [2.0**n for n in range(-int(np.log2(limit)), int(np.log2(limit)) + 1)]
    bar.ax.xaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.set_xticklabels([f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    return figure


@styled
def plot_filter_response(filters: Mapping[str, FourierFilter], size: tuple[int, int]) -> Figure:
    """Draw how strongly frequency filters pass each spatial frequency.

    Args:
        filters: Filters by name.
        size: Sides of the map whose frequencies are drawn [cells].

    Returns:
        A figure with two panels for each filter: the mean magnitude over channels in the plane of
        frequencies, interpolated to ``size``, and the spread over channels at the frequencies that
        are stored, which circles mark in the plane.
    """
    figure = Figure(figsize=(7.5, 2.75 * len(filters)), layout="constrained")
    panels = figure.subplots(len(filters), 2, squeeze=False)
    planes = [filter_response(layer, size).abs().cpu().numpy() for layer in filters.values()]
    stored = [filter_response(layer).abs().cpu().numpy() for layer in filters.values()]
    brightest = max(plane.mean(0).max() for plane in (*planes, *stored))
    spreads = [np.quantile(magnitude, [0.1, 0.5, 0.9], axis=0) for magnitude in stored]
    for i, name in enumerate(filters):
        left, right = panels[i]
        low = [np.fft.fftfreq(side).min() - 0.5 / side for side in size]
        image = left.imshow(
            np.fft.fftshift(planes[i].mean(0)),
            cmap="viridis",
            vmin=0,
            vmax=brightest,
            extent=(low[1], low[1] + 1, low[0] + 1, low[0]),
            interpolation="nearest",
        )
        frequencies = [np.fft.fftfreq(side) for side in stored[i].shape[1:]]
        row, column = np.meshgrid(*frequencies, indexing="ij")
        left.plot(column.ravel(), row.ravel(), "o", mfc="none", mec="white", ms=6)
        left.set_title(name, fontsize=10)
        left.set(xlabel="along columns [cycles per cell]", ylabel="along rows [cycles per cell]")
        figure.colorbar(image, ax=left, label="mean |K| [1]")
        radius = np.hypot(row, column).ravel()
        lower, middle, upper = spreads[i].reshape(3, -1)
        right.vlines(radius, lower, upper, color=COLOURS[3], linewidth=3)
        right.plot(radius, middle, "o", color=COLOURS[0], markersize=5)
        right.set(xlabel="frequency [cycles per cell]", ylabel="|K| [1]")
        right.set(ylim=(0, 1.05 * max(spread.max() for spread in spreads)))
        right.set_title(f"{name}, channels", fontsize=10)
        right.grid(alpha=0.3)
    return figure


@styled
def plot_heads(rows: Mapping[str, Sequence[Tensor | None]], columns: Sequence[str]) -> Figure:
    """Draw one channel of latents in a grid, each row with a colour bar of its own.

    Args:
        rows: Label of a row to its latents, each shape ``(h, w)``; ``None`` leaves a place empty.
        columns: Titles of the columns.

    Returns:
        A figure whose colours are symmetric about 0.
    """
    figure = Figure(
        figsize=(1.35 * len(columns) + 0.8, 1.32 * len(rows) + 0.3), layout="constrained"
    )
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (label, maps) in zip(panels, rows.items(), strict=True):
        limit = max(float(latent.abs().max()) for latent in maps if latent is not None) or 1.0
        for axes, latent in zip(line, maps, strict=True):
            if latent is None:
                axes.axis("off")
                continue
            image = axes.imshow(
                latent.detach().cpu().numpy(),
                cmap="RdBu_r",
                vmin=-limit,
                vmax=limit,
                interpolation="nearest",
            )
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=10)
        figure.colorbar(image, ax=line, label="[1]", aspect=12, pad=0.02)
    for axes, title in zip(panels[0], columns, strict=True):
        axes.set_title(title, fontsize=10)
    return figure


@styled
def plot_costs(costs: Sequence[Cost], *, title: str = "") -> Figure:
    """Draw where the parameters and the operations of a network are.

    Args:
        costs: What `unet_costs` returned.
        title: Title of the figure.

    Returns:
        A figure with a bar for each part, divided by kind of layer: parameters left, operations
        right.
    """
    parts, kinds = list(sum_costs(costs, "part")), list(sum_costs(costs, "kind"))
    figure = Figure(figsize=(7.5, 0.42 * len(parts) + 2.2), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column, unit, label in (
        (panels[0], 0, 1e6, "parameters [millions]"),
        (panels[1], 1, 1e9, "operations [GFLOP a map]"),
    ):
        start = np.zeros(len(parts))
        for colour, kind in zip(COLOURS, kinds, strict=True):
            of_kind = sum_costs([cost for cost in costs if cost.kind == kind], "part")
            length = np.array([of_kind.get(part, (0, 0))[column] / unit for part in parts])
            axes.barh(parts, length, left=start, color=colour, edgecolor="0.25", lw=0.4, label=kind)
            start += length
        axes.set(xlabel=label, xlim=(0, 1.04 * start.max()))
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    panels[0].invert_yaxis()
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9
    )
    return figure


def _image(axes: Axes, values: Tensor, building_mask: np.ndarray, **style: object) -> object:
    """Draw a map of any resolution over the whole tile, with the buildings as outlines."""
    height, width = building_mask.shape
    image = axes.imshow(
        values.numpy(),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
        **style,
    )
    _outline(axes, building_mask)
    return image


def _outline(axes: Axes, building_mask: np.ndarray) -> None:
    """Draw the walls as lines."""
    if building_mask.any() and not building_mask.all():
        axes.contour(building_mask, [0.5], colors="black", linewidths=0.7)
    height, width = building_mask.shape
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])


def _mark(axes: Axes, cell: tuple[int, int] | None) -> None:
    """Mark a cell by a red cross and drop the ticks."""
    if cell is not None:
        axes.plot(cell[1], cell[0], marker="+", color="red", markersize=9, markeredgewidth=1.8)
    axes.set(xticks=[], yticks=[])
