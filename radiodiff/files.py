"""Files that are whole or absent: one writer, one reader of text and JSON, one digest."""

import contextlib
import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "FileError",
    "is_temporary",
    "project_path",
    "project_root",
    "read_json",
    "read_text",
    "remove_temporaries",
    "rename_folder",
    "sha256",
    "shorten",
    "write_atomically",
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
        raise FileError(f"{path} must hold a {kind.__name__}, got {shorten(content)}")
    for key, expected in {} if isinstance(shape, type) else shape.items():
        if key not in content:
            raise FileError(f"{path} lacks {key!r}")
        if not _is_a(content[key], expected):
            raise FileError(
                f"{path}: {key!r} must be {expected.__name__}, got {shorten(content[key])}"
            )
    return content


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
    writing fails; one that a killed process left is told by `is_temporary`.

    Args:
        path: File to write or to replace.
        content: Text (stored as UTF-8), bytes, or what is called as ``content(temporary)`` and
            writes that file; the name ends in ``.tmp``, so say which format it is to have.
        use_fsync: Put the content on disk before the file takes its name, so that it outlives
            a loss of power. Not for thousands of small files that can be made again.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if use_fsync:
            _fsync(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise


def is_temporary(path: Path) -> bool:
    """Whether a file is one that `write_atomically` has not finished."""
    return path.name.startswith(".") and path.suffix == ".tmp"


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder and below; for who alone writes there."""
    for path in filter(is_temporary, Path(folder).rglob("*")):
        path.unlink()


def rename_folder(temporary: Path, path: Path, *, replace: bool = False) -> None:
    """Put a filled folder on disk and give it its name.

    Args:
        temporary: Folder beside the target.
        path: Its name from now on; there must be nothing but an empty folder.
        replace: Drop what has the name.

    Raises:
        OSError: If the folder cannot be renamed.
    """
    for file in temporary.rglob("*"):
        if file.is_file():
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


def project_path(path: str | Path) -> Path:
    """Return a path of the project as seen from the working folder; an absolute one as it is.

    So ``data/cities`` is the same folder for a chapter, which runs in ``notebooks/``, and for a
    command at the top, and no printed path names the machine.
    """
    path = Path(path)
    return path if path.is_absolute() else Path(os.path.relpath(project_root() / path))


def _fsync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
