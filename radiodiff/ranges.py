"""Numbers that mean something: what a field of a section may be."""

import math
from collections.abc import Iterator
from typing import Any

__all__ = ["MAX_COUNT", "MAX_SEED", "MAX_SIDE", "MAX_WORKERS", "check_numbers", "check_seed"]

#: Largest number of things that is counted: steps, maps, resamples.
MAX_COUNT = 2**31 - 1
#: Largest number of channels, heads or windows, and of cells along a side.
MAX_SIDE = 2**14
#: Largest number of processes.
MAX_WORKERS = 1024
#: Largest seed.
MAX_SEED = 2**63 - 1


def check_numbers(
    section: Any,
    *names: str,
    least: float | None = None,
    above: float | None = None,
    most: float = MAX_COUNT,
    below: float | None = None,
) -> None:
    """Refuse fields of a section that are no finite number within bounds.

    Args:
        section: A dataclass; a field may be a number, nested tuples of them, or ``None``, which
            passes.
        names: The fields.
        least: Smallest value.
        above: Value that every number is above.
        most: Largest value.
        below: Value that every number is below.

    Raises:
        ValueError: If a number lies outside; names field, bounds and what came.
    """
    if above is not None:
        low = f"above {above:g}"
    elif least is not None:
        low = f"at least {least:g}"
    else:
        low, least = "a finite number", -MAX_COUNT
    high = f"below {below:g}" if below is not None else f"at most {most:g}"
    for name in names:
        value = getattr(section, name)
        for number in _numbers(value):
            if not isinstance(number, int | float):
                raise ValueError(f"{name} must be numbers, got {value}")
            is_high_enough = number >= least if above is None else number > above
            if not math.isfinite(number) or not is_high_enough:
                raise ValueError(f"{name} must be {low}, got {value}")
            if number > most or (below is not None and number >= below):
                raise ValueError(f"{name} must be {high}, got {value}")


def check_seed(section: Any, name: str = "seed") -> None:
    """Refuse a seed that random generators cannot take.

    Raises:
        ValueError: If it is negative or beyond `MAX_SEED`.
    """
    seed = getattr(section, name)
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"{name} must be 0 or more, and at most 2**63 - 1, got {seed}")


def _numbers(value: Any) -> Iterator[float]:
    """Numbers in a value and in the tuples in it."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from _numbers(item)
    elif value is not None:
        yield value
