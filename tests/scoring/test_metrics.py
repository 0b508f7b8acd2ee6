"""Metrics: known answers, other implementations as oracles, independence of the batch."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure

from radiodiff.scoring import metrics


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 1, 24, 31, generator=generator)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


def test_constant_error(maps):
    """Eq. ``rmse``: an error of 0.1 everywhere is RMSE 0.1."""
    _, target = maps
    target = target.double()
    assert metrics.rmse(target + 0.1, target).tolist() == pytest.approx([0.1] * 3)
    assert metrics.rmse(target, target).tolist() == [0] * 3


def test_mask_hides_cells_even_nan(maps):
    prediction, target = maps
    mask = torch.zeros_like(target, dtype=torch.bool)
    mask[..., :10] = True
    hidden = prediction.masked_fill(~mask, torch.nan)
    expected = metrics.rmse(prediction[..., :10], target[..., :10])
    assert torch.allclose(metrics.rmse(hidden, target, mask), expected)


def test_one_map_of_arrays(maps):
    """The same formula, whatever holds the map; buildings may hold NaN."""
    prediction, target = maps
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    hidden = prediction.masked_fill(~mask, torch.nan)
    found = [
        metrics.rmse_of_map(*(x[k, 0].numpy() for x in (hidden, target, mask))) for k in range(3)
    ]
    assert found == metrics.rmse(prediction, target, mask).tolist()


def test_one_value_per_map(maps):
    prediction, target = maps
    for metric in (metrics.rmse, metrics.ssim):
        together = metric(prediction, target)
        alone = torch.cat([metric(prediction[k : k + 1], target[k : k + 1]) for k in range(3)])
        assert torch.allclose(together, alone)


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


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
@pytest.mark.parametrize("border", ["valid", "reflect", "zero"])
def test_ssim_agrees_with_the_convolution_it_stands_for(maps, window, border):
    """Line by line of Wang et al., with the window as a kernel of two dimensions."""
    p, g = (x.double() for x in maps)
    half = 5 if window == "gaussian" else 3
    offsets = torch.arange(-half, half + 1).double()
    line = torch.exp(-(offsets**2) / 4.5) if window == "gaussian" else torch.ones_like(offsets)
    kernel = torch.outer(line, line)[None, None] / line.sum() ** 2
    if border != "valid":
        mode = "constant" if border == "zero" else "reflect"
        p, g = (functional.pad(x, (half,) * 4, mode=mode) for x in (p, g))

    def mean(x):
        return functional.conv2d(x, kernel)

    unbiased = 1 if window == "gaussian" else 49 / 48
    cov = unbiased * (mean(p * g) - mean(p) * mean(g))
    var = unbiased * (mean(p * p) - mean(p) ** 2 + mean(g * g) - mean(g) ** 2)
    luminance = (2 * mean(p) * mean(g) + 1e-4) / (mean(p) ** 2 + mean(g) ** 2 + 1e-4)
    expected = (luminance * (2 * cov + 9e-4) / (var + 9e-4)).mean((1, 2, 3))
    found = metrics.ssim(*maps, window=window, border=border)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


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
    with pytest.raises(ValueError, match="11 or more"):
        metrics.ssim(prediction[..., :8], target[..., :8])
