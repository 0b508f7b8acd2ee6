"""Opening a split of the dataset that a configuration names."""

import dataclasses
from typing import Any, Literal

from radiodiff.data.edges import EdgeDataset, EdgeImages
from radiodiff.data.images import DatasetError
from radiodiff.data.radiomap3dseer import RadioMap3DSeer
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.files import project_path
from radiodiff.progress import log_progress
from radiodiff.provenance import current_commit
from radiodiff.simulate import simulate_dataset
from radiodiff.workers import process_state

__all__ = ["make_dataset"]


def make_dataset(
    config: Any, split: Literal["train", "val", "test"], *, max_maps: int | None = None
) -> RadioMapSeer | RadioMap3DSeer | EdgeDataset | EdgeImages:
    """Open a split of the run's dataset, simulating the dataset first if the configuration says so.

    Args:
        config: A `Config`; its ``data`` section is used.
        split: Which cities. Pictures with edges are cropped at random for ``train``, and drawn
            whole and without edges, out of the folder ``test``, for ``test``.
        max_maps: Use only the first so many tiles of the split; all if ``None``.

    Returns:
        The dataset, without the symmetries that training may add (``data.augment``).

    Raises:
        DatasetError: If the folder is not a dataset or has no such split.
        ValueError: If the folder holds a dataset simulated with other settings, or ``data`` asks
            for what contradicts itself.
    """
    data = config.data
    root = project_path(data.root)
    if data.source == "radiomap3dseer":
        return RadioMap3DSeer(root, split, splits=data.splits, max_maps=max_maps)
    if data.source == "edges":
        if split == "val":
            raise DatasetError("pictures with edges have no split val: train or test")
        if split == "test":
            return EdgeImages(root / "test", max_maps=max_maps)
        return EdgeDataset(
            root, **dataclasses.asdict(data.edges), seed=data.seed, max_maps=max_maps
        )
    if data.simulate is not None:
        with process_state().main_process_first():
            progress = log_progress("simulated %d of %d city tiles")
            settings = dataclasses.asdict(data.simulate)
            simulate_dataset(root, **settings, commit=current_commit(), progress=progress)
    names = (
        "simulation irt2_max_weight cars hide_cars missing_buildings measurements "
        "measure_anywhere k2_channels threshold seed splits"
    )
    return RadioMapSeer(
        root,
        split,
        **{name: getattr(data, name) for name in names.split()},
        max_maps=max_maps,
        cache=project_path(data.cache) if data.cache is not None else None,
        packed=project_path(data.packed) if data.packed is not None else None,
    )
