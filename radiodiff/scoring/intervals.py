"""Intervals of means over tiles: the maps of one tile are not independent."""

import numpy as np

__all__ = ["bootstrap_interval", "summary"]


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


def summary(values: np.ndarray) -> dict[str, float]:
    """Return the first value, and the interval of the resamples that follow it."""
    if len(values) == 1:
        return {"value": float(values[0])}
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}
