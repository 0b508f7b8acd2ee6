"""Move the transmitter: a page to play with, live in a notebook and frozen in the book.

`RadioMapExplorer` is a widget that asks the network at every move. `predict_grid` asks it
beforehand for many transmitters, and `static_page` makes of the answers a page that needs no
kernel. The same small modules of JavaScript, in ``js/``, draw both.

The page marks its parts by ``data-testid``, which tests and other scripts may rely on:

======================  ==================================================================
``explorer``            the page itself
``explorer-canvas``     the large map; takes clicks, drags and arrow keys
``explorer-status``     what the page is doing, read out by screen readers
``explorer-x``          number input, transmitter's x [m]
``explorer-y``          number input, transmitter's y [m], upwards
``explorer-threshold``  slider, coverage threshold [dB]
``explorer-covered``    covered share of the outdoor cells, predicted [%]
``explorer-rmse``       error against the simulator, outdoors [dB]
======================  ==================================================================

Besides: ``explorer-covered-simulator``, ``explorer-agreement``, ``explorer-uncertainty``,
``explorer-readout`` (values under the pointer), ``explorer-mark`` (check box, hatch what is not
covered) and ``explorer-view-prediction``, ``-simulator``, ``-error`` and ``-uncertainty`` (radio
buttons). The page's ``data-row`` and ``data-col`` are the cell of the transmitter whose maps are
shown, and ``data-state`` is ``ready`` or ``busy``. A status begins with "Computing" or "Done" in
the widget, and with "Showing" in the static page.
"""

from radiodiff.explorer.grid import (
    TransmitterGrid,
    covered_share,
    nearest_transmitter,
    predict_grid,
    spread_cells,
)
from radiodiff.explorer.page import static_page
from radiodiff.explorer.widget import RadioMapExplorer

__all__ = [
    "RadioMapExplorer",
    "TransmitterGrid",
    "covered_share",
    "nearest_transmitter",
    "predict_grid",
    "spread_cells",
    "static_page",
]
