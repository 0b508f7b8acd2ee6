"""Datasets: every source gives the same sample type, `RadioMapSample`."""

from radiodiff.data.images import DatasetError
from radiodiff.data.radiomapseer import (
    RadioMapSample,
    RadioMapSeer,
    Splits,
    network_condition,
    path_gain_db,
    split_maps,
    transmitter_cell,
)

__all__ = [
    "DatasetError",
    "RadioMapSample",
    "RadioMapSeer",
    "Splits",
    "network_condition",
    "path_gain_db",
    "split_maps",
    "transmitter_cell",
]
