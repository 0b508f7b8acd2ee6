"""Kriging: measurements interpolated as what they differ from a physics map."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radiodiff.predictors.base import Predictor
from radiodiff.predictors.physics import dominant_path
from radiodiff.scene import Scene, checked_scenes

__all__ = ["Kriging"]

#: Cells whose gain is computed at a time, and measurements that variance and length are fitted to.
_CELLS, _FITTED = 8192, 500


@dataclass(frozen=True)
class Kriging:
    """Gaussian process regression of the measurements of each scene, less a mean map.

    What shadowing adds to a mean is taken to be correlated as ``exp(-distance / length)`` (Source:
    Gudmundson, *Correlation model for shadow fading in mobile radio systems*, Electronics Letters
    1991). Variance and length are fitted to the scene's own measurements by maximum likelihood, if
    there are eight or more. A scene without measurements gets the mean map. Needs scikit-learn,
    extra ``kriging``.
    """

    mean: Predictor = dominant_path
    """Gives the map that measurements correct; where none is near it stands."""
    noise_db: float = 1.0
    """Standard deviation of a measurement's own error [dB]; 0 for exact measurements."""
    spread_db: float = 8.0
    """Standard deviation of the residuals before they are fitted [dB]."""
    length_m: float = 20.0
    """Distance at which their correlation has fallen to 1/e, before it is fitted [m]."""

    def __call__(self, scenes: Scene, *, samples: int = 1, seed: int = 0) -> Tensor:
        """Return the kriged map of each scene, shape ``(b, 1, h, w)``."""
        scenes = checked_scenes(scenes)
        means = self.mean(scenes, seed=seed).mean(1).numpy()
        measured = scenes.measured_gain_db.cpu().numpy()
        sizes_m = scenes.cell_size_m.tolist()
        maps = [
            mean_db + self._residual_db(measured_db - mean_db, cell_size_m)
            for mean_db, measured_db, cell_size_m in zip(means, measured, sizes_m, strict=True)
        ]
        return torch.from_numpy(np.stack(maps))[:, None]

    def _residual_db(self, residual_db: np.ndarray, cell_size_m: float) -> np.ndarray:
        """Return residuals everywhere, from those that are not NaN, shape ``(h, w)``."""
        found = ~np.isnan(residual_db)
        if not found.any():
            return np.zeros_like(residual_db)
        points_m = cell_size_m * np.argwhere(np.ones_like(found))
        is_known, values = found.ravel(), residual_db[found]
        process = self._fitted(points_m[is_known], values, cell_size_m)
        parts = np.array_split(points_m, -(-len(points_m) // _CELLS))
        result = np.concatenate([process.predict(part) for part in parts])
        return result.reshape(residual_db.shape)

    def _fitted(self, points_m: np.ndarray, values_db: np.ndarray, cell_size_m: float) -> Any:
        """Return a process that knows the values at points ``(n, 2)``."""
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.gaussian_process import GaussianProcessRegressor
            from sklearn.gaussian_process.kernels import ConstantKernel, Matern
        except ImportError as error:
            raise ImportError("kriging needs scikit-learn: install radiodiff[kriging]") from error

        kernel = ConstantKernel(self.spread_db**2, (0.1, 1e4)) * Matern(
            self.length_m, (cell_size_m / 2, 1e4), nu=0.5
        )
        options = {"alpha": max(self.noise_db, 1e-5) ** 2, "normalize_y": False}
        if len(values_db) >= 8:
            chosen = np.linspace(0, len(values_db) - 1, min(len(values_db), _FITTED)).astype(int)
            with warnings.catch_warnings():
                # The likeliest value may well be a bound: residuals without any correlation.
                warnings.simplefilter("ignore", ConvergenceWarning)
                fit = GaussianProcessRegressor(kernel, **options)
                kernel = fit.fit(points_m[chosen], values_db[chosen]).kernel_
        return GaussianProcessRegressor(kernel, optimizer=None, **options).fit(points_m, values_db)
