"""The public RadioDiff code: its two states as profiles, its weights and its configuration files.

What that code does, fault by fault, is the page *What the public code does* of the book.
"""

from radiodiff.reference.config import ReferenceRun, read_reference_config
from radiodiff.reference.model import autoencoder_config, process_config, unet_config
from radiodiff.reference.names import Names, autoencoder_names, unet_names
from radiodiff.reference.profiles import PROFILES, R24, R25, Profile
from radiodiff.reference.runs import (
    export_run,
    import_run,
    parameter_counts,
    run_state_dict,
    save_reference_parts,
)
from radiodiff.reference.weights import (
    UNET_PREFIX,
    ReferenceWeights,
    autoencoder_state_dict,
    read_weights,
    reference_state_dict,
    split_weights,
    unet_state_dict,
)

__all__ = [
    "PROFILES",
    "R24",
    "R25",
    "UNET_PREFIX",
    "Names",
    "Profile",
    "ReferenceRun",
    "ReferenceWeights",
    "autoencoder_config",
    "autoencoder_names",
    "autoencoder_state_dict",
    "export_run",
    "import_run",
    "parameter_counts",
    "process_config",
    "read_reference_config",
    "read_weights",
    "reference_state_dict",
    "run_state_dict",
    "save_reference_parts",
    "split_weights",
    "unet_config",
    "unet_names",
    "unet_state_dict",
]
