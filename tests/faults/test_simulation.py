"""Simulations that are cut short, by a full disk or a signal, and folders that are not ours."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from radiodiff.cli.main import main
from radiodiff.files import write_atomically
from radiodiff.simulate import VARIANTS, simulate_dataset, simulate_outlines
from radiodiff.simulate.layout import check_parameters, expected_bytes

from ..conftest import ROOT, write_radiomapseer

#: What the command line, which knows the commit, writes unlike the function.
SAYS_THE_COMMIT = {"dataset.json", "SHA256SUMS"}
SMALL = {"maps": 2, "transmitters": 2, "size": 32, "cell_size_m": 4.0, "seed": 5}


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return contents(simulate_dataset(tmp_path_factory.mktemp("whole") / "maps", **SMALL))


# --- Full and read-only disks ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_at_any_write_costs_one_line(tmp_path, whole, monkeypatch, capsys, error):
    """At every third write: nothing half-written, what is finished stays, the call goes on."""
    words = [f"--{key.split('_')[0]}={value}" for key, value in SMALL.items()]
    count, stop_at = 0, 0

    def write(path, content, **options):
        nonlocal count
        count += 1
        if count <= stop_at:
            return write_atomically(path, content, **options)

        def half(temporary):
            temporary.write_bytes(content[: len(content) // 2])
            raise OSError(error, os.strerror(error))  # as of a write, which names no file

        return write_atomically(path, half, **options)

    monkeypatch.setattr("radiodiff.simulate.layout.write_atomically", write)
    for stop_at in range(0, len(whole), 3) if error == errno.ENOSPC else (0, 1):
        out, count = tmp_path / f"{stop_at}", 0
        assert main(["simulate", *words, "--out", str(out)]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert os.strerror(error) in said
        assert str(out) in said
        assert len(said.replace(str(out), "")) < 300
        written = contents(out)
        assert len(written) == stop_at
        assert "SHA256SUMS" not in written
        assert all(
            content == whole[name] or name == "dataset.json" for name, content in written.items()
        )
        if stop_at:
            done = sum(name.startswith("antenna/") for name in written)
            assert f"{done} of 2 maps are finished, and the same call goes on from there" in said
        stop_at = 1000
        simulate_dataset(out, **SMALL)
        made = contents(out)
        assert made.keys() == whole.keys()
        assert {name for name in made if made[name] != whole[name]} <= SAYS_THE_COMMIT


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 128 kB that is full before the maps are; only for those who may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_small_disk_is_filled_freed_and_filled_again(small_disk, tmp_path, capsys):
    """A real file system: full, then larger, then read-only."""
    settings = SMALL | {"maps": 8}
    words = [f"--{key.split('_')[0]}={value}" for key, value in settings.items()]
    out = small_disk / "maps"
    assert main(["simulate", *words, "--out", str(out)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in said
    assert not [name for name in contents(out) if name.endswith(".tmp")]
    remount(small_disk, "size=4m")
    assert main(["simulate", *words, "--out", str(out)]) == 0
    fresh = tmp_path / "fresh"
    assert main(["simulate", *words, "--out", str(fresh)]) == 0
    assert contents(out) == contents(fresh)
    remount(small_disk, "ro")
    capsys.readouterr()
    assert main(["simulate", *words, "--out", str(small_disk / "other")]) == 2
    said = capsys.readouterr().err
    assert "Read-only file system" in said
    assert said.count("\n") == 1


def test_a_worker_that_is_killed_is_told(tmp_path, monkeypatch):
    def killed(*_):
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")
        yield

    monkeypatch.setattr("radiodiff.simulate.dataset.run_jobs", killed)
    with pytest.raises(OSError, match=r"a worker process was killed .*0 of 2 maps are finished"):
        simulate_dataset(tmp_path / "out", **SMALL)


def test_the_expected_size_is_announced(tmp_path, caplog):
    settings = SMALL | {"size": 64, "variants": VARIANTS}
    with caplog.at_level("INFO", logger="radiodiff"):
        out = simulate_dataset(tmp_path / "maps", **settings)
    told = expected_bytes(check_parameters(**settings), 2)
    line = f"{out}: 0 of 2 maps are there, the others take about {told / 1e6:.1f} MB"
    assert any(message.startswith(line) for message in caplog.messages)
    used = sum(4096 * -(-p.stat().st_size // 4096) for p in out.rglob("*") if p.is_file())
    assert used / 1.5 < told < used * 1.5
    caplog.clear()
    with caplog.at_level("INFO", logger="radiodiff"):
        simulate_dataset(out, **settings)
    assert not caplog.messages  # nothing to make, nothing to say


# --- Signals --------------------------------------------------------------------------------------


MANY = SMALL | {"maps": 30}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return contents(simulate_dataset(tmp_path_factory.mktemp("many") / "maps", **MANY))


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_with_143_and_the_same_call_goes_on(tmp_path, many, workers):
    words = [f"--{key.split('_')[0]}={value}" for key, value in MANY.items()]
    out = tmp_path / "maps"
    command = [sys.executable, "-m", "radiodiff", "simulate", *words, f"--workers={workers}"]
    process = subprocess.Popen(
        [*command, "--out", out], cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not any(out.glob("antenna/*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 143
    assert said.splitlines()[-1].startswith("radiodiff: stopped by SIGTERM; train, simulate")
    assert "Traceback" not in said
    with contextlib.suppress(ProcessLookupError):  # no worker outlives it
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        pytest.fail("a worker is left")
    finished = {p: p.stat().st_mtime_ns for p in out.glob("antenna/*.json")}
    assert 1 <= len(finished) < 30
    if workers == 1:
        assert not list(out.rglob("*.tmp"))
    simulate_dataset(out, **MANY)
    assert all(p.stat().st_mtime_ns == mtime for p, mtime in finished.items())
    assert not list(out.rglob("*.tmp"))
    made = contents(out)
    assert made.keys() == many.keys()
    assert {name for name in made if made[name] != many[name]} == SAYS_THE_COMMIT


# --- What is not ours -----------------------------------------------------------------------------


def test_foreign_files_are_named_and_never_touched(tmp_path, outlines):
    foreign = tmp_path / "mine"
    (foreign / "gain").mkdir(parents=True)
    for name in ("thesis.tex", ".draft.tmp", ".7.json.bak", "gain/.0_0.png.1f.tmp", "gain/7_0.png"):
        (foreign / name).write_text("do not touch", encoding="utf-8")
    before = contents(foreign)
    for call in (
        lambda: simulate_dataset(foreign, **SMALL),
        lambda: simulate_outlines(foreign, *outlines, size=32),
    ):
        with pytest.raises(
            FileExistsError, match=r"\(\.7\.json\.bak, \.draft\.tmp, gain, \.\.\.\)"
        ):
            call()
        assert contents(foreign) == before
    lone = tmp_path / "lone"
    lone.mkdir()
    (lone / ".draft.tmp").write_text("do not touch", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"\.draft\.tmp"):
        simulate_dataset(lone, **SMALL)
    assert contents(lone) == {".draft.tmp": b"do not touch"}


def test_a_dataset_of_others_is_not_written_into(tmp_path, outlines):
    real = write_radiomapseer(tmp_path / "real", (7,), transmitters=1, size=256)
    before = contents(real)
    with pytest.raises(FileExistsError, match="with other files"):
        simulate_outlines(real, *outlines, size=32)
    assert contents(real) == before


def test_foreign_files_in_a_folder_of_ours_stay_and_do_not_count(tmp_path, whole, outlines):
    out = simulate_dataset(tmp_path / "maps", **SMALL)
    strange = {
        "notes.txt": b"1",
        "gain/DPM/.0_0.png.swp": b"2",
        "gain/DPM/.mine.tmp": b"3",
        "png/antennas/0_7.png": b"4",
        "packed/gain/.0_0.png.77.tmp": b"5",
        "polygon/roads/0.json": b"6",
    }
    for name, content in strange.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    for name in ("gain/DPM/1_0.png", "SHA256SUMS", "png/buildings_complete/0.png"):
        (out / name).unlink()  # what is missing is made again
    (out / "gain/DPM/.1_0.png.12ab.tmp").write_bytes(b"ours, half-written")
    simulate_dataset(out, **SMALL)
    assert contents(out) == whole | strange


@pytest.fixture
def outlines(tmp_path):
    (tmp_path / "7.json").write_text(
        json.dumps([[[4, 4], [12, 4], [12, 12], [4, 12]]]), encoding="utf-8"
    )
    (tmp_path / "antennas.json").write_text("[[2, 2], [20, 20]]", encoding="utf-8")
    return tmp_path / "7.json", tmp_path / "antennas.json"


def test_a_city_cut_short_is_completed_by_the_same_call(tmp_path, outlines, monkeypatch):
    """At every write, as the dataset: the manifest is first, so the units are never missing."""
    fresh = tmp_path / "fresh"
    simulate_outlines(fresh, *outlines, size=32, cell_size_m=4.0)
    whole, count = contents(fresh), 0
    rename = Path.replace

    def replace(path, target):
        nonlocal count
        count += 1
        if count > stop_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    for stop_at in range(len(whole)):
        out, count = tmp_path / f"{stop_at}", 0
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            with pytest.raises(OSError, match="No space left on device") as raised:
                simulate_outlines(out, *outlines, size=32, cell_size_m=4.0)
        assert str(out) in str(raised.value)
        written = contents(out)
        assert len(written) == stop_at
        assert not stop_at or "dataset.json" in written
        simulate_outlines(out, *outlines, size=32, cell_size_m=4.0)
        assert contents(out) == whole
    assert np.all([name in whole for name in ("dataset.json", "antenna/7.json")])
