"""What samples are worth: their score against the truth, and whether their spread can be trusted.

All functions take samples with their number in front, shape ``(k, n)`` or ``(k, h, w)``, and the
truth in the shape of one sample. The unit is that of the arguments: [dB] for path gain. A sample
that is NaN gives NaN in its cell, so pick the outdoor cells first. Chapters: ``notebooks/sample``
and ``notebooks/evaluate``.
"""

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import numpy as np

__all__ = [
    "SAMPLE_SCORES",
    "Averaging",
    "Coverage",
    "SampleScore",
    "SpreadAndError",
    "averaging_curve",
    "coverage",
    "crps",
    "energy_score",
    "rms_deviation",
    "spread",
    "spread_and_error",
]


class SpreadAndError(NamedTuple):
    """Cells in groups of rising standard deviation; made by `spread_and_error`."""

    deviation: np.ndarray
    """Standard deviation of the samples in each group, shape ``(bins,)``."""
    error: np.ndarray
    """RMSE of their mean in each group, shape ``(bins,)``."""
    ratio: float
    """RMSE over standard deviation if truth and samples were drawn alike."""


class Coverage(NamedTuple):
    """Central intervals between ordered samples, widest first; made by `coverage`."""

    promised: np.ndarray
    """Share of the cells whose truth each interval should hold, shape ``(k // 2,)``."""
    held: np.ndarray
    """Share of the cells whose truth it holds, shape ``(k // 2,)``."""


class Averaging(NamedTuple):
    """Mean square error over the number of averaged samples; made by `averaging_curve`."""

    sizes: np.ndarray
    """Numbers of averaged samples, the divisors of the number of samples, shape ``(m,)``."""
    measured: np.ndarray
    """Mean square error of averages of so many, over disjoint groups, shape ``(m,)``."""
    variance: float
    """Variance of the samples, the part that averaging removes."""
    bias: float
    """Mean square error that is left however many are averaged."""

    def predicted(self, sizes: np.ndarray) -> np.ndarray:
        """Return the mean square error of averages over all choices of samples, like ``sizes``."""
        return self.bias + self.variance / sizes


def _checked(samples: np.ndarray, truth: np.ndarray, *, least: int) -> int:
    """Return the number of samples, after checking it and the shapes."""
    if samples.shape[1:] != truth.shape:
        raise ValueError(
            f"expected samples of shape (k, *{truth.shape}) for a truth of that shape, got "
            f"{samples.shape}"
        )
    if len(samples) < least:
        words = {1: "one sample", 2: "two samples", 4: "four samples"}
        raise ValueError(f"need {words[least]} or more, got {len(samples)}")
    return len(samples)


def crps(samples: np.ndarray, truth: np.ndarray, *, fair: bool = True) -> np.ndarray:
    """Return the continuous ranked probability score of each cell (eq. ``crps``).

    The plain score takes the samples for the whole distribution, which favours samples that lie
    too close; the fair one is that of the distribution they were drawn from, on average over
    draws. Source: Ferro, *Fair scores for ensemble forecasts*, QJRMS 2014.

    Args:
        samples: Samples, shape ``(k, *shape)``, two or more, or one if not ``fair``.
        truth: Truth, shape ``shape``.
        fair: Whether to score the distribution behind the samples.

    Returns:
        Scores in the unit of the samples, lower is better, shape ``shape``; of one sample, the
        absolute error. A fair score may lie below 0.

    Raises:
        ValueError: If the shapes do not fit, or there are too few samples.
    """
    count = _checked(samples, truth, least=2 if fair else 1)
    error = np.abs(samples - truth).mean(0)
    # The sum of |x - x'| over all pairs: in order, x_(j) stands above j - 1 and below k - j.
    weights = 2 * np.arange(1, count + 1) - count - 1
    apart = 2 * np.tensordot(weights, np.sort(samples, axis=0), 1)
    return error - apart / (2 * count * (count - 1 if fair else count))


def spread(samples: np.ndarray) -> np.ndarray:
    """Return the RMSE that the mean of the samples should have in each cell (eq. ``spread``).

    That is their standard deviation times ``sqrt((k + 1) / k)``: the truth scatters as one more
    sample would, and so does the mean of a few. Over many cells its root mean square equals the
    RMSE of the mean if truth and samples are drawn alike.

    Args:
        samples: Samples, shape ``(k, *shape)``, two or more.

    Returns:
        Spread in the unit of the samples, shape ``shape``.

    Raises:
        ValueError: If there are fewer than two samples.
    """
    count = _checked(samples, samples[0], least=2)
    return samples.std(0, ddof=1) * np.sqrt((count + 1) / count)


