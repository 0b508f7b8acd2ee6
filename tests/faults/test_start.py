"""A start in a container without a home, and one that is interrupted."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ..conftest import ROOT

COMPUTE = """
import numpy as np
from radiodiff import simulate
cars = np.zeros((16, 16), bool)
cars[3, 3] = True
print(simulate.occlusion_m(cars, (8, 8), 1.0).shape)
import matplotlib
matplotlib.use("agg")
from radiodiff.plots import plot_sample
"""


@pytest.fixture
def frozen(tmp_path):
    """A package and a home that cannot be written, also by an administrator, and an environment."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "radiodiff", tmp_path / "radiodiff", ignore=skip)
    for folder in [tmp_path / "radiodiff", *(tmp_path / "radiodiff").rglob("*/")]:
        if folder.is_dir():
            (folder / "__pycache__").touch()
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/dev/null")
    environment = os.environ | nowhere | {"PYTHONPATH": str(tmp_path)}
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        environment.pop(name, None)
    return environment


def call(words, environment):
    command = [sys.executable, *words]
    run = subprocess.run(command, env=environment, cwd="/", capture_output=True, check=False)
    assert b"Traceback" not in run.stderr, run.stderr.decode()
    return run


def test_loops_are_compiled_without_a_cache_where_none_can_be_written(frozen, tmp_path):
    run = call(["-c", COMPUTE], frozen)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout == b"(16, 16)\n"
    assert call(["-m", "radiodiff", "--version"], frozen).returncode == 0


def test_the_folder_that_a_user_names_keeps_the_loops(frozen, tmp_path):
    code = (
        "from radiodiff.simulate.compiled import njit\n"
        "from radiodiff.simulate.grid import next_cell\n"
        "print(next_cell._cache.cache_path)\n"
    )
    environment = frozen | {"NUMBA_CACHE_DIR": str(tmp_path / "loops")}
    printed = call(["-c", code], environment).stdout.decode()
    assert printed.startswith(str(tmp_path / "loops"))


@pytest.mark.parametrize("home", [None, "/nowhere/at/all", "/dev/null"])
def test_commands_start_without_a_home(home):
    environment = dict(os.environ)
    environment.pop("HOME", None)
    if home is not None:
        environment["HOME"] = home
    environment["PYTHONPATH"] = str(ROOT)
    assert call(["-m", "radiodiff", "--version"], environment).returncode == 0


@pytest.mark.parametrize("delay_s", [0.3, 0.8, 1.6])
def test_an_interruption_while_modules_load_is_no_traceback(delay_s):
    """The words need torch and the networks; that takes seconds, so each delay falls into it."""
    code = (
        "import sys\n"
        "from radiodiff.cli.main import main\n"
        "print('ready', flush=True)\n"
        "sys.exit(main(['evaluate', '--run-dir', '/nowhere']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1].decode()
    if b"is not a run folder" in errors.encode():
        pytest.skip("this machine was faster")
    # Python ends itself by the signal where the interruption met code that was being compiled.
    assert process.returncode in (130, -signal.SIGINT), errors
    assert "Traceback" not in errors
    assert errors.count("\n") == 1
