"""Latents of the training maps, encoded once by the frozen autoencoder and kept on disk."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from radiodiff.data.sample import RadioMapSample
from radiodiff.files import FileError, read_record, write_atomically, write_record
from radiodiff.progress import show_progress

__all__ = ["LatentCache", "WithLatents"]

logger = logging.getLogger(__name__)

#: Maps of a block, which is one file: what a build that is killed may have to do again.
BLOCK = 64
_KEY_FILE = "key.json"
#: Maps that are encoded at a time.
_BATCH = 16


class LatentCache:
    """Mean and logarithmic variance of the latent of every item of a dataset, memory-mapped.

    ``key.json`` says what they were made of, ``block-00000.npy`` holds the first `BLOCK` items.
    Files appear whole: a build that was killed goes on with the blocks that are missing.

    Args:
        folder: Receives the files.
        key: All that the latents depend on, as plain values.
        shape: Items, 2, and channels and sides of a latent.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], shape: tuple[int, ...]) -> None:
        self.folder, self.shape = Path(folder), tuple(shape)
        self.key = json.loads(json.dumps({**key, "shape": self.shape}))
        self._blocks: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Return the number of items."""
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mappings behind: another process maps the files itself."""
        return self.__dict__ | {"_blocks": {}}

    def __getitem__(self, index: int) -> Tensor:
        """Return an item's mean and logarithmic variance, float32, shape ``(2, c, h, w)``."""
        number, row = divmod(index, BLOCK)
        if number not in self._blocks:
            # As plain arrays: slices of np.memmap itself are slow.
            self._blocks[number] = np.asarray(np.load(self._path(number), mmap_mode="r"))
        return torch.from_numpy(self._blocks[number][row].copy())

    def claim(self) -> None:
        """Drop what was made of anything else; for one process, before any reads or builds."""
        if self._is_ours():
            return
        if self.folder.exists():
            logger.info("latents in %s are of other weights or maps: made again", self.folder)
            shutil.rmtree(self.folder)
        write_record(self.folder / _KEY_FILE, self.key)

    def missing(self) -> list[int]:
        """Return the numbers of the blocks that are not there or not whole."""
        numbers = range(-(-len(self) // BLOCK))
        is_ours = self._is_ours()
        return [number for number in numbers if not (is_ours and self._is_there(number))]

    def bytes_of(self, blocks: list[int]) -> int:
        """Return what blocks take on disk [bytes]."""
        return 4 * sum(int(np.prod(self._shape_of(number))) for number in blocks)

    def build(
        self,
        blocks: list[int],
        dataset: Dataset[RadioMapSample],
        encode: Callable[[Tensor], Tensor],
    ) -> None:
        """Write blocks, telling how far it is.

        Args:
            blocks: Their numbers.
            dataset: The items, in order.
            encode: Means and logarithmic variances, shape ``(b, 2, c, h, w)``, of maps in [-1, 1],
                shape ``(b, 1, h, w)``.

        Raises:
            DatasetError: If a map cannot be read.
            OSError: If a block cannot be written; those before it stay.
        """
        counts = [self._shape_of(number)[0] for number in blocks]
        total, done = sum(counts), 0
        with show_progress("encoded", "maps") as progress:
            progress(0, total)
            for number, count in zip(blocks, counts, strict=True):
                parts = []
                for start in range(0, count, _BATCH):
                    places = range(start, min(start + _BATCH, count))
                    maps = [dataset[number * BLOCK + place].radio_map for place in places]
                    parts.append(encode(default_collate(maps)).float().cpu().numpy())
                    done += len(places)
                    progress(done, total)
                block = np.concatenate(parts)
                write_atomically(self._path(number), lambda path, block=block: np.save(path, block))

    def _is_ours(self) -> bool:
        """Whether what is in the folder was made of what the key says."""
        try:
            return read_record(self.folder / _KEY_FILE) == self.key
        except (OSError, FileError):
            return False

    def _path(self, number: int) -> Path:
        return self.folder / f"block-{number:05d}.npy"

    def _shape_of(self, number: int) -> tuple[int, ...]:
        return (min(BLOCK, len(self) - number * BLOCK), *self.shape[1:])

    def _is_there(self, number: int) -> bool:
        try:
            block = np.load(self._path(number), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return False
        return block.shape == self._shape_of(number) and block.dtype == np.float32


class WithLatents(Dataset[RadioMapSample]):
    """A dataset whose samples carry their latents.

    Args:
        dataset: Maps, also under `EightSymmetries`.
        latents: A complete cache of as many items.
    """

    def __init__(self, dataset: Dataset[RadioMapSample], latents: LatentCache) -> None:
        self.dataset: Any = dataset
        self.latents = latents

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Return a sample with the mean and logarithmic variance of its latent."""
        return self.dataset[index]._replace(latent=self.latents[index])
