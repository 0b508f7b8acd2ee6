"""The question that a radio map answers: a city tile, a transmitter in it, and what else is known.

A `Scene` knows no networks, files or channels; `radiodiff.conditions` turns scenes into the
channels that a network is given. One scene and a batch of scenes are the same type, the batch with
one axis more in front, so that PyTorch's collation and moves between devices serve both.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Scene",
    "make_scene",
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


def make_scene(
    building_mask: np.ndarray | Tensor | Sequence[Sequence[bool]],
    transmitter_cell: Sequence[int],
    *,
    cell_size_m: float,
    cars_mask: np.ndarray | Tensor | None = None,
    measured_gain_db: np.ndarray | Tensor | None = None,
    name: str = "",
) -> Scene:
    """Return a scene from arrays, checked.

    Args:
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)`` of an outdoor cell; row 0 is the top.
        cell_size_m: Side of a cell [m].
        cars_mask: True where cars are, shape ``(h, w)``; ``None`` if that is not known.
        measured_gain_db: Path gain where it was measured [dB], NaN elsewhere, shape ``(h, w)``.
        name: What the noise of samples is named after.

    Raises:
        ValueError: If a shape does not fit, the transmitter is outside the map or inside a
            building, or the cell size is not positive.
    """
    mask = torch.as_tensor(building_mask).bool().cpu()
    if mask.ndim != 2:
        raise ValueError(f"building_mask must have shape (h, w), got {tuple(mask.shape)}")
    row, col = (int(place) for place in transmitter_cell)
    if not (0 <= row < mask.shape[0] and 0 <= col < mask.shape[1]):
        raise ValueError(f"transmitter_cell {(row, col)} lies outside the {tuple(mask.shape)} map")
    if mask[row, col]:
        raise ValueError(f"transmitter_cell {(row, col)} is inside a building: move it outside")
    if not 0 < cell_size_m < float("inf"):
        raise ValueError(f"cell_size_m must be positive, got {cell_size_m:g}")
    cars = torch.zeros_like(mask) if cars_mask is None else torch.as_tensor(cars_mask).bool().cpu()
    measured = torch.full(mask.shape, torch.nan, dtype=torch.float64)
    if measured_gain_db is not None:
        measured = torch.as_tensor(measured_gain_db).double().cpu()
    for what, given in (("cars_mask", cars), ("measured_gain_db", measured)):
        if given.shape != mask.shape:
            raise ValueError(
                f"expected masks of one shape: building_mask is {tuple(mask.shape)}, {what} "
                f"{tuple(given.shape)}"
            )
    return Scene(
        building_mask=mask,
        transmitter_cell=torch.tensor([row, col]),
        cell_size_m=torch.tensor(cell_size_m, dtype=torch.float32),
        cars_mask=cars,
        cars_known=torch.tensor(cars_mask is not None),
        measured_gain_db=measured,
        name=name,
    )


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
        ValueError: If the cell size is not positive.
    """
    if not 0 < cell_size_m < float("inf"):
        raise ValueError(f"cell_size_m must be positive, got {cell_size_m:g}")
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
