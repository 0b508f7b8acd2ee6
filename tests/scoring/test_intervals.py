"""Intervals against the textbook."""

import numpy as np
import pytest

from radiodiff.scoring import bootstrap_interval


def test_interval_of_a_normal_mean():
    """Percentile bootstrap against the textbook interval mean ± 1.96 s / sqrt n."""
    values = np.random.default_rng(0).normal(3, 2, size=400)
    low, high = bootstrap_interval(values, resamples=4000, rng=np.random.default_rng(1))
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)
