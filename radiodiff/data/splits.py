"""Which maps train, validate and test, and which maps two of these share."""

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from radiodiff.data.images import DatasetError
from radiodiff.files import FileError, shorten
from radiodiff.simulate import manifest as manifests

__all__ = [
    "Split",
    "Splits",
    "has_own_splits",
    "map_permutation",
    "read_manifest",
    "split_maps",
    "split_overlap",
    "split_parts",
]

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test", "all"]

#: Where the real dataset is cut into training, validation and test maps, see `split_maps`.
Splits = Literal["city", "radiounet", "paper", "radiodiff-r24", "radiodiff-r25"]

#: Positions of each split in the permutation (half-open ranges).
_BOUNDS = {
    "radiounet": {"train": (0, 501), "val": (501, 601), "test": (601, 700)},
    "paper": {"train": (0, 500), "test": (500, 700)},
    "radiodiff-r24": {"train": (0, 501), "val": (600, 651), "test": (600, 700)},
    "radiodiff-r25": {"train": (0, 601), "val": (600, 651), "test": (600, 700)},
}
_BOUNDS["city"] = _BOUNDS["radiounet"]


def map_permutation() -> np.ndarray:
    """Return the published order of 0 ... 699, int16, shape ``(700,)``; the maps are one more.

    RadioUNet shuffles with NumPy's legacy generator and seed 42 and adds 1 to every number, so
    that maps 1 to 700 are used and map 0 is in no split.
    """
    order = np.arange(700, dtype=np.int16)
    np.random.RandomState(42).shuffle(order)
    return order


def split_maps(
    root: Path, split: Split, maps: Sequence[int], *, splits: Splits = "city"
) -> list[int]:
    """Return the maps of a split.

    A simulated dataset says in ``dataset.json`` which split the city of each map belongs to; its
    splits share no city. The files of real RadioMapSeer do not name cities, nor does a folder of
    `radiodiff.simulate.simulate_outlines` have splits, so they are cut by map, in the order of
    `map_permutation`:

    - ``city`` and ``radiounet``: 501/100/99 maps, as the authors of RadioUNet and the dataset.
    - ``paper``: 500/200, no validation maps. RadioDiff's paper tells the numbers only; these are
      the first 500 maps and the other 200.
    - ``radiodiff-r24``, ``radiodiff-r25``: the public RadioDiff code of December 2024 and July
      2025. Validation maps are test maps and, in the latter, one training map too (X1).

    Maps that the chosen split shares with another are named in a warning.

    Args:
        root: Dataset folder.
        split: ``all`` or one of the three.
        maps: Maps to choose from.
        splits: Where the real dataset is cut; a simulated one keeps its own splits.

    Returns:
        Chosen maps, ascending.

    Raises:
        DatasetError: If ``dataset.json`` cannot be read or lists maps that are not there, or
            there is no such split.
    """
    if split == "all":
        return sorted(maps)
    manifest = read_manifest(Path(root))
    has_own = has_own_splits(manifest)
    if has_own and splits != "city":
        logger.info("%s has splits of its own; %s is for the real dataset", root, splits)
    parts = split_parts(manifest, splits)
    if split not in parts:
        raise DatasetError(
            f"splits {splits} has no {split} maps, only {' and '.join(parts)}: ask for one of "
            "these, or choose splits radiounet, which has 100 validation maps"
        )
    chosen = parts[split]
    if has_own:
        missing = sorted(chosen - set(maps))
        if missing:
            raise DatasetError(
                f"{root} lacks {len(missing)} of {len(chosen)} {split} maps, first "
                f"{shorten(missing[:3])}: call `radiodiff simulate` again with the same options, "
                "it goes on where it stopped"
            )
    for other, part in parts.items():
        shared = sorted(chosen & part)
        if other != split and shared:
            logger.warning(
                "splits %s: %s and %s share %d maps: %s",
                splits,
                split,
                other,
                len(shared),
                ", ".join(map(str, shared)),
            )
    return sorted(chosen & set(maps))


def split_overlap(
    splits: Splits = "city", *, root: Path | None = None
) -> dict[tuple[str, str], list[int]]:
    """Return the maps that two splits share: where there is one, a score on it is no test.

    Args:
        splits: Where the real dataset is cut.
        root: Dataset folder; a simulated dataset is looked at with its own splits.

    Returns:
        Pairs of splits that share maps, such as ``("train", "test")``, to these maps, ascending;
        empty if no map is shared.

    Raises:
        DatasetError: If ``dataset.json`` cannot be read.
    """
    parts = split_parts(read_manifest(Path(root)) if root is not None else None, splits)
    shared = {
        (first, second): sorted(parts[first] & parts[second])
        for first, second in combinations(parts, 2)
    }
    return {pair: maps for pair, maps in shared.items() if maps}


def split_parts(manifest: dict[str, Any] | None, splits: Splits) -> dict[str, set[int]]:
    """Return the maps of each split, whether the dataset holds them or not."""
    if has_own_splits(manifest):
        return {
            name: {row["id"] for row in manifest["maps"] if row["split"] == name}
            for name in ("train", "val", "test")
        }
    order = map_permutation()
    return {
        name: {int(m) + 1 for m in order[start:stop]}
        for name, (start, stop) in _BOUNDS[splits].items()
    }


def has_own_splits(manifest: dict[str, Any] | None) -> bool:
    """Whether a dataset says which split its maps belong to."""
    return manifest is not None and any("split" in row for row in manifest["maps"])


def read_manifest(root: Path) -> dict[str, Any] | None:
    """Return what a dataset says of itself in ``dataset.json``; ``None`` for the real one.

    Raises:
        DatasetError: If the file is none of ours, see `radiodiff.simulate.manifest.read_manifest`.
    """
    path = Path(root) / manifests.MANIFEST
    try:
        return manifests.read_manifest(root)
    except FileError as error:
        reason = str(error).removeprefix(str(path)).lstrip(": ")
        raise DatasetError(f"{path} does not list maps and splits: it {reason}") from error
