"""RadioMapSeer's folder layout, real or simulated, as a PyTorch dataset."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff import units
from radiodiff.data.images import DatasetError, read_gray

__all__ = [
    "RadioMapSample",
    "RadioMapSeer",
    "Splits",
    "network_condition",
    "path_gain_db",
    "split_maps",
    "transmitter_cell",
]

Split = Literal["train", "val", "test", "all"]

#: Where the real dataset is cut into training, validation and test maps.
Splits = Literal["city", "radiodiff-r24", "radiodiff-r25"]

#: First map positions of train, val and test after the shuffle, and the end (half-open ranges).
_SPLIT_BOUNDS = {
    "city": {"train": (0, 501), "val": (501, 601), "test": (601, 700)},
    "radiodiff-r24": {"train": (0, 501), "val": (600, 651), "test": (600, 700)},
    "radiodiff-r25": {"train": (0, 601), "val": (600, 651), "test": (600, 700)},
}

logger = logging.getLogger(__name__)


class RadioMapSample(NamedTuple):
    """One transmitter in one city tile; ``k`` is 2 (buildings, transmitter) or 3 (and cars)."""

    radio_map: Tensor
    """Path gain in the range the networks see, [-1, 1], float32, shape ``(1, h, w)``."""
    condition: Tensor
    """Buildings, transmitter (one cell is 1) and cars if used, [0, 1], shape ``(k, h, w)``."""
    outdoor_mask: Tensor
    """Cells outside buildings, bool, shape ``(1, h, w)``."""
    name: str
    """``<map>_<transmitter>``, as in the file names."""


def path_gain_db(sample: RadioMapSample) -> np.ndarray:
    """Return the path gain of a sample [dB], shape ``(h, w)``."""
    return units.model_to_path_gain_db(sample.radio_map[0]).numpy()


def transmitter_cell(sample: RadioMapSample) -> tuple[int, int]:
    """Return the transmitter of a sample as ``(row, col)``."""
    row, col = divmod(int(sample.condition[1].argmax()), sample.condition.shape[-1])
    return row, col


def network_condition(condition: Tensor, channels: int) -> Tensor:
    """Bring a condition to the range and the channels a network was built for.

    Args:
        condition: Channels in [0, 1], shape ``(b, k, h, w)``.
        channels: Channels the network takes; one more than ``k`` repeats the buildings, as the
            public code does where it has no cars.

    Returns:
        Channels in [-1, 1], shape ``(b, channels, h, w)``.

    Raises:
        ValueError: If the channels cannot be made to fit.
    """
    if condition.shape[1] == 2 and channels == 3:
        condition = torch.cat([condition, condition[:, :1]], dim=1)
    if condition.shape[1] != channels:
        raise ValueError(f"the network takes {channels} condition channels, got {condition.shape}")
    return units.gray_to_model(condition)


def split_maps(
    root: Path, split: Split, maps: Sequence[int], *, splits: Splits = "city"
) -> list[int]:
    """Return the maps of a split.

    With ``splits`` ``city`` the three share no map. A simulated dataset says in ``dataset.json``
    which split each map's city belongs to. Real RadioMapSeer is split by map as its authors do
    (501/100/99 of a permutation of maps 1 to 700 with seed 42; map 0 is in none). The public
    RadioDiff code cuts the same permutation so that validation maps are test maps and, in its
    2025 release, one training map is too (X1); shared maps are named in a warning.

    Args:
        root: Dataset folder.
        split: ``all`` or one of the three.
        maps: Maps to choose from.
        splits: Where the real dataset is cut; a simulated one keeps its own splits.

    Returns:
        Chosen maps, ascending.

    Raises:
        DatasetError: If ``dataset.json`` cannot be read or lists maps that are not there.
    """
    if split == "all":
        return sorted(maps)
    manifest = _read_manifest(Path(root))
    if manifest is not None:
        if splits != "city":
            logger.info("%s has splits of its own; %s is for the real dataset", root, splits)
        chosen = {row["id"] for row in manifest["maps"] if row["split"] == split}
        missing = sorted(chosen - set(maps))
        if missing:
            raise DatasetError(
                f"{root} lacks {len(missing)} of {len(chosen)} {split} maps, first {missing[:3]}: "
                "call `radiodiff simulate` again with the same options, it goes on where it stopped"
            )
    else:
        order = np.arange(700, dtype=np.int16)
        np.random.RandomState(42).shuffle(order)  # the published permutation
        cuts = {
            name: {int(m) + 1 for m in order[start:stop]}
            for name, (start, stop) in _SPLIT_BOUNDS[splits].items()
        }
        chosen = cuts.pop(split)
        for other, shared in ((name, sorted(cut & chosen)) for name, cut in cuts.items()):
            if shared:
                logger.warning(
                    "splits %s: %s and %s share %d maps: %s",
                    splits,
                    split,
                    other,
                    len(shared),
                    ", ".join(map(str, shared)),
                )
    return sorted(chosen & set(maps))


class RadioMapSeer(Dataset[RadioMapSample]):
    """Path-gain maps of city tiles in RadioMapSeer's folder layout.

    The real dataset has 701 tiles of 256 x 256 cells of 1 m with 80 transmitters each;
    ``radiodiff simulate`` writes the same layout. Which transmitters a tile has is read off the
    folder. Source: C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*, arXiv:2212.11777.

    Args:
        root: Folder that holds ``gain/``, ``png/`` and ``antenna/``.
        split: Which tiles, see `split_maps`.
        simulation: Propagation model of the target map.
        cars: Use the simulation with cars and add their channel to the condition.
        splits: Where the real dataset is cut, see `split_maps`.
        max_maps: Use only the first so many tiles of the split; all if ``None``.

    Raises:
        DatasetError: If a folder this choice needs is missing or holds no map of the split.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        *,
        simulation: Literal["DPM", "IRT2", "IRT4"] = "DPM",
        cars: bool = False,
        splits: Splits = "city",
        max_maps: int | None = None,
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.cars = cars
        self.gain_dir = self.root / "gain" / (f"cars{simulation}" if cars else simulation)
        self.building_dir = self.root / "png" / "buildings_complete"
        self.cars_dir = self.root / "png" / "cars"
        for folder in (self.gain_dir, self.building_dir, *([self.cars_dir] if cars else [])):
            if not folder.is_dir():
                raise DatasetError(
                    f"no folder {folder}: {self.root} must hold RadioMapSeer's layout (unpack the "
                    "dataset there, or make one with `radiodiff simulate --out DIR`)"
                )
        pairs = [_parse_name(path) for path in self.gain_dir.glob("*.png")]
        present = sorted({m for m, _ in pairs})
        maps = split_maps(self.root, split, present, splits=splits)[:max_maps]
        if not maps:
            raise DatasetError(
                f"no {split} map among the {len(pairs)} files of {self.gain_dir}: the folder is "
                "incomplete, or too small to hold every split (simulate more maps)"
            )
        kept = set(maps)
        self.maps = maps
        self.pairs = sorted(pair for pair in pairs if pair[0] in kept)
        self._check_complete()
        self._buildings: dict[int, np.ndarray] = {}
        self._antennas: dict[int, list[list[float]] | None] = {}

    def _check_complete(self) -> None:
        """Raise if a simulated dataset lacks a gain that its manifest promises."""
        manifest = _read_manifest(self.root) or {}
        transmitters = manifest.get("parameters", {}).get("transmitters", 0)
        promised = {(m, t) for m in self.maps for t in range(transmitters)}
        missing = sorted(promised - set(self.pairs))
        if missing:
            name = "{}_{}.png".format(*missing[0])
            raise DatasetError(
                f"{self.gain_dir} lacks {len(missing)} maps, first {name}: delete the antenna "
                f"list of that tile ({missing[0][0]}.json) and simulate again"
            )

    def __len__(self) -> int:
        """Return the number of maps: tiles times transmitters."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Read one sample.

        Raises:
            DatasetError: If a file is missing, unreadable or of another size; names the file.
        """
        map_id, transmitter = self.pairs[index]
        gray = read_gray(self.gain_dir / f"{map_id}_{transmitter}.png")
        buildings = self._read_buildings(map_id)
        if buildings.shape != gray.shape:
            raise DatasetError(
                f"{self.gain_dir / f'{map_id}_{transmitter}.png'} is {gray.shape}, but "
                f"{self.building_dir / f'{map_id}.png'} is {buildings.shape}"
            )
        building_mask = buildings > 127
        channels = [building_mask, self._transmitter_map(map_id, transmitter, gray.shape)]
        if self.cars:
            cars = read_gray(self.cars_dir / f"{map_id}.png")
            if cars.shape != gray.shape:
                raise DatasetError(
                    f"{self.cars_dir / f'{map_id}.png'} is {cars.shape}, the gain is {gray.shape}"
                )
            channels.append(cars > 127)
        return RadioMapSample(
            radio_map=units.gray_to_model(torch.from_numpy(gray).float() / 255)[None],
            condition=torch.from_numpy(np.stack(channels)).float(),
            outdoor_mask=torch.from_numpy(~building_mask)[None],
            name=f"{map_id}_{transmitter}",
        )

    def _transmitter_map(self, map_id: int, transmitter: int, shape: tuple[int, int]) -> np.ndarray:
        """One-hot transmitter, from the antenna list or, where there is none, the antenna image."""
        result = np.zeros(shape, dtype=bool)
        positions = self._read_antennas(map_id)
        if positions is None:
            image = read_gray(self.root / "png" / "antennas" / f"{map_id}_{transmitter}.png")
            result[np.unravel_index(image.argmax(), image.shape)] = True
            return result
        if transmitter >= len(positions):
            raise DatasetError(
                f"{self.root / 'antenna' / f'{map_id}.json'} lists {len(positions)} transmitters, "
                f"but there is a gain for number {transmitter}"
            )
        try:
            x, y = (float(value) for value in positions[transmitter][:2])
        except (TypeError, ValueError) as error:
            raise DatasetError(
                f"{self.root / 'antenna' / f'{map_id}.json'} must be a list of [x, y]: {error}"
            ) from error
        row, col = shape[0] - 1 - round(y), round(x)  # y points up in the lists
        if not (0 <= row < shape[0] and 0 <= col < shape[1]):
            raise DatasetError(
                f"{self.root / 'antenna' / f'{map_id}.json'}: transmitter {transmitter} at "
                f"x={x}, y={y} lies outside the {shape[1]} x {shape[0]} map"
            )
        result[row, col] = True
        return result

    def _read_buildings(self, map_id: int) -> np.ndarray:
        """Building image of a tile, kept: every transmitter of the tile shares it."""
        if map_id not in self._buildings:
            self._buildings[map_id] = read_gray(self.building_dir / f"{map_id}.png")
        return self._buildings[map_id]

    def _read_antennas(self, map_id: int) -> list[list[float]] | None:
        """Transmitter positions of a tile, kept; ``None`` where the dataset has no list."""
        if map_id not in self._antennas:
            path = self.root / "antenna" / f"{map_id}.json"
            try:
                self._antennas[map_id] = json.loads(path.read_text())
            except FileNotFoundError:
                self._antennas[map_id] = None
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                message = f"cannot read {path}: {error}; fetch or make it again"
                raise DatasetError(message) from error
        return self._antennas[map_id]


def _read_manifest(root: Path) -> dict[str, Any] | None:
    """Return what a simulated dataset says of itself; ``None`` for the real one."""
    path = root / "dataset.json"
    try:
        manifest = json.loads(path.read_text())
        if not all({"id", "split"} <= row.keys() for row in manifest["maps"]):
            raise KeyError("id or split of a map")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} does not list maps and splits: {error!r}") from error
    return manifest


def _parse_name(path: Path) -> tuple[int, int]:
    """Return (map, transmitter) of ``<map>_<transmitter>.png``."""
    try:
        map_id, transmitter = path.stem.split("_")
        return int(map_id), int(transmitter)
    except ValueError:
        raise DatasetError(
            f"{path} is not named <map>_<transmitter>.png: move it out of the folder"
        ) from None
