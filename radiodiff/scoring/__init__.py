"""Scores: answers against the truth, each number under a named protocol."""

from radiodiff.scoring.evaluate import check_protocols, evaluate, score_maps
from radiodiff.scoring.intervals import bootstrap_interval
from radiodiff.scoring.metrics import nmse, psnr, rmse, ssim
from radiodiff.scoring.protocols import (
    NMSE_RULES,
    PROTOCOLS,
    MapSums,
    Protocol,
    Score,
    fingerprint,
    likely_scale,
    map_sums,
    read_score,
    reduce_sums,
)
from radiodiff.scoring.published import PUBLISHED, Published, format_published
from radiodiff.scoring.tables import format_table

__all__ = [
    "NMSE_RULES",
    "PROTOCOLS",
    "PUBLISHED",
    "MapSums",
    "Protocol",
    "Published",
    "Score",
    "bootstrap_interval",
    "check_protocols",
    "evaluate",
    "fingerprint",
    "format_published",
    "format_table",
    "likely_scale",
    "map_sums",
    "nmse",
    "psnr",
    "read_score",
    "reduce_sums",
    "rmse",
    "score_maps",
    "ssim",
]
