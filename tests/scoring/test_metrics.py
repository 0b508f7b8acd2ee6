"""Metrics: known answers, other implementations as oracles, independence of the batch."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from radiodiff.scoring import metrics


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 1, 24, 31, generator=generator)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


def test_zero_map_has_nmse_one(maps):
    """Eq. ``nmse``."""
    _, target = maps
    assert metrics.nmse(torch.zeros_like(target), target).tolist() == [1, 1, 1]


def test_constant_error(maps):
    """Eqs. ``rmse`` and ``psnr``: an error of 0.1 everywhere is RMSE 0.1 and 20 dB."""
    _, target = maps
    target = target.double()
    assert metrics.rmse(target + 0.1, target).tolist() == pytest.approx([0.1] * 3)
    assert metrics.psnr(target + 0.1, target).tolist() == pytest.approx([20] * 3)
    assert metrics.psnr(target, target).tolist() == [math.inf] * 3


def test_mask_hides_cells_even_nan(maps):
    prediction, target = maps
    mask = torch.zeros_like(target, dtype=torch.bool)
    mask[..., :10] = True
    hidden = prediction.masked_fill(~mask, torch.nan)
    for metric in (metrics.rmse, metrics.nmse, metrics.psnr):
        expected = metric(prediction[..., :10], target[..., :10])
        assert torch.allclose(metric(hidden, target, mask), expected)


def test_one_value_per_map(maps):
    prediction, target = maps
    for metric in (metrics.rmse, metrics.nmse, metrics.psnr, metrics.ssim):
        together = metric(prediction, target)
        alone = torch.cat([metric(prediction[k : k + 1], target[k : k + 1]) for k in range(3)])
        assert torch.allclose(together, alone)


def test_psnr_agrees_with_torchmetrics(maps):
    prediction, target = maps
    for k in range(3):
        expected = peak_signal_noise_ratio(prediction[k], target[k], data_range=1.0)
        assert metrics.psnr(prediction, target)[k].item() == pytest.approx(
            expected.item(), abs=1e-4
        )


def test_ssim_agrees_with_scikit_image(maps):
    prediction, target = maps
    for k in range(3):
        _, full = structural_similarity(
            target[k, 0].double().numpy(),
            prediction[k, 0].double().numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            full=True,
        )
        expected = full[5:-5, 5:-5].mean()
        assert metrics.ssim(prediction, target)[k].item() == pytest.approx(expected, abs=1e-9)


def test_ssim_agrees_with_torchmetrics_inside(maps):
    prediction, target = maps
    _, full = structural_similarity_index_measure(
        prediction, target, data_range=1.0, return_full_image=True
    )
    inside = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    assert metrics.ssim(prediction, target).numpy() == pytest.approx(inside.numpy(), abs=1e-4)


def test_ssim_of_equal_maps_is_one(maps):
    _, target = maps
    assert metrics.ssim(target, target).numpy() == pytest.approx(np.ones(3))


def test_bad_input_is_refused(maps):
    prediction, target = maps
    with pytest.raises(ValueError, match="share one shape"):
        metrics.rmse(prediction[:1], target)
    with pytest.raises(ValueError, match="mask must have shape"):
        metrics.rmse(prediction, target, torch.ones(3, 1, 2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="empty mask"):
        metrics.rmse(prediction, target, torch.zeros_like(target, dtype=torch.bool))
    with pytest.raises(ValueError, match="zero everywhere"):
        metrics.nmse(prediction, torch.zeros_like(target))
    with pytest.raises(ValueError, match="11 or more"):
        metrics.ssim(prediction[..., :8], target[..., :8])
