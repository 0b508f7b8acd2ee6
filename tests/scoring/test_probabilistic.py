"""Samples against closed forms: scores of known laws, and samples drawn like the truth."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from radiodiff.scoring import (
    averaging_curve,
    coverage,
    crps,
    energy_score,
    rms_deviation,
    spread,
    spread_and_error,
)


def drawn_alike(samples=15, cells=40_000, seed=0):
    """Samples and truth of one law in each cell, of means and widths of their own."""
    rng = np.random.default_rng(seed)
    mean, width = rng.normal(-100, 10, cells), rng.uniform(0.5, 6, cells)
    values = mean + width * rng.normal(size=(samples + 1, cells))
    return values[:-1], values[-1]


def pairs(samples, truth, *, fair):
    """The score by its definition, a double sum over all pairs of samples."""
    k = len(samples)
    apart = sum(abs(a - b) for a in samples for b in samples)
    return abs(samples - truth).mean(0) - apart / (2 * k * (k - 1 if fair else k))


@pytest.mark.parametrize("fair", [True, False])
def test_crps_is_the_double_sum(fair):
    """Eq. ``crps``, whatever the order of the samples, and for maps as for cells."""
    rng = np.random.default_rng(0)
    samples, truth = rng.normal(-90, 7, (6, 4, 5)), rng.normal(-90, 7, (4, 5))
    found = crps(samples, truth, fair=fair)
    assert found.shape == (4, 5)
    assert found == pytest.approx(pairs(samples, truth, fair=fair))
    flat = crps(samples[::-1].reshape(6, -1), truth.reshape(-1), fair=fair)
    assert flat.reshape(4, 5) == pytest.approx(found)
    ties = np.repeat(samples[:2], 3, axis=0)
    assert crps(ties, truth, fair=fair) == pytest.approx(pairs(ties, truth, fair=fair))


def test_crps_of_a_normal_law():
    """Eq. ``crps``: of ordered quantiles of a normal law, against its closed form.

    Source: Gneiting and Raftery, JASA 2007, section 4.2.
    """
    mean, width, truth = -95.0, 4.0, np.array([-110.0, -97.0, -95.0, -90.0])
    quantiles = norm.ppf((np.arange(20_000) + 0.5) / 20_000, mean, width)
    z = (truth - mean) / width
    expected = width * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    samples = np.repeat(quantiles[:, None], 4, axis=1)
    assert crps(samples, truth, fair=False) == pytest.approx(expected, abs=2e-3)


def test_crps_of_a_uniform_law():
    """Eq. ``crps``: on [0, 1] the score is ``y^2 - y + 1/3``, and outside it is linear."""
    truth = np.array([0.0, 0.3, 0.5, 1.0, 2.0, -1.0])
    samples = np.repeat(((np.arange(10_000) + 0.5) / 10_000)[:, None], 6, axis=1)
    inside = truth.clip(0, 1)
    expected = inside**2 - inside + 1 / 3 + abs(truth - inside)
    assert crps(samples, truth, fair=False) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_fair_score_is_that_of_the_law_behind_a_few_samples(count):
    """Eq. ``crps``: unbiased within four standard errors; the plain one is larger."""
    rng = np.random.default_rng(1)
    truth, draws = 0.7, 40_000
    samples = rng.normal(size=(count, draws))
    law = truth * (2 * norm.cdf(truth) - 1) + 2 * norm.pdf(truth) - 1 / np.sqrt(np.pi)
    fair = crps(samples, np.full(draws, truth))
    assert fair.mean() == pytest.approx(law, abs=4 * fair.std() / np.sqrt(draws))
    plain = crps(samples, np.full(draws, truth), fair=False)
    apart = 2 / np.sqrt(np.pi)  # mean distance of two standard normals
    error = 4 * plain.std() / np.sqrt(draws)
    assert plain.mean() == pytest.approx(law + apart / (2 * count), abs=error)


def test_crps_of_one_sample_is_its_absolute_error():
    assert crps(np.array([[3.0, -2.0]]), np.array([1.0, 1.0]), fair=False).tolist() == [2, 3]
    with pytest.raises(ValueError, match="two samples or more, got 1"):
        crps(np.zeros((1, 2)), np.zeros(2))


def test_honest_samples_score_best():
    """Eq. ``crps`` is proper: wider, narrower or shifted samples score worse on the same truth."""
    samples, truth = drawn_alike()
    mean = samples.mean(0)
    honest = crps(samples, truth).mean()
    for other in (mean + 1.6 * (samples - mean), mean + (samples - mean) / 2, samples + 3):
        assert crps(other, truth).mean() > honest + 0.02


def test_energy_score_of_single_numbers_is_the_crps():
    rng = np.random.default_rng(2)
    samples, truth = rng.normal(-90, 7, (6, 40, 1)), rng.normal(-90, 7, (40, 1))
    assert energy_score(samples, truth) == pytest.approx(crps(samples, truth)[:, 0])


def test_energy_score_is_the_double_sum_of_distances_of_maps():
    rng = np.random.default_rng(3)
    samples, truth = rng.normal(size=(4, 3, 10)), rng.normal(size=(3, 10))
    apart = sum(np.linalg.norm(a - b, axis=1) for a in samples for b in samples)
    error = np.mean([np.linalg.norm(a - truth, axis=1) for a in samples], axis=0)
    assert energy_score(samples, truth) == pytest.approx(error - apart / (2 * 4 * 3))
    # Turning all maps alike changes no distance.
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    assert energy_score(samples @ turn, truth @ turn) == pytest.approx(energy_score(samples, truth))
    with pytest.raises(ValueError, match="two samples or more, got 1"):
        energy_score(samples[:1], truth)


def test_energy_score_sees_how_cells_go_together():
    """Samples whose cells are shuffled apart score worse, though each cell scores the same."""
    rng = np.random.default_rng(4)
    common = rng.normal(size=(21, 2000, 1)) + 0.1 * rng.normal(size=(21, 2000, 8))
    samples, truth = common[:20], common[20]
    shuffled = np.stack([np.roll(samples[..., k], k, axis=0) for k in range(8)], axis=-1)
    assert crps(shuffled, truth).mean() == pytest.approx(crps(samples, truth).mean())
    assert energy_score(shuffled, truth).mean() > energy_score(samples, truth).mean() + 0.05


def test_deviation_is_the_root_mean_square_over_cells():
    samples = np.array([[-1.0, 0.0, 5.0], [1.0, 4.0, 5.0]])
    assert rms_deviation(samples) == pytest.approx(np.sqrt((2 + 8 + 0) / 3))
    assert rms_deviation(samples + 9) == pytest.approx(rms_deviation(samples))
    with pytest.raises(ValueError, match="two samples or more, got 1"):
        rms_deviation(samples[:1])


def test_spread_is_the_error_of_the_mean():
    """Eq. ``spread``: for samples drawn like the truth, whether two or many."""
    for count in (2, 5, 15):
        samples, truth = drawn_alike(count)
        error = np.sqrt(np.mean((samples.mean(0) - truth) ** 2))
        assert np.sqrt(np.mean(spread(samples) ** 2)) == pytest.approx(error, rel=0.02)
    assert spread(np.array([[0.0], [2.0]]))[0] == pytest.approx(np.sqrt(2 * 3 / 2))
    with pytest.raises(ValueError, match="two samples or more, got 1"):
        spread(np.zeros((1, 3)))


def test_error_follows_the_spread_of_samples_drawn_alike():
    """Eq. ``spread``; samples half as wide as the truth end up above the line."""
    samples, truth = drawn_alike()  # 15: seven sort, eight are judged
    found = spread_and_error(samples, truth, bins=5)
    assert len(found.deviation) == 5
    assert found.deviation[-1] > 3 * found.deviation[0]
    assert found.ratio == pytest.approx(np.sqrt(1 + 1 / 8))
    assert found.error == pytest.approx(found.ratio * found.deviation, rel=0.03)
    mean = samples.mean(0)
    narrow = spread_and_error(mean + (samples - mean) / 2, truth)
    assert len(narrow.error) == 12
    assert (narrow.error > 1.6 * narrow.deviation).all()
    with pytest.raises(ValueError, match="four samples or more, got 3"):
        spread_and_error(samples[:3], truth)
    with pytest.raises(ValueError, match="12 cells or more, one for each group, got 5"):
        spread_and_error(samples[:, :5], truth[:5])


@pytest.mark.parametrize("samples", [2, 7, 10])
def test_intervals_hold_samples_drawn_alike(samples):
    """Eq. ``coverage``, whatever the law; too narrow samples hold less."""
    drawn, truth = drawn_alike(samples)
    promised, held = coverage(drawn, truth)
    j = np.arange(1, samples // 2 + 1)
    assert promised == pytest.approx((samples + 1 - 2 * j) / (samples + 1))
    assert held == pytest.approx(promised, abs=0.01)
    skewed = coverage(np.exp(drawn / 40), np.exp(truth / 40))  # order is all that counts
    assert skewed.held == pytest.approx(held)
    mean = drawn.mean(0)
    narrow = coverage(mean + (drawn - mean) / 3, truth)
    assert (narrow.held < promised).all()
    with pytest.raises(ValueError, match="two samples or more, got 1"):
        coverage(drawn[:1], truth)


def test_averages_lie_on_the_line_over_all_choices():
    """Eq. ``averaging`` is exact for the mean over every choice of K of N samples."""
    rng = np.random.default_rng(0)
    samples, truth = rng.normal(size=(6, 5)), rng.normal(size=5)
    found = averaging_curve(samples, truth)
    for k in (1, 2, 3, 6):
        errors = [
            np.mean((samples[list(chosen)].mean(0) - truth) ** 2)
            for chosen in combinations(range(6), k)
        ]
        expected = np.mean(errors)
        v = 6 / 5 * np.mean((samples - samples.mean(0)) ** 2)
        assert found.variance == pytest.approx(v)
        assert found.bias + v / k == pytest.approx(expected)
        assert found.predicted(k) == pytest.approx(expected)
    assert found.sizes.tolist() == [1, 2, 3, 6]
    for place in (0, 3):  # one choice of groups holds them all
        assert found.measured[place] == pytest.approx(found.predicted(found.sizes[place]))
    with pytest.raises(ValueError, match="two samples or more"):
        averaging_curve(samples[:1], truth)


@pytest.mark.parametrize("score", [crps, coverage, averaging_curve, spread_and_error])
def test_truth_of_another_shape_is_refused(score):
    with pytest.raises(ValueError, match=r"truth of that shape, got \(4, 3\)"):
        score(np.zeros((4, 3)), np.zeros(4))
