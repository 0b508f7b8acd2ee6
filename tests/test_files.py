"""Files are whole or absent, whatever happens while they are written; paths of the project."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from radiodiff import files
from radiodiff.files import (
    FileError,
    is_temporary,
    project_path,
    project_root,
    read_json,
    read_text,
    remove_temporaries,
    rename_folder,
    sha256,
    shorten,
    write_atomically,
)

from .conftest import ROOT


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("use_fsync", [True, False])
def test_text_bytes_and_what_a_library_saves(tmp_path, use_fsync):
    tensor, gray = torch.arange(6.0), np.arange(6, dtype=np.uint8).reshape(2, 3)
    contents = {
        "a.json": "dB \N{MINUS SIGN}147\n",
        "b.bin": b"\x00\r\n\xff",
        "c.safetensors": partial(save_file, {"x": tensor}),
        "d.png": partial(Image.fromarray(gray).save, format="PNG"),
    }
    folder = tmp_path / "made" / "deep"
    for name, content in contents.items():
        write_atomically(folder / name, content, use_fsync=use_fsync)
    assert (folder / "a.json").read_bytes() == contents["a.json"].encode("utf-8")
    assert (folder / "b.bin").read_bytes() == contents["b.bin"]
    assert torch.equal(load_file(folder / "c.safetensors")["x"], tensor)
    assert (np.array(Image.open(folder / "d.png")) == gray).all()
    assert names(folder) == sorted(contents)


def test_text_is_old_or_new(tmp_path):
    write_atomically(tmp_path / "deep" / "a.json", "1")
    write_atomically(tmp_path / "deep" / "a.json", "2")
    assert (tmp_path / "deep" / "a.json").read_text(encoding="utf-8") == "2"
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_mode_is_that_of_any_new_file(tmp_path):
    write_atomically(tmp_path / "ours", "")
    (tmp_path / "plain").write_text("", encoding="utf-8")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(temporary):
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise error("stop")

    with pytest.raises(error, match="stop"):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """The error often comes when the content goes to the disk: not before, not after."""
    (tmp_path / "a").write_text("old", encoding="utf-8")

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["a"]


def test_content_is_on_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    seen = []

    def note(descriptor):
        seen.append((os.fstat(descriptor).st_size, (tmp_path / "a").exists()))

    monkeypatch.setattr(files.os, "fsync", note)
    write_atomically(tmp_path / "a", "four")
    write_atomically(tmp_path / "b", "four", use_fsync=False)
    assert seen == [(4, False)]


def test_killed_writer_leaves_the_old_file_and_what_readers_pass_over(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from radiodiff.files import write_atomically\n"
        "def write(temporary):\n"
        "    temporary.write_bytes(b'half')\n"
        "    temporary.with_name('.tmpAbCdEf').write_bytes(b'as safetensors does')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), write)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (left,) = set(tmp_path.iterdir()) - {path}
    assert is_temporary(left)
    assert left.suffix != ".png"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".x.json.0123abcd.tmp").write_text("", encoding="utf-8")
    remove_temporaries(tmp_path)
    assert names(tmp_path) == ["a.png", "deep"]
    assert not names(tmp_path / "deep")


@pytest.mark.parametrize("name", ["a.png", "a.tmp", ".a.png", ".a.png.tmp", "step-00000001.tmp"])
def test_other_files_are_not_temporary(tmp_path, name):
    (tmp_path / name).write_text("", encoding="utf-8")
    assert not is_temporary(tmp_path / name)
    remove_temporaries(tmp_path)
    assert names(tmp_path) == [name]


def test_writers_of_one_file_do_not_meet(tmp_path):
    """Each content is whole at all times, though the writers of all wait for one another."""
    path, count = tmp_path / "a.bin", 4
    contents = [bytes([k]) * (1000 + k) for k in range(count)]
    barrier = threading.Barrier(count, timeout=30)

    def write(content, temporary):
        with temporary.open("wb") as file:
            file.write(content[:10])
            file.flush()
            barrier.wait()  # all have begun
            file.write(content[10:])
        barrier.wait()  # none is renamed before all are written

    threads = [
        threading.Thread(target=write_atomically, args=(path, partial(write, content)))
        for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["a.bin"]


def test_link_is_replaced_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "original").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to("original")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "original").read_text(encoding="utf-8") == "old"
    assert (tmp_path / "link").read_text(encoding="utf-8") == "new"


def test_what_cannot_be_written_raises(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="file"):
        write_atomically(tmp_path / "file" / "a", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", "")
    assert names(tmp_path) == ["file", "folder"]


def test_folder_takes_its_name(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files.os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino))
    new = tmp_path / "run.tmp"
    (new / "deep").mkdir(parents=True)
    (new / "a").write_text("1", encoding="utf-8")
    (new / "deep" / "b").write_text("2", encoding="utf-8")
    wanted = {path.stat().st_ino for path in (new, new / "a", new / "deep" / "b", tmp_path)}
    rename_folder(new, tmp_path / "run")
    assert wanted <= set(flushed)
    assert names(tmp_path) == ["run"]
    assert (tmp_path / "run" / "deep" / "b").read_text(encoding="utf-8") == "2"

    new.mkdir()
    with pytest.raises(OSError, match="run"):
        rename_folder(new, tmp_path / "run")
    assert names(tmp_path / "run") == ["a", "deep"]
    rename_folder(new, tmp_path / "run", replace=True)
    assert not names(tmp_path / "run")
    assert names(tmp_path) == ["run"]


def test_digest_is_that_of_the_content(tmp_path):
    """Of the empty file as published in FIPS 180-4's examples; of a large one as in one piece."""
    path = tmp_path / "a"
    path.write_bytes(b"")
    assert sha256(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    content = bytes(range(256)) * 4096
    path.write_bytes(content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()


def test_paths_of_the_project_from_any_folder(tmp_path, monkeypatch):
    assert project_root() == ROOT
    assert project_path(tmp_path) == tmp_path
    monkeypatch.chdir(ROOT / "notebooks")
    assert str(project_path("data/cities")) == "../data/cities"
    monkeypatch.chdir(tmp_path)  # outside, the package itself is in the checkout
    assert project_path("configs").resolve() == ROOT / "configs"


def test_no_checkout_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "files.py"))
    with pytest.raises(FileNotFoundError, match="no folder with configs/"):
        project_root()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_is_utf_8_whatever_the_locale(tmp_path, mark):
    path = tmp_path / "a.txt"
    path.write_bytes(mark + "Gr\u00f6\u00dfe\r\n-1 dB\n".encode())
    assert read_text(path) == "Gr\u00f6\u00dfe\n-1 dB\n"
    path.write_bytes("Gr\u00f6\u00dfe".encode("latin-1"))
    with pytest.raises(FileError, match=r"a\.txt is not UTF-8 text \(byte 2: .*save it as UTF-8"):
        read_text(path)
    with pytest.raises(FileError, match="has 5 bytes; at most 4 are read"):
        read_text(path, max_bytes=4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not valid JSON"),
        ("{'scale': 1}", "is not valid JSON"),
        ("[1]", r"must hold a dict, got \[1\]"),
        ("[" * 100_000, "nested too deep"),
        ("{}", "lacks 'scale'"),
        ('{"scale": 1, "scale": 2}', "names 'scale' twice"),
        ('{"scale": NaN}', "holds NaN"),
        ('{"scale": -Infinity}', "holds -Infinity"),
        ('{"scale": 1e999}', "must be float, got inf"),
        ('{"scale": true}', "must be float, got True"),
        ('{"scale": "1"}', "must be float, got '1'"),
        ('{"scale": 1' + "0" * 400 + "}", r"must be float, got 10+\.\.\. \(401 characters\)"),
        ('{"scale": ' + "1" * 5000 + "}", "is not valid JSON: Exceeds the limit"),
    ],
)
def test_json_is_what_is_asked_for_or_named_in_one_short_line(tmp_path, text, said):
    path = tmp_path / "latents.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=said) as caught:
        read_json(path, {"scale": float})
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) - len(str(path)) < 300
    assert "\n" not in str(caught.value)


def test_json_of_the_right_shape(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"scale": 2, "more": [null]}', encoding="utf-8")
    assert read_json(path, {"scale": float}) == {"scale": 2, "more": [None]}
    path.write_text("[1, 2]", encoding="utf-8")
    assert read_json(path, list) == [1, 2]


def test_what_came_is_shown_short():
    assert shorten("a\n b") == "a b"
    assert shorten("x" * 81) == "x" * 80 + "... (81 characters)"
    assert shorten(10**5000) == "a int too large to show"
