"""One writer a folder: who waits, who is refused, and that a killed process holds nothing."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import pytest

from radiodiff.workers import LOCK_NAME, only_writer

HOLD = """
import os, sys, time
from pathlib import Path
from radiodiff.workers import only_writer
with only_writer(Path(sys.argv[1])):
    if os.fork() == 0:  # as a loader's worker, which may outlive its parent
        print("held", flush=True)
        os.close(1)
        time.sleep(20)
        os._exit(0)
    time.sleep(20)
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_held_folder_is_refused_at_once_and_free_when_its_process_is_killed(holder, tmp_path):
    with pytest.raises(BlockingIOError, match=r"in use by another process") as raised:
        with only_writer(tmp_path, wait=False):
            pytest.fail("two writers")
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
    holder.kill()
    holder.wait()
    with only_writer(tmp_path, wait=False):  # the lock file is left, and so is the child
        assert (tmp_path / LOCK_NAME).exists()
    assert list(tmp_path.iterdir()) == []


def test_writers_take_turns(tmp_path):
    inside, seen = [], []

    def write():
        for _ in range(5):
            with only_writer(tmp_path):
                inside.append(1)
                seen.append(len(inside))
                (tmp_path / "count").write_text(str(len(seen)), encoding="utf-8")
                inside.pop()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 20
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_a_failing_writer_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path):
        raise ZeroDivisionError
    with only_writer(tmp_path, wait=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_only_be_read_needs_no_hold():
    """As a finished dataset on a shared disk, which a training opens and never writes to."""
    folder = Path(tempfile.mkdtemp())  # not tmp_path, which other users cannot enter
    folder.chmod(0o555)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:  # who may write anywhere
                os.setuid(65534)
            with only_writer(folder):
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(folder.iterdir()) == []
    folder.rmdir()


def test_a_file_is_not_written_into(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="to be a folder, got a file"):
        with only_writer(tmp_path / "file"):
            pytest.fail("a file is no folder")


def test_the_package_imports_where_there_is_no_fcntl():
    code = (
        "import sys\n"
        "for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios'): sys.modules[name] = None\n"
        "import filelock\n"  # stands for the other system's own module
        "import radiodiff, radiodiff.workers, radiodiff.data, radiodiff.simulate\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
