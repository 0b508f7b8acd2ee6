"""The ``simulate`` section of a configuration."""

from dataclasses import dataclass

from radiodiff.ranges import MAX_SIDE, MAX_WORKERS, check_numbers, check_seed
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

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If a number lies outside its range, or no variant is named.
        """
        check_numbers(self, "maps", "transmitters", least=1)
        check_numbers(self, "size", least=16, most=MAX_SIDE)
        check_numbers(self, "cell_size_m", above=0)
        check_numbers(self, "workers", least=1, most=MAX_WORKERS)
        check_seed(self)
        if not self.variants:
            raise ValueError("variants must name at least one, got none")
