"""Intervals of means over tiles: the maps of one tile are not independent."""

from collections.abc import Sequence

import numpy as np

__all__ = ["bootstrap_interval", "summary", "tile_means", "tile_picks"]


def bootstrap_interval(
    values: np.ndarray, *, resamples: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean over tiles.

    Args:
        values: One value a tile, shape ``(n,)``.
        resamples: Resamples drawn.
        rng: Source of randomness.
        level: Probability the interval should hold the mean with.

    Returns:
        Lower and upper end, in the unit of ``values``.
    """
    values = np.asarray(values, dtype=float)
    picks = rng.integers(0, len(values), size=(resamples, len(values)))
    tail = (1 - level) / 2
    low, high = np.quantile(values[picks].mean(1), [tail, 1 - tail])
    return float(low), float(high)


def tile_picks(
    tiles: Sequence[str], *, resamples: int = 0, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Number the tiles of maps, and draw tiles with replacement.

    Args:
        tiles: Tile of each map.
        resamples: How often as many tiles are drawn as there are.
        rng: Source of the draws.

    Returns:
        Number of each map's tile, shape ``(n,)``, and numbers of tiles, shape
        ``(1 + resamples, tiles)``, all of them once in the first row.
    """
    number = {tile: k for k, tile in enumerate(dict.fromkeys(tiles))}
    index = np.array([number[tile] for tile in tiles])
    picks = np.arange(len(number))[None]
    if resamples:
        drawn = rng.integers(0, len(number), size=(resamples, len(number)))
        picks = np.concatenate([picks, drawn])
    return index, picks


def tile_means(values: np.ndarray, index: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Return means over the maps of a tile, then over tiles, shape ``(1 + resamples,)``.

    Args:
        values: One a map, shape ``(n,)``.
        index: Number of each map's tile, see `tile_picks`.
        picks: Numbers of the tiles of each mean.
    """
    return (np.bincount(index, values) / np.bincount(index))[picks].mean(1)


def summary(values: np.ndarray) -> dict[str, float]:
    """Return the first value, and the interval of the resamples that follow it."""
    if len(values) == 1:
        return {"value": float(values[0])}
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}
