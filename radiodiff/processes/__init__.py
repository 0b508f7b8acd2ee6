"""How a clean map and noise are joined, what a network learns, and how one goes back.

A process knows neither networks nor data: it is handed a callable and clean maps. To add one,
write its file and name it here, in `PROCESSES` and as a field of `ProcessConfig`.
"""

from dataclasses import dataclass, field
from typing import Literal

from radiodiff.processes.base import (
    Answer,
    Generators,
    Network,
    Process,
    TimeLaw,
    standard_normal,
)
from radiodiff.processes.constant_sde import ConstantSDE, Prediction
from radiodiff.processes.flow_matching import FlowMatching, Velocity
from radiodiff.processes.mean_flow import AverageVelocity, MeanFlow
from radiodiff.processes.regression import Mean, Regression
from radiodiff.processes.space import Scaling, scale_latents, unscale_latents
from radiodiff.ranges import check_numbers

__all__ = [
    "PROCESSES",
    "Answer",
    "AverageVelocity",
    "ConstantSDE",
    "FlowMatching",
    "Generators",
    "Mean",
    "MeanFlow",
    "Network",
    "Prediction",
    "Process",
    "ProcessConfig",
    "Regression",
    "Scaling",
    "TimeLaw",
    "Velocity",
    "scale_latents",
    "standard_normal",
    "unscale_latents",
]

#: Processes by the names that a configuration gives them.
PROCESSES: dict[str, type] = {
    "constant_sde": ConstantSDE,
    "flow_matching": FlowMatching,
    "mean_flow": MeanFlow,
    "regression": Regression,
}


@dataclass(frozen=True)
class ProcessConfig:
    """Which process a run learns, where it runs, and the options of each process."""

    kind: Literal["constant_sde", "flow_matching", "mean_flow", "regression"] = "constant_sde"
    """Name of the process; its options are in the section of this name."""
    space: Literal["latent", "map"] = "latent"
    """What the process runs on: latents of an autoencoder, or the radio map itself."""
    residual_to: str | None = None
    """What the process adds to: a condition channel that is itself a map of path gain, or the
    folder of a run; ``null`` for the map as it is."""
    scaling: Scaling = "factor"
    """How latents (or maps, or residuals) become ``x_0``: times a factor, or ``z / (1 + |z|)``
    into (-1, 1)."""
    scale: float | None = None
    """Factor that brings them to unit variance [1]; ``null`` measures it on training maps."""
    scale_maps: int = 256
    """Maps it is measured on; the public code takes its first micro-batch alone."""
    cache_latents: bool = True
    """Encode the training maps once before the second stage instead of at every step, where that
    is less work and the disk has room for it; with and without, training draws the same numbers."""
    constant_sde: ConstantSDE = field(default_factory=ConstantSDE)
    """Options of the constant-drift diffusion."""
    flow_matching: FlowMatching = field(default_factory=FlowMatching)
    """Options of flow matching."""
    mean_flow: MeanFlow = field(default_factory=MeanFlow)
    """Options of mean flow."""
    regression: Regression = field(default_factory=Regression)
    """Options of the regression."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If ``kind`` is unknown, or a number lies outside its range.
        """
        if self.kind not in PROCESSES:
            raise ValueError(f"kind must be one of {', '.join(PROCESSES)}, got {self.kind!r}")
        check_numbers(self, "scale", above=0)
        check_numbers(self, "scale_maps", least=1)

    @property
    def chosen(self) -> Process:
        """The process that ``kind`` names, with its options."""
        return getattr(self, self.kind)
