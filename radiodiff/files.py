"""Files that are whole or absent: one writer, one reader of text and JSON, one digest."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

__all__ = [
    "FileError",
    "is_temporary",
    "naming_what_failed",
    "project_path",
    "project_root",
    "read_json",
    "read_json_lines",
    "read_record",
    "read_text",
    "remove_temporaries",
    "rename_folder",
    "sha256",
    "shorten",
    "user_path",
    "write_atomically",
    "write_record",
]

#: Longest text or JSON file that is read [bytes]; outlines of a whole city are a tenth of it.
MAX_BYTES = 1 << 28


class FileError(ValueError):
    """A file that does not hold what it should; the message names it."""


def shorten(value: object, length: int = 80) -> str:
    """Return what came, as one line of printable letters, short enough for a message."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of 5,000 digits, a list in itself
        text = f"a {type(value).__name__} too large to show"
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return text if len(text) <= length else f"{text[:length]}... ({len(text):,} characters)"


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a file, whatever the locale: UTF-8, with or without a byte-order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        FileError: If it is not UTF-8, or longer than ``max_bytes``.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise FileError(f"{path} has {size:,} bytes; at most {max_bytes:,} are read")
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} is not UTF-8 text (byte {error.start}: {error.reason}): save it as UTF-8"
        ) from error


