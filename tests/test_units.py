"""Units: exact end points, inverses, and the dataset's constants against their definitions."""

import math

import numpy as np
import pytest
import torch

from radiodiff import units


@pytest.mark.parametrize("kind", [float, np.float64, torch.tensor])
def test_gray_ends_are_floor_and_peak(kind):
    """Eq. ``gray``."""
    assert float(units.gray_to_path_gain_db(kind(0.0))) == pytest.approx(-147.0)
    assert float(units.gray_to_path_gain_db(kind(1.0))) == pytest.approx(-47.84)


def test_conversions_invert_each_other():
    gray = torch.linspace(0, 1, 256, dtype=torch.float64)
    assert torch.allclose(units.path_gain_db_to_gray(units.gray_to_path_gain_db(gray)), gray)
    assert torch.allclose(units.model_to_gray(units.gray_to_model(gray)), gray)
    gain = torch.linspace(-147, -47.84, 7, dtype=torch.float64)
    assert torch.allclose(units.model_to_path_gain_db(units.path_gain_db_to_model(gain)), gain)


def test_gray_is_clipped():
    assert units.path_gain_db_to_gray(-200.0) == 0
    assert units.path_gain_db_to_gray(np.array([-200.0, 0.0])).tolist() == [0, 1]
    assert units.path_gain_db_to_gray(torch.tensor([-200.0, 0.0])).tolist() == [0, 1]


def test_every_8_bit_level_survives():
    levels = np.arange(256)
    assert (units.path_gain_db_to_uint8(units.gray_to_path_gain_db(levels / 255)) == levels).all()


def test_uint8_of_no_signal_is_zero():
    assert units.path_gain_db_to_uint8(np.array([np.nan, -np.inf, -147.0])).tolist() == [0, 0, 0]


def test_one_gray_step_is_0_389_db():
    assert units.gray_to_path_gain_db(1 / 255) - units.FLOOR_DB == pytest.approx(0.389, abs=5e-4)


def test_noise_threshold_is_gray_0_2():
    """Thermal noise: 23 dBm, 10 MHz, -174 dBm/Hz; RadioUNet's threshold 0.2."""
    threshold_db = -174 + 10 * math.log10(10e6) - 23
    assert threshold_db == units.NOISE_THRESHOLD_DB
    assert units.path_gain_db_to_gray(units.NOISE_THRESHOLD_DB) == pytest.approx(0.2, abs=2e-3)


def test_reference_loss_is_free_space_at_one_metre():
    """20 log10(4 pi / wavelength) at the carrier."""
    wavelength_m = 299_792_458 / units.CARRIER_HZ
    free_space_db = 20 * math.log10(4 * math.pi / wavelength_m)
    assert units.REFERENCE_LOSS_DB == pytest.approx(free_space_db, abs=5e-3)


def test_line_of_sight_law():
    """Eq. ``line-of-sight``: 25 dB a decade, held at 1 m."""
    gain = units.line_of_sight_gain_db(np.array([0.0, 0.5, 1.0, 10.0, 100.0]))
    assert gain == pytest.approx([-47.86, -47.86, -47.86, -72.86, -97.86])


@pytest.mark.parametrize("cell", [(0, 0), (5, 63), (63, 0)])
def test_cells_and_metres_invert_each_other(cell):
    position = units.cell_to_m(cell, size=64, cell_size_m=2.0)
    assert units.m_to_cell(position, size=64, cell_size_m=2.0) == cell


def test_row_zero_is_the_top():
    assert units.cell_to_m((0, 0), size=64, cell_size_m=2.0) == (1.0, 127.0)
