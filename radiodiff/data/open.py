"""Opening a split of the dataset that a configuration names."""

import dataclasses
from typing import Any

from radiodiff.data.options import MapDataset, open_split
from radiodiff.data.splits import Split
from radiodiff.files import project_path
from radiodiff.progress import show_progress
from radiodiff.provenance import current_commit
from radiodiff.simulate import simulate_dataset
from radiodiff.workers import process_state

__all__ = ["make_dataset"]


def make_dataset(
    config: Any,
    split: Split,
    *,
    channels: tuple[str, ...] | None = None,
    max_maps: int | None = None,
) -> MapDataset:
    """Open a split of the run's dataset, simulating the dataset first if the configuration says so.

    Args:
        config: A `radiodiff.Config`.
        split: Which cities, see `open_split`.
        channels: Channels of the condition; those that the configuration's network and mean need
            if ``None``.
        max_maps: Use only the first so many tiles of the split; all if ``None``.

    Returns:
        The dataset, without the symmetries that training may add (``data.augment``).

    Raises:
        DatasetError: If the folder is not a dataset or has no such split.
        ValueError: If the folder holds a dataset simulated with other settings, or ``data`` asks
            for what contradicts itself.
    """
    data = config.data
    if data.simulate is not None:
        with (
            process_state().main_process_first(),
            show_progress("simulated", "city tiles") as progress,
        ):
            settings = dataclasses.asdict(data.simulate)
            root = project_path(data.root)
            simulate_dataset(root, **settings, commit=current_commit(), progress=progress)
    if channels is None and data.has_decibels:
        channels = config.given_channels
    return open_split(data, split, channels=channels, max_maps=max_maps)
