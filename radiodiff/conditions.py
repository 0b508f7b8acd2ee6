"""Scenes as named channels: what a network is told about a place, in the order a run lists.

A channel is one function of a scene with values in [0, 1]; `CHANNELS` holds them by name, with what
a value stands for. Another one is a function and a line in that table. Nothing outside this module
addresses a channel by its number.

Path gains are given as gray levels of the files (eq. ``gray``), on RadioUNet's scale where the maps
are (`units.thresholded`). What may be unknown comes in two channels, what is known and whether it
is: ``cars`` with ``cars_known``, ``measurements`` with ``measured``.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from radiodiff import units
from radiodiff.scene import Scene, checked_scenes, transmitter_distance_cells
from radiodiff.simulate import occlusion_m, raster_gain_db, raster_line_of_sight

__all__ = [
    "CHANNELS",
    "Channel",
    "check_channels",
    "k2_map",
    "k2_map_key",
    "make_condition",
    "map_inputs",
    "network_range",
    "pick_channels",
    "slow_channel",
    "slow_channel_key",
]

#: Length of a straight way through buildings that stands at one half in channel ``occlusion`` [m].
OCCLUSION_HALF_M = 50.0

#: Makes a channel of a batch of scenes and the threshold of the maps' scale, shape ``(b, h, w)``.
Make = Callable[[Scene, float], Tensor]
#: Makes a slow channel of buildings, transmitter's cell and cell size [m], uint8, ``(h, w)``.
MakeMap = Callable[[np.ndarray, tuple[int, int], float], np.ndarray]


@dataclass(frozen=True)
class Channel:
    """One channel that a condition may have."""

    meaning: str
    """What 0 and 1 stand for, with units."""
    make: Make | None = None
    """Makes it of tensors, on any device; ``None`` for the others."""
    make_map: MakeMap | None = None
    """Makes it map by map on the CPU, as bytes: computed once a map and kept beside the dataset."""
    version: int = 1
    """Raised whenever ``make_map`` would give another map: kept ones are made again."""
    is_gain: bool = False
    """Whether it is a path gain everywhere, so that a process may run on the residual to it."""
    is_oracle: bool = False
    """Made from the answer by the dataset: a score with it is no test of a prediction."""


def _distance_law(scenes: Scene, threshold: float) -> Tensor:
    """The line-of-sight law at each cell's distance, as gray level (eq. ``line-of-sight``)."""
    distance_m = transmitter_distance_cells(scenes) * scenes.cell_size_m.view(-1, 1, 1)
    slope = 10 * units.LOS_EXPONENT
    gain_db = -(units.REFERENCE_LOSS_DB + slope * distance_m.clamp_min(1).log10())
    return units.thresholded(units.path_gain_db_to_gray(gain_db), threshold)


def _transmitter(scenes: Scene, threshold: float) -> Tensor:
    """One at the transmitter, 0 elsewhere."""
    b, h, w = scenes.building_mask.shape
    place = scenes.transmitter_cell[:, 0] * w + scenes.transmitter_cell[:, 1]
    result = torch.zeros(b, h * w, device=scenes.building_mask.device)
    return result.scatter_(1, place[:, None], 1.0).view(b, h, w)


def _cars_known(scenes: Scene, threshold: float) -> Tensor:
    """One everywhere if cars are known."""
    return scenes.cars_known.view(-1, 1, 1).expand_as(scenes.building_mask).float()


def _measurements(scenes: Scene, threshold: float) -> Tensor:
    """Gray level where it was measured, 1/255 at least, one step of the files; 0 elsewhere.

    So a cell measured at or below the floor differs from one that was not measured.
    """
    measured = scenes.measured_gain_db
    gray = units.path_gain_db_to_gray(measured.nan_to_num(nan=units.FLOOR_DB)).float()
    gray = units.thresholded(gray, threshold).clamp_min(1 / 255)
    return torch.where(measured.isnan(), torch.zeros_like(gray), gray)


def _line_of_sight(
    building_mask: np.ndarray, transmitter_cell: tuple[int, int], cell_size_m: float
) -> np.ndarray:
    """255 where no building cell lies on the straight line to the transmitter."""
    return 255 * raster_line_of_sight(building_mask, transmitter_cell).astype(np.uint8)


def _occlusion(
    building_mask: np.ndarray, transmitter_cell: tuple[int, int], cell_size_m: float
) -> np.ndarray:
    """Metres ``d`` inside buildings on the straight line, as ``255 d / (d + 50 m)``."""
    inside_m = occlusion_m(building_mask, transmitter_cell, cell_size_m)
    return np.rint(255 * inside_m / (inside_m + OCCLUSION_HALF_M)).astype(np.uint8)


