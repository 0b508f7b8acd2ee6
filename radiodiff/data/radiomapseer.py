"""RadioMapSeer's folder layout, real or simulated, as a PyTorch dataset."""

import os
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff import units
from radiodiff.data.features import FeatureCache
from radiodiff.data.images import DatasetError, is_image_name, read_gray
from radiodiff.data.packed import PackedImages
from radiodiff.data.splits import Split, Splits, read_manifest, split_maps
from radiodiff.simulate.outlines import read_antennas

__all__ = [
    "RadioMapSample",
    "RadioMapSeer",
    "Simulation",
    "measurement_map",
    "network_condition",
    "path_gain_db",
    "thresholded",
    "thresholded_to_path_gain_db",
    "transmitter_cell",
]

#: Propagation model of a target map; ``mix`` is a random mean of IRT2 and DPM.
Simulation = Literal["DPM", "IRT2", "IRT4", "mix"]

#: Versions of the building images with missing buildings, each with its own choice of buildings.
_MISSING_VERSIONS = 6


class RadioMapSample(NamedTuple):
    """One transmitter in one city tile; ``k`` condition channels, see the dataset."""

    radio_map: Tensor
    """Path gain in the range the networks see, [-1, 1], float32, shape ``(1, h, w)``."""
    condition: Tensor
    """Buildings, transmitter (one cell is 1) and what else is used, [0, 1], shape ``(k, h, w)``."""
    outdoor_mask: Tensor
    """Cells outside buildings, bool, shape ``(1, h, w)``."""
    name: str
    """``<map>_<transmitter>``, as in the file names."""
    threshold: Tensor = torch.zeros(())
    """Gray level of the files that -1 stands for (`thresholded`), float32, shape ``()``; NaN where
    the maps are no path gain of a known scale."""


def path_gain_db(sample: RadioMapSample) -> np.ndarray:
    """Return the path gain of a sample [dB], shape ``(h, w)``.

    A sample on RadioUNet's scale has nothing below its threshold: there the result is the
    threshold's path gain.

    Raises:
        ValueError: If the sample is no path gain of a known scale.
    """
    if sample.threshold.isnan():
        raise ValueError(
            f"{sample.name} has no path gain in dB: the scale of its gray levels is unknown, or "
            "they are no radio map; use units.model_to_gray(sample.radio_map)"
        )
    return thresholded_to_path_gain_db(sample.radio_map[0], float(sample.threshold)).numpy()


def thresholded(gray: Tensor, threshold: float) -> Tensor:
    """Return gray levels on RadioUNet's scale, ``max(gray - t, 0) / (1 - t)``.

    At t = 0.2, path gains below the noise (-127 dB) become 0. Source: R. Levie et al.,
    *RadioUNet*, arXiv:1911.09002, section III.
    """
    return (gray - threshold).clamp_min(0) / (1 - threshold) if threshold else gray


def thresholded_to_path_gain_db(radio_map: Tensor, threshold: float) -> Tensor:
    """Return the path gain [dB] of maps in [-1, 1] on the scale of `thresholded`."""
    gray = units.model_to_gray(radio_map)
    return units.gray_to_path_gain_db(gray * (1 - threshold) + threshold)


def measurement_map(gray: Tensor, measured_mask: Tensor) -> Tensor:
    """Return the condition channel of sparse measurements.

    0 means "not measured". A measured cell holds its gray level, but 1/255 at least, one step of
    the files (0.39 dB), so that a cell measured at or below the floor differs from one that was
    not measured.

    Args:
        gray: Gray levels in [0, 1], shape ``(h, w)``; values of other cells do not matter.
        measured_mask: Cells that were measured, bool, shape ``(h, w)``.
    """
    return torch.where(measured_mask, gray.clamp_min(1 / 255), torch.zeros_like(gray))


def transmitter_cell(sample: RadioMapSample) -> tuple[int, int]:
    """Return the transmitter of a sample as ``(row, col)``."""
    row, col = divmod(int(sample.condition[1].argmax()), sample.condition.shape[-1])
    return row, col


