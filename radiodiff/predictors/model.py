"""A trained pipeline as a predictor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff.data import RadioMapSample
from radiodiff.predictors.pipeline import RadioDiffPipeline, map_generators
from radiodiff.sampler import SamplerConfig
from radiodiff.scene import Scene, checked_scenes

__all__ = ["PipelinePredictor", "dataset_conditions", "draw_maps", "rows_at_once"]

#: Cells of the maps that are drawn together: 32 maps of 64 x 64 on a CPU, and 64 of 256 x 256 on a
#: GPU.
_CPU_CELLS, _GPU_CELLS = 2**17, 2**22


@dataclass(frozen=True)
class PipelinePredictor:
    """Samples of a trained pipeline, drawn together as many at a time as memory and caches like.

    The noise of a sample does not depend on what it is drawn with. Its last digits do: which way
    round a library adds depends on how much it is given.
    """

    pipeline: RadioDiffPipeline
    """The model."""
    sampler: SamplerConfig | None = None
    """Steps and the like; the run's if ``None``."""
    shared_noise: bool = False
    """Draw every map from the same noise, as the July 2025 public code does (D17)."""
    conditions: Callable[[Scene], Tensor] | None = None
    """Gives the condition of scenes, see `dataset_conditions`; made of the scenes if ``None``."""

    def __call__(self, scenes: Scene, *, samples: int = 1, seed: int = 0) -> Tensor:
        """Return samples of each scene, one if the process draws nothing, ``(b, k, h, w)``."""
        samples = 1 if self.pipeline.process.one_step else samples
        scenes = checked_scenes(scenes)
        draws = [(name, number) for name in scenes.name for number in range(samples)]
        conditions = self._conditions(scenes)
        rows = rows_at_once(self.pipeline.device, tuple(conditions.shape[-2:]))
        maps = []
        for start in range(0, len(draws), rows):
            places = torch.arange(start, min(start + rows, len(draws))) // samples
            drawn = draw_maps(
                self.pipeline,
                conditions[places.to(conditions.device)],
                draws[start : start + rows],
                seed=seed,
                sampler=self.sampler,
                shared_noise=self.shared_noise,
            )
            maps.append(self.pipeline.path_gain_db(drawn)[:, 0].double().cpu())
        return torch.cat(maps).unflatten(0, (len(scenes.name), samples))

    def _conditions(self, scenes: Scene) -> Tensor:
        if self.conditions is not None:
            return self.conditions(scenes)
        if self.pipeline.trained_on is not None:
            self.pipeline.trained_on.check(scenes)
        return self.pipeline.condition(scenes)


def dataset_conditions(dataset: Dataset[RadioMapSample]) -> Callable[[Scene], Tensor]:
    """Return a function that looks the conditions of a dataset's scenes up by their names.

    So channels that the dataset keeps are not made again, and those that are made from the answer
    can be had at all.

    Args:
        dataset: Has ``names``, one a sample.
    """
    places = {name: place for place, name in enumerate(dataset.names)}
    return partial(_look_up, dataset, places)


def _look_up(dataset: Dataset[RadioMapSample], places: Mapping[str, int], scenes: Scene) -> Tensor:
    """Return the conditions of scenes of a dataset; at the top of a module, as it is pickled."""
    return torch.stack([dataset[places[name]].condition for name in scenes.name])


def rows_at_once(device: torch.device, sides: tuple[int, int]) -> int:
    """Return how many maps of these sides are drawn together.

    On a CPU the features of a few maps fit its caches, and more are slower; a GPU likes many.
    """
    cells = _CPU_CELLS if device.type == "cpu" else _GPU_CELLS
    return max(1, cells // (sides[0] * sides[1]))


def draw_maps(
    pipeline: RadioDiffPipeline,
    condition: Tensor,
    draws: Sequence[tuple[str, int]],
    *,
    seed: int = 0,
    sampler: SamplerConfig | None = None,
    shared_noise: bool = False,
) -> Tensor:
    """Return a radio map in [-1, 1] for each condition, shape ``(b, 1, h, w)``.

    Args:
        pipeline: The model.
        condition: Channels in [0, 1], shape ``(b, k, h, w)``.
        draws: Name of the map and number of the sample of each condition; they and the seed decide
            its noise.
        seed: Seed of all noise.
        sampler: Steps and the like; the run's if ``None``.
        shared_noise: Leave the names out, so that all maps share their noise.
    """
    names = [f"{'' if shared_noise else name}/{number}" for name, number in draws]
    generators = map_generators(names, seed)
    return pipeline.radio_maps(condition, sampler=sampler, generator=generators)
