"""RadioMapSeer's folder layout, real or simulated, as a PyTorch dataset."""

import copy
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff import units
from radiodiff.conditions import (
    CHANNELS,
    check_channels,
    k2_map,
    k2_map_key,
    make_condition,
    map_inputs,
    slow_channel,
    slow_channel_key,
)
from radiodiff.data.channel_cache import ChannelCache
from radiodiff.data.images import DatasetError, check_size, list_pairs, read_gray
from radiodiff.data.pack_reader import PackedImages
from radiodiff.data.routes import measured_along_route
from radiodiff.data.sample import RadioMapSample
from radiodiff.data.splits import Split, Splits, read_manifest, split_maps
from radiodiff.files import project_path
from radiodiff.ranges import check_numbers, check_seed
from radiodiff.scene import Scene
from radiodiff.settings import ConfigError
from radiodiff.simulate.manifest import cell_size_of
from radiodiff.simulate.missing import MISSING_FOLDERS, MOST_MISSING
from radiodiff.simulate.outlines import antenna_cell, read_antennas

__all__ = ["RadioMapOptions", "RadioMapSeer", "Simulation"]

#: Propagation model of a target map; ``mix`` is a random mean of IRT2 and DPM.
Simulation = Literal["DPM", "IRT2", "IRT4", "mix"]


