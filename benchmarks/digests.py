"""What digests cost: writing a checkpoint and going on from it, with them and without.

    .venv/bin/python -m benchmarks.digests --out results/benchmarks/digests.json

A checkpoint holds the network of a configuration's second stage, its average and the moments of
its optimizer. The peer is the same work without a digest of any file.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch
from accelerate import Accelerator

from benchmarks.common import (
    Row,
    make_parser,
    make_report,
    median_and_spread,
    provenance,
    publish,
)
from radiodiff import checkpoint
from radiodiff.config import load_config
from radiodiff.ema import EMA
from radiodiff.models import UNet

REPEATS = 5
CONFIGS = ("demo-latent", "full")


def main() -> None:
    """Measure and publish."""
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"of each ({REPEATS})")
    options = parser.parse_args()
    made = provenance("torch", "accelerate", "safetensors")
    rows = [row for name in CONFIGS for row in measure(name, options.repeats)]
    what = "checkpoints with the digest of every file, against the same without"
    parameters = {"repeats": options.repeats}
    publish(make_report("digests", what, rows, made=made, parameters=parameters), options.out)


def measure(name: str, repeats: int) -> list[Row]:
    """Return what digests cost a checkpoint of a configuration.

    Args:
        name: Configuration in ``configs/``.
        repeats: Times that each is done; they take turns.
    """
    accelerator = Accelerator(cpu=True)
    network = UNet(load_config(name).network)
    optimizer = torch.optim.AdamW(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    network, optimizer = accelerator.prepare(network, optimizer)
    accelerator.register_for_checkpointing(EMA(network, decay=0.999, start=0, every=1))
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step-00000001"
        for _ in range(repeats):
            for kind in ("with", "without"):
                shutil.rmtree(path, ignore_errors=True)
                with contextlib.nullcontext() if kind == "with" else no_digests():
                    write = seconds_of(
                        lambda: checkpoint.save_checkpoint(
                            accelerator, Path(folder), {"step": 1}, keep=1
                        )
                    )
                    resume = seconds_of(lambda: go_on(accelerator, Path(folder)))
                seconds.setdefault(f"write {kind}", []).append(write)
                seconds.setdefault(f"resume {kind}", []).append(resume)
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    rows = []
    for work in ("write", "resume"):
        ours, spread = median_and_spread(seconds[f"{work} with"], 4)
        peer, _ = median_and_spread(seconds[f"{work} without"], 4)
        rows.append(
            Row(
                name=f"{work}, {name}",
                what=f"time to {work} a checkpoint of {size:.1f} MB",
                unit="s",
                ours=ours,
                peer=peer,
                peer_name="without digests",
                spread=spread,
            )
        )
    return rows


def go_on(accelerator: Accelerator, folder: Path) -> None:
    """Go on from the checkpoint in a folder, as training does."""
    path = checkpoint.sound_checkpoint(folder)
    if path is None:
        raise FileNotFoundError(f"no checkpoint in {folder}")
    checkpoint.load_checkpoint(accelerator, path)


@contextlib.contextmanager
def no_digests() -> Iterator[None]:
    """Take no file's digest."""
    with mock.patch.object(checkpoint, "sha256", return_value="0"):
        yield


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long some work takes [s]."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
