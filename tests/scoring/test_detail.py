"""Where errors sit: root mean squares by distance, and the power of signals of known power."""

import numpy as np
import pytest

from radiodiff.scoring import error_over_distance, power_spectrum


def test_error_over_distance_is_a_root_mean_square():
    distance_m = np.array([2.0, 2.0, 4.0, 4.0])
    found = error_over_distance({"a": np.array([3.0, -4.0, 0.0, 1.0])}, distance_m)
    assert found.distance_m == pytest.approx([2, 4])
    assert found.rmse_db["a"] == pytest.approx([np.sqrt(12.5), np.sqrt(0.5)])


def test_error_over_distance_gathers_many_distances_in_bins():
    distance_m = np.random.default_rng(0).uniform(0, 30, 5000)
    found = error_over_distance({"a": 2 * np.ones_like(distance_m)}, distance_m)
    assert len(found.distance_m) == 12
    assert found.rmse_db["a"] == pytest.approx(2)


def test_spectrum_of_white_noise_is_flat_and_of_a_wave_a_peak():
    noise = np.random.default_rng(0).normal(0, 3, (400, 32, 32))
    found = power_spectrum(noise, cell_size_m=2.0)
    assert found.frequency[0] == pytest.approx(1 / 64)
    # Taking the mean away and fading out cost the longest waves a little.
    assert found.power[1:] == pytest.approx(9 * 2.0**2, rel=0.05)
    assert not power_spectrum(0 * noise, cell_size_m=2.0).power.any()

    column = np.arange(32)
    wave = np.broadcast_to(np.sin(2 * np.pi * 8 * column / 32), (1, 32, 32))
    found = power_spectrum(wave, cell_size_m=2.0)
    assert found.frequency[found.power.argmax()] == pytest.approx(8 / 64)
