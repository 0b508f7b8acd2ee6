"""Where errors sit: by region, by distance from an edge, by spatial frequency; and how sharp."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

__all__ = [
    "ErrorOverDistance",
    "Spectrum",
    "error_over_distance",
    "power_spectrum",
    "region_rms",
    "rms",
    "sharpness",
]


class ErrorOverDistance(NamedTuple):
    """RMSE of cells gathered by their distance from something."""

    distance_m: np.ndarray
    """Mean distance of the cells of each group [m], shape ``(m,)``."""
    rmse_db: dict[str, np.ndarray]
    """Name to the RMSE in each group [dB], shape ``(m,)``."""


class Spectrum(NamedTuple):
    """Power over spatial frequency, in all directions alike."""

    frequency: np.ndarray
    """Waves per metre [1/m], shape ``(m,)``."""
    power: np.ndarray
    """Power density [dB² m²], shape ``(m,)``."""


def rms(values: np.ndarray) -> float:
    """Return the root mean square of all values, in their unit; NaN of none."""
    return float(np.sqrt((values**2).mean())) if values.size else float("nan")


def region_rms(values: np.ndarray, regions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the root mean square in each region, of errors or of anything else.

    Args:
        values: One value a cell, any shape.
        regions: Name to cells, bool, of the same shape; `radiodiff.data.region_masks` finds some.

    Returns:
        Name to root mean square, in the unit of the values; NaN for a region without cells.
    """
    return {name: rms(values[cells]) for name, cells in regions.items()}


def sharpness(maps: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Return how high the steps between neighbours are, over how high they are in the truth.

    Steps lead from a cell to the next in its row. Their height is the root mean square in a map,
    and the mean of that over maps: below 1 edges are soft.

    Args:
        maps: Radio maps [dB], shape ``(k, h, w)``.
        truth: Simulated path gain [dB], shape ``(h, w)``.
        mask: Cells that count, bool, shape ``(h, w)``; a step needs both of its cells.

    Raises:
        ValueError: If the shapes do not fit, or no two neighbours count.
    """
    if maps.shape[1:] != truth.shape or mask.shape != truth.shape:
        raise ValueError(
            f"expected maps of shape (k, h, w), truth and mask of shape (h, w), got {maps.shape}, "
            f"{truth.shape} and {mask.shape}"
        )
    is_step = mask[:, 1:] & mask[:, :-1]
    if not is_step.any():
        raise ValueError("expected two neighbours in a row that count, got a mask without")
    heights = np.sqrt((np.diff(maps, axis=2)[:, is_step] ** 2).mean(1)).mean()
    return float(heights / rms(np.diff(truth, axis=1)[is_step]))


def error_over_distance(
    errors_db: Mapping[str, np.ndarray], distance_m: np.ndarray
) -> ErrorOverDistance:
    """Return the root-mean-square error over the distance from something.

    Args:
        errors_db: Name to errors [dB], shape ``(n,)``, one for each cell.
        distance_m: Distances [m], shape ``(n,)``; cells are gathered at each distance found, or in
            twelve bins of equal count if there are more than twelve.
    """
    found = np.unique(distance_m)
    bounds = np.append(found, np.inf)
    if len(found) > 12:
        bounds = np.unique(np.quantile(distance_m, np.linspace(0, 1, 13)))
        bounds[-1] = np.inf
    group = np.digitize(distance_m, bounds) - 1
    cells = np.bincount(group)
    return ErrorOverDistance(
        np.bincount(group, distance_m) / cells,
        {
            name: np.sqrt(np.bincount(group, errors**2) / cells)
            for name, errors in errors_db.items()
        },
    )


def power_spectrum(maps_db: np.ndarray, *, cell_size_m: float) -> Spectrum:
    """Return the mean power density of square maps over spatial frequency.

    Maps lose their mean and fade out towards the sides (Hann), since their left and right sides
    do not match. White noise of variance v has the power ``v cell_size_m^2`` at all frequencies.

    Args:
        maps_db: Radio maps or their errors [dB], shape ``(n, size, size)``.
        cell_size_m: Side of a cell [m].

    Raises:
        ValueError: If the maps are not square.
    """
    size = maps_db.shape[-1]
    if maps_db.ndim != 3 or maps_db.shape[1] != size:
        raise ValueError(f"expected maps of shape (n, size, size), got {maps_db.shape}")
    fade = np.outer(np.hanning(size), np.hanning(size))
    maps_db = (maps_db - maps_db.mean((-2, -1), keepdims=True)) * fade
    maps_db = maps_db / np.sqrt((fade**2).mean())
    power = (abs(np.fft.fft2(maps_db)) ** 2).mean(0) * (cell_size_m / size) ** 2
    steps = np.fft.fftfreq(size, 1 / size)
    ring = np.rint(np.hypot(steps[:, None], steps)).astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.bincount(ring)
    numbers = np.arange(1, size // 2)
    return Spectrum(numbers / (size * cell_size_m), mean[numbers])
