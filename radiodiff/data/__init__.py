"""Datasets: every source gives the same sample type, `RadioMapSample`."""

from radiodiff.data.radiomapseer import (
    DatasetError,
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
