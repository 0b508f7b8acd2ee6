"""The question that a radio map answers: a city tile, a transmitter in it, and what else is known.

A `Scene` knows no networks, files or channels; `radiodiff.conditions` turns scenes into the
channels that a network is given. One scene and a batch of scenes are the same type, the batch with
one axis more in front, so that PyTorch's collation and moves between devices serve both.
"""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from radiodiff.files import shorten

__all__ = [
    "Scene",
    "as_cell",
    "as_mask",
    "check_cell_size",
    "checked_scenes",
    "make_scene",
    "on_cpu",
    "one_scene",
    "resample_maps",
    "resample_scene",
    "stack_scenes",
    "transmitter_distance_cells",
]


class Scene(NamedTuple):
    """One transmitter in one city tile, or a batch of ``b`` of them with one axis more in front."""

    building_mask: Tensor
    """True inside the buildings that are known, bool, shape ``(h, w)``."""
    transmitter_cell: Tensor
    """Row and column of the transmitter, row 0 at the top, int64, shape ``(2,)``."""
    cell_size_m: Tensor
    """Side of a cell [m], float32, shape ``()``."""
    cars_mask: Tensor
    """True where cars are, bool, shape ``(h, w)``; False everywhere if they are not known."""
    cars_known: Tensor
    """Whether it is known where cars are, bool, shape ``()``."""
    measured_gain_db: Tensor
    """Measured path gain [dB], NaN where nothing was measured, float64, shape ``(h, w)``."""
    name: Any = ""
    """What files and noise are named after, ``<map>_<transmitter>`` in datasets."""


#: Type of each field that is a tensor.
_DTYPES = {
    "building_mask": torch.bool,
    "transmitter_cell": torch.int64,
    "cell_size_m": torch.float32,
    "cars_mask": torch.bool,
    "cars_known": torch.bool,
    "measured_gain_db": torch.float64,
}


def make_scene(
    building_mask: ArrayLike | Tensor,
    transmitter_cell: Sequence[int] | np.ndarray | Tensor,
    *,
    cell_size_m: float,
    cars_mask: ArrayLike | Tensor | None = None,
    measured_gain_db: ArrayLike | Tensor | None = None,
    name: str = "",
) -> Scene:
    """Return a scene from arrays, checked and copied.

    Arrays may be NumPy's, PyTorch's on any device, nested lists, or images of Pillow in gray. A
    mask holds False and True, 0 and 1, or 0 and 255.

    Args:
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of an outdoor cell; row 0 is the top.
        cell_size_m: Side of a cell [m].
        cars_mask: True where cars are, shape ``(h, w)``; ``None`` if that is not known.
        measured_gain_db: Path gain where it was measured [dB], NaN elsewhere, shape ``(h, w)``.
        name: What the noise of samples is named after.

    Raises:
        ValueError: If a shape or a value does not fit, the transmitter is outside the map or inside
            a building, or the cell size is not positive.
    """
    mask = as_mask(building_mask, "building_mask")
    if mask.ndim != 2 or mask.numel() == 0:
        raise ValueError(f"building_mask must have shape (h, w), got {tuple(mask.shape)}")
    row, col = as_cell(transmitter_cell)
    if not (0 <= row < mask.shape[0] and 0 <= col < mask.shape[1]):
        raise ValueError(f"transmitter_cell {(row, col)} lies outside the {tuple(mask.shape)} map")
    if mask[row, col]:
        raise ValueError(f"transmitter_cell {(row, col)} is inside a building: move it outside")
    size_m = check_cell_size(cell_size_m)
    if not isinstance(name, str):
        raise ValueError(f"name must be text, got {shorten(name)}")
    cars = torch.zeros_like(mask) if cars_mask is None else as_mask(cars_mask, "cars_mask")
    measured = torch.full(mask.shape, torch.nan, dtype=torch.float64)
    if measured_gain_db is not None:
        measured = _as_tensor(measured_gain_db, "measured_gain_db").double()
        if measured.isinf().any():
            raise ValueError("measured_gain_db must be finite, NaN where nothing was measured")
    for what, given in (("cars_mask", cars), ("measured_gain_db", measured)):
        if given.shape != mask.shape:
            raise ValueError(
                f"expected masks of one shape: building_mask is {tuple(mask.shape)}, {what} "
                f"{tuple(given.shape)}"
            )
    return Scene(
        building_mask=mask,
        transmitter_cell=torch.tensor([row, col]),
        cell_size_m=torch.tensor(size_m, dtype=torch.float32),
        cars_mask=cars,
        cars_known=torch.tensor(cars_mask is not None),
        measured_gain_db=measured,
        name=name,
    )


