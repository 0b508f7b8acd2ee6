"""A folder of parity vectors: what it holds, and how close to it one has to come.

The format is that of ``vectors/manifest.json`` in this folder; its README says what is in it.
"""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from radiodiff.reference import PROFILES, R25, Profile

COMMITTED = Path(__file__).parent / "vectors"

#: The manifest's rule: so many times the rounding of the public code, plus so much of the scale.
ROUNDINGS, FLOOR = 10, 2e-6

_RECIPE_TEXT = re.compile(
    r"recipe\(seed, '(?P<key>[^']+)', \((?P<shape>[\d, ]+)\)"
    r"(, (?P<mean>[^,)]+), (?P<std>[^,)]+))?\)"
    r"( clamped to \[(?P<low>[^,\]]+), (?P<high>[^,\]]+)\])?"
)


class Answer(NamedTuple):
    """What our code gives for one array."""

    value: Tensor
    scale: Tensor | None = None
    """What a relative tolerance is relative to; the reference itself if ``None``."""
    labels: list[str] | None = None
    """Names of the rows."""


class Comparison(NamedTuple):
    """The entry of an array that comes closest to its bound, or lies furthest beyond."""

    error: float
    bound: float
    place: str

    @property
    def ratio(self) -> float:
        """Error in units of the bound; infinite beyond a bound of 0, and for what is no number."""
        if self.error == 0:
            return 0.0
        return self.error / self.bound if self.bound and self.error > 0 else np.inf


