"""The sweep of faults, a few trials of each kind; ``make faults`` runs them in full."""

import json
import random
import subprocess
import sys

import pytest

from ..conftest import ROOT
from . import jobs, tears
from .sweep import _note, _noted


def sweep(folder, *words):
    """Run a sweep in a process of its own, which has no threads before it forks."""
    command = [sys.executable, "-m", "tests.faults.sweep", "--folder", str(folder), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.returncode in (0, 1)
    return done.stdout


@pytest.fixture(scope="module")
def kills(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    kinds = [word for kind in jobs.KINDS for word in ("--kind", kind)]
    printed = sweep(folder, *kinds, "--trials", "2", "--seed", "6")
    return folder, printed


@pytest.mark.parametrize("kind", jobs.KINDS)
def test_killed_it_goes_on_to_the_same_bytes(kills, kind):
    folder, printed = kills
    result = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))
    assert result["faults"] == []
    assert result["trials"] == result["equal"] == 2
    assert result["kills"] == result["resumes"] >= 1
    assert result["left_over"] == 0
    assert {"commit", "date", "versions"} <= set(result)
    assert any(line.startswith(kind) and line.endswith(" 0") for line in printed.splitlines())


def test_killed_inside_the_writing_of_a_checkpoint(kills):
    rows = [
        json.loads(line)
        for line in (kills[0] / "train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert "kind" in rows[0]
    assert [row["trial"] for row in rows[1:]] == [0, 1]
    assert rows[2]["inside"] >= 1


def test_a_killed_papermill_goes_on_to_the_same_bytes(tmp_path):
    sweep(tmp_path, "--kind", "papermill", "--trials", "1")
    result = json.loads((tmp_path / "papermill.json").read_text(encoding="utf-8"))
    assert result["faults"] == []
    assert result["kills"] == result["equal"] == 1


@pytest.fixture(scope="module")
def damage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    parts = ("--part", "in diffusion", "--part", "train", "--part", "pack")
    sweep(folder, "--kind", "tear", "--kind", "full", *parts, "--trials", "4")
    return folder


def test_torn_files_are_named_or_made_again(damage):
    result = json.loads((damage / "tear.json").read_text(encoding="utf-8"))
    assert result["faults"] == []
    assert result["trials"] == 4


def test_a_full_disk_costs_one_message(damage):
    result = json.loads((damage / "full.json").read_text(encoding="utf-8"))
    assert result["faults"] == []
    assert result["verdicts"] == {"sound": 4}


def test_a_sweep_that_was_killed_goes_on(tmp_path):
    """Its journal ends in the middle of a line, which is no trial and spoils no other."""
    journal = tmp_path / "train.jsonl"
    start = {"kind": "train", "seed": 3, "part": [], "commit": "a"}
    _note(journal, start)
    _note(journal, {"trial": 0, "fault": None})
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"trial": 1, "fau')
    assert set(_noted(journal, start)) == {0}
    _note(journal, start)
    _note(journal, {"trial": 1, "fault": "x"})
    assert set(_noted(journal, start)) == {0, 1}
    for other in ({"seed": 4}, {"commit": "b"}, {"part": ["pack"]}):
        assert _noted(journal, start | other) == {}


def test_only_what_is_listed_may_differ(tmp_path):
    rows = {
        "state.json": {"step": 4, "seconds": 1.5},
        "log.jsonl": {"step": 1, "seconds": 0.1, "loss": 2.5},
        "metrics.json": {"date": "today", "scores": {"rmse_db": 1.25}},
    }
    for name, row in rows.items():
        (tmp_path / name).write_text(json.dumps(row), encoding="utf-8")
    before = jobs.fingerprint(tmp_path)
    for name, row in rows.items():
        (tmp_path / name).write_text(
            json.dumps({**row, "seconds": 7, "date": "tomorrow"}), encoding="utf-8"
        )
    assert jobs.fingerprint(tmp_path) == before
    (tmp_path / "state.json").write_text(json.dumps({"step": 5, "seconds": 1.5}), encoding="utf-8")
    (tmp_path / "metrics.json").unlink()
    (tmp_path / ".metrics.json.0123.tmp").write_text("", encoding="utf-8")
    unequal, left = jobs.differences(jobs.fingerprint(tmp_path), before)
    assert unequal == ["metrics.json", "state.json"]
    assert left == [".metrics.json.0123.tmp"]


@pytest.mark.parametrize("damage", tears.DAMAGES)
def test_damages_change_the_content(damage):
    content = bytes(range(200))
    torn = tears.DAMAGES[damage](content, random.Random(0))
    assert torn != content
    assert torn is None or len(torn) <= len(content)