def _dominant_path(
    building_mask: np.ndarray, transmitter_cell: tuple[int, int], cell_size_m: float
) -> np.ndarray:
    """The dominant path over the raster of the buildings, as gray level of the files."""
    return units.path_gain_db_to_uint8(raster_gain_db(building_mask, transmitter_cell, cell_size_m))


#: Every channel by name.
CHANNELS: dict[str, Channel] = {
    "buildings": Channel(
        "1 inside a building that is known", lambda scenes, _: scenes.building_mask.float()
    ),
    "transmitter": Channel("1 in the transmitter's cell", _transmitter),
    "distance_law": Channel(
        "path gain with line of sight at this distance [dB], as gray level",
        _distance_law,
        is_gain=True,
    ),
    "line_of_sight": Channel(
        "1 where no building lies between cell and transmitter", make_map=_line_of_sight
    ),
    "occlusion": Channel(
        "way d through buildings on the straight line to the transmitter [m], as d / (d + 50 m)",
        make_map=_occlusion,
    ),
    "dominant_path": Channel(
        "path gain of the dominant path over the raster [dB], as gray level",
        make_map=_dominant_path,
        version=2,
        is_gain=True,
    ),
    "cars": Channel("1 where a car is known to be", lambda scenes, _: scenes.cars_mask.float()),
    "cars_known": Channel("1 everywhere if cars are known, else 0", _cars_known),
    "measurements": Channel(
        "measured path gain [dB], as gray level of 1/255 or more; 0 where not measured",
        _measurements,
    ),
    "measured": Channel(
        "1 where path gain was measured",
        lambda scenes, _: (~scenes.measured_gain_db.isnan()).float(),
    ),
    "k2": Channel("negative squared wave number in the answer (`k2_map`)", is_oracle=True),
}


def check_channels(names: Sequence[str]) -> None:
    """Refuse names that are no channels.

    Raises:
        ValueError: If there is no name, or one is not in `CHANNELS`.
    """
    unknown = [name for name in names if name not in CHANNELS]
    if unknown or not names:
        raise ValueError(f"expected channels among {', '.join(CHANNELS)}, got {list(names)}")


