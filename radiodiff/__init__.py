"""Radio maps of cities by latent diffusion with a constant-drift SDE.

Read the package in this order: `units`, `diffusion`, `models`, `simulate`, `sampler`, `data`,
`config`, `tasks`, `trainer`, `pipeline`, `predictors`, `scoring`. The chapters import the names
below.
"""

from radiodiff.config import Config, check_parameters, config_text, load_config
from radiodiff.diffusion import ConstantSDE, DiffusionConfig, Prediction, diffusion_loss, predict
from radiodiff.files import project_path
from radiodiff.pipeline import RadioDiffPipeline
from radiodiff.runs.train import default_run_dir, evaluate_run, make_dataset, show_log, train_run
from radiodiff.sampler import sample, uniform_schedule
from radiodiff.scoring import (
    NMSE_RULES,
    PROTOCOLS,
    PUBLISHED,
    Protocol,
    Score,
    fingerprint,
    format_published,
    format_table,
    likely_scale,
    map_sums,
    read_score,
    reduce_sums,
)

__version__ = "0.1.0"

__all__ = [
    "NMSE_RULES",
    "PROTOCOLS",
    "PUBLISHED",
    "Config",
    "ConstantSDE",
    "DiffusionConfig",
    "Prediction",
    "Protocol",
    "RadioDiffPipeline",
    "Score",
    "check_parameters",
    "config_text",
    "default_run_dir",
    "diffusion_loss",
    "evaluate_run",
    "fingerprint",
    "format_published",
    "format_table",
    "likely_scale",
    "load_config",
    "make_dataset",
    "map_sums",
    "predict",
    "project_path",
    "read_score",
    "reduce_sums",
    "sample",
    "show_log",
    "train_run",
    "uniform_schedule",
]
