"""The two states of the public RadioDiff code, as values of our configuration.

Source: ``UNIC-Lab/RadioDiff`` at the two commits; what tells them apart is on the page *What the
public code does* of the book.
"""

from dataclasses import dataclass, replace

from radiodiff.config import EvaluateConfig
from radiodiff.data import Splits
from radiodiff.models import SwinConfig, UNetConfig
from radiodiff.processes import ConstantSDE, ProcessConfig
from radiodiff.sampler import SamplerConfig

__all__ = ["PROFILES", "R24", "R25", "Profile"]


@dataclass(frozen=True)
class Profile:
    """One of the two states of the public code, as values of our configuration."""

    name: str
    """``R24`` (December 2024) or ``R25`` (July 2025)."""
    commit: str
    """State of the public repository, ``UNIC-Lab/RadioDiff``."""
    network: UNetConfig
    """Denoising network at full size."""
    process: ProcessConfig
    """Diffusion process and its loss."""
    sampler: SamplerConfig
    """Steps of the sampling."""
    evaluate: EvaluateConfig
    """Sampling of the test set."""
    splits: Splits
    """Which maps train and test."""


_R24_UNET = UNetConfig(
    fourier_filter="off",
    relation_norm="batch",
    scale_logits=False,
    swin=SwinConfig(sticky_shift=True),
)
_R24_SDE = ConstantSDE(drift_skip="reference", weighting="inverse_sqrt")
_R25_SDE = replace(_R24_SDE, weighting="exponential")
_SAMPLER = SamplerConfig(schedule="reference")
_R24_EVALUATE = EvaluateConfig(batch_size=1, seed=42)

#: The release of December 2024.
R24 = Profile(
    "R24",
    "e19b1d9",
    _R24_UNET,
    ProcessConfig(scale=0.3, constant_sde=_R24_SDE),
    _SAMPLER,
    _R24_EVALUATE,
    "radiodiff-r24",
)
#: The release of July 2025.
R25 = Profile(
    "R25",
    "14c4a8c",
    replace(_R24_UNET, fourier_filter="fixed"),
    ProcessConfig(scale=0.3, constant_sde=_R25_SDE),
    _SAMPLER,
    replace(_R24_EVALUATE, seed=0, shared_noise=True),
    "radiodiff-r25",
)
#: Both, by name.
PROFILES = {profile.name: profile for profile in (R24, R25)}
