"""The ``data`` section of a configuration, and the sources of maps by name."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radiodiff.data.edges import EdgeDataset, EdgeImages, EdgesConfig
from radiodiff.data.images import DatasetError
from radiodiff.data.radiomap3dseer import RadioMap3DSeer
from radiodiff.data.radiomapseer import RadioMapOptions, RadioMapSeer
from radiodiff.data.splits import Split
from radiodiff.files import project_path
from radiodiff.ranges import MAX_WORKERS, check_numbers
from radiodiff.settings import ConfigError
from radiodiff.simulate import SimulateConfig

__all__ = ["SOURCES", "DataConfig", "MapDataset", "Source", "open_split"]

#: What every source opens.
MapDataset = RadioMapSeer | RadioMap3DSeer | EdgeDataset | EdgeImages


@dataclass(frozen=True)
class Source:
    """A kind of dataset."""

    open: Callable[..., MapDataset]
    """Opens a split: ``open(data, root, split, channels=, max_maps=)``."""
    keys: frozenset[str]
    """Keys of the data section that it heeds, beside source, root, augment and workers."""
    channels: tuple[str, ...] | None = None
    """Channels of its condition; ``None`` where the options list them."""
    has_decibels: bool = False
    """Whether its maps are path gain whose scale in dB is known."""


def _open_radiomapseer(
    data: "DataConfig",
    root: Path,
    split: Split,
    *,
    channels: tuple[str, ...] | None,
    max_maps: int | None,
) -> RadioMapSeer:
    return RadioMapSeer(root, split, data, channels=channels, max_maps=max_maps)


def _open_radiomap3dseer(
    data: "DataConfig", root: Path, split: Split, *, max_maps: int | None, **_: Any
) -> RadioMap3DSeer:
    return RadioMap3DSeer(root, split, splits=data.splits, max_maps=max_maps)


def _open_edges(
    data: "DataConfig", root: Path, split: Split, *, max_maps: int | None, **_: Any
) -> EdgeDataset | EdgeImages:
    if split == "val":
        raise DatasetError("pictures with edges have no split val: train or test")
    if split == "test":
        return EdgeImages(root / "test", max_maps=max_maps)
    return EdgeDataset(root, data.edges, seed=data.seed, max_maps=max_maps)


#: Sources of maps by name; another one is its dataset and a line here.
SOURCES: dict[str, Source] = {
    "radiomapseer": Source(
        _open_radiomapseer,
        frozenset(f.name for f in dataclasses.fields(RadioMapOptions))
        | {"byte_channels", "simulate"},
        has_decibels=True,
    ),
    "radiomap3dseer": Source(
        _open_radiomap3dseer, frozenset({"splits"}), ("building_height", "transmitter")
    ),
    "edges": Source(_open_edges, frozenset({"edges", "seed"}), ("red", "green", "blue")),
}
_COMMON_KEYS = {"source", "root", "augment", "workers"}


@dataclass(frozen=True)
class DataConfig(RadioMapOptions):
    """Where the maps are and which of them are used."""

    source: str = "radiomapseer"
    """What lies in ``root``: ``radiomapseer``, maps in RadioMapSeer's layout, real or simulated;
    ``radiomap3dseer``; or ``edges``, pictures with edges, in ``image/`` and ``edge/``, and
    ``test/``, pictures to draw edges for."""
    root: str = "data/RadioMapSeer"
    """Dataset folder; a relative path counts from the project's root."""
    byte_channels: int = 0
    """Leading condition channels that the network is given as 0 to 255 instead of 0 to 1, as the
    public code does by mistake where there are k² maps (X2)."""
    augment: bool = False
    """Train on the eight symmetries of each map; four where it is not square."""
    workers: int = 0
    """Loader processes; 0 reads in the training process."""
    edges: EdgesConfig = field(default_factory=EdgesConfig)
    """Crops, for the source ``edges``."""
    simulate: SimulateConfig | None = None
    """Simulate the dataset into ``root`` if it is not there; ``null`` for a dataset you supply."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source not in SOURCES:
            raise ConfigError(f"source must be one of {', '.join(SOURCES)}, got {self.source!r}")
        defaults = {f.name: f.default for f in dataclasses.fields(self)} | {"edges": EdgesConfig()}
        for name, default in defaults.items():
            heeded = name in _COMMON_KEYS | SOURCES[self.source].keys
            if not heeded and getattr(self, name) != default:
                raise ConfigError(
                    f"{name} has no meaning for source {self.source}: leave it out, or choose "
                    "another source"
                )
        if not 0 <= self.byte_channels <= len(self.channels):
            raise ConfigError(
                f"byte_channels must be 0 to the {len(self.channels)} channels of the "
                f"condition, got {self.byte_channels}"
            )
        check_numbers(self, "workers", least=0, most=MAX_WORKERS)

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of the condition that the dataset gives, in order."""
        return SOURCES[self.source].channels or super().channels

    @property
    def has_decibels(self) -> bool:
        """Whether the maps are path gain whose scale in dB is known."""
        return SOURCES[self.source].has_decibels


def open_split(
    data: DataConfig,
    split: Split,
    *,
    channels: tuple[str, ...] | None = None,
    max_maps: int | None = None,
) -> MapDataset:
    """Open a split of a dataset that is there.

    Args:
        data: The section.
        split: Which cities. Pictures with edges are cropped at random for ``train``, and drawn
            whole and without edges, out of the folder ``test``, for ``test``.
        channels: Channels of the condition; those of the section if ``None``.
        max_maps: Use only the first so many tiles of the split; all if ``None``.

    Returns:
        The dataset, without the symmetries that training may add (``data.augment``).

    Raises:
        DatasetError: If the folder is not a dataset or has no such split.
    """
    source = SOURCES[data.source]
    root = project_path(data.root)
    return source.open(data, root, split, channels=channels, max_maps=max_maps)
