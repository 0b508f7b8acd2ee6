"""The colours of all figures, and colour maps for pictures that matplotlib does not draw."""

from typing import Literal

import matplotlib
import numpy as np

__all__ = ["COLOURS", "DASHES", "MARKERS", "colour_table"]

#: Okabe and Ito's colours, told apart with any colour vision; dashes tell them apart in print.
#: Source: M. Okabe, K. Ito, *Color Universal Design*.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "x", "P")

_COLOUR_MAPS = {"gain": "viridis", "error": "RdBu_r", "uncertainty": "magma"}


def colour_table(quantity: Literal["gain", "error", "uncertainty"]) -> np.ndarray:
    """Return the colours that figures of a quantity run through, uint8, shape ``(256, 3)``.

    Args:
        quantity: ``gain`` for path gain, ``error`` for differences round 0, ``uncertainty`` for
            standard deviations.
    """
    colours = matplotlib.colormaps[_COLOUR_MAPS[quantity]](np.arange(256))
    return np.rint(255 * colours[:, :3]).astype(np.uint8)
