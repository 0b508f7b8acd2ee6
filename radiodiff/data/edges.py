"""Pictures and their edges, the task that the public RadioDiff code was written for.

Its parent, DiffusionEdge (Ye et al., arXiv:2401.02032), draws edge maps of photographs; the same
networks and the same training serve both. Samples use the names of radio maps: the edge map is
``radio_map``, the picture ``condition``.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from radiodiff import units
from radiodiff.data.images import DatasetError, read_picture
from radiodiff.data.sample import RadioMapSample
from radiodiff.ranges import MAX_SIDE, check_numbers
from radiodiff.scene import Scene

__all__ = ["EdgeDataset", "EdgeImages", "EdgesConfig"]

#: Gray level from which a cell is an edge, as upstream; weaker ones keep their level.
_EDGE_LEVEL = 0.3 * 255
_SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm", ".ppm")
_SWAPPED = {".jpg": ".png", ".png": ".jpg"}
#: Random resized crops: share of the picture's area, and ratio of width to height.
_AREA, _RATIO = (0.25, 1.0), (3 / 4, 4 / 3)
_TRIES = 10


@dataclass(frozen=True)
class EdgesConfig:
    """How pictures and their edges are cropped for training."""

    crop_size: tuple[int, int] = (320, 320)
    """Sides of a crop [cells]."""
    crop: Literal["random", "resized"] = "random"
    """Cut out a window of these sides, or one of a quarter to all of the area and resize it."""
    flip: bool = True
    """Mirror left and right with probability one half."""
    crops: int = 100
    """Different crops of each picture."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            ValueError: If a number lies outside its range.
        """
        check_numbers(self, "crop_size", least=1, most=MAX_SIDE)
        check_numbers(self, "crops", least=1)


class EdgeDataset(Dataset[RadioMapSample]):
    """Random crops of pictures with their edges, for training.

    ``image/<folder>/<file>`` is the picture, ``edge/<folder>/<file>`` its edges, one of them
    ``.jpg`` and the other ``.png`` if need be.

    Item ``i`` is crop ``i // n`` of picture ``i % n`` of ``n``. The crop is a function of the seed
    and ``i`` alone: not of a global generator, of loader processes or of the epoch. An epoch is
    therefore ``crops`` times through all pictures, each time cropped anew.

    Args:
        root: Folder that holds ``image/`` and ``edge/``.
        config: Size and kind of the crops.
        seed: Seed of the crops.
        max_maps: Use only the first so many pictures; all if ``None``.

    Raises:
        DatasetError: If a folder is missing or empty, or a picture has no edges.
    """

    split = "train"

    def __init__(
        self,
        root: Path,
        config: EdgesConfig | None = None,
        *,
        seed: int = 0,
        max_maps: int | None = None,
    ) -> None:
        config = config or EdgesConfig()
        self.root = Path(root)
        self.crop_size, self.crop, self.flip = config.crop_size, config.crop, config.flip
        self.crops, self.seed = config.crops, seed
        for folder in (self.root / "image", self.root / "edge"):
            if not folder.is_dir():
                raise DatasetError(
                    f"no folder {folder}: {self.root} must hold image/<folder>/<file> and "
                    "edge/<folder>/<file>"
                )
        found = sorted(path for path in (self.root / "image").glob("*/*") if _is_picture(path))
        if not found:
            raise DatasetError(f"no picture in a folder of {self.root / 'image'}")
        self.files = [(path, self._edge_file(path)) for path in found[:max_maps]]

    @property
    def maps(self) -> list[str]:
        """Pictures, ``<folder>/<file>`` without suffix."""
        return [f"{path.parent.name}/{path.stem}" for path, _ in self.files]

    def _edge_file(self, picture: Path) -> Path:
        """Return the file of a picture's edges."""
        path = self.root / "edge" / picture.relative_to(self.root / "image")
        other = path.with_suffix(_SWAPPED.get(path.suffix, path.suffix))
        for candidate in (path, other):
            if candidate.is_file():
                return candidate
        raise DatasetError(f"no edges {path} of {picture}, nor {other.name}")

    def __len__(self) -> int:
        """Return the number of crops of all pictures."""
        return self.crops * len(self.files)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Read a picture and crop it.

        Raises:
            DatasetError: If a file is unreadable, the two differ in size, or they are smaller
                than a crop; names the file.
            IndexError: If there is no such item.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        picture_file, edge_file = self.files[index % len(self.files)]
        picture, edge = read_picture(picture_file, "RGB"), read_picture(edge_file, "L")
        if picture.size != edge.size:
            raise DatasetError(
                f"{picture_file} is {picture.size} (width, height), {edge_file} is {edge.size}"
            )
        edge = edge.point([255 if level >= _EDGE_LEVEL else level for level in range(256)])
        generator = np.random.default_rng((self.seed, index))
        if self.crop == "random":
            box = self._window(picture_file, picture.size, generator)
        else:
            box = resized_window(picture.size, generator)
        size = (self.crop_size[1], self.crop_size[0])
        picture = picture.crop(box).resize(size, Image.Resampling.BILINEAR)
        edge = edge.crop(box).resize(size, Image.Resampling.NEAREST)
        if self.flip and generator.random() < 0.5:
            picture, edge = (
                image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in (picture, edge)
            )
        return _sample(picture, np.array(edge), self.maps[index % len(self.files)])

    def _window(
        self, path: Path, size: tuple[int, int], generator: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Draw a window of the crop's size: left, top, right, bottom."""
        (width, height), (rows, columns) = size, self.crop_size
        if rows > height or columns > width:
            raise DatasetError(
                f"{path} is {height} x {width}, smaller than a crop of {rows} x {columns}: lower "
                "crop_size, or choose crop resized"
            )
        top = int(generator.integers(height - rows + 1))
        left = int(generator.integers(width - columns + 1))
        return left, top, left + columns, top + rows


def resized_window(
    size: tuple[int, int], generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw the window of a resized crop: left, top, right, bottom.

    Its area is a quarter to all of the picture's, its ratio of width to height between 3/4 and
    4/3, uniform in the logarithm; where ten draws do not fit, the largest central window of such
    a ratio.

    Args:
        size: Width and height of the picture.
        generator: Source of randomness.
    """
    width, height = size
    for _ in range(_TRIES):
        area = width * height * generator.uniform(*_AREA)
        ratio = math.exp(generator.uniform(*map(math.log, _RATIO)))
        columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            top = int(generator.integers(height - rows + 1))
            left = int(generator.integers(width - columns + 1))
            return left, top, left + columns, top + rows
    ratio = min(max(width / height, _RATIO[0]), _RATIO[1])
    columns, rows = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - columns) // 2, (height - rows) // 2
    return left, top, left + columns, top + rows


class EdgeImages(Dataset[RadioMapSample]):
    """The pictures of a flat folder, whole and without edges, to draw edges for.

    ``radio_map`` is NaN. Pictures differ in size, so they are drawn one at a time; their sides
    must suit the network (multiples of 4), or be drawn window by window.

    Args:
        root: Folder of pictures.
        max_maps: Use only the first so many; all if ``None``.

    Raises:
        DatasetError: If the folder is missing or holds no picture, or two of one name.
    """

    split = "test"

    def __init__(self, root: Path, *, max_maps: int | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DatasetError(f"no folder {self.root}: put the pictures to draw edges for there")
        found = sorted(path for path in self.root.iterdir() if _is_picture(path))
        if not found:
            raise DatasetError(f"no picture ({', '.join(_SUFFIXES)}) in {self.root}")
        self.files = found[:max_maps]
        for first, second in pairwise(self.files):
            if first.stem == second.stem:
                raise DatasetError(f"{first} and {second} would have edges of one name: rename one")

    @property
    def names(self) -> list[str]:
        """Names of all pictures, without suffix."""
        return [path.stem for path in self.files]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Read a picture.

        Raises:
            DatasetError: If it is unreadable; names the file.
        """
        picture = read_picture(self.files[index], "RGB")
        nothing = np.full(picture.size[::-1], np.nan)
        return _sample(picture, nothing, self.files[index].stem)


def _is_picture(path: Path) -> bool:
    """Whether a file is a picture, by its name."""
    return path.suffix.lower() in _SUFFIXES


def _sample(picture: Image.Image, edge: np.ndarray, name: str) -> RadioMapSample:
    """Return a picture, RGB, and its edges, 0 to 255, as a sample."""
    gray = torch.from_numpy(edge.astype(np.float32) / 255)
    colours = np.array(picture, dtype=np.float32) / 255
    return RadioMapSample(
        radio_map=units.gray_to_model(gray)[None],
        condition=torch.from_numpy(colours.transpose(2, 0, 1).copy()),
        scene=_no_scene(edge.shape, name),
        outdoor_mask=torch.ones(1, *edge.shape, dtype=torch.bool),
        name=name,
        threshold=torch.tensor(torch.nan),
    )


def _no_scene(shape: tuple[int, int], name: str) -> Scene:
    """Return a scene without buildings: a picture has none, and no transmitter."""
    empty = torch.zeros(shape, dtype=torch.bool)
    return Scene(
        building_mask=empty,
        transmitter_cell=torch.tensor([0, 0]),
        cell_size_m=torch.tensor(torch.nan),
        cars_mask=empty,
        cars_known=torch.tensor(False),
        measured_gain_db=torch.full(shape, torch.nan, dtype=torch.float64),
        name=name,
    )