def network_condition(condition: Tensor, channels: int, *, byte_channels: int = 0) -> Tensor:
    """Bring a condition to the range and the channels a network was built for.

    Args:
        condition: Channels in [0, 1], shape ``(b, k, h, w)``.
        channels: Channels the network takes; one more than ``k`` repeats the buildings, as the
            public code does where it has no cars.
        byte_channels: So many of the first channels are given as 0 to 255 instead of 0 to 1, and
            reach 509, as in the public code beside k² maps (X2).

    Returns:
        Channels in [-1, 1], those of ``byte_channels`` up to 509, shape ``(b, channels, h, w)``.

    Raises:
        ValueError: If the channels cannot be made to fit.
    """
    if condition.shape[1] == 2 and channels == 3:
        condition = torch.cat([condition, condition[:, :1]], dim=1)
    if condition.shape[1] != channels:
        raise ValueError(f"the network takes {channels} condition channels, got {condition.shape}")
    if byte_channels:
        first, rest = condition[:, :byte_channels], condition[:, byte_channels:]
        condition = torch.cat([255 * first, rest], dim=1)
    return units.gray_to_model(condition)


class RadioMapSeer(Dataset[RadioMapSample]):
    """Path-gain maps of city tiles in RadioMapSeer's folder layout.

    The real dataset has 701 tiles of 256 x 256 cells of 1 m with 80 transmitters each, 2 for
    IRT4; ``radiodiff simulate`` writes the same layout. Which transmitters a tile has is read off
    the folder. Source: C. Yapar et al., *Dataset of Pathloss and ToA Radio Maps*,
    arXiv:2212.11777; the variants are those of R. Levie et al., *RadioUNet*, arXiv:1911.09002.

    The condition's channels are, in this order: buildings, transmitter, cars, measurements,
    k² maps; the first two always. Everything drawn at random is a function of ``seed`` and the
    sample's name alone, so no sample depends on loader processes, batch size or order, and it is
    the same in every epoch.

    Args:
        root: Folder that holds ``gain/``, ``png/`` and ``antenna/``.
        split: Which tiles, see `split_maps`.
        simulation: Propagation model of the target map. ``mix`` is ``w IRT2 + (1 - w) DPM`` in
            gray levels, hence in dB, with ``w`` uniform in ``(0, irt2_max_weight)``.
        irt2_max_weight: Largest weight of IRT2 in a mix.
        cars: Use the simulation with cars and add their channel to the condition.
        hide_cars: Leave that channel out: cars shape the maps, the network does not know them.
        missing_buildings: Buildings that are missing in the condition, 0 to 4; which, is drawn out
            of the dataset's six versions. The outdoor mask is that of all buildings.
        measurements: Add the target's gray level at so many cells as a channel (`measurement_map`);
            a pair draws the number between its ends, both included. RadioUNet draws 1 to 300.
        measure_anywhere: Measure inside buildings too, as RadioUNet does; else outdoors only.
        k2_channels: Add `k2_map` of the target so many times: 0, 1 or 2, as the public code does.
            They are computed from the answer.
        threshold: Put target and measurements on RadioUNet's scale, see `thresholded`; 0 does not.
        seed: Seed of what is drawn for each sample.
        splits: Where the real dataset is cut, see `split_maps`.
        max_maps: Use only the first so many tiles of the split; all if ``None``.
        cache: Folder for k² maps; ``features`` in ``root`` if ``None``.
        packed: Folder of packed images, used where there are any (`pack_dataset`); ``packed`` in
            ``root`` if ``None``.

    Raises:
        DatasetError: If a folder this choice needs is missing or holds no map of the split.
        ValueError: If a choice is out of range or contradicts another.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        *,
        simulation: Simulation = "DPM",
        irt2_max_weight: float = 1.0,
        cars: bool = False,
        hide_cars: bool = False,
        missing_buildings: int = 0,
        measurements: int | tuple[int, int] | None = None,
        measure_anywhere: bool = False,
        k2_channels: int = 0,
        threshold: float = 0.0,
        seed: int = 0,
        splits: Splits = "city",
        max_maps: int | None = None,
        cache: Path | None = None,
        packed: Path | None = None,
    ) -> None:
        if isinstance(measurements, int):
            measurements = (measurements, measurements)
        check_choices(
            simulation=simulation,
            irt2_max_weight=irt2_max_weight,
            cars=cars,
            hide_cars=hide_cars,
            missing_buildings=missing_buildings,
            measurements=measurements,
            k2_channels=k2_channels,
            threshold=threshold,
            seed=seed,
        )
        if max_maps is not None and max_maps < 1:
            raise ValueError(f"max_maps must be at least 1, got {max_maps}")
        self.root = Path(root)
        self.split = split
        self.seed = seed
        self.threshold = threshold
        self.irt2_max_weight = irt2_max_weight
        self.measurements, self.measure_anywhere = measurements, measure_anywhere
        self.k2_channels = k2_channels
        self.shows_cars = cars and not hide_cars
        models = ("DPM", "IRT2") if simulation == "mix" else (simulation,)
        folders = [f"cars{model}" if cars else model for model in models]
        self.gain_dir, *mixed_in = (self.root / "gain" / folder for folder in folders)
        self.mixed_in = mixed_in[0] if mixed_in else None
        self.building_dir = self.root / "png" / "buildings_complete"
        self.cars_dir = self.root / "png" / "cars"
        self.missing_dirs = tuple(
            self.root / "png" / f"buildings_missing{missing_buildings}" / str(version)
            for version in range(1, _MISSING_VERSIONS + 1)
            if missing_buildings
        )
        needed = [self.gain_dir, *mixed_in, self.building_dir, *self.missing_dirs]
        needed += [self.cars_dir] if self.shows_cars else []
        for folder in needed:
            if not folder.is_dir():
                raise DatasetError(
                    f"no folder {folder}: {self.root} must hold RadioMapSeer's layout (unpack the "
                    "dataset there, or make one with `radiodiff simulate --out DIR`)"
                )
        pairs = list_pairs(self.gain_dir)
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
        cache = Path(cache) if cache is not None else self.root / "features"
        self._features = FeatureCache(cache / "k2" / self.gain_dir.name)
        self.packs: dict[Path, PackedImages] = {}
        for folder in needed:
            name = folder.relative_to(self.root).as_posix()
            if (pack := PackedImages.open(self.root, name, out=packed)) is not None:
                self.packs[folder] = pack
        self._buildings: dict[str, np.ndarray] = {}
        self._antennas: dict[int, list[tuple[float, float]] | None] = {}

    @property
    def names(self) -> list[str]:
        """Names of all samples, in order."""
        return [f"{map_id}_{transmitter}" for map_id, transmitter in self.pairs]

    def _check_complete(self) -> None:
        """Raise if a gain is missing that the manifest promises or that is to be mixed in."""
        if self.mixed_in is not None:
            there = set(list_pairs(self.mixed_in))
            missing = sorted(set(self.pairs) - there)
            if missing:
                raise DatasetError(
                    f"{self.mixed_in} lacks {len(missing)} maps of {self.gain_dir}, first "
                    f"{'{}_{}.png'.format(*missing[0])}: unpack both simulations whole"
                )
        manifest = read_manifest(self.root) or {}
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
            DatasetError: If a file is missing, unreadable or of another size, or there are fewer
                cells than are to be measured; names the file.
        """
        map_id, transmitter = self.pairs[index]
        name = f"{map_id}_{transmitter}"
        stored = self._read(self.gain_dir, f"{name}.png")
        building_mask = self._read_like(self.building_dir, f"{map_id}.png", name, stored) > 127
        transmitter_map = self.transmitter_map(map_id, transmitter, stored.shape)
        gray = torch.from_numpy(stored).float() / 255
        if self.mixed_in is not None:
            other = self._read_like(self.mixed_in, f"{name}.png", name, stored)
            weight = self.irt2_max_weight * self._generator("mix", name).random()
            gray = weight * (torch.from_numpy(other).float() / 255) + (1 - weight) * gray
        gray = thresholded(gray, self.threshold)
        known_mask = building_mask
        if self.missing_dirs:
            version = self._generator("missing", name).integers(len(self.missing_dirs))
            folder = self.missing_dirs[version]
            known_mask = self._read_like(folder, f"{map_id}.png", name, stored) > 127
        channels = [known_mask, transmitter_map]
        if self.shows_cars:
            cars = self._read_like(self.cars_dir, f"{map_id}.png", name, stored)
            channels.append(cars > 127)
        if self.measurements is not None:
            channels.append(self._measurement_map(name, gray, ~building_mask).numpy())
        if self.k2_channels:
            feature = self._features.k2(name, stored, transmitter_map)
            channels += [feature.astype(np.float32) / 255] * self.k2_channels
        return RadioMapSample(
            radio_map=units.gray_to_model(gray)[None],
            condition=torch.from_numpy(np.stack(channels).astype(np.float32)),
            outdoor_mask=torch.from_numpy(~building_mask)[None],
            name=name,
            threshold=torch.tensor(self.threshold),
        )

    def _generator(self, purpose: str, name: str) -> np.random.Generator:
        """Return a generator that is a function of the seed, the purpose and a sample's name."""
        return np.random.default_rng((self.seed, zlib.crc32(f"{purpose}/{name}".encode())))

    def _measurement_map(self, name: str, gray: Tensor, outdoor: np.ndarray) -> Tensor:
        """Draw which cells of a sample are measured, none of them twice."""
        generator = self._generator("measurements", name)
        fewest, most = self.measurements
        count = int(generator.integers(fewest, most + 1))
        cells = np.arange(outdoor.size) if self.measure_anywhere else np.flatnonzero(outdoor)
        if count > len(cells):
            raise DatasetError(
                f"{self.gain_dir / name}.png: {count} cells are to be measured, but it has "
                f"{len(cells)} to choose from: lower measurements"
            )
        measured = torch.zeros(gray.shape, dtype=torch.bool)
        measured.view(-1)[generator.choice(cells, count, replace=False)] = True
        return measurement_map(gray, measured)

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

    def transmitter_map(self, map_id: int, transmitter: int, shape: tuple[int, int]) -> np.ndarray:
        """One-hot transmitter, from the antenna list or, where there is none, the antenna image."""
        result = np.zeros(shape, dtype=bool)
        positions = self._read_antennas(map_id)
        if positions is None:
            path = self.root / "png" / "antennas" / f"{map_id}_{transmitter}.png"
            image = read_gray(path)
            if image.shape != shape or np.count_nonzero(image) != 1:
                raise DatasetError(
                    f"{path} must be {shape[0]} x {shape[1]} with one cell that is not black, got "
                    f"{image.shape[0]} x {image.shape[1]} with {np.count_nonzero(image)}"
                )
            return image > 0
        if transmitter >= len(positions):
            raise DatasetError(
                f"{self.root / 'antenna' / f'{map_id}.json'} lists {len(positions)} transmitters, "
                f"but there is a gain for number {transmitter}"
            )
        x, y = positions[transmitter]
        row, col = shape[0] - 1 - round(y), round(x)  # y points up in the lists
        if not (0 <= row < shape[0] and 0 <= col < shape[1]):
            raise DatasetError(
                f"{self.root / 'antenna' / f'{map_id}.json'}: transmitter {transmitter} at "
                f"x={x}, y={y} lies outside the {shape[1]} x {shape[0]} map"
            )
        result[row, col] = True
        return result

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


