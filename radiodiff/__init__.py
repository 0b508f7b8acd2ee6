"""Radio maps of cities, by diffusion and its kin: a tested package and a book that runs.

Six nouns: a `scene` is the question, `conditions` are its channels, one of the `processes` is what
a network (`models`) learns, `predictors` answer scenes, `scoring` judges answers, `runs` keep it
all on disk. The page *How it is built* of the book draws how they stand on each other. The
chapters import the names below.
"""

from importlib import import_module
from typing import Any

from radiodiff.threads import leave_room

leave_room()  # before anything below imports torch

__version__ = "0.1.0"

#: Modules and what they give; a name is imported when it is first asked for, so that commands
#: that need no network start without torch.
_NAMES_OF = {
    "config": ("Config", "load_config"),
    "data.open": ("make_dataset",),
    "files": ("project_path",),
    "predictors.pipeline": ("RadioDiffPipeline",),
    "processes": ("ConstantSDE", "FlowMatching", "MeanFlow", "Prediction", "Regression"),
    "progress": ("show_log",),
    "runs.evaluate": ("evaluate_run",),
    "runs.train": ("default_run_dir", "train_run"),
    "sampler": ("SamplerConfig", "sample", "uniform_schedule"),
    "scene": ("Scene", "make_scene"),
    "scoring": (
        "NMSE_RULES",
        "PROTOCOLS",
        "PUBLISHED",
        "Protocol",
        "Score",
        "fingerprint",
        "format_published",
        "format_table",
        "likely_scale",
        "map_sums",
        "read_score",
        "reduce_sums",
    ),
    "settings": ("check_parameters", "config_text"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}

__all__ = [
    "NMSE_RULES",
    "PROTOCOLS",
    "PUBLISHED",
    "Config",
    "ConstantSDE",
    "FlowMatching",
    "MeanFlow",
    "Prediction",
    "Protocol",
    "RadioDiffPipeline",
    "Regression",
    "SamplerConfig",
    "Scene",
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
    "make_scene",
    "map_sums",
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
