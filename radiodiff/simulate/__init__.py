"""Radio maps without a download: real and invented cities, and the dominant path through them.

`city_tile` gives building outlines, `DominantPath` the path gain [dB] round them, and
`simulate_dataset` a folder of maps in RadioMapSeer's layout.
"""

from radiodiff.simulate.cities import (
    ATTRIBUTION,
    CITY_NAMES,
    SPLIT_OF_CITY,
    city_tile,
    load_city,
    place_transmitters,
    procedural_tile,
    rasterize,
)
from radiodiff.simulate.dataset import city_of_map, simulate_dataset
from radiodiff.simulate.dominant_path import DominantPath, DominantPathConstants, PathMap
from radiodiff.simulate.outlines import dataset_outlines, read_antennas, read_outlines
from radiodiff.simulate.visibility import line_of_sight_mask

__all__ = [
    "ATTRIBUTION",
    "CITY_NAMES",
    "SPLIT_OF_CITY",
    "DominantPath",
    "DominantPathConstants",
    "PathMap",
    "city_of_map",
    "city_tile",
    "dataset_outlines",
    "line_of_sight_mask",
    "load_city",
    "place_transmitters",
    "procedural_tile",
    "rasterize",
    "read_antennas",
    "read_outlines",
    "simulate_dataset",
]
