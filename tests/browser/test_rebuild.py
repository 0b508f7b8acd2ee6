"""A change in the package changes the page at the next `make book`: no stale cache."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# One value

```{code-cell} ipython3
from radiodiff.units import FLOOR_DB

print(f"the floor lies at {FLOOR_DB:g} dB")
```
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """Package and configuration of the book, with one small chapter instead of ours."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "radiodiff", tmp_path / "radiodiff", ignore=ignored)
    shutil.copytree(ROOT / "book" / "_static", tmp_path / "book" / "_static")
    for name in ("_config.yml", "Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    shutil.copy2(ROOT / "book" / "references.bib", tmp_path / "book")
    for name in ("notebooks", "configs", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "book" / "_toc.yml").write_text(
        "format: jb-book\nroot: notebooks/value.md\n", encoding="utf-8"
    )
    (tmp_path / "notebooks" / "value.md").write_text(CHAPTER, encoding="utf-8")
    (tmp_path / ".stamp").touch()  # "installed": newer than what it is made from
    return tmp_path


def make_book(project: Path) -> str:
    """Page of the chapter after `make book`, with this Python and the package of the copy."""
    command = ["make", "book", "STAMP=.stamp", f"BIN={Path(sys.executable).parent}"]
    environment = os.environ | {"PYTHONPATH": str(project)}
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # of the `make` that runs this test
        environment.pop(name, None)
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    html = (project / "_build" / "html" / "notebooks" / "value.html").read_text(encoding="utf-8")
    return re.search(r"the floor lies at (\S+) dB\n", html)[1]


def test_changed_package_changes_the_page(project):
    assert make_book(project) == "-147"
    units = project / "radiodiff" / "units.py"
    source = units.read_text(encoding="utf-8")
    assert re.search(r"^FLOOR_DB = -147", source, re.MULTILINE), "name another constant here"
    units.write_text(
        re.sub(r"^FLOOR_DB = -147", "FLOOR_DB = -148", source, flags=re.MULTILINE), encoding="utf-8"
    )
    assert make_book(project) == "-148"
