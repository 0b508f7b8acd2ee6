"""Random numbers of a batch: the same however many processes share it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["BatchShare", "normal", "uniform"]


class BatchShare(torch.Generator):
    """A generator for one process's share of a batch that several processes hold together.

    Numbers are drawn for the whole batch, and a process takes those of its own maps, every
    ``processes``-th, as `radiodiff.trainer.batch_indices` deals them. So two processes with two
    maps each train as one with four.

    Attributes:
        rank: Number of the process.
        processes: Number of processes.
    """

    rank: int = 0
    processes: int = 1


def normal(
    shape: Sequence[int],
    generator: torch.Generator | None = None,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draw standard normal numbers.

    Args:
        shape: Shape, maps first.
        generator: Source; the global one of the device if ``None``.
        device: Where; the generator's if ``None``.
        dtype: Type; torch's default if ``None``.
    """
    return _draw(torch.randn, shape, generator, device=device, dtype=dtype)


def uniform(
    count: int, generator: torch.Generator | None = None, *, device: torch.device | None = None
) -> Tensor:
    """Draw ``count`` numbers between 0 and 1; arguments as of `normal`."""
    return _draw(torch.rand, (count,), generator, device=device)


def _draw(
    function: Callable[..., Tensor],
    shape: Sequence[int],
    generator: torch.Generator | None,
    *,
    device: torch.device | None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    if device is None and generator is not None:
        device = generator.device
    keywords = {"generator": generator, "device": device, "dtype": dtype}
    if not isinstance(generator, BatchShare):
        return function(tuple(shape), **keywords)
    whole = function((shape[0] * generator.processes, *shape[1:]), **keywords)
    return whole[generator.rank :: generator.processes].contiguous()