@dataclass(frozen=True)
class RadioMapOptions:
    """Which maps of a dataset in RadioMapSeer's layout are used, and what is known of each."""

    condition: tuple[str, ...] | None = None
    """Channels of the condition, in order, see `radiodiff.conditions.CHANNELS`; ``null`` for
    buildings, transmitter, cars, measurements and k2, those of them that the keys below ask for."""
    simulation: Simulation = "DPM"
    """Propagation model of the target maps; ``mix`` weighs IRT2 against DPM at random."""
    irt2_max_weight: float = 1.0
    """Largest weight of IRT2 in a ``mix``."""
    cars: bool = False
    """Use the maps with cars, and cars as a third condition channel."""
    hide_cars: bool = False
    """Leave that channel out: cars shape the maps, but the network does not know them."""
    missing_buildings: int = 0
    """Buildings that are missing in the condition, 0 to 4; which, is drawn out of the dataset's six
    versions. The outdoor mask is that of all buildings."""
    measurements: tuple[int, int] | None = None
    """Fewest and most cells of a map whose gray level is given as a condition channel; ``null``
    for no such channel. RadioUNet: 1 to 300. Where the fewest are 0, the condition needs the
    channel ``measured``, which tells none from a map that is measured and silent."""
    measure_anywhere: bool = False
    """Measure inside buildings too, as RadioUNet does; else outdoors only."""
    measure_along_streets: bool = False
    """Measure at regular steps along a walk through the streets; else cells are scattered at
    random."""
    withheld_share: float = 0.0
    """Share of training maps whose cars are withheld, and share of those whose measurements are;
    the condition needs the channels ``cars_known`` and ``measured`` to tell."""
    k2_channels: int = 0
    """Condition channels with the k² map of the target, 0, 1 or 2 (twice the same, as the public
    code). They are computed from the answer, so a score needs ``allow_leak``."""
    threshold: float = 0.0
    """Gray level below which maps hold 0, the rest stretched to [0, 1]: RadioUNet's scale at 0.2;
    0 leaves maps as they are. Scores are not taken on another scale."""
    seed: int = 0
    """Seed of what is drawn for each map (weight of a mix, missing buildings, measurements, crops);
    the ``seed`` of the run does not change them."""
    splits: Splits = "city"
    """Which maps train, validate and test, on the real dataset: ``city`` and ``radiounet`` are the
    501/100/99 of its authors, ``paper`` 500/200, the others the public code's, where validation
    maps are test maps and, in r25, one training map too (X1). A simulated dataset is split by
    city."""
    cache: str | None = None
    """Folder for channels that are computed once a map; ``features`` in ``root`` if ``null``. A
    relative path counts from the project's root."""
    packed: str | None = None
    """Folder of packed images (`radiodiff data pack --out`); ``packed`` in ``root`` if ``null``. A
    relative path counts from the project's root."""

    def __post_init__(self) -> None:
        """Refuse a choice that is out of range or contradicts another.

        Raises:
            ConfigError: If one is or does.
        """
        check_seed(self)
        check_numbers(self, "measurements", least=0)
        measurements, k2_channels = self.measurements, self.k2_channels
        for holds, message in (
            (
                0 <= self.irt2_max_weight <= 1,
                f"irt2_max_weight must be in [0, 1], got {self.irt2_max_weight}",
            ),
            (
                self.cars or not self.hide_cars,
                "hide_cars needs cars: true, there is nothing to hide",
            ),
            (
                self.missing_buildings in range(MOST_MISSING + 1),
                f"missing_buildings must be 0 to {MOST_MISSING}, got {self.missing_buildings}",
            ),
            (k2_channels in range(3), f"k2_channels must be 0, 1 or 2, got {k2_channels}"),
            (0 <= self.threshold < 1, f"threshold must be in [0, 1), got {self.threshold}"),
            (
                measurements is None or measurements[0] <= measurements[1],
                f"measurements must be a pair, 0 <= fewest <= most, got {measurements}",
            ),
            (
                measurements is None or measurements[0] > 0 or "measured" in (self.condition or ()),
                f"measurements {measurements} may be none, and nothing tells the network so: list "
                "measured in condition, or measure 1 cell or more",
            ),
            (
                measurements is not None or not self.measure_along_streets,
                "measure_along_streets needs measurements: how many cells?",
            ),
            (
                not (self.measure_anywhere and self.measure_along_streets),
                "measure_along_streets contradicts measure_anywhere: streets are outdoors",
            ),
            (
                not (k2_channels and self.simulation == "mix"),
                "k2_channels needs one simulation: a mix of two is no solution of one equation",
            ),
            (
                0 <= self.withheld_share < 1,
                f"withheld_share must be in [0, 1), got {self.withheld_share:g}",
            ),
        ):
            if not holds:
                raise ConfigError(message)
        if self.condition is not None:
            self._check_condition(self.condition)

    def _check_condition(self, names: tuple[str, ...]) -> None:
        """Refuse a list of channels that the other keys contradict."""
        check_channels(names)
        shown = self.cars and not self.hide_cars
        for what, there, key in (
            ({"cars", "cars_known"}, shown, "cars: true, and not hide_cars"),
            ({"measurements", "measured"}, self.measurements is not None, "measurements"),
            ({"k2"}, self.k2_channels > 0, "k2_channels"),
        ):
            asked = what & set(names)
            if bool(asked) != bool(there):
                listed = ", ".join(sorted(asked)) or f"none of {', '.join(sorted(what))}"
                raise ConfigError(f"condition lists {listed}: that needs {key} to agree")
        for channel, flag in (("cars", "cars_known"), ("measurements", "measured")):
            if self.withheld_share and channel in names and flag not in names:
                raise ConfigError(f"withheld_share needs {flag} in the condition beside {channel}")

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of the condition, in order."""
        if self.condition is not None:
            return self.condition
        names = ["buildings", "transmitter"]
        names += ["cars"] * (self.cars and not self.hide_cars)
        names += ["measurements"] * (self.measurements is not None)
        return (*names, *["k2"] * self.k2_channels)


class RadioMapSeer(Dataset[RadioMapSample]):
    """Path-gain maps of city tiles in RadioMapSeer's folder layout.

    The real dataset has 701 tiles of 256 x 256 cells of 1 m with 80 transmitters each, 2 for
    IRT4; ``radiodiff simulate`` writes the same layout. Which transmitters a tile has is read off
    the folder. Source: C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*,
    arXiv:2212.11777; the variants are those of R. Levie et al., *RadioUNet*, arXiv:1911.09002.

    Everything drawn at random is a function of the options' seed and the sample's name alone, so no
    sample depends on loader processes, batch size or order, and it is the same in every epoch.

    Args:
        root: Folder that holds ``gain/``, ``png/`` and ``antenna/``.
        split: Which tiles, see `split_maps`.
        options: Which maps, and what is known of each. A packed image folder is used where there
            is one (`pack_dataset`).
        channels: Channels of the condition; those of the options if ``None``.
        max_maps: Use only the first so many tiles of the split; all if ``None``.

    Raises:
        DatasetError: If a folder this choice needs is missing or holds no map of the split, or the
            folder does not say how long a cell is.
        ValueError: If there is no such channel, or ``max_maps`` is below 1.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        options: RadioMapOptions | None = None,
        *,
        channels: tuple[str, ...] | None = None,
        max_maps: int | None = None,
    ) -> None:
        if max_maps is not None and max_maps < 1:
            raise ValueError(f"max_maps must be at least 1, got {max_maps}")
        self.options = options = options or RadioMapOptions()
        self.channels = channels or options.channels
        check_channels(self.channels)
        self.root = Path(root)
        self.split = split
        self.shows_cars = options.cars and not options.hide_cars
        models = ("DPM", "IRT2") if options.simulation == "mix" else (options.simulation,)
        folders = [f"cars{model}" if options.cars else model for model in models]
        self.gain_dir, *mixed_in = (self.root / "gain" / folder for folder in folders)
        self.mixed_in = mixed_in[0] if mixed_in else None
        self.building_dir = self.root / "png" / "buildings_complete"
        self.cars_dir = self.root / "png" / "cars"
        self.missing_dirs = tuple(
            self.root / folder
            for (missing, _), folder in MISSING_FOLDERS.items()
            if missing == options.missing_buildings
        )
        needed = [self.gain_dir, *mixed_in, self.building_dir, *self.missing_dirs]
        needed += [self.cars_dir] if self.shows_cars else []
        for folder in needed:
            if not folder.is_dir():
                raise DatasetError(
                    f"no folder {folder}: {self.root} must hold RadioMapSeer's layout (unpack the "
                    "dataset there, or make one with `radiodiff simulate --out DIR`)"
                )
        self._choose_maps(max_maps)
        manifest = read_manifest(self.root)
        self._check_complete(manifest or {"parameters": {}, "maps": []})
        self._caches = self._open_caches()
        packed = project_path(options.packed) if options.packed is not None else None
        self.packs: dict[Path, PackedImages] = {}
        for folder in needed:
            name = folder.relative_to(self.root).as_posix()
            if (pack := PackedImages.open(self.root, name, out=packed)) is not None:
                self.packs[folder] = pack
        self._shape: tuple[int, ...] | None = None
        self._buildings: dict[str, np.ndarray] = {}
        self._antennas: dict[int, list[tuple[float, float]] | None] = {}
        self.cell_size_m = self._cell_size_m(manifest)

    def _choose_maps(self, max_maps: int | None) -> None:
        """Keep the first tiles of the split and their gains."""
        pairs = list_pairs(self.gain_dir)
        present = sorted({m for m, _ in pairs})
        splits = self.options.splits
        self.maps = split_maps(self.root, self.split, present, splits=splits)[:max_maps]
        if not self.maps:
            raise DatasetError(
                f"no {self.split} map among the {len(pairs)} files of {self.gain_dir}: the folder "
                "is incomplete, or too small to hold every split (simulate more maps)"
            )
        kept = set(self.maps)
        self.pairs = sorted(pair for pair in pairs if pair[0] in kept)

    def _open_caches(self) -> dict[str, ChannelCache]:
        """Where channels are kept that are computed once a map, by channel."""
        options, caches = self.options, {}
        cache = project_path(options.cache) if options.cache is not None else self.root / "features"
        known = f"missing{options.missing_buildings}" if self.missing_dirs else "buildings"
        for name in self.channels:
            if CHANNELS[name].is_oracle:
                caches[name] = ChannelCache(cache / name / self.gain_dir.name)
            elif CHANNELS[name].make_map is not None:
                caches[name] = ChannelCache(cache / name / known)
        return caches

    @property
    def names(self) -> list[str]:
        """Names of all samples, in order."""
        return [f"{map_id}_{transmitter}" for map_id, transmitter in self.pairs]

    @property
    def first_of_each_tile(self) -> list[int]:
        """Index of the sample with each tile's first transmitter, tiles in order."""
        firsts: dict[int, int] = {}
        for index, (map_id, _) in enumerate(self.pairs):
            firsts.setdefault(map_id, index)
        return list(firsts.values())

    def without_channels(self) -> list[int]:
        """Return the samples that lack a channel that is computed once a map and can be kept."""
        there = [set(cache.names()) for cache in self._caches.values() if cache.is_writable]
        return [k for k, name in enumerate(self.names) if any(name not in kept for kept in there)]

    def part(self, indices: Sequence[int]) -> "RadioMapSeer":
        """Return some of the samples, read from images; small enough for another process."""
        part = copy.copy(self)
        part.pairs = [self.pairs[index] for index in indices]
        part.maps = sorted({map_id for map_id, _ in part.pairs})
        part._caches = self._open_caches()
        part.packs, part._buildings, part._antennas, part._shape = {}, {}, {}, None
        return part

    def _check_complete(self, manifest: dict[str, Any]) -> None:
        """Raise if a gain is missing that the manifest promises or that is to be mixed in."""
        if self.mixed_in is not None:
            there = set(list_pairs(self.mixed_in))
            missing = sorted(set(self.pairs) - there)
            if missing:
                raise DatasetError(
                    f"{self.mixed_in} lacks {len(missing)} maps of {self.gain_dir}, first "
                    f"{'{}_{}.png'.format(*missing[0])}: unpack both simulations whole"
                )
        everywhere = range(manifest["parameters"].get("transmitters", 0))
        of_map = {row["id"]: row.get("gains", {}) for row in manifest["maps"]}
        there: dict[int, set[int]] = {}
        for map_id, transmitter in self.pairs:
            there.setdefault(map_id, set()).add(transmitter)
        missing = [
            (m, t)
            for m in self.maps
            for t in of_map.get(m, {}).get(self.gain_dir.name, everywhere)
            if t not in there[m]
        ]
        if missing:
            name = "{}_{}.png".format(*missing[0])
            raise DatasetError(
                f"{self.gain_dir} lacks {len(missing)} maps, first {name}: call `radiodiff "
                "simulate` again with the same options, it makes what is missing"
            )

    def _cell_size_m(self, manifest: dict[str, Any] | None) -> float:
        """Return the side of a cell [m], see `cell_size_of`."""
        shape = None
        if manifest is None:
            shape = self._read(self.gain_dir, f"{self.names[0]}.png").shape
        try:
            return cell_size_of(self.root, manifest, shape)
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def __len__(self) -> int:
        """Return the number of maps: tiles times transmitters."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Read one sample.

        Raises:
            DatasetError: If a file is missing, unreadable or of another size than the first map, or
                there are fewer cells than are to be measured; names the file.
        """
        map_id, transmitter = self.pairs[index]
        name = f"{map_id}_{transmitter}"
        stored = self._read(self.gain_dir, f"{name}.png")
        first = "{}_{}.png".format(*self.pairs[0])
        if self._shape is None:
            self._shape = stored.shape if index == 0 else self._read(self.gain_dir, first).shape
        check_size(self.gain_dir / f"{name}.png", stored.shape, self.gain_dir / first, self._shape)
        building_mask = self._read_like(self.building_dir, f"{map_id}.png", name, stored) > 127
        gray = torch.from_numpy(stored).float() / 255
        if self.mixed_in is not None:
            other = self._read_like(self.mixed_in, f"{name}.png", name, stored)
            weight = self.options.irt2_max_weight * self._generator("mix", name).random()
            gray = weight * (torch.from_numpy(other).float() / 255) + (1 - weight) * gray
        scene = self._scene(index, stored, gray, building_mask)
        threshold = self.options.threshold
        batch = Scene(*(field[None] for field in scene[:-1]), name=[name])
        condition = make_condition(
            batch, self.channels, threshold=threshold, given=self._kept_channels(batch, stored)
        )
        return RadioMapSample(
            radio_map=units.gray_to_model(units.thresholded(gray, threshold))[None],
            condition=condition[0],
            scene=scene,
            outdoor_mask=torch.from_numpy(~building_mask)[None],
            name=name,
            threshold=torch.tensor(threshold),
        )

    def _scene(
        self, index: int, stored: np.ndarray, gray: Tensor, building_mask: np.ndarray
    ) -> Scene:
        """Return what is known of a sample, some of it withheld in training."""
        map_id, transmitter = self.pairs[index]
        name, shape = f"{map_id}_{transmitter}", stored.shape
        cell = self.transmitter_cell(map_id, transmitter, shape)
        known_mask = building_mask
        if self.missing_dirs:
            version = self._generator("missing", name).integers(len(self.missing_dirs))
            folder = self.missing_dirs[version]
            known_mask = self._read_like(folder, f"{map_id}.png", name, stored) > 127
        cars = np.zeros(shape, dtype=bool)
        cars_known = self.shows_cars and not self._is_withheld("cars", name)
        if cars_known:
            cars = self._read_like(self.cars_dir, f"{map_id}.png", name, stored) > 127
        measured = torch.full(shape, torch.nan, dtype=torch.float64)
        if self.options.measurements is not None and not self._is_withheld("measurements", name):
            cells = self._measured_cells(name, ~building_mask)
            measured.view(-1)[cells] = units.gray_to_path_gain_db(gray.double().view(-1)[cells])
        return Scene(
            building_mask=torch.from_numpy(known_mask),
            transmitter_cell=torch.tensor(cell),
            cell_size_m=torch.tensor(self.cell_size_m, dtype=torch.float32),
            cars_mask=torch.from_numpy(cars),
            cars_known=torch.tensor(cars_known),
            measured_gain_db=measured,
            name=name,
        )

    def _is_withheld(self, what: str, name: str) -> bool:
        """Whether cars or measurements of a sample are kept from the network."""
        share = self.options.withheld_share if self.split == "train" else 0.0
        return share > 0 and self._generator(f"withheld {what}", name).random() < share

    def _kept_channels(self, batch: Scene, stored: np.ndarray) -> dict[str, Tensor]:
        """Return the channels of one sample that are computed once a map, shape ``(1, h, w)``."""
        channels = {}
        (inputs,), (name,) = map_inputs(batch), batch.name
        for channel, cache in self._caches.items():
            if CHANNELS[channel].is_oracle:
                cell = inputs[1]
                kept = cache.get(name, k2_map_key(stored, cell), lambda c=cell: k2_map(stored, c))
            else:
                key = slow_channel_key(channel, *inputs)
                kept = cache.get(name, key, lambda c=channel: slow_channel(c, *inputs))
            gray = torch.from_numpy(kept.astype(np.float32) / 255)[None]
            is_gain = CHANNELS[channel].is_gain
            channels[channel] = units.thresholded(gray, self.options.threshold) if is_gain else gray
        return channels

    def _generator(self, purpose: str, name: str) -> np.random.Generator:
        """Return a generator that is a function of the seed, the purpose and a sample's name."""
        return np.random.default_rng((self.options.seed, zlib.crc32(f"{purpose}/{name}".encode())))

    def _measured_cells(self, name: str, outdoor: np.ndarray) -> np.ndarray:
        """Draw which cells of a sample are measured, none of them twice, counted along the rows."""
        generator = self._generator("measurements", name)
        fewest, most = self.options.measurements
        count = int(generator.integers(fewest, most + 1))
        if self.options.measure_along_streets:
            return measured_along_route(outdoor, count, generator)
        anywhere = self.options.measure_anywhere
        cells = np.arange(outdoor.size) if anywhere else np.flatnonzero(outdoor)
        if count > len(cells):
            raise DatasetError(
                f"{self.gain_dir / name}.png: {count} cells are to be measured, but it has "
                f"{len(cells)} to choose from: lower measurements"
            )
        return generator.choice(cells, count, replace=False)

    def _read(self, folder: Path, file: str) -> np.ndarray:
        """Read an image, from the pack of its folder where there is one."""
        pack = self.packs.get(folder)
        return read_gray(folder / file) if pack is None else pack.read(file)

    def _read_like(self, folder: Path, file: str, name: str, gray: np.ndarray) -> np.ndarray:
        """Read an image that must be of the size of a sample's gain."""
        is_kept = folder == self.building_dir  # every transmitter of the tile shares it
        image = self._buildings.get(file) if is_kept else None
        if image is None:
            image = self._read(folder, file)
        if is_kept and folder not in self.packs:
            self._buildings[file] = image
        if image.shape != gray.shape:
            raise DatasetError(
                f"{self.gain_dir / f'{name}.png'} is {gray.shape}, but {folder / file} is "
                f"{image.shape}"
            )
        return image

    def transmitter_cell(
        self, map_id: int, transmitter: int, shape: tuple[int, int]
    ) -> tuple[int, int]:
        """Row and column, from the antenna list or, where there is none, the antenna image.

        The list is read by the rule of `antenna_cell`.
        """
        positions = self._read_antennas(map_id)
        if positions is None:
            path = self.root / "png" / "antennas" / f"{map_id}_{transmitter}.png"
            image = read_gray(path)
            if image.shape != shape or np.count_nonzero(image) != 1:
                raise DatasetError(
                    f"{path} must be {shape[0]} x {shape[1]} with one cell that is not black, got "
                    f"{image.shape[0]} x {image.shape[1]} with {np.count_nonzero(image)}"
                )
            row, col = np.argwhere(image)[0]
            return int(row), int(col)
        if transmitter >= len(positions):
            raise DatasetError(
                f"{self.root / 'antenna' / f'{map_id}.json'} lists {len(positions)} transmitters, "
                f"but there is a gain for number {transmitter}"
            )
        try:
            return antenna_cell(positions[transmitter], shape)
        except ValueError as error:
            path = self.root / "antenna" / f"{map_id}.json"
            raise DatasetError(f"{path}: transmitter {transmitter} at {error}") from error

    def _read_antennas(self, map_id: int) -> list[tuple[float, float]] | None:
        """Transmitter positions of a tile, kept; ``None`` where the dataset has no list."""
        if map_id not in self._antennas:
            path = self.root / "antenna" / f"{map_id}.json"
            try:
                self._antennas[map_id] = read_antennas(path)
            except FileNotFoundError:
                self._antennas[map_id] = None
            except (ValueError, OSError) as error:
                raise DatasetError(str(error)) from error
        return self._antennas[map_id]
