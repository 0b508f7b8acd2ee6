"""Memory that a process keeps: what is asked of the C library, and when nothing is."""

import ast
import os
import subprocess
import sys

import pytest

from radiodiff import memory

from .conftest import ROOT

#: Page faults of taking and giving back 32 MB twenty times, before and after `keep_memory`.
SCRIPT = """
import resource
from radiodiff.memory import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytearray(32 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print([faults(), keep_memory(), faults(), faults(), keep_memory()])
"""


class Library:
    """A glibc that notes what it is told."""

    def __init__(self):
        self.told = {}

    def mallopt(self, name, value):
        self.told[name] = value
        return 1

    def gnu_get_libc_version(self):
        raise AssertionError


@pytest.fixture
def library(monkeypatch):
    """A C library in a process where nothing was called and the user has said nothing."""
    for name in [n for n in os.environ if n.startswith("MALLOC_") or n == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(memory, "_is_done", False)
    library = Library()
    monkeypatch.setattr(memory, "_c_library", lambda: library)
    return library


def test_is_asked_once(library):
    assert memory.keep_memory()
    assert library.told == {-1: 2**31 - 1, -4: 0}
    library.told.clear()
    assert not memory.keep_memory()
    assert not library.told


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=9")],
)
def test_what_the_user_set_stays(library, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not memory.keep_memory()
    assert not library.told


def test_other_tunables_are_no_reason(library, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.x86_ibt=off")
    assert memory.keep_memory()


@pytest.mark.parametrize("lacking", ["mallopt", "gnu_get_libc_version"])
def test_another_c_library_is_left_alone(library, monkeypatch, lacking):
    monkeypatch.delattr(Library, lacking)
    assert not memory.keep_memory()
    assert not library.told


def test_no_c_library(library, monkeypatch):
    monkeypatch.setattr(memory, "_c_library", lambda: None)
    assert not memory.keep_memory()


def test_pages_are_kept():
    """In a new process: the same memory again costs hardly a page, where it cost all of them."""
    if not hasattr(memory._c_library(), "gnu_get_libc_version"):
        pytest.skip("this system has another C library than GNU's")
    kept = {n: v for n, v in os.environ.items() if n != "GLIBC_TUNABLES" and "MALLOC_" not in n}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=kept,
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    before, acted, _, after, again = ast.literal_eval(done.stdout)
    assert acted
    assert not again
    assert after < before / 10
