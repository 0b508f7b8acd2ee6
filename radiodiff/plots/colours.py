"""Colour maps as tables, for pictures that matplotlib does not draw."""

from typing import Literal

import matplotlib
import numpy as np

__all__ = ["colour_table"]

_COLOUR_MAPS = {"gain": "viridis", "error": "RdBu_r", "uncertainty": "magma"}


def colour_table(quantity: Literal["gain", "error", "uncertainty"]) -> np.ndarray:
    """Return the colours that figures of a quantity run through, uint8, shape ``(256, 3)``.

    Args:
        quantity: ``gain`` for path gain, ``error`` for differences round 0, ``uncertainty`` for
            standard deviations.
    """
    colours = matplotlib.colormaps[_COLOUR_MAPS[quantity]](np.arange(256))
    return np.rint(255 * colours[:, :3]).astype(np.uint8)
