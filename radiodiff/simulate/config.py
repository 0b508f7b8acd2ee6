"""The ``simulate`` section of a configuration."""

from dataclasses import dataclass

from radiodiff.simulate.manifest import Variant

__all__ = ["SimulateConfig"]


@dataclass(frozen=True)
class SimulateConfig:
    """How to make the dataset where it does not exist yet."""

    maps: int = 40
    """City tiles."""
    transmitters: int = 8
    """Transmitters in each tile."""
    size: int = 256
    """Cells along a side of the square map."""
    cell_size_m: float = 1.0
    """Side of a cell [m]."""
    seed: int = 0
    """Seed of tiles and transmitters."""
    workers: int = 2
    """Processes; the result does not depend on it."""
    variants: tuple[Variant, ...] = ("DPM",)
    """Which maps to make: propagation models without and with cars."""
