"""Radio maps of cities by latent diffusion with a constant-drift SDE.

Read the package in this order: `units`, `diffusion`, `models`, `simulate`, `sampler`, `data`,
`config`, `tasks`, `trainer`, `pipeline`, `protocols`, `evaluate`, `runs`. The chapters import the
names below.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

#: Modules and what they give; a name is imported when it is first asked for, so that commands
#: that need no network start without torch.
_NAMES_OF = {
    "config": ("Config", "check_parameters", "config_text", "load_config"),
    "data.open": ("make_dataset",),
    "diffusion": ("ConstantSDE", "DiffusionConfig", "Prediction", "diffusion_loss", "predict"),
    "evaluate": ("format_table",),
    "files": ("project_path",),
    "pipeline": ("RadioDiffPipeline",),
    "progress": ("show_log",),
    "protocols": (
        "NMSE_RULES",
        "PROTOCOLS",
        "Protocol",
        "Score",
        "fingerprint",
        "likely_scale",
        "map_sums",
        "read_score",
        "reduce_sums",
    ),
    "published": ("PUBLISHED", "format_published"),
    "runs.evaluate": ("evaluate_run",),
    "runs.train": ("default_run_dir", "train_run"),
    "sampler": ("sample", "uniform_schedule"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