def as_mask(values: ArrayLike | Tensor, what: str) -> Tensor:
    """Return a mask as a new tensor on the CPU, bool, of the shape given.

    Args:
        values: False and True, 0 and 1, or 0 and 255, as an array, a tensor, nested lists or a gray
            image of Pillow.
        what: Named in errors.

    Raises:
        ValueError: If it holds anything else.
    """
    given = _as_tensor(values, what)
    if given.dtype == torch.bool:
        return given
    on = (given == 1) | (given == 255)
    strange = given[~(on | (given == 0))]
    if len(strange) or ((given == 1).any() and (given == 255).any()):
        found = f"{strange[0].item():g}" if len(strange) else "both 1 and 255"
        raise ValueError(
            f"{what} must hold False and True, 0 and 1, or 0 and 255, got {found}: compare it "
            "first, e.g. mask > 127"
        )
    return on


def check_cell_size(cell_size_m: float) -> float:
    """Return the side of a cell [m].

    Raises:
        ValueError: If it is no positive number.
    """
    try:
        size_m = float(_plain(cell_size_m))
    except (TypeError, ValueError, RuntimeError):
        size_m = math.nan
    if isinstance(cell_size_m, str | bytes) or not 0 < size_m < math.inf:
        raise ValueError(f"cell_size_m must be positive, got {shorten(cell_size_m)}")
    return size_m


def _plain(value: Any) -> Any:
    """Return a value without gradients, if it is a tensor."""
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _as_tensor(values: ArrayLike | Tensor, what: str) -> Tensor:
    """Return numbers as a new tensor on the CPU, apart from the memory and gradients given."""
    if isinstance(values, str | bytes | os.PathLike):
        raise ValueError(f"{what} must be an array, got a path or text: read the file first")
    mode = getattr(values, "mode", None)
    if isinstance(mode, str) and mode not in ("1", "L"):
        raise ValueError(f"{what} must be a gray image, got mode {mode}: convert it first")
    if getattr(values, "mask", False) is not False and np.ma.is_masked(values):
        raise ValueError(f"{what} has masked entries: fill them first")
    try:
        if isinstance(values, Tensor):
            given = values.detach().to("cpu", copy=True)
        else:  # a copy in order: no negative strides, nothing read-only or of other byte order
            array = np.array(values)
            given = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what} must be an array of numbers, got {shorten(values)}: {shorten(str(error), 100)}"
        ) from error
    if given.is_complex() or given.layout != torch.strided:
        raise ValueError(f"{what} must be a dense array of real numbers, got {given.dtype}")
    return given


def as_cell(transmitter_cell: Sequence[int] | np.ndarray | Tensor) -> tuple[int, int]:
    """Return row and column of whole numbers of any type.

    Raises:
        ValueError: If they are not two of them.
    """
    try:
        places = [float(place) for place in _plain(transmitter_cell)]
    except (TypeError, ValueError, RuntimeError):
        places = []
    if isinstance(transmitter_cell, str | bytes) or len(places) != 2:
        raise ValueError(f"transmitter_cell must be (row, col), got {shorten(transmitter_cell)}")
    if not all(place.is_integer() for place in places):
        raise ValueError(
            f"transmitter_cell must be whole numbers (row, col), got {shorten(transmitter_cell)}"
        )
    row, col = map(int, places)
    return row, col


def checked_scenes(scenes: Scene) -> Scene:
    """Return a scene or a batch that somebody made by hand as what `Scene` says, or refuse it.

    Fields that are tensors of the right type are returned as they are; others, such as masks of
    floats, NumPy arrays and positions in floats, are converted, on the CPU.

    Raises:
        ValueError: If a shape or a value does not fit, or a transmitter lies outside its map.
    """
    if not isinstance(scenes, Scene):
        raise ValueError(f"expected a Scene, see make_scene, got {type(scenes).__name__}")
    fields = {}
    for name, dtype in _DTYPES.items():
        value = getattr(scenes, name)
        if not (isinstance(value, Tensor) and value.dtype == dtype):
            value = _converted(value, name, dtype)
        fields[name] = value
    sides = fields["building_mask"].shape[-2:]
    batch = fields["building_mask"].shape[:-2]
    for name, value in fields.items():
        shape = {"transmitter_cell": (*batch, 2), "cell_size_m": batch, "cars_known": batch}
        if len(sides) != 2 or len(batch) > 1 or value.shape != shape.get(name, (*batch, *sides)):
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, which does not fit building_mask of shape "
                f"{(*batch, *sides)}: make scenes with make_scene, and stack_scenes for several"
            )
    cells = fields["transmitter_cell"]
    if ((cells < 0) | (cells >= torch.tensor(sides, device=cells.device))).any():
        raise ValueError(
            f"a transmitter_cell lies outside the {tuple(sides)} map: {cells.tolist()}"
        )
    return scenes._replace(**fields)


