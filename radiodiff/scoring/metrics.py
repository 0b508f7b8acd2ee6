"""Errors of predicted radio maps: one value per map, so that no result depends on batch size.

Gray levels are in [0, 1], path gains in [dB]; a mask picks the cells that count. NMSE and PSNR need
a protocol and are in `radiodiff.scoring.protocols`.
"""

import functools
from typing import Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["rmse", "rmse_of_map", "ssim"]


def _check(prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the weights of the cells, shape ``(b, n)``, after checking shapes."""
    if prediction.shape != target.shape or target.ndim != 4:
        raise ValueError(
            "prediction and target must share one shape (b, 1, h, w), got "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    if mask is None:
        return torch.ones_like(target, dtype=torch.float64).flatten(1)
    if mask.shape != target.shape:
        raise ValueError(f"mask must have shape {tuple(target.shape)}, got {tuple(mask.shape)}")
    if not mask.flatten(1).any(1).all():
        raise ValueError("each map needs at least one cell that counts, got an empty mask")
    return mask.to(torch.float64).flatten(1)


def _mean_square(values: Tensor, weights: Tensor) -> Tensor:
    """Mean square of ``values`` over the cells that count, shape ``(b,)``."""
    values = values.to(torch.float64).flatten(1)
    values = torch.where(weights > 0, values, 0.0)  # NaN inside buildings must not leak
    return (values.square() * weights).sum(1) / weights.sum(1)


def rmse(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root-mean-square error of each map, in the unit of its arguments (eq. ``rmse``).

    Args:
        prediction: Gray levels [1] or path gain [dB], shape ``(b, 1, h, w)``.
        target: The same quantity, shape ``(b, 1, h, w)``.
        mask: Cells that count, shape ``(b, 1, h, w)``; all if ``None``.

    Returns:
        One error per map, shape ``(b,)``.

    Raises:
        ValueError: If shapes differ or a mask is empty.
    """
    weights = _check(prediction, target, mask)
    return _mean_square(prediction - target, weights).sqrt()


def rmse_of_map(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Root-mean-square error of one map given as arrays (eq. ``rmse``).

    Args:
        prediction: Gray levels [1] or path gain [dB], shape ``(h, w)``.
        target: The same quantity, shape ``(h, w)``.
        mask: Cells that count, bool, shape ``(h, w)``.

    Raises:
        ValueError: If shapes differ or the mask is empty.
    """
    maps = (torch.from_numpy(np.asarray(x))[None, None] for x in (prediction, target, mask))
    return float(rmse(*maps))


def ssim(
    prediction: Tensor,
    target: Tensor,
    *,
    data_range: float | Tensor = 1.0,
    window: Literal["gaussian", "uniform"] = "gaussian",
    border: Literal["valid", "reflect", "zero"] = "valid",
) -> Tensor:
    """Structural similarity of each map (eq. ``ssim``), with ``K_1 = 0.01`` and ``K_2 = 0.03``.

    It uses every cell: a window has no meaning under a mask. Source: Wang et al., *Image Quality
    Assessment: From Error Visibility to Structural Similarity*, IEEE TIP 2004; the defaults are
    theirs. Libraries differ in window and border, hence the choice.

    Args:
        prediction: Gray levels, shape ``(b, 1, h, w)``, sides of 11 or more.
        target: Gray levels, shape ``(b, 1, h, w)``.
        data_range: Span of the scale [1], one for all maps or one each, shape ``(b,)``.
        window: ``gaussian`` is 11 x 11 with sigma 1.5; ``uniform`` is 7 x 7 with variances of
            samples (divided by one less than the cells), scikit-image's default.
        border: ``valid`` averages over the cells whose window lies inside the map; ``reflect`` and
            ``zero`` continue the map and average over all cells.

    Returns:
        One similarity per map, shape ``(b,)``.

    Raises:
        ValueError: If shapes differ or a side is shorter than the window.
    """
    _check(prediction, target, None)
    if min(target.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs sides of 11 or more, got {tuple(target.shape[-2:])}")
    p, g = prediction.to(torch.float64), target.to(torch.float64)
    rows, columns = (_window_means(side, window, border).to(g.device) for side in g.shape[-2:])
    mean_p, mean_g, mean_pp, mean_gg, mean_pg = (
        rows @ (x @ columns.T) for x in (p, g, p * p, g * g, p * g)
    )
    unbiased = 1.0 if window == "gaussian" else 49 / 48
    var_p, var_g = unbiased * (mean_pp - mean_p**2), unbiased * (mean_gg - mean_g**2)
    cov = unbiased * (mean_pg - mean_p * mean_g)
    span = torch.as_tensor(data_range, dtype=torch.float64, device=g.device).view(-1, 1, 1, 1)
    c_1, c_2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    value = (2 * mean_p * mean_g + c_1) * (2 * cov + c_2)
    value = value / ((mean_p**2 + mean_g**2 + c_1) * (var_p + var_g + c_2))
    return value.flatten(1).mean(1)


@functools.lru_cache(maxsize=32)
def _window_means(
    side: int, window: Literal["gaussian", "uniform"], border: Literal["valid", "reflect", "zero"]
) -> Tensor:
    """Return the matrix that takes the means of a window along one axis of a map.

    A window is a product of two lines, so one such matrix from each side does all of it: many
    times faster than a convolution in double precision.

    Args:
        side: Cells along the axis.
        window: See `ssim`.
        border: See `ssim`.

    Returns:
        Weights, float64, shape ``(side, side)``, fewer rows if only ``valid`` windows count.
    """
    half = 5 if window == "gaussian" else 3
    offsets = np.arange(-half, half + 1)
    line = np.exp(-(offsets**2) / (2 * 1.5**2)) if window == "gaussian" else np.ones(2 * half + 1)
    line /= line.sum()
    matrix = np.zeros((side, side + 2 * half))
    for row in range(side):
        matrix[row, row : row + 2 * half + 1] = line
    inside = matrix[:, half:-half]
    if border == "valid":
        inside = inside[half:-half]
    elif border == "reflect":  # cells beyond an end count for those on its other side
        inside[:, 1 : half + 1] += matrix[:, half - 1 :: -1]
        inside[:, -half - 1 : -1] += matrix[:, : -half - 1 : -1]
    return torch.from_numpy(inside.copy())
