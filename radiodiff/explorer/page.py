"""What Python hands to the script: a tile, maps of it, and a page that holds both."""

import base64
import hashlib
import json
from typing import Any

import numpy as np

from radiodiff import units
from radiodiff.explorer.grid import TransmitterGrid, nearest_transmitter, spread_cells
from radiodiff.explorer.script import join_modules, source
from radiodiff.plots.colours import colour_table
from radiodiff.scene import as_cell

__all__ = [
    "DEFAULT_THRESHOLD_DB",
    "check_threshold",
    "outdoor_bytes",
    "static_page",
    "tile_message",
]

#: Path gain above which the page counts a cell as covered, until it is told otherwise [dB].
DEFAULT_THRESHOLD_DB = -100.0
#: Ends of the colour bars of error (both ways) and uncertainty [dB]; the error's as in `plots`.
_ERROR_LIMIT_DB, _UNCERTAINTY_LIMIT_DB = 30.0, 3.0
#: One step of a stored standard deviation [dB]; 255 of them are more than maps differ by.
_STD_STEP_DB = 0.1


def tile_message(
    building_mask: np.ndarray, cell_size_m: float, *, samples: int, note: str = ""
) -> dict[str, Any]:
    """Return what the script must know of a tile, arrays as bytes.

    Args:
        building_mask: True inside buildings, shape ``(h, w)``.
        cell_size_m: Side of a cell [m].
        samples: Samples behind a mean; named on the page.
        note: Small print under the page, for example whose the outlines are.
    """
    quantities = ("gain", "error", "uncertainty")
    return {
        "size": building_mask.shape[1],
        "rows": building_mask.shape[0],
        "cell_size_m": float(cell_size_m),
        "samples": samples,
        "note": note,
        "floor_db": units.FLOOR_DB,
        "peak_db": units.PEAK_DB,
        "error_limit_db": _ERROR_LIMIT_DB,
        "uncertainty_limit_db": _UNCERTAINTY_LIMIT_DB,
        "building_mask": building_mask.astype(np.uint8).tobytes(),
        "colours": {quantity: colour_table(quantity).tobytes() for quantity in quantities},
    }


def check_threshold(threshold_db: float) -> float:
    """Return a coverage threshold [dB] that the page's slider can show.

    Raises:
        ValueError: If it lies outside the range of path gains.
    """
    if not units.FLOOR_DB <= threshold_db <= units.PEAK_DB:
        raise ValueError(
            f"expected a threshold between {units.FLOOR_DB:g} and {units.PEAK_DB:g} dB, got "
            f"{threshold_db:g}"
        )
    return float(threshold_db)


def outdoor_bytes(grid: TransmitterGrid) -> dict[str, bytes]:
    """Pack the outdoor cells of all maps, row by row, map after map, one byte a cell.

    Returns:
        ``mean`` and ``truth`` as gray levels of path gain, 0 to 255 (eq. ``gray``), ``std`` in
        steps of 0.1 dB.
    """
    outdoors = ~grid.building_mask
    steps = np.rint(grid.std_db[:, outdoors] / _STD_STEP_DB).clip(0, 255).astype(np.uint8)
    return {
        "mean": units.path_gain_db_to_uint8(grid.mean_db[:, outdoors]).tobytes(),
        "truth": units.path_gain_db_to_uint8(grid.truth_db[:, outdoors]).tobytes(),
        "std": steps.tobytes(),
    }


def static_page(
    grid: TransmitterGrid,
    *,
    transmitter_cell: tuple[int, int] | None = None,
    threshold_db: float = DEFAULT_THRESHOLD_DB,
    note: str = "",
) -> str:
    """Return a piece of HTML to move the transmitter in, without a kernel or a request.

    It goes to the precomputed transmitter nearest to where one points. Several may stand on one
    page. Show it with ``IPython.display.HTML``.

    Args:
        grid: What `predict_grid` gave.
        transmitter_cell: ``(row, col)`` that the first transmitter shown is nearest to; the
            middle if ``None``.
        threshold_db: First coverage threshold [dB].
        note: Small print under the page, for example whose the outlines are.

    Raises:
        ValueError: If the threshold lies outside the range of path gains, the transmitter outside
            the tile or inside a building, or the grid is empty.
    """
    check_threshold(threshold_db)
    if transmitter_cell is None:
        transmitter_cell = tuple(spread_cells(grid.building_mask, 1)[0])
    row, col = as_cell(transmitter_cell)
    rows, columns = grid.building_mask.shape
    if not (0 <= row < rows and 0 <= col < columns) or grid.building_mask[row, col]:
        raise ValueError(
            f"expected transmitter_cell outdoors, between row 0 and {rows - 1}, column 0 and "
            f"{columns - 1}; got row {row}, column {col}"
        )
    data = {
        "tile": tile_message(grid.building_mask, grid.cell_size_m, samples=grid.samples, note=note),
        "threshold_db": threshold_db,
        "start": nearest_transmitter(grid.cells, (row, col)),
        "std_step_db": _STD_STEP_DB,
        "cells": grid.cells.tolist(),
        "rmse_db": [round(float(value), 3) for value in grid.rmse_db],
        "maps": outdoor_bytes(grid),
    }
    text = json.dumps(data, default=_base64).replace("<", "\\u003c")
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return (
        f"<style>{source('explorer.css')}</style>\n"
        f'<div class="rdx-host" data-rdx="{mark}">This page is drawn by a script. If it stays '
        "empty, the notebook is not trusted or scripts are switched off: run the cell again."
        "</div>\n"
        f'<script type="module">\n{join_modules("frozen.mjs")}\n'
        f'mountStatic("{mark}", {text});\n</script>'
    )


def _base64(value: bytes) -> str:
    """Return bytes as text, where JSON meets them."""
    return base64.b64encode(value).decode()