def on_cpu(scenes: Scene) -> Scene:
    """Return a scene or a batch with all its tensors on the CPU."""
    *tensors, name = scenes
    return Scene(*(tensor.cpu() for tensor in tensors), name=name)


def _converted(value: Any, name: str, dtype: torch.dtype) -> Tensor:
    """Return a field of a scene in its type, if it has no other meaning."""
    if dtype == torch.bool:
        return as_mask(value, name)
    given = _as_tensor(value, name)
    if dtype == torch.int64 and not (given == given.round()).all():
        raise ValueError(f"{name} must be whole numbers (row, col), got {shorten(given.tolist())}")
    return given.to(dtype)


def stack_scenes(scenes: Sequence[Scene]) -> Scene:
    """Return scenes of one size as a batch.

    Raises:
        ValueError: If there is no scene, or they differ in size.
    """
    sizes = sorted({tuple(scene.building_mask.shape) for scene in scenes})
    if len(sizes) != 1:
        raise ValueError(f"expected one or more scenes of one size, got sizes {sizes}")
    *tensors, names = zip(*scenes, strict=True)
    return Scene(*map(torch.stack, tensors), name=list(names))


def one_scene(scenes: Scene, index: int) -> Scene:
    """Return one scene of a batch."""
    return Scene(*(field[index] for field in scenes))


def transmitter_distance_cells(scenes: Scene) -> Tensor:
    """Return the distance of each cell to the transmitter, held at 1 or more [cells].

    Args:
        scenes: A batch.

    Returns:
        Distances between centres of cells, float32, shape ``(b, h, w)``.
    """
    scenes = checked_scenes(scenes)
    b, h, w = scenes.building_mask.shape
    row, col = scenes.transmitter_cell.view(b, 2, 1, 1).unbind(1)
    rows = torch.arange(h, device=row.device).view(1, h, 1) - row
    cols = torch.arange(w, device=col.device).view(1, 1, w) - col
    return (rows.square() + cols.square()).sqrt().clamp_min(1)


def resample_scene(scene: Scene, cell_size_m: float, *, multiple: int = 1) -> Scene:
    """Return one scene on cells of another size, its upper left corner in place.

    A new cell is built, or has a car, if the old cell at its centre is or has; a measurement moves
    to the new cell that holds its centre, where several are averaged [dB]. The transmitter's own
    cell is freed of buildings. Cells added to reach ``multiple`` are outdoors.

    Args:
        scene: One scene.
        cell_size_m: Side of a new cell [m].
        multiple: Both sides become a multiple of it.

    Raises:
        ValueError: If the cell size is not positive, or it is no proper scene.
    """
    scene = checked_scenes(scene)
    cell_size_m = check_cell_size(cell_size_m)
    ratio = cell_size_m / float(scene.cell_size_m)
    old = scene.building_mask.shape
    new = [multiple * math.ceil(side / ratio / multiple - 1e-6) for side in old]
    places = [((torch.arange(side) + 0.5) * ratio).long() for side in new]
    inside = [place < side for place, side in zip(places, old, strict=True)]
    rows, cols = (place.clamp_max(side - 1) for place, side in zip(places, old, strict=True))
    is_old = inside[0][:, None] & inside[1][None, :]
    row, col = (int((cell + 0.5) / ratio) for cell in scene.transmitter_cell.tolist())
    building_mask = scene.building_mask[rows][:, cols] & is_old
    building_mask[row, col] = False
    where = (~scene.measured_gain_db.isnan()).nonzero()
    total, count = torch.zeros(2, *new, dtype=torch.float64)
    cells = tuple(((where + 0.5) / ratio).long().unbind(1))
    total.index_put_(cells, scene.measured_gain_db[tuple(where.unbind(1))], accumulate=True)
    count.index_put_(cells, torch.ones(len(where), dtype=torch.float64), accumulate=True)
    return scene._replace(
        building_mask=building_mask,
        transmitter_cell=torch.tensor([row, col]),
        cell_size_m=torch.tensor(cell_size_m, dtype=torch.float32),
        cars_mask=scene.cars_mask[rows][:, cols] & is_old,
        measured_gain_db=total / count,  # NaN where there is none
    )


def resample_maps(maps: Tensor, ratio: float, sides: tuple[int, int]) -> Tensor:
    """Return maps on cells that are ``ratio`` times as small, upper left corner in place.

    Each new cell takes the value of the old one that holds its centre.

    Args:
        maps: Any values, shape ``(..., h, w)``.
        ratio: Side of an old cell over that of a new one [1].
        sides: Rows and columns of the result; old cells beyond them are left out.
    """
    rows, cols = (
        ((torch.arange(side) + 0.5) / ratio).long().clamp_max(length - 1)
        for side, length in zip(sides, maps.shape[-2:], strict=True)
    )
    return maps[..., rows, :][..., cols]