def read_json(path: Path, shape: Mapping[str, type] | type = dict) -> Any:
    """Return what a JSON file holds, checked.

    Args:
        path: File to read.
        shape: Type of the content, or the keys that an object must have and the type of each;
            ``float`` takes any finite number. More keys may be there.

    Raises:
        FileNotFoundError: If there is no such file.
        FileError: If it is not JSON (so with ``NaN`` or ``Infinity``), names a key twice, is nested
            without end, or has another shape.
    """
    text = read_text(path)

    def refuse(constant: str) -> None:
        raise FileError(f"{path} holds {constant}, which is no number of JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise FileError(f"{path} names {shorten(twice)!r} twice: which one is meant?")
        return values

    try:
        content = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except FileError:
        raise
    except RecursionError as error:
        raise FileError(f"{path} is nested too deep to be read") from error
    except ValueError as error:
        raise FileError(f"{path} is not valid JSON: {shorten(str(error), 200)}") from error
    kind = shape if isinstance(shape, type) else dict
    if not isinstance(content, kind):
        raise FileError(f"{path} must hold a {kind.__name__}, got {_shown(content)}")
    for key, expected in {} if isinstance(shape, type) else shape.items():
        if key not in content:
            raise FileError(f"{path} lacks {key!r}")
        if not _is_a(content[key], expected):
            raise FileError(
                f"{path}: {key!r} must be {expected.__name__}, got {_shown(content[key])}"
            )
    return content


def _shown(value: object) -> str:
    """Return a value of JSON for a message, text in quotes."""
    return shorten(repr(value) if isinstance(value, str) else value)


def _is_a(value: object, kind: type) -> bool:
    """Whether a value of JSON has a type; an integer beyond the range of floats is no number."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return math.isfinite(value)
        except OverflowError:
            return False
    return type(value) is kind


def write_atomically(
    path: Path, content: str | bytes | Callable[[Path], object], *, use_fsync: bool = True
) -> None:
    """Write a file so that a reader sees the old or the new content, never a part.

    The folder is made if need be. The content goes to a hidden file beside the target, which then
    takes its name; each call has one of its own, so that writers do not meet. It is removed when
    writing fails; one that a killed process left is told by `is_temporary`. What is called gets a
    hidden folder, for libraries that put files of their own beside the one they write.

    The file may be read by whom the umask allows, whatever the library that writes it thinks.

    Args:
        path: File to write or to replace.
        content: Text (stored as UTF-8), bytes, or what is called as ``content(temporary)`` and
            writes that file, which has the target's name.
        use_fsync: Put the content on disk before the file takes its name, so that it outlives
            a loss of power. Not for thousands of small files that can be made again.

    Raises:
        OSError: If the file cannot be written; names it.
    """
    path = Path(path)
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    temporary = hidden / path.name if callable(content) else hidden
    try:
        with naming_what_failed(path):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode  # as the umask has it
            if callable(content):
                content(temporary)
            else:
                temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            temporary.chmod(mode)
            if use_fsync:
                _fsync(temporary)
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            _remove(hidden)


@contextlib.contextmanager
def naming_what_failed(path: Path) -> Iterator[None]:
    """Turn an error of the system while something is written into one that names it.

    Libraries report a full disk in their own ways: PyTorch and safetensors by a `RuntimeError`
    or an error of their own, and the system does not always say of which file it speaks.

    Raises:
        OSError: With what failed, why, and what to do.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(
                error.errno,
                f"{os.strerror(error.errno)}; free space and start the same command again",
                str(path),
            ) from error
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except (RuntimeError, SafetensorError) as error:
        raise OSError(f"{path} cannot be written: {shorten(str(error), 120)}") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; a last one cut short, by a kill, is left out.

    Raises:
        FileNotFoundError: If there is no such file.
        FileError: If another line is not a JSON object.
    """
    *lines, _ = read_text(path).split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise FileError(f"{path}: line {number} is not a JSON object: {shorten(line)!r}")
        rows.append(row)
    return rows


def write_record(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values as JSON with their digest, atomically; read them by `read_record`."""
    content = {**values, "sha256": _digest_of(values)}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def read_record(path: Path, shape: Mapping[str, type] | type = dict) -> dict[str, Any]:
    """Return the values that `write_record` wrote, without the digest.

    A record without a digest is one of an older version, or made by hand: it is taken as it is.

    Args:
        path: File to read.
        shape: As for `read_json`.

    Raises:
        FileNotFoundError: If there is no such file.
        FileError: If the content is not what was written, or has another shape.
    """
    values = read_json(path, shape)
    digest = values.pop("sha256", None)
    if digest is not None and digest != _digest_of(values):
        raise FileError(
            f"{path} is not as it was written (its sha256 differs): bring the file back, or, if "
            "you changed it on purpose, delete its line sha256"
        )
    return values


def _digest_of(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def is_temporary(path: Path) -> bool:
    """Whether a file or a folder is one that `write_atomically` has not finished."""
    return re.fullmatch(r"\..+\.[0-9a-f]{8}\.tmp", path.name, re.DOTALL) is not None


def remove_temporaries(folder: Path, *, below: bool = True) -> None:
    """Remove what killed writers left in a folder; for who alone writes there.

    Args:
        folder: Where to look.
        below: Look in the folders below it, too.
    """
    for path in [*filter(is_temporary, Path(folder).glob("**/*" if below else "*"))]:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with what is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def rename_folder(temporary: Path, path: Path, *, replace: bool = False) -> None:
    """Put a filled folder on disk and give it its name.

    Args:
        temporary: Folder beside the target.
        path: Its name from now on; there must be nothing but an empty folder.
        replace: Drop what has the name.

    Raises:
        OSError: If the folder cannot be renamed.
    """
    probe = temporary / ".mode.tmp"
    probe.touch()
    mode = probe.stat().st_mode  # as the umask has it
    probe.unlink()
    for file in temporary.rglob("*"):
        if file.is_file():
            file.chmod(mode)
            _fsync(file)
    _fsync(temporary)
    if replace:
        shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    _fsync(path.parent)


def sha256(path: Path) -> str:
    """Return the digest of a file, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def project_root() -> Path:
    """Return the checkout: the nearest folder with ``configs/`` above here or above the package.

    Raises:
        FileNotFoundError: If neither lies inside a checkout of the project.
    """
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "configs").is_dir() and (folder / "pyproject.toml").is_file():
                return folder
    raise FileNotFoundError("no folder with configs/ and pyproject.toml above the working folder")


def user_path(path: str | Path) -> Path:
    """Return a path with ``~`` or ``~name`` at its start replaced by that home folder.

    Raises:
        FileError: If no home folder is known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileError(f"{path}: no such home folder is known, write the path in full") from error


def project_path(path: str | Path) -> Path:
    """Return a path of the project as seen from the working folder; an absolute one as it is.

    So ``data/cities`` is the same folder for a chapter, which runs in ``notebooks/``, and for a
    command at the top, and no printed path names the machine. ``~`` is the home folder.

    Raises:
        FileError: If the path begins with ``~`` and no home folder is known.
        FileNotFoundError: If there is no project.
    """
    path = user_path(path)
    return path if path.is_absolute() else Path(os.path.relpath(project_root() / path))


def _fsync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
