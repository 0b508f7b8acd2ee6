"""Compiled loops are kept on disk: the next process does not wait for the compiler."""

import ast
import subprocess
import sys

import pytest

from ..conftest import ROOT

MODULES = sorted((ROOT / "radiodiff" / "simulate").glob("*.py"))

USE_ALL = """
import importlib, pkgutil
import numpy as np
import shapely
from numba.core.dispatcher import Dispatcher
from radiodiff import simulate

cars = np.zeros((32, 32), bool)
cars[3, 3] = True
block = [shapely.box(8, 8, 24, 24)]
simulate.DominantPath(block, 32, 1.0, cars=cars).trace_without_and_with_cars((4.0, 4.0))
simulate.RayTracing(block, 32, 1.0, cars=cars).path_gain_db((4.0, 4.0), interactions=2)
simulate.occlusion_m(cars, (4, 4), 1.0)
simulate.raster_line_of_sight(cars, (4, 4))
hits = misses = 0
for found in pkgutil.iter_modules(simulate.__path__, "radiodiff.simulate."):
    module = importlib.import_module(found.name)
    for kernel in vars(module).values():
        if isinstance(kernel, Dispatcher) and kernel.py_func.__module__ == found.name:
            hits += sum(kernel.stats.cache_hits.values())
            misses += sum(kernel.stats.cache_misses.values())
print(hits, misses)
"""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_kernel_is_kept(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if "jit" in ast.unparse(decorator):  # `compiled.njit` asks for the cache
                    assert ast.unparse(decorator).startswith("njit"), node.name


def test_the_second_process_compiles_nothing():
    for _ in range(2):
        process = subprocess.run(
            [sys.executable, "-c", USE_ALL],
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
    hits, misses = map(int, process.stdout.split())
    assert hits > 0
    assert misses == 0