def recipe(seed: str, key: str, shape, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Numbers that follow from a name: sums of four 16-bit lanes of splitmix64."""
    unit = np.uint64
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    with np.errstate(over="ignore"):
        z = np.arange(1, int(np.prod(shape, dtype=np.int64)) + 1, dtype=unit)
        z *= unit(0x9E3779B97F4A7C15)
        z += unit(int.from_bytes(digest[:8], "little"))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            z ^= z >> unit(shift)
            z *= unit(factor)
    lanes = sum((z >> unit(16 * i)) & unit(65535) for i in range(4))
    normal = (lanes.astype(np.float64) - 131070.0) * (3.0**0.5 / 65536.0)
    return torch.from_numpy((mean + std * normal).astype(np.float32).reshape(shape))


class VectorSet:
    """One set: its part of the manifest, its arrays, its weights.

    Attributes:
        entry: Part of the manifest.
        used: Arrays that were asked for as inputs so far.
    """

    def __init__(self, folder: "VectorFolder", name: str, entry: dict) -> None:
        self.folder, self.name, self.entry = folder, name, entry
        self.config: dict = entry.get("config", {})
        self.used: set[str] = set()
        self._arrays: dict[str, Tensor] | None = None

    @property
    def arrays(self) -> dict[str, Tensor]:
        """The stored arrays, as they are stored."""
        if self._arrays is None:
            self._arrays = load_file(self.folder.path / self.entry["file"])
        return self._arrays

    def names(self) -> list[str]:
        """Names of all arrays, those of the manifest and those of the file."""
        path = self.folder.path / self.entry["file"]
        names = dict.fromkeys(self.entry["arrays"])
        if path.is_file():
            with safe_open(path, "pt") as file:
                names |= dict.fromkeys(file.keys())
        return list(names)

    def input(self, name: str) -> Tensor:
        """Return an input, stored or given by a recipe."""
        if name not in self.arrays:
            found = _RECIPE_TEXT.fullmatch(self.entry["inputs"][name])
            shape = [int(side) for side in found["shape"].replace(",", " ").split()]
            value = self.folder.recipe(
                found["key"], shape, float(found["mean"] or 0), float(found["std"] or 1)
            )
            return value.clamp(float(found["low"]), float(found["high"])) if found["low"] else value
        self.used.add(name)
        value = self.arrays[name]
        return value.float() if name in self.entry.get("stored_as_int8", ()) else value

    def weights(self) -> dict[str, Tensor]:
        """Return the weights under the names of the public code, stored or by the recipe."""
        if "recipe_keys_in" not in self.entry:
            return self.folder.stored_weights(self.name)
        rows = json.loads(
            (self.folder.path / self.entry["recipe_keys_in"]).read_text(encoding="utf-8")
        )
        return {
            key.removeprefix(f"{self.name}."): self.folder.recipe(key, *row)
            for key, *row in rows[self.name]
        }

    def compare(self, array: str, answer: Answer) -> Comparison:
        """Hold an answer against the stored array."""
        reference = self.arrays[array].double()
        value = answer.value.detach().double()
        assert value.shape == reference.shape, (
            f"{self.name}/{array}: expected shape {tuple(reference.shape)}, got "
            f"{tuple(value.shape)}"
        )
        error = (value - reference).abs().flatten()
        bound = self._bound(array, reference, answer.scale).expand_as(reference).flatten()
        excess = torch.where(error <= bound, error / bound.clamp_min(1e-300), torch.inf)
        # Beyond the bound, the largest error counts; not a number is beyond any.
        outside = torch.where(excess.isinf(), error.nan_to_num(torch.inf), -1.0)
        worst = int((outside if excess.isinf().any() else excess).argmax())
        place = [int(i) for i in np.unravel_index(worst, reference.shape)]
        label = f" ({answer.labels[place[0]]})" if answer.labels and place else ""
        return Comparison(error[worst].item(), bound[worst].item(), f"{place}{label}")

    def _bound(self, array: str, reference: Tensor, scale: Tensor | None) -> Tensor:
        """Return how far from each entry is fair."""
        table = self.entry["tolerance"]
        tolerance = table.get(array, table.get("all", {}))
        for relative in ("max_rel", "max_rel_to_own_norm"):
            if relative in tolerance:
                scale = reference.abs() if scale is None else scale.double()
                return (ROUNDINGS * tolerance[relative] + FLOOR) * scale
        rounding = [
            tolerance.get(f"fp32_{kind}_max_abs", 0.0) for kind in ("vs_fp64", "two_orders")
        ]
        largest = tolerance.get("max", reference.abs().max().item())
        return torch.tensor(ROUNDINGS * max(rounding) + FLOOR * largest, dtype=torch.float64)


class VectorFolder:
    """A folder with a manifest.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.manifest = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
        self.seed: str = self.manifest["seed"]
        self.sets = {
            name: VectorSet(self, name, entry) for name, entry in self.manifest["sets"].items()
        }

    @property
    def profile(self) -> Profile:
        """The state of the public code that made the numbers; its latest where none is named."""
        commit = self.manifest.get("made_with", {}).get("upstream_commit", "")
        return next((p for p in PROFILES.values() if commit.startswith(p.commit)), R25)

    def recipe(self, key: str, shape, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """Return numbers of this folder's seed."""
        return recipe(self.seed, key, shape, mean, std)

    def stored_weights(self, name: str) -> dict[str, Tensor]:
        """Return the stored weights of a set, which need not be listed itself."""
        file = (
            self.manifest["sets"].get(name, {}).get("weights_file", f"{name}.weights.safetensors")
        )
        weights = load_file(self.path / file)
        return {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}


@cache
def open_folder(path: Path) -> VectorFolder:
    """Return a folder, read once."""
    return VectorFolder(path)


def copy_sets(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy some sets of a folder, with a manifest and recipe keys cut down to them."""
    target.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    manifest["sets"] = {name: manifest["sets"][name] for name in names}
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    keys: dict[str, dict] = {}
    for name, entry in manifest["sets"].items():
        for file in (entry["file"], entry.get("weights_file")):
            if file:
                shutil.copyfile(source / file, target / file)
        if "recipe_keys_in" in entry:
            rows = json.loads((source / entry["recipe_keys_in"]).read_text(encoding="utf-8"))[name]
            keys.setdefault(entry["recipe_keys_in"], {})[name] = rows
    for file, rows in keys.items():
        (target / file).write_text(json.dumps(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    copy_sets(Path(sys.argv[1]), COMMITTED, sys.argv[2:])
