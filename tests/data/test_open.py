"""Which splits a configuration can open."""

import pytest

from radiodiff.data import DatasetError
from radiodiff.data.open import make_dataset

from ..conftest import with_data


def test_the_paper_has_no_maps_to_validate_on(tiny):
    with pytest.raises(DatasetError, match="paper has no val maps"):
        make_dataset(with_data(tiny, splits="paper"), "val")