def spread_and_error(samples: np.ndarray, truth: np.ndarray, *, bins: int = 12) -> SpreadAndError:
    """Return the error of the samples' mean over their standard deviation (eq. ``spread``).

    One half of the samples sorts the cells into groups of one size, the other half is judged: a
    cell whose samples agree by chance would otherwise be held against them.

    Args:
        samples: Samples of ``n`` cells, shape ``(k, n)``, four or more.
        truth: Truth of the cells, shape ``(n,)``.
        bins: Groups.

    Raises:
        ValueError: If the shapes do not fit, or there are fewer than four samples, or fewer cells
            than groups.
    """
    count, cells = _checked(samples, truth, least=4), truth.size
    if cells < bins:
        raise ValueError(f"need {bins} cells or more, one for each group, got {cells}")
    sorting, judged = samples[: count // 2], samples[count // 2 :]
    groups = np.array_split(np.argsort(sorting.var(0), kind="stable"), bins)
    variance = judged.var(0, ddof=1)
    squared = (judged.mean(0) - truth) ** 2
    return SpreadAndError(
        np.sqrt([variance[group].mean() for group in groups]),
        np.sqrt([squared[group].mean() for group in groups]),
        float(np.sqrt(1 + 1 / len(judged))),
    )


def coverage(samples: np.ndarray, truth: np.ndarray) -> Coverage:
    """Return how often the truth lies between two ordered samples (eq. ``coverage``).

    Args:
        samples: Samples, shape ``(k, *shape)``, two or more.
        truth: Truth, shape ``shape``.

    Raises:
        ValueError: If the shapes do not fit, or there are fewer than two samples.
    """
    count = _checked(samples, truth, least=2)
    ordered = np.sort(samples, axis=0)
    ranks = np.arange(1, count // 2 + 1)
    held = [np.mean((ordered[j - 1] <= truth) & (truth <= ordered[count - j])) for j in ranks]
    return Coverage((count + 1 - 2 * ranks) / (count + 1), np.array(held))


def averaging_curve(samples: np.ndarray, truth: np.ndarray) -> Averaging:
    """Return the mean square error of averages of K samples over K (eq. ``averaging``).

    Args:
        samples: Samples, shape ``(k, *shape)``, two or more.
        truth: Truth, shape ``shape``.

    Raises:
        ValueError: If the shapes do not fit, or there are fewer than two samples.
    """
    count = _checked(samples, truth, least=2)
    variance = samples.var(0, ddof=1).mean()
    bias = np.mean((samples.mean(0) - truth) ** 2) - variance / count
    sizes = np.array([k for k in range(1, count + 1) if count % k == 0])
    groups = (samples.reshape(count // k, k, *truth.shape).mean(1) for k in sizes)
    measured = np.array([np.mean((group - truth) ** 2) for group in groups])
    return Averaging(sizes, measured, float(variance), float(bias))


def rms_deviation(samples: np.ndarray) -> float:
    """Return how far samples lie apart: their standard deviation, as root mean square over cells.

    Args:
        samples: Samples, shape ``(k, *shape)``, two or more.

    Returns:
        A number in the unit of the samples; what is NaN in all samples makes it NaN.

    Raises:
        ValueError: If there are fewer than two samples.
    """
    _checked(samples, samples[0], least=2)
    return float(np.sqrt((samples.std(0, ddof=1) ** 2).mean()))


def energy_score(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the energy score of each map: the fair score of `crps` for maps as a whole.

    A distance of numbers becomes the Euclidean distance of maps, so that samples are also judged
    by how their cells go together. Source: Gneiting and Raftery, *Strictly Proper Scoring Rules,
    Prediction, and Estimation*, JASA 2007.

    Args:
        samples: Samples of maps, shape ``(k, b, n)`` with ``n`` cells, two or more.
        truth: Truth, shape ``(b, n)``.

    Returns:
        Scores, lower is better, shape ``(b,)``.

    Raises:
        ValueError: If the shapes do not fit, or there are fewer than two samples.
    """
    count = _checked(samples, truth, least=2)
    error = np.linalg.norm(samples - truth, axis=-1).mean(0)
    pairs = combinations(samples, 2)
    apart = sum(np.linalg.norm(one - other, axis=-1) for one, other in pairs)
    return error - apart / (count * (count - 1))


class SampleScore(NamedTuple):
    """A number of one map, of samples ``(k, n)`` and truth ``(n,)`` of its outdoor cells [dB]."""

    title: str
    """Column of a table, with the unit."""
    least: int
    """Samples that it needs."""
    of_map: Callable[[np.ndarray, np.ndarray], float]
    """The number."""


#: Scores of samples that `radiodiff.scoring.evaluate` reports.
SAMPLE_SCORES: dict[str, SampleScore] = {
    "crps_db": SampleScore(
        "CRPS [dB]",
        1,
        lambda samples, truth: float(crps(samples, truth, fair=len(samples) > 1).mean()),
    ),
    "spread_db": SampleScore(
        "spread [dB]", 2, lambda samples, truth: float(np.sqrt((spread(samples) ** 2).mean()))
    ),
    "covered": SampleScore(
        "in range", 2, lambda samples, truth: float(coverage(samples, truth).held[0])
    ),
}
