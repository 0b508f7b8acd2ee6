"""Where a result comes from is true or absent, whatever repositories lie around."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import radiodiff
from radiodiff.provenance import current_commit

PACKAGE = Path(radiodiff.__file__).parent
#: The two files that say it, which need no others.
NEEDED = ("provenance.py", "files.py")
ASK = "from radiodiff.provenance import current_commit; print(current_commit())"


def commit(root, **environment):
    """What the package below a folder says of itself, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
        cwd="/",
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.strip()


@pytest.fixture
def foreign(tmp_path):
    """Another project's repository, and its commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "other"], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True)
    return tmp_path, done.stdout.decode().strip()


@pytest.mark.parametrize("place", ["unzipped", ".venv/lib/python3/site-packages"])
def test_a_repository_around_the_package_is_not_ours(foreign, place):
    folder, _ = foreign
    package = folder / place / "radiodiff"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    for name in NEEDED:
        shutil.copy(PACKAGE / name, package)
    assert commit(folder / place) == "unknown"


@pytest.mark.parametrize(
    "names", [("GIT_DIR",), ("GIT_DIR", "GIT_WORK_TREE"), ("GIT_DIR", "GIT_INDEX_FILE")]
)
def test_a_repository_of_the_environment_is_not_ours(foreign, names):
    """As git sets them for its hooks, in which a training may be started."""
    folder, theirs = foreign
    values = {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index"}
    told = commit(PACKAGE.parent, **{name: str(folder / values[name]) for name in names})
    assert told == current_commit() != theirs
