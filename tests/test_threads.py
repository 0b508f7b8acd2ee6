"""Threads on a busy machine: how they wait, and how many there are."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from radiodiff import threads

from .conftest import ROOT

WORDS = ("OMP_", "GOMP_", "KMP_", "MKL_")


@pytest.fixture
def own_words(monkeypatch):
    """An environment in which the user has said nothing; left as it was found."""
    for name in [name for name in os.environ if name.startswith(WORDS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that what is set below is taken back
    monkeypatch.delenv("OMP_WAIT_POLICY")


@pytest.fixture
def counts(own_words, monkeypatch):
    """The numbers of threads that torch is told; it has four, on four cores, under load 3."""
    told = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(threads, "_load", lambda: 3.2)
    return told


def spins(*lines, **environment):
    """How often a thread of PyTorch's looks again before it sleeps, in a new process."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(WORDS)}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=kept | environment | {"OMP_DISPLAY_ENV": "verbose"},
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    found = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not found:
        pytest.skip("this torch has another OpenMP than GNU's")
    return int(found[0].split("'")[1])


def test_policy_is_set_before_torch_is_loaded():
    assert spins("import radiodiff", "import torch") == 0
    assert spins("import torch") > 0


def test_command_line_sets_the_policy():
    lines = ["from radiodiff.cli.main import main", "import torch"]
    assert spins(*lines) == 0
    assert spins(*lines, GOMP_SPINCOUNT="7") == 7


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
@pytest.mark.parametrize("torch_first", [True, False])
def test_what_the_user_set_stays(counts, monkeypatch, name, torch_first):
    if not torch_first:
        monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv(name, "7")
    threads.leave_room()
    assert not counts
    assert os.environ.get("OMP_WAIT_POLICY", "7") == "7"


def test_torch_that_came_first_takes_what_the_load_leaves(counts, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        threads.leave_room()
    assert counts == [1]
    (record,) = caplog.records
    assert "load 3.2 on 4 cores" in record.getMessage()
    assert "takes 1 of its 4 threads" in record.getMessage()
    assert "OMP_WAIT_POLICY" not in os.environ  # too late to help
    monkeypatch.setattr(threads, "_load", lambda: 50.0)
    threads.leave_room()
    assert counts == [1, 1]


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_number_that_the_user_set_stays(counts, monkeypatch, caplog, name):
    monkeypatch.setenv(name, "4")
    threads.leave_room()
    monkeypatch.delenv(name)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # by torch.set_num_threads
    threads.leave_room()
    assert not counts
    assert not caplog.records


def test_quiet_machine_keeps_its_threads(counts, monkeypatch, caplog):
    monkeypatch.setattr(threads, "_load", lambda: 0.4)
    threads.leave_room()
    assert not counts
    assert not caplog.records


def flushes():
    return bool(torch.tensor(1e-40) * 1 == 0)


def test_denormals_are_flushed_within_and_as_before_after():
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    with threads.denormals_flushed():
        assert flushes()
        with threads.denormals_flushed():
            assert flushes()
        assert flushes()
    assert not flushes()

    def fail():
        with threads.denormals_flushed():
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not flushes()
