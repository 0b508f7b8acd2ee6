"""The error on validation cities while a run is trained."""

import dataclasses

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import nn
from torch.utils.data import DataLoader, Subset

from radiodiff import units
from radiodiff.config import Config, TrainingConfig
from radiodiff.data.open import make_dataset
from radiodiff.scoring import PROTOCOLS
from radiodiff.scoring.evaluate import score_maps
from radiodiff.scoring.protocols import MapSums, reduce_sums
from radiodiff.tasks import Task
from radiodiff.trainer import Validate
from radiodiff.workers import process_state

__all__ = ["make_validation"]

#: The protocol's rule for RMSE; its other numbers are not wanted here.
_RULE = dataclasses.replace(PROTOCOLS["city"], data_range=None)


def make_validation(
    config: Config, training: TrainingConfig, channels: tuple[str, ...] | None
) -> Validate | None:
    """Return the error of a stage on maps of the validation cities; ``None`` if it asks for none.

    Maps are drawn from the same noise at every call, and read at the first one.

    Args:
        config: Data section and seed are used.
        training: Section of the stage: which maps.
        channels: Channels of the condition; those of the configuration if ``None``.

    Returns:
        A function that returns the RMSE [dB] under protocol ``city``.

    Raises:
        DatasetError: If there are no validation maps.
    """
    if training.validate_every == 0:
        return None
    dataset = make_dataset(config, "val", channels=channels)
    count = min(training.validate_maps, len(dataset))
    places = np.linspace(0, len(dataset) - 1, count).astype(int)
    loader = DataLoader(Subset(dataset, places.tolist()), batch_size=16)
    batches: list = []

    @torch.no_grad()
    def error_db(task: Task, network: nn.Module) -> float:
        if not batches:
            batches.extend(loader)
        device = process_state().device
        generator = torch.Generator(device).manual_seed(config.seed)
        sums, tiles = [], []
        for batch in batches:
            drawn = task.sample(network, send_to_device(batch, device), generator)
            gain_db = units.thresholded_to_path_gain_db(drawn.float().cpu(), config.data.threshold)
            sums.append(score_maps(gain_db, batch, _RULE))
            tiles += [name.split("_")[0] for name in batch.name]
        together = MapSums(*map(torch.cat, zip(*sums, strict=True)))
        return float(reduce_sums(together, tiles, _RULE)["rmse_db"][0])

    return error_db
