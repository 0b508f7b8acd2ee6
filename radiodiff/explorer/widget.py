"""The live page: a widget that computes a radio map wherever the transmitter goes."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from numpy.typing import ArrayLike
from shapely import Polygon

from radiodiff.explorer.grid import ExplorerTile, TransmitterGrid
from radiodiff.explorer.page import DEFAULT_THRESHOLD_DB, check_threshold, tile_message
from radiodiff.explorer.script import join_modules, source
from radiodiff.predictors import Predictor, RadioDiffPipeline
from radiodiff.sampler import SamplerConfig
from radiodiff.scene import as_cell

__all__ = ["RadioMapExplorer"]


class RadioMapExplorer(anywidget.AnyWidget):
    """A city tile whose transmitter can be dragged; the radio map follows.

    The script sends one position at a time and, while it waits, keeps only the last, so that a
    quick drag is not computed cell by cell. Both traits can be set from Python too.

    Args:
        predictor: A pipeline of a run that was told of buildings and transmitter only, or any
            other predictor of scenes; or a name or a folder for `make_predictor`.
        buildings: Outlines [m], y up, or the cells inside buildings, shape ``(h, w)``; from cells
            the simulator's outlines are traced.
        cell_size_m: Side of a cell [m].
        size: Cells along a side, or rows and columns; needed with outlines.
        transmitter_cell: First ``(row, col)``; the outdoor cell nearest to the middle if ``None``.
        sampler: Steps and the like; the run's if ``None``.
        samples: Samples per transmitter, 2 or more: one has no spread.
        threshold_db: First coverage threshold [dB].
        seed: Seed of the noise, the same for every transmitter.
        note: Small print under the page, for example whose the outlines are.

    Raises:
        ValueError: If the buildings are no map, or are everywhere, or ``size`` is missing or
            another than that of the map, or ``samples`` is below 2, or the run does not suit,
            or the threshold lies outside the range of path gains.
        TraitError: If the transmitter lies outside the tile or inside a building, now or when it is
            moved; likewise for a threshold set later.
    """

    _esm = join_modules("widget.mjs")
    _css = source("explorer.css")

    # The default is no cell of a tile, so that the first one counts as a move too.
    transmitter_cell = traitlets.Tuple(
        traitlets.Int(), traitlets.Int(), default_value=(-1, -1)
    ).tag(sync=True)
    """Cell ``(row, col)`` of the transmitter."""
    threshold_db = traitlets.Float(DEFAULT_THRESHOLD_DB).tag(sync=True)
    """Coverage threshold [dB]."""
    _tile = traitlets.Dict().tag(sync=True)
    _result = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        predictor: RadioDiffPipeline | Predictor | str | Path,
        buildings: Sequence[Polygon] | ArrayLike,
        cell_size_m: float,
        *,
        size: int | tuple[int, int] | None = None,
        transmitter_cell: tuple[int, int] | None = None,
        sampler: SamplerConfig | None = None,
        samples: int = 4,
        threshold_db: float = DEFAULT_THRESHOLD_DB,
        seed: int = 0,
        note: str = "",
    ) -> None:
        self._explored = ExplorerTile(
            predictor,
            buildings,
            cell_size_m,
            size=size,
            sampler=sampler,
            samples=samples,
            seed=seed,
        )
        self._grid: TransmitterGrid | None = None
        chosen = self._explored.first_cell if transmitter_cell is None else transmitter_cell
        row, col = as_cell(chosen)
        super().__init__(
            _tile=tile_message(
                self._explored.building_mask, cell_size_m, samples=samples, note=note
            ),
            threshold_db=check_threshold(threshold_db),
            transmitter_cell=(row, col),
        )

    @property
    def maps(self) -> TransmitterGrid:
        """Maps of the present transmitter, a grid of one."""
        return self._grid

    @traitlets.validate("transmitter_cell")
    def _check_cell(self, proposal: Any) -> tuple[int, int]:
        try:
            self._explored.check(proposal["value"])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error
        return proposal["value"]

    @traitlets.validate("threshold_db")
    def _check_threshold(self, proposal: Any) -> float:
        try:
            return check_threshold(proposal["value"])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error

    @traitlets.observe("transmitter_cell")
    def _moved(self, change: Any) -> None:
        try:
            self._compute()
        except Exception as error:
            # The page would wait for ever otherwise; the kernel still gets the whole traceback.
            self._result = {"error": f"{type(error).__name__}: {error}"}
            raise

    def _compute(self) -> None:
        """Compute the maps of the present transmitter and send them."""
        start = time.perf_counter()
        grid = self._explored.maps([self.transmitter_cell])
        self._grid = grid
        self._result = {
            "cell": list(self.transmitter_cell),
            "mean": grid.mean_db[0].tobytes(),
            "std": grid.std_db[0].tobytes(),
            "truth": grid.truth_db[0].tobytes(),
            "rmse_db": float(grid.rmse_db[0]),
            "seconds": time.perf_counter() - start,
        }
