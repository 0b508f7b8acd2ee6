"""Scores: answers against the truth, each number under a named protocol."""

from radiodiff.scoring.conformal import conformal_bound, tile_scores
from radiodiff.scoring.detail import (
    ErrorOverDistance,
    Spectrum,
    error_over_distance,
    power_spectrum,
)
from radiodiff.scoring.evaluate import check_protocols, evaluate, score_maps, score_samples
from radiodiff.scoring.intervals import bootstrap_interval
from radiodiff.scoring.metrics import rmse, rmse_of_map, ssim
from radiodiff.scoring.probabilistic import (
    SAMPLE_SCORES,
    Averaging,
    Coverage,
    SampleScore,
    SpreadAndError,
    averaging_curve,
    coverage,
    crps,
    spread,
    spread_and_error,
)
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
from radiodiff.scoring.tables import format_samples, format_table

__all__ = [
    "NMSE_RULES",
    "PROTOCOLS",
    "PUBLISHED",
    "SAMPLE_SCORES",
    "Averaging",
    "Coverage",
    "ErrorOverDistance",
    "MapSums",
    "Protocol",
    "Published",
    "SampleScore",
    "Score",
    "Spectrum",
    "SpreadAndError",
    "averaging_curve",
    "bootstrap_interval",
    "check_protocols",
    "conformal_bound",
    "coverage",
    "crps",
    "error_over_distance",
    "evaluate",
    "fingerprint",
    "format_published",
    "format_samples",
    "format_table",
    "likely_scale",
    "map_sums",
    "power_spectrum",
    "read_score",
    "reduce_sums",
    "rmse",
    "rmse_of_map",
    "score_maps",
    "score_samples",
    "spread",
    "spread_and_error",
    "ssim",
    "tile_scores",
]
