"""Datasets: every source gives the same sample type, `RadioMapSample`."""

from radiodiff.data.edges import EdgeDataset, EdgeImages, EdgesConfig
from radiodiff.data.gray_batches import GrayBatch, GrayBatches, to_samples
from radiodiff.data.images import DatasetError
from radiodiff.data.latent_cache import LatentCache, WithLatents
from radiodiff.data.options import SOURCES, DataConfig, MapDataset, open_split
from radiodiff.data.pack_reader import PackedImages
from radiodiff.data.packed import pack_dataset
from radiodiff.data.radiomap3dseer import RadioMap3DSeer, building_height_m
from radiodiff.data.radiomapseer import RadioMapOptions, RadioMapSeer, Simulation
from radiodiff.data.regions import distance_to_m, region_masks
from radiodiff.data.routes import measured_along_route, walk_route
from radiodiff.data.sample import RadioMapSample, path_gain_db, transmitter_cell
from radiodiff.data.splits import Splits, split_maps, split_overlap
from radiodiff.data.symmetry import EightSymmetries, symmetry
from radiodiff.data.verify import check_digests, format_report, verify_dataset

__all__ = [
    "SOURCES",
    "DataConfig",
    "DatasetError",
    "EdgeDataset",
    "EdgeImages",
    "EdgesConfig",
    "EightSymmetries",
    "GrayBatch",
    "GrayBatches",
    "LatentCache",
    "MapDataset",
    "PackedImages",
    "RadioMap3DSeer",
    "RadioMapOptions",
    "RadioMapSample",
    "RadioMapSeer",
    "Simulation",
    "Splits",
    "WithLatents",
    "building_height_m",
    "check_digests",
    "distance_to_m",
    "format_report",
    "measured_along_route",
    "open_split",
    "pack_dataset",
    "path_gain_db",
    "region_masks",
    "split_maps",
    "split_overlap",
    "symmetry",
    "to_samples",
    "transmitter_cell",
    "verify_dataset",
    "walk_route",
]
