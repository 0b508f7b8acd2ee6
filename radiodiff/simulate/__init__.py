"""Radio maps without a download: real and invented cities, and the dominant path through them.

`city_tile` gives building outlines, `DominantPath` the path gain [dB] round them, `occlusion_m` the
metres of building in a raster's lines of sight, and `simulate_dataset` a folder of maps in
RadioMapSeer's layout.
"""

from radiodiff.simulate.cars import car_loss_db, place_cars
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
from radiodiff.simulate.config import SimulateConfig
from radiodiff.simulate.dataset import city_of_map, simulate_dataset
from radiodiff.simulate.dominant_path import DominantPath, DominantPathConstants, PathMap
from radiodiff.simulate.manifest import VARIANTS, Variant
from radiodiff.simulate.missing import missing_building_masks
from radiodiff.simulate.occlusion import occlusion_m, raster_line_of_sight
from radiodiff.simulate.outlines import (
    antenna_cell,
    dataset_outlines,
    read_antennas,
    read_outlines,
    trace_outlines,
)
from radiodiff.simulate.own_city import simulate_outlines
from radiodiff.simulate.raster import raster_gain_db, raster_ray_gain_db
from radiodiff.simulate.ray_tracing import RayTracing, RayTracingConstants
from radiodiff.simulate.rays import EmpiricalLosses
from radiodiff.simulate.visibility import line_of_sight_mask
from radiodiff.simulate.wedges import corner_loss_db

__all__ = [
    "ATTRIBUTION",
    "CITY_NAMES",
    "SPLIT_OF_CITY",
    "VARIANTS",
    "DominantPath",
    "DominantPathConstants",
    "EmpiricalLosses",
    "PathMap",
    "RayTracing",
    "RayTracingConstants",
    "SimulateConfig",
    "Variant",
    "antenna_cell",
    "car_loss_db",
    "city_of_map",
    "city_tile",
    "corner_loss_db",
    "dataset_outlines",
    "line_of_sight_mask",
    "load_city",
    "missing_building_masks",
    "occlusion_m",
    "place_cars",
    "place_transmitters",
    "procedural_tile",
    "raster_gain_db",
    "raster_line_of_sight",
    "raster_ray_gain_db",
    "rasterize",
    "read_antennas",
    "read_outlines",
    "simulate_dataset",
    "simulate_outlines",
    "trace_outlines",
]