def make_condition(
    scenes: Scene,
    names: Sequence[str],
    *,
    threshold: float = 0.0,
    given: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return the channels of a batch of scenes.

    Args:
        scenes: A batch.
        names: Channels, in order; a name may come twice.
        threshold: Gray level below which maps hold 0, see `units.thresholded`.
        given: Channels that are there already, each of shape ``(b, h, w)``: kept ones, or those
            made from the answer.

    Returns:
        Values in [0, 1], float32, shape ``(b, k, h, w)``.

    Raises:
        ValueError: If the scenes are no proper batch, there is no such channel, one is made from
            the answer and not given, or cars or measurements are asked for, without their mask, of
            scenes where none are known.
    """
    check_channels(names)
    scenes = checked_scenes(scenes)
    given = given or {}
    _check_known(scenes, names)
    made = {}
    for name in dict.fromkeys(names):
        channel = CHANNELS[name]
        if name in given:
            made[name] = given[name]
        elif channel.make is not None:
            made[name] = channel.make(scenes, threshold)
        elif channel.make_map is not None:
            stored = [torch.from_numpy(slow_channel(name, *one)) for one in map_inputs(scenes)]
            gray = torch.stack(stored).to(scenes.building_mask.device).float() / 255
            made[name] = units.thresholded(gray, threshold) if channel.is_gain else gray
        else:
            raise ValueError(
                f"channel {name} is made from the answer: only a dataset can give it, for a score "
                "that is no test"
            )
    return torch.stack([made[name] for name in names], dim=1)


def _check_known(scenes: Scene, names: Sequence[str]) -> None:
    """Refuse scenes that lack what a channel shows, where nothing tells the network so."""
    if "cars" in names and "cars_known" not in names and not bool(scenes.cars_known.all()):
        raise ValueError("the run was trained with cars, but got none as cars_mask")
    if "measurements" in names and "measured" not in names:
        if bool(scenes.measured_gain_db.isnan().flatten(1).all(1).any()):
            raise ValueError(
                "the run was trained with measurements, but got none as measured_gain_db"
            )


def map_inputs(scenes: Scene) -> list[tuple[np.ndarray, tuple[int, int], float]]:
    """Buildings, transmitter and cell size of each scene, for NumPy."""
    scenes = checked_scenes(scenes)
    return [
        (mask.cpu().numpy(), (int(cell[0]), int(cell[1])), float(size))
        for mask, cell, size in zip(
            scenes.building_mask, scenes.transmitter_cell, scenes.cell_size_m, strict=True
        )
    ]


def slow_channel(
    name: str, building_mask: np.ndarray, transmitter_cell: tuple[int, int], cell_size_m: float
) -> np.ndarray:
    """Return a channel that is made map by map, as bytes.

    Args:
        name: Channel with a ``make_map``.
        building_mask: True inside buildings, shape ``(h, w)``.
        transmitter_cell: ``(row, col)``.
        cell_size_m: Side of a cell [m].

    Returns:
        255 times the channel's values, uint8, shape ``(h, w)``.
    """
    return CHANNELS[name].make_map(building_mask, transmitter_cell, cell_size_m)


def slow_channel_key(
    name: str, building_mask: np.ndarray, transmitter_cell: tuple[int, int], cell_size_m: float
) -> str:
    """Return a digest of all that `slow_channel` depends on; kept maps carry it."""
    inputs = (name, CHANNELS[name].version, building_mask.shape, transmitter_cell, cell_size_m)
    digest = hashlib.sha256(repr(inputs).encode())
    digest.update(np.packbits(building_mask).tobytes())
    return digest.hexdigest()


def pick_channels(condition: Tensor, names: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """Return the wanted channels of a condition, in their order; a name may come twice.

    Args:
        condition: Channels, shape ``(b, k, h, w)``.
        names: What they are.
        wanted: What to return.

    Raises:
        ValueError: If a channel is missing, or the names do not fit the condition.
    """
    missing = [name for name in wanted if name not in names]
    if missing or len(names) != condition.shape[1]:
        raise ValueError(
            f"expected the channels {', '.join(wanted)}, got {condition.shape[1]}: "
            f"{', '.join(names)}"
        )
    if list(wanted) == list(names):
        return condition
    return condition[:, [names.index(name) for name in wanted]]


def network_range(condition: Tensor, *, byte_channels: int = 0) -> Tensor:
    """Bring channels from [0, 1] to the range that networks see.

    Args:
        condition: Channels in [0, 1], shape ``(b, k, h, w)``.
        byte_channels: So many of the first channels are given as 0 to 255 instead of 0 to 1, and
            reach 509, as in the public code beside k² maps (X2).

    Returns:
        Channels in [-1, 1], those of ``byte_channels`` up to 509, shape ``(b, k, h, w)``.
    """
    if byte_channels:
        first, rest = condition[:, :byte_channels], condition[:, byte_channels:]
        condition = torch.cat([255 * first, rest], dim=1)
    return units.gray_to_model(condition)


def k2_map(gray: np.ndarray, transmitter_cell: tuple[int, int]) -> np.ndarray:
    """Return the negative part of the squared wave number in a radio map, as gray levels.

    With the received power ``u`` [W] of 23 dBm sent, ``q = (laplace(u) + T u) / u`` solves the
    Helmholtz equation for its coefficient; ``min(q, 0)`` is stretched to 0 ... 255. It is dark
    where a cell is brighter than its four neighbours are on average, 255 elsewhere and on the
    border. Source: X. Wang et al., *RadioDiff-k²*, arXiv:2504.15623, and its pre-processing in
    ``UNIC-Lab/RadioDiff-k``, whose path gain spans 100 dB and not 99.16 dB.

    Args:
        gray: Radio map, uint8, shape ``(h, w)``, sides of 3 or more.
        transmitter_cell: ``(row, col)``.

    Returns:
        Gray levels, uint8, shape ``(h, w)``.

    Raises:
        ValueError: If a side is too short.
    """
    if min(gray.shape) < 3:
        raise ValueError(f"expected a map with sides of 3 or more, got {gray.shape}")
    # As upstream: float32 throughout, so that the last bit is cut off at the same value.
    path_gain_db = -147 + 100 * (gray.astype(np.float32) / 255)
    u = 10 ** ((path_gain_db - 7) / 10)
    inner = u[1:-1, 1:-1]
    laplace = (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]) - 4 * inner
    source = np.zeros(gray.shape, np.float32)
    source[transmitter_cell] = 1
    negative = np.minimum((laplace + source[1:-1, 1:-1] * inner) / inner, 0)
    low, high = negative.min(), negative.max()
    # Upstream divides by zero on a map without structure.
    scaled = (negative - low) / (high - low) if high > low else np.ones_like(negative)
    return np.pad((scaled * 255).astype(np.uint8), 1, constant_values=255)


def k2_map_key(gray: np.ndarray, transmitter_cell: tuple[int, int]) -> str:
    """Return a digest of all that `k2_map` depends on; kept maps carry it."""
    digest = hashlib.sha256(f"k2 1 {gray.shape} ".encode())
    digest.update(np.ascontiguousarray(gray).tobytes())
    digest.update(np.array([transmitter_cell]).tobytes())
    return digest.hexdigest()
