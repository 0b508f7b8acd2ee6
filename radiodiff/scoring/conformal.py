"""Split conformal prediction by tile: bounds that hold on a new tile as often as promised.

The cells of one tile err together, so it is tiles that are taken to be exchangeable, not cells.
Each held-out tile gives one score: the least bound that holds enough of its cells. The bound that
is promised for the next tile is a high one among these. Nothing is assumed of the predictor.
Source: Angelopoulos and Bates, *A Gentle Introduction to Conformal Prediction*, arXiv:2107.07511.
"""

from collections.abc import Sequence
from math import ceil, inf

import numpy as np

__all__ = ["conformal_bound", "tile_scores"]


def tile_scores(misfits: np.ndarray, tiles: Sequence[str], *, share: float = 0.9) -> np.ndarray:
    """Return the least bound of each tile that holds a share of its cells.

    Args:
        misfits: How far off each cell is, ``|error|`` [dB] or ``|error| / spread`` [1], shape
            ``(n,)``.
        tiles: Tile of each cell.
        share: Part of a tile's cells that lie at or below its bound, in (0, 1].

    Returns:
        One score a tile, in the order in which the tiles appear.

    Raises:
        ValueError: If there is not one tile a cell, or the share is not in (0, 1].
    """
    if len(misfits) != len(tiles) or not len(tiles):
        raise ValueError(f"expected a tile for each cell, got {len(tiles)} for {len(misfits)}")
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share:g}")
    tiles = np.asarray(tiles)
    own = (np.sort(misfits[tiles == tile]) for tile in dict.fromkeys(tiles.tolist()))
    return np.array([values[_rank(share * len(values)) - 1] for values in own])


def conformal_bound(scores: np.ndarray, *, level: float = 0.9) -> float:
    """Return the bound that the score of one more tile does not exceed, at a chance of ``level``.

    With ``n`` scores this is the ``ceil((n + 1) level)``-th smallest; the next tile is as likely
    to come first as last among all ``n + 1``.

    Args:
        scores: Of held-out tiles that were not trained on, shape ``(n,)``.
        level: Chance that the bound holds on a new tile, in (0, 1).

    Returns:
        The bound in the unit of the scores; infinite where so few tiles promise nothing.

    Raises:
        ValueError: If there is no score, or the level is not in (0, 1).
    """
    if not len(scores):
        raise ValueError("expected the scores of one tile or more, got none")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level:g}")
    rank = _rank((len(scores) + 1) * level)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else inf


def _rank(position: float) -> int:
    """Return the least whole number that is not below a position, up to rounding errors."""
    return ceil(position - 1e-9)
