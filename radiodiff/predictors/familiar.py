"""Which scenes a run knows: it refuses cells of another size and warns of unlike places."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from radiodiff.config import Config
from radiodiff.files import read_json
from radiodiff.scene import Scene

__all__ = ["SceneStatistics"]

logger = logging.getLogger(__name__)

#: A share of built cells may lie so far outside the training's before it is told [1].
_MARGIN = 0.05


class SceneStatistics(NamedTuple):
    """What scenes a run was trained on, so that it can say when it is asked about others."""

    cell_size_m: float
    """Side of a cell [m]."""
    sides: tuple[int, int]
    """Rows and columns of a map [cells]."""
    built_low: float
    """Share of cells inside buildings that one map in a hundred falls below [1]."""
    built_high: float
    """Share of cells inside buildings that one map in a hundred exceeds [1]."""

    @classmethod
    def of_scenes(cls, scenes: Iterable[Scene]) -> "SceneStatistics":
        """Return the statistics of one or more scenes of one size."""
        shares = []
        for scene in scenes:
            shares.append(float(scene.building_mask.float().mean()))
        low, high = np.quantile(shares, [0.01, 0.99])
        sides = tuple(scene.building_mask.shape[-2:])
        return cls(float(scene.cell_size_m), sides, float(low), float(high))

    @classmethod
    def of_run(cls, run_dir: Path, config: Config) -> "SceneStatistics | None":
        """Return what training noted, or what the configuration says of simulated maps.

        Raises:
            FileError: If the note does not hold what training writes.
        """
        path = run_dir / "scenes.json"
        if path.is_file():
            numbers = dict.fromkeys(("cell_size_m", "built_low", "built_high"), float)
            noted = read_json(path, numbers | {"sides": list})
            return cls(**noted | {"sides": tuple(noted["sides"])})
        simulate = config.data.simulate
        if simulate is None:
            return None
        return cls(simulate.cell_size_m, (simulate.size, simulate.size), 0.0, 1.0)

    def check(self, scenes: Scene) -> None:
        """Refuse another cell size; warn in one line of scenes far from those of the training.

        Raises:
            ValueError: If the cells are of another size.
        """
        for size in scenes.cell_size_m.unique().tolist():
            if abs(size - self.cell_size_m) > 1e-3 * self.cell_size_m:
                raise ValueError(
                    f"the run was trained at cells of {self.cell_size_m:g} m, the scene has "
                    f"{size:g} m: ask with resample=True, or choose a run of that cell size"
                )
        sides, built = tuple(scenes.building_mask.shape[-2:]), scenes.building_mask.float()
        share = built.mean((1, 2))
        far = []
        if max(sides) > 2 * max(self.sides) or 2 * min(sides) < min(self.sides):
            had = f"training had {self.sides[0]} x {self.sides[1]}"
            far.append(f"{sides[0]} x {sides[1]} cells, {had}")
        low, high = float(share.min()), float(share.max())
        is_emptier = low < self.built_low - _MARGIN
        if is_emptier or high > self.built_high + _MARGIN:
            worst = low if is_emptier else high
            far.append(
                f"{worst:.0%} built, training had {self.built_low:.0%} to {self.built_high:.0%}"
            )
        if far:
            logger.warning("a scene is unlike those of the training: %s", "; ".join(far))
