"""Where errors sit: root mean squares by distance, and the power of signals of known power."""

import numpy as np
import pytest

from radiodiff.scoring import error_over_distance, power_spectrum, region_rms, rms, sharpness


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


def test_region_rms_is_that_of_the_cells_of_the_region():
    error = np.array([[3.0, 4.0], [0.0, 12.0]])
    regions = {"top": [[True, True], [False, False]], "all": np.ones((2, 2), bool)}
    regions = {name: np.array(cells) for name, cells in regions.items()}
    found = region_rms(error, regions | {"nowhere": np.zeros((2, 2), bool)})
    assert found["top"] == pytest.approx(np.sqrt(12.5))
    assert found["all"] == rms(error) == pytest.approx(6.5)
    assert np.isnan(found["nowhere"])
    assert rms(-2 * error) == pytest.approx(2 * rms(error))


def test_sharpness_is_the_height_of_steps_over_that_of_the_truth():
    truth = np.where(np.arange(12) < 6, -60.0, -90.0) * np.ones((5, 1))
    mask = np.ones(truth.shape, bool)
    assert sharpness(truth[None] + 7, truth, mask) == pytest.approx(1)
    assert sharpness(np.stack([truth, truth / 2]), truth, mask) == pytest.approx(0.75)
    # An edge whose drop is spread over n steps is lower by n, and there are n times as many steps.
    ramp = np.interp(np.arange(12), [4, 8], [-60.0, -90.0]) * np.ones((5, 1))
    assert sharpness(ramp[None], truth, mask) == pytest.approx(1 / np.sqrt(4))


def test_sharpness_takes_steps_between_cells_that_count():
    rng = np.random.default_rng(0)
    maps, truth = rng.normal(-90, 5, (3, 6, 8)), rng.normal(-90, 5, (6, 8))
    mask = np.ones(truth.shape, bool)
    mask[:, 3] = False
    before = sharpness(maps, truth, mask)
    maps[:, :, 3], truth[:, 3] = 1e6, np.nan
    assert sharpness(maps, truth, mask) == before
    with pytest.raises(ValueError, match="two neighbours in a row"):
        sharpness(maps, truth, np.arange(8) % 2 * np.ones((6, 1)) > 0)
    with pytest.raises(ValueError, match=r"got \(6, 8\)"):
        sharpness(maps[0], truth, mask)
