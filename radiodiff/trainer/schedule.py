"""Learning rate and order of the maps: pure functions of the step."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from radiodiff.config import TrainingConfig

__all__ = ["Batches", "batch_indices", "learning_rate"]


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step (0, 1, ...) (eq. ``schedule``).

    ``max(lr (1 - k / K)^p, lr_min)``, times ``(k + 1) / warmup`` while warming up. With
    ``rate_floor`` ``factor`` the floor is ``lr lr_min``, as in the public code (T3).
    """
    left = max(0.0, 1 - step / config.max_steps)
    floor = config.min_learning_rate
    if config.rate_floor == "factor":
        floor *= config.learning_rate
    rate = max(config.learning_rate * left**config.decay_power, floor)
    return rate * min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else rate


def batch_indices(
    length: int, batch_size: int, position: int, *, seed: int, rank: int = 0, world: int = 1
) -> list[int]:
    """Return the samples of a process's micro-batch, a pure function of its arguments.

    All processes walk through one endless sequence, a fresh permutation of the dataset for each
    epoch; micro-batch number ``position`` takes ``world * batch_size`` samples of it, of which
    process ``rank`` gets every ``world``-th. So no map is seen twice in an epoch, and a resumed
    run goes on exactly where it stopped.

    Args:
        length: Samples in the dataset.
        batch_size: Samples per process.
        position: Number of the micro-batch, from 0.
        seed: Seed of the permutations.
        rank: Number of the process.
        world: Number of processes.

    Returns:
        ``batch_size`` indices.
    """
    start = position * batch_size * world + rank
    places = range(start, start + batch_size * world, world)
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(length)
        for epoch in {place // length for place in places}
    }
    return [int(orders[place // length][place % length]) for place in places]


class Batches(Sampler[list[int]]):
    """Batches from micro-batch ``first`` on, for a DataLoader."""

    def __init__(self, first: int, last: int, **arguments: int) -> None:
        self.first, self.last, self.arguments = first, last, arguments

    def __iter__(self) -> Iterator[list[int]]:
        for position in range(self.first, self.last):
            yield batch_indices(position=position, **self.arguments)

    def __len__(self) -> int:
        return self.last - self.first
