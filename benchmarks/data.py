"""Samples a second: PNG files decoded one by one, against packed images.

    python benchmarks/data.py --out data.json
    python benchmarks/data.py --root /data/RadioMapSeer --samples 4000

Without ``--root`` it simulates its own maps in a temporary folder. All ways deliver the same
samples in the same random order, ``pack_bytes`` as the bytes that `to_samples` makes floats of
(what training reads; on a GPU it makes them there); files are in the page cache, as one
pass comes before those that count. One process reads (``getitem``, and through a loader
``workers_0``), or one loader process besides the main process (``workers_1``). Each number is the
median of five passes.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from radiodiff import units
from radiodiff.data import (
    GrayBatches,
    RadioMapOptions,
    RadioMapSample,
    RadioMapSeer,
    pack_dataset,
    to_samples,
)
from radiodiff.provenance import made_by, processor_name
from radiodiff.simulate import simulate_dataset

BATCH = 16
PASSES = 5


class PngPerItem(Dataset[RadioMapSample]):
    """What public loaders do: decode gain, buildings and antenna image for every sample."""

    def __init__(self, dataset: RadioMapSeer) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Read one sample."""
        map_id, transmitter = self.dataset.pairs[index]
        name = f"{map_id}_{transmitter}"
        antenna = self.dataset.root / "png" / "antennas" / f"{name}.png"
        gain, buildings, antennas = (
            np.asarray(Image.open(path))
            for path in (
                self.dataset.gain_dir / f"{name}.png",
                self.dataset.building_dir / f"{map_id}.png",
                antenna,
            )
        )
        condition = torch.from_numpy(np.stack([buildings, antennas])).float() / 255
        return RadioMapSample(
            radio_map=units.gray_to_model(torch.tensor(gain).float() / 255)[None],
            condition=condition,
            outdoor_mask=condition[:1] == 0,
            name=name,
        )


class RandomBatches(Sampler[list[int]]):
    """Batches of random indices, the same for every way."""

    def __init__(self, length: int, samples: int) -> None:
        self.length, self.batches = length, samples // BATCH

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of indices."""
        generator = np.random.default_rng(0)
        for _ in range(self.batches):
            yield generator.integers(self.length, size=BATCH).tolist()

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.batches


def main() -> None:
    """Measure, print the numbers as JSON and write them to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="dataset to read (its own simulation)")
    parser.add_argument("--maps", type=int, default=12, help="simulated tiles (12)")
    parser.add_argument("--transmitters", type=int, default=20, help="of each tile (20)")
    parser.add_argument("--size", type=int, default=256, help="cells along a side (256)")
    parser.add_argument("--samples", type=int, default=960, help="read in a pass (960)")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root
        if root is None:
            sizes = {"maps": options.maps, "transmitters": options.transmitters}
            root = simulate_dataset(Path(folder) / "maps", size=options.size, **sizes)
        needed = ["gain/DPM", "png/buildings_complete"]
        packed = pack_dataset(root, folders=needed, out=Path(folder) / "packed")
        result = measure(root, packed, options.samples)
    text = json.dumps(result, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


def measure(root: Path, packed: Path, samples: int) -> dict[str, Any]:
    """Return samples a second of every way, ratios and the conditions."""
    pack = RadioMapSeer(root, "all", RadioMapOptions(packed=str(packed)))
    png = RadioMapSeer(root, "all", RadioMapOptions(packed=str(packed / "none")))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches = RandomBatches(len(pack), samples)
    ways: dict[str, tuple[Dataset, Callable[[Any], Any]]] = {
        "png_per_item": (PngPerItem(png), _same),
        "png": (png, _same),
        "pack": (pack, _same),
        "pack_bytes": (GrayBatches(pack), _same),
        "pack_bytes_to_samples": (
            GrayBatches(pack),
            lambda batch: to_samples(_move(batch, device)),
        ),
    }
    _check_equal(ways, batches)
    passes: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in ways}
    # Way after way, so that other load on the machine falls on all of them; the first time warms.
    for number in range(PASSES + 1):
        for name, (dataset, use) in ways.items():
            found = {"getitem": _read(dataset, use, batches)}
            found |= {f"workers_{n}": _load(dataset, use, batches, n) for n in (0, 1)}
            for key, rate in found.items():
                passes[name][key] += [rate] if number else []
    rates = {
        name: {key: round(statistics.median(values), 1) for key, values in rows.items()}
        for name, rows in passes.items()
    }
    ratios = {
        f"{name}/{base}": {
            key: round(rates[name][key] / rates[base][key], 2) for key in rates[name]
        }
        for base in ("png_per_item", "png")
        for name in ("pack", "pack_bytes", "pack_bytes_to_samples")
    }
    return {
        "samples_per_second": rates,
        "ratios": ratios,
        "shape": list(pack[0].radio_map.shape[1:]),
        "dataset": {"maps": len(pack.maps), "samples": len(pack)},
        "samples_per_pass": len(batches) * BATCH,
        "batch_size": BATCH,
        "device_of_to_samples": str(device),
        **made_by("torch", "numpy", "pillow"),
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        },
    }


def _same(batch: Any) -> Any:
    return batch


def _move(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device."""
    return type(batch)(*(v.to(device) if isinstance(v, torch.Tensor) else v for v in batch))


def _loader(dataset: Dataset, batches: RandomBatches, workers: int) -> DataLoader:
    if isinstance(dataset, GrayBatches):
        return DataLoader(dataset, batch_size=None, sampler=batches, num_workers=workers)
    return DataLoader(dataset, batch_sampler=batches, num_workers=workers)


def _check_equal(ways: dict[str, tuple[Dataset, Callable]], batches: RandomBatches) -> None:
    """Raise if two ways disagree on the first batch."""
    first = {name: use(next(iter(_loader(d, batches, 0)))) for name, (d, use) in ways.items()}
    wanted = first["png_per_item"]
    for name in ("png", "pack", "pack_bytes_to_samples"):
        for field in ("radio_map", "condition", "outdoor_mask"):
            if not torch.equal(getattr(first[name], field).cpu(), getattr(wanted, field)):
                raise ValueError(f"{name} reads another {field} than the images hold")


def _read(dataset: Dataset, use: Callable[[Any], Any], batches: RandomBatches) -> float:
    """Call the dataset itself; return samples a second."""
    began, count = time.perf_counter(), 0
    for indices in batches:
        if isinstance(dataset, GrayBatches):
            use(dataset[indices])
        else:
            for index in indices:
                dataset[index]
        count += len(indices)
    return count / _seconds_since(began)


def _load(
    dataset: Dataset, use: Callable[[Any], Any], batches: RandomBatches, workers: int
) -> float:
    """Go through a loader; return samples a second from its first batch on."""
    stream = iter(_loader(dataset, batches, workers))
    use(next(stream))
    began, count = time.perf_counter(), 0
    for batch in stream:
        use(batch)
        count += BATCH
    return count / _seconds_since(began)


def _seconds_since(began: float) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
