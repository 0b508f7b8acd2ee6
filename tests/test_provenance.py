"""Who made a file: commit, date, device and versions, told one way."""

import platform
import re
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from radiodiff import provenance

from .conftest import ROOT


def test_made_by_names_commit_date_and_versions():
    made = provenance.made_by("numpy")
    assert list(made) == ["commit", "date", "versions"]
    assert made["versions"] == {
        "radiodiff": version("radiodiff"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }
    age = datetime.now(UTC) - datetime.fromisoformat(made["date"])
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", made["commit"])


def test_made_by_names_the_device_where_it_matters():
    made = provenance.made_by(device=torch.device("cpu"))
    assert made["device"] == f"{provenance.processor_name()}, {torch.get_num_threads()} threads"


def test_a_package_that_is_not_there_is_an_error():
    with pytest.raises(PackageNotFoundError):
        provenance.made_by("no-such-package")


def test_processor_is_named_as_the_system_names_it(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Fast: 9 GHz\nprocessor\t: 1\n", encoding="utf-8")
    monkeypatch.setattr(provenance, "_CPU_LIST", path)
    assert provenance.processor_name() == "Fast: 9 GHz"
    path.unlink()
    assert provenance.processor_name() in (platform.processor(), platform.machine())


@pytest.mark.parametrize(
    ("changed", "commit"), [("", "abc"), (" M radiodiff/units.py", "abc-dirty"), (None, "unknown")]
)
def test_commit_tells_of_changed_files_and_of_no_git(monkeypatch, changed, commit):
    def git(*arguments):
        if changed is None:
            raise subprocess.CalledProcessError(128, "git")
        if arguments == ("rev-parse", "--show-toplevel"):
            return str(ROOT)
        return "abc" if arguments[0] == "rev-parse" else changed

    monkeypatch.setattr(provenance, "_git", git)
    assert provenance.current_commit() == commit
