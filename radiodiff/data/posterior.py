"""Maps with the posterior of their latents beside them, read from a file instead of encoded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from radiodiff.data.sample import RadioMapSample

__all__ = ["WithPosterior"]


class WithPosterior(Dataset[RadioMapSample]):
    """A dataset whose samples have their posterior, see `RadioMapSample.posterior`.

    The file is mapped into memory, once a process.

    Args:
        dataset: Maps.
        path: NumPy file, float32, shape ``(len(dataset), 2 c, h, w)``.
    """

    def __init__(self, dataset: Dataset[RadioMapSample], path: Path) -> None:
        self.dataset: Any = dataset
        self.path = Path(path)
        self._rows: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the map, so that a loader process makes its own."""
        return self.__dict__ | {"_rows": None}

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> RadioMapSample:
        """Return a sample with its posterior."""
        return self.dataset[index]._replace(posterior=self.posteriors([index])[0])

    def posteriors(self, indices: Sequence[int]) -> Tensor:
        """Return the posteriors of some samples, shape ``(len(indices), 2 c, h, w)``."""
        if self._rows is None:
            self._rows = np.load(self.path, mmap_mode="r")
        return torch.from_numpy(self._rows[list(indices)])
