"""Samples a second: PNG files decoded one by one, against packed images.

    .venv/bin/python -m benchmarks.data --out data.json
    .venv/bin/python -m benchmarks.data --root /data/RadioMapSeer --samples 4000

Without ``--root`` it simulates its own maps in a temporary folder. All ways deliver the same
samples in the same random order, ``pack_bytes`` as the bytes that `to_samples` makes floats of
(what training reads; on a GPU it makes them there); files are in the page cache, as one
pass comes before those that count. One process reads (``getitem``, and through a loader
``workers_0``), or one loader process besides the main process (``workers_1``). Each number is the
median of five passes.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import send_to_device
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.common import (
    Row,
    make_parser,
    make_report,
    median_and_spread,
    provenance,
    publish,
)
from radiodiff import units
from radiodiff.data import (
    GrayBatches,
    RadioMapOptions,
    RadioMapSeer,
    pack_dataset,
    to_samples,
)
from radiodiff.simulate import simulate_dataset

BATCH = 16
PASSES = 5
#: What is compared, and the ways of public loaders and of our own without packed images.
OURS = ("pack", "pack_bytes", "pack_bytes_to_samples")
PEERS = ("png_per_item", "png")


class PublicSample(NamedTuple):
    """What public loaders hand out: no scene, only its channels."""

    radio_map: Tensor
    """Path gain in [-1, 1], shape ``(1, h, w)``."""
    condition: Tensor
    """Buildings and transmitter in [0, 1], shape ``(2, h, w)``."""
    outdoor_mask: Tensor
    """Cells outside buildings, bool, shape ``(1, h, w)``."""
    name: str
    """``<map>_<transmitter>``."""


class Way(NamedTuple):
    """One way to read the samples."""

    dataset: Dataset
    use: Callable[[Any], Any]
    """Makes samples of what the dataset gives."""


class PngPerItem(Dataset[PublicSample]):
    """What public loaders do: decode gain, buildings and antenna image for every sample."""

    def __init__(self, dataset: RadioMapSeer) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> PublicSample:
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
        return PublicSample(
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
    """Measure and publish."""
    parser = make_parser(__doc__)
    parser.add_argument("--root", type=Path, help="dataset to read (its own simulation)")
    parser.add_argument("--maps", type=int, default=12, help="simulated tiles (12)")
    parser.add_argument("--transmitters", type=int, default=20, help="of each tile (20)")
    parser.add_argument("--size", type=int, default=256, help="cells along a side (256)")
    parser.add_argument("--samples", type=int, default=960, help="read in a pass (960)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root
        if root is None:
            sizes = {"maps": options.maps, "transmitters": options.transmitters}
            root = simulate_dataset(Path(folder) / "maps", size=options.size, **sizes)
        needed = ["gain/DPM", "png/buildings_complete"]
        packed = pack_dataset(root, folders=needed, out=Path(folder) / "packed")
        report = measure(root, packed, options.samples)
    publish(report, options.out)


def measure(root: Path, packed: Path, samples: int) -> dict[str, Any]:
    """Return the report on a dataset and its packed images."""
    pack = RadioMapSeer(root, "all", RadioMapOptions(packed=str(packed)))
    png = RadioMapSeer(root, "all", RadioMapOptions(packed=str(packed / "none")))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = provenance("torch", "numpy", "pillow", device=device)
    ways = {
        "png_per_item": Way(PngPerItem(png), _same),
        "png": Way(png, _same),
        "pack": Way(pack, _same),
        "pack_bytes": Way(GrayBatches(pack), _same),
        "pack_bytes_to_samples": Way(
            GrayBatches(pack), lambda batch: to_samples(send_to_device(batch, device))
        ),
    }
    batches = RandomBatches(len(pack), samples)
    _check_equal(ways, batches)
    parameters = {
        "shape": list(pack[0].radio_map.shape[1:]),
        "dataset": {"maps": len(pack.maps), "samples": len(pack)},
        "samples_per_pass": len(batches) * BATCH,
        "batch_size": BATCH,
        "device_of_to_samples": str(device),
    }
    return make_report(
        "data",
        "reading samples: PNG files decoded one by one, against packed images",
        compare(read_all(ways, batches)),
        made=made,
        parameters=parameters,
    )


def read_all(ways: Mapping[str, Way], batches: RandomBatches) -> dict[str, dict[str, list[float]]]:
    """Return samples a second: way to reader to its passes.

    Way after way, so that other load on the machine falls on all of them; the first time warms.
    """
    passes: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    for number in range(PASSES + 1):
        for name, (dataset, use) in ways.items():
            found = {"getitem": _read(dataset, use, batches)}
            found |= {f"workers_{n}": _load(dataset, use, batches, n) for n in (0, 1)}
            for reader, rate in found.items():
                passes[name].setdefault(reader, []).extend([rate] if number else [])
    return passes


def compare(passes: Mapping[str, Mapping[str, list[float]]]) -> list[Row]:
    """Return our ways beside those with PNG files, reader by reader."""
    rows = []
    for peer_name in PEERS:
        for name in OURS:
            for reader, rates in passes[name].items():
                ours, spread = median_and_spread(rates, 1)
                peer, _ = median_and_spread(passes[peer_name][reader], 1)
                rows.append(
                    Row(
                        name=f"{name}/{peer_name}, {reader}",
                        what="samples read",
                        unit="1/s",
                        ours=ours,
                        peer=peer,
                        peer_name=peer_name,
                        spread=spread,
                    )
                )
    return rows


def _same(batch: Any) -> Any:
    return batch


def _loader(dataset: Dataset, batches: RandomBatches, workers: int) -> DataLoader:
    if isinstance(dataset, GrayBatches):
        return DataLoader(dataset, batch_size=None, sampler=batches, num_workers=workers)
    return DataLoader(dataset, batch_sampler=batches, num_workers=workers)


def _check_equal(ways: Mapping[str, Way], batches: RandomBatches) -> None:
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
