"""The names that `radiodiff` gives: there, but imported when they are asked for."""

import importlib
import subprocess
import sys

import pytest

import radiodiff
from radiodiff import models, reference


def test_every_public_name_is_that_of_its_module():
    assert sorted(radiodiff.__all__) == sorted(radiodiff._MODULE_OF)
    for name, module in radiodiff._MODULE_OF.items():
        found = getattr(importlib.import_module(f"radiodiff.{module}"), name)
        assert getattr(radiodiff, name) is found
        assert name in dir(radiodiff)


def test_other_names_are_an_error():
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        radiodiff.no_such_name  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'no_such_name'"):
        from radiodiff import no_such_name  # noqa: F401


def test_submodules_are_found_behind_the_lazy_names():
    """`from radiodiff import units` is a module, although the package computes its names."""
    script = (
        "import sys, radiodiff\n"
        "assert 'torch' not in sys.modules\n"
        "from radiodiff import units\n"
        "assert units.__name__ == 'radiodiff.units'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_public_name_exists():
    assert all(hasattr(models, name) for name in models.__all__)
    assert all(hasattr(reference, name) for name in reference.__all__)