def check_choices(
    *,
    simulation: Simulation,
    irt2_max_weight: float,
    cars: bool,
    hide_cars: bool,
    missing_buildings: int,
    measurements: tuple[int, int] | None,
    k2_channels: int,
    threshold: float,
    seed: int,
) -> None:
    """Raise ValueError if a choice of `RadioMapSeer` is out of range or contradicts another."""
    for holds, message in (
        (0 <= irt2_max_weight <= 1, f"irt2_max_weight must be in [0, 1], got {irt2_max_weight}"),
        (cars or not hide_cars, "hide_cars needs cars: true, there is nothing to hide"),
        (
            missing_buildings in range(5),
            f"missing_buildings must be 0 to 4, got {missing_buildings}",
        ),
        (k2_channels in range(3), f"k2_channels must be 0, 1 or 2, got {k2_channels}"),
        (0 <= threshold < 1, f"threshold must be in [0, 1), got {threshold}"),
        (seed >= 0, f"seed must be 0 or more, got {seed}"),
        (
            measurements is None or 1 <= measurements[0] <= measurements[1],
            f"measurements must be a number or a pair, 1 <= fewest <= most, got {measurements}",
        ),
        (
            not (k2_channels and simulation == "mix"),
            "k2_channels needs one simulation: a mix of two is no solution of one equation",
        ),
    ):
        if not holds:
            raise ValueError(message)


def list_pairs(folder: Path) -> list[tuple[int, int]]:
    """Return (map, transmitter) of all images of a folder.

    Raises:
        DatasetError: If the folder cannot be listed or holds an image of another name.
    """
    try:
        names = [name for name in os.listdir(folder) if is_image_name(name)]
    except OSError as error:
        raise DatasetError(f"cannot list {folder}: {error.strerror}") from error
    return [parse_name(folder / name) for name in names]


def parse_name(path: Path) -> tuple[int, int]:
    """Return (map, transmitter) of ``<map>_<transmitter>.png``."""
    try:
        map_id, transmitter = path.stem.split("_")
        return int(map_id), int(transmitter)
    except ValueError:
        raise DatasetError(
            f"{path} is not named <map>_<transmitter>.png: move it out of the folder"
        ) from None
