"""A trained pipeline as a predictor."""

from collections.abc import Sequence

import torch
from torch import Tensor

from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSample
from radiodiff.pipeline import RadioDiffPipeline, map_generators
from radiodiff.predictors.base import Predictor

__all__ = ["draw_maps", "model_predictor"]


def model_predictor(pipeline: RadioDiffPipeline, config: EvaluateConfig) -> Predictor:
    """Return the mean path gain of several samples as a predictor.

    The samples of one map are drawn together and apart from other maps, and their noise is a
    function of the map's name and the seed: the last digit does not depend on the batch size.
    """

    def predict(batch: RadioMapSample) -> Tensor:
        maps = []
        for name, condition in zip(batch.name, batch.condition, strict=True):
            drawn = draw_maps(
                pipeline,
                condition.expand(config.samples, *condition.shape),
                [(name, k) for k in range(config.samples)],
                config,
            )
            maps.append(pipeline.path_gain_db(drawn).double().mean(0).cpu())
        return torch.stack(maps)

    return predict


def draw_maps(
    pipeline: RadioDiffPipeline,
    condition: Tensor,
    draws: Sequence[tuple[str, int]],
    config: EvaluateConfig,
) -> Tensor:
    """Return a radio map in [-1, 1] for each condition, shape ``(b, 1, h, w)``.

    Args:
        pipeline: The model.
        condition: Channels in [0, 1], shape ``(b, k, h, w)``.
        draws: Name of the map and number of the sample of each condition; they seed its noise.
        config: Steps, seed, and whether all maps share their noise.
    """
    names = [f"{'' if config.shared_noise else name}/{number}" for name, number in draws]
    generators = map_generators(names, config.seed)
    return pipeline.radio_maps(condition, steps=config.steps, generator=generators)
