"""Hostile inputs: a short run of the fuzzer, what it counts as a fault, and its valid files."""

import os
import time
from random import Random

import pytest

from tests.faults import fuzz, mutate, targets

#: How each valid input ends: state lacks most of its weights, and no dataset is named here.
ENDS = dict.fromkeys(targets.TARGETS, 0) | {"state": 2}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    targets.write_seeds(folder)
    return folder


@pytest.fixture
def as_found(monkeypatch):
    """The fuzzer changes folder, as it does in the processes that it forks."""
    monkeypatch.setenv("HOME", os.environ.get("HOME", ""))
    monkeypatch.chdir(".")


def test_no_fault_in_a_short_run(tmp_path):
    found = fuzz.fuzz(inputs=550, seed=int(time.time()) // 86400, kept=tmp_path / "kept")
    text = "\n".join(f"{row['target']}: {row['what']}" for row in found["faults"])
    assert not found["faults"], f"{text}\nwith seed {found['seed']}; inputs: {tmp_path / 'kept'}"


@pytest.mark.parametrize("target", targets.TARGETS)
def test_valid_files_are_accepted(seeds, tmp_path, monkeypatch, target):
    """Else every variant of them would be refused for the same reason."""
    as_it_is = lambda rng, content, *_: content  # noqa: E731
    monkeypatch.setattr(
        mutate, "tree", lambda rng, content, kind: mutate._written(content, kind).encode()
    )
    for name in ("png", "npy", "safetensors", "torch_file", "word"):
        monkeypatch.setattr(mutate, name, as_it_is)
    folder = tmp_path / "around/named"
    folder.mkdir(parents=True)
    for name in ("configs", "runs"):
        (tmp_path / "around/project" / name).mkdir(parents=True)
    (tmp_path / "around/project/pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "around/project")
    targets.TARGETS[target].alter(Random(1), seeds, folder)
    assert targets.TARGETS[target].read(folder) == ENDS[target]
