"""A trained pipeline as a predictor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff.data import RadioMapSample
from radiodiff.predictors.pipeline import RadioDiffPipeline, map_generators
from radiodiff.sampler import SamplerConfig
from radiodiff.scene import Scene, checked_scenes

__all__ = ["PipelinePredictor", "dataset_conditions", "draw_maps"]


@dataclass(frozen=True)
class PipelinePredictor:
    """Samples of a trained pipeline, those of one map drawn together and apart from other maps."""

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
        maps = []
        for name, condition in zip(scenes.name, self._conditions(scenes), strict=True):
            drawn = draw_maps(
                self.pipeline,
                condition.expand(samples, *condition.shape),
                [(name, number) for number in range(samples)],
                seed=seed,
                sampler=self.sampler,
                shared_noise=self.shared_noise,
            )
            maps.append(self.pipeline.path_gain_db(drawn)[:, 0].double().cpu())
        return torch.stack(maps)

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
    return lambda scenes: torch.stack([dataset[places[name]].condition for name in scenes.name])


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
