"""Kriging: measurements where they are, physics far away, the textbook's formula in between."""

import builtins

import numpy as np
import pytest
import torch

from radiodiff.predictors import DistanceLaw, Kriging
from radiodiff.scene import make_scene, stack_scenes

LAW = DistanceLaw(-50.0, -28.0)


def scene(values, *, size=24, cell_size_m=2.0):
    """Open ground, measured at places given as ``{(row, col): difference from the law}``."""
    plain = make_scene(np.zeros((size, size), bool), (12, 12), cell_size_m=cell_size_m)
    law_db = LAW(stack_scenes([plain]))[0, 0].numpy()
    measured = np.full((size, size), np.nan)
    for place, value in values.items():
        measured[place] = law_db[place] + value
    return plain._replace(measured_gain_db=torch.from_numpy(measured)), law_db


def kriged(scenes, **settings):
    return Kriging(LAW, **settings)(stack_scenes(scenes))


def test_without_measurements_it_is_the_mean_and_needs_no_scikit_learn():
    asked, law_db = scene({})
    assert np.array_equal(kriged([asked])[0, 0].numpy(), law_db)


def test_it_says_what_it_needs(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"scikit-learn: install radiodiff\[kriging\]"):
        kriged([scene({(3, 4): 5.0})[0]])


class TestWithScikitLearn:
    @pytest.fixture(autouse=True)
    def _is_there(self):
        pytest.importorskip("sklearn")

    @pytest.mark.parametrize("count", [1, 3, 30])
    def test_exact_measurements_stand(self, count):
        rng = np.random.default_rng(count)
        places = [divmod(int(k), 24) for k in rng.choice(576, count, replace=False)]
        asked, _ = scene(dict(zip(places, rng.normal(0, 6, count), strict=True)))
        found = kriged([asked], noise_db=0.0)[0, 0]
        at = ~asked.measured_gain_db.isnan()
        assert found[at].numpy() == pytest.approx(asked.measured_gain_db[at].numpy(), abs=1e-4)
        assert found.isfinite().all()

    def test_far_away_it_is_the_physics(self):
        asked, law_db = scene({(1, 1): 12.0, (2, 1): 10.0}, cell_size_m=10.0)
        found = kriged([asked], noise_db=0.0, length_m=15.0)[0, 0].numpy()
        assert abs(found - law_db)[16:, 16:].max() < 1e-3
        assert abs(found - law_db)[1:3, 0:3].min() > 3

    def test_between_it_is_the_formula(self):
        """Two noisy measurements, too few to fit to: ``k (K + s^2 I)^-1 r`` written out."""
        asked, law_db = scene({(2, 3): 4.0, (2, 9): -6.0})
        found = kriged([asked], noise_db=2.0, spread_db=5.0, length_m=12.0)[0, 0].numpy()
        points = np.array([[4.0, 6.0], [4.0, 18.0]])

        def covariance(a, b):
            return 25 * np.exp(-np.linalg.norm(a[:, None] - b[None], axis=-1) / 12)

        weights = np.linalg.solve(covariance(points, points) + 4 * np.eye(2), [4.0, -6.0])
        everywhere = 2.0 * np.argwhere(np.ones((24, 24)))
        expected = (covariance(everywhere, points) @ weights).reshape(24, 24)
        assert found - law_db == pytest.approx(expected, abs=1e-6)

    def test_variance_and_length_are_fitted(self):
        """Of a field with a known law: a fitted process predicts better than a wrong one."""
        rng = np.random.default_rng(0)
        points = 2.0 * np.argwhere(np.ones((24, 24)))
        apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
        root = np.linalg.cholesky(36 * np.exp(-apart / 30) + 1e-9 * np.eye(len(points)))
        field = (root @ rng.normal(size=len(points))).reshape(24, 24)
        chosen = [divmod(int(k), 24) for k in rng.choice(576, 120, replace=False)]
        asked, law_db = scene({place: field[place] for place in chosen})
        wrong = {"noise_db": 0.1, "spread_db": 1.0, "length_m": 2.0}
        error = {}
        for name, settings in {"fitted": wrong, "right": wrong | {"length_m": 30.0}}.items():
            found = kriged([asked], **settings)[0, 0].numpy() - law_db
            error[name] = np.sqrt(np.mean((found - field) ** 2))
        assert error["fitted"] < 0.6 * field.std()
        assert error["fitted"] == pytest.approx(error["right"], rel=0.02)

    def test_no_batch_changes_it(self):
        first, second = scene({(3, 4): 5.0, (9, 9): -3.0})[0], scene({})[0]
        both = kriged([first, second])
        assert torch.equal(both, torch.cat([kriged([first]), kriged([second])]))
        assert (both.shape, both.dtype) == ((2, 1, 24, 24), torch.float64)
