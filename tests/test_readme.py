"""The README's Python example is run as it stands."""

import re

import numpy as np
import pytest

from radiodiff import units
from radiodiff.simulate import raster_gain_db

from .conftest import ROOT


def test_python_example_predicts_a_map_near_the_simulators(monkeypatch, caplog):
    """A city the model never saw: the mean of the samples is nearer than any baseline's error."""
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    names = {}
    exec(code, names)
    found, mask = names["path_gain_db"], names["building_mask"]
    assert found.shape == (4, 64, 64)
    assert (found[0].isnan().numpy() == mask).all()
    truth_db = raster_gain_db(mask, names["cell"], 2.0).clip(units.FLOOR_DB, units.PEAK_DB)
    error_db = (found.mean(0).numpy() - truth_db)[~mask]
    assert np.sqrt(np.mean(error_db**2)) < 8
    assert abs(error_db.mean()) == pytest.approx(0, abs=3)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
