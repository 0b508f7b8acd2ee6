"""A small simulated dataset, made once."""

import pytest

from radiodiff.simulate import simulate_dataset

from .tiles import SMALL


@pytest.fixture(scope="package")
def dataset(tmp_path_factory):
    return simulate_dataset(tmp_path_factory.mktemp("simulate") / "one", **SMALL)
