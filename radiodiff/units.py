"""Conversions between path gain [dB], PNG gray level [0, 1] and model range [-1, 1].

RadioMapSeer stores the path gain of a cell, linear in dB, as an 8-bit gray level (eq. ``gray``):

    path_gain_db = FLOOR_DB + gray * (PEAK_DB - FLOOR_DB),   gray in [0, 1].

All functions take floats, NumPy arrays or tensors and return the same kind; arrays index
``(row, col)`` with row 0 at the top, metres are ``(x, y)`` with y pointing up.

Sources: R. Levie et al., *RadioUNet*, arXiv:1911.09002, section III (floor and peak, noise
threshold); C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*, arXiv:2212.11777 (carrier,
heights). The line-of-sight law was measured on real RadioMapSeer gains: exponent 2.5 holds to
half a decibel for 99 % of the cells with line of sight.
"""

from typing import TypeVar

import numpy as np
import torch

__all__ = [
    "CARRIER_HZ",
    "FLOOR_DB",
    "LOS_EXPONENT",
    "NOISE_THRESHOLD_DB",
    "PEAK_DB",
    "REFERENCE_LOSS_DB",
    "cell_to_m",
    "gray_to_model",
    "gray_to_path_gain_db",
    "line_of_sight_gain_db",
    "m_to_cell",
    "model_to_gray",
    "model_to_path_gain_db",
    "path_gain_db_to_gray",
    "path_gain_db_to_model",
    "path_gain_db_to_uint8",
    "thresholded",
    "thresholded_to_path_gain_db",
]

#: Gray level 0: this path gain or less [dB].
FLOOR_DB = -147.0
#: Gray level 1 (255 of 255): the largest path gain of the dataset [dB].
PEAK_DB = -47.84
#: Path gain below which 23 dBm over 10 MHz drown in thermal noise [dB]; gray level 0.2.
NOISE_THRESHOLD_DB = -127.0
#: Carrier frequency of the dataset [Hz].
CARRIER_HZ = 5.9e9
#: Free-space loss at 1 m and 5.9 GHz, 20 log10(4 pi / wavelength) [dB].
REFERENCE_LOSS_DB = 47.86
#: Path-loss exponent of cells with line of sight [1].
LOS_EXPONENT = 2.5

Values = TypeVar("Values", float, np.ndarray, torch.Tensor)


def gray_to_path_gain_db(gray: Values) -> Values:
    """Return the path gain [dB] of gray levels in [0, 1] (eq. ``gray``)."""
    return FLOOR_DB + gray * (PEAK_DB - FLOOR_DB)


def path_gain_db_to_gray(path_gain_db: Values) -> Values:
    """Return gray levels of path gains [dB], clipped to [0, 1] (eq. ``gray``)."""
    gray = (path_gain_db - FLOOR_DB) / (PEAK_DB - FLOOR_DB)
    return gray.clip(0, 1) if hasattr(gray, "clip") else min(max(gray, 0.0), 1.0)


def path_gain_db_to_uint8(path_gain_db: np.ndarray) -> np.ndarray:
    """Return the 8-bit gray levels RadioMapSeer would store; NaN (no signal) becomes 0."""
    gray = path_gain_db_to_gray(np.nan_to_num(path_gain_db, nan=FLOOR_DB, neginf=FLOOR_DB))
    return np.rint(255 * gray).astype(np.uint8)


def gray_to_model(gray: Values) -> Values:
    """Map gray levels [0, 1] to the range the networks see, [-1, 1]."""
    return 2 * gray - 1


def model_to_gray(radio_map: Values) -> Values:
    """Map network range [-1, 1] to gray levels [0, 1]; values outside are not clipped."""
    return (radio_map + 1) / 2


def path_gain_db_to_model(path_gain_db: Values) -> Values:
    """Map path gain [dB] to the network range, clipped to [-1, 1]."""
    return gray_to_model(path_gain_db_to_gray(path_gain_db))


def model_to_path_gain_db(radio_map: Values) -> Values:
    """Map the network range to path gain [dB]; values outside [-1, 1] are not clipped."""
    return gray_to_path_gain_db(model_to_gray(radio_map))


def thresholded(gray: Values, threshold: float) -> Values:
    """Return gray levels on RadioUNet's scale, ``max(gray - t, 0) / (1 - t)``.

    At t = 0.2, path gains below the noise (-127 dB) become 0. Source: R. Levie et al.,
    *RadioUNet*, arXiv:1911.09002, section III.
    """
    return (gray - threshold).clip(0) / (1 - threshold) if threshold else gray


def thresholded_to_path_gain_db(radio_map: Values, threshold: float) -> Values:
    """Return the path gain [dB] of maps in [-1, 1] on the scale of `thresholded`."""
    return gray_to_path_gain_db(model_to_gray(radio_map) * (1 - threshold) + threshold)


def line_of_sight_gain_db(distance_m: np.ndarray) -> np.ndarray:
    """Return the path gain [dB] at distances [m] with line of sight (eq. ``line-of-sight``).

    ``-(47.86 + 25 log10 d)`` with ``d`` held at 1 m or more.
    """
    return -(REFERENCE_LOSS_DB + 10 * LOS_EXPONENT * np.log10(np.maximum(distance_m, 1.0)))


def cell_to_m(cell: tuple[int, int], *, size: int, cell_size_m: float) -> tuple[float, float]:
    """Return the centre ``(x, y)`` [m] of a cell ``(row, col)`` of a map of ``size`` rows."""
    row, col = cell
    return (col + 0.5) * cell_size_m, (size - row - 0.5) * cell_size_m


def m_to_cell(position_m: tuple[float, float], *, size: int, cell_size_m: float) -> tuple[int, int]:
    """Return the cell ``(row, col)`` that holds a point ``(x, y)`` [m]; inverts `cell_to_m`."""
    x, y = position_m
    return int(size - 1 - np.floor(y / cell_size_m)), int(np.floor(x / cell_size_m))
