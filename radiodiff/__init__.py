"""Radio maps of cities by latent diffusion with a constant-drift SDE.

Read the package in this order: `units`, `processes`, `models`, `simulate`, `sampler`, `data`,
`config`, `tasks`, `trainer`, `pipeline`, `protocols`, `evaluate`. The chapters import the names
below.
"""

from radiodiff.config import Config, check_parameters, config_text, load_config, project_path
from radiodiff.evaluate import format_table
from radiodiff.experiment import default_run_dir, evaluate_run, make_dataset, show_log, train_run
from radiodiff.pipeline import RadioDiffPipeline
from radiodiff.processes import ConstantSDE, Prediction
from radiodiff.protocols import (
    NMSE_RULES,
    PROTOCOLS,
    Protocol,
    Score,
    fingerprint,
    likely_scale,
    map_sums,
    read_score,
    reduce_sums,
)
from radiodiff.published import PUBLISHED, format_published
from radiodiff.sampler import sample, uniform_schedule

__version__ = "0.1.0"

__all__ = [
    "NMSE_RULES",
    "PROTOCOLS",
    "PUBLISHED",
    "Config",
    "ConstantSDE",
    "Prediction",
    "Protocol",
    "RadioDiffPipeline",
    "Score",
    "check_parameters",
    "config_text",
    "default_run_dir",
    "evaluate_run",
    "fingerprint",
    "format_published",
    "format_table",
    "likely_scale",
    "load_config",
    "make_dataset",
    "map_sums",
    "project_path",
    "read_score",
    "reduce_sums",
    "sample",
    "show_log",
    "train_run",
    "uniform_schedule",
]
