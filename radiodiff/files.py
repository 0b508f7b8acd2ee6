"""Files that are whole or absent: one writer, one digest, and the paths of the project."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "is_temporary",
    "project_path",
    "project_root",
    "remove_temporaries",
    "rename_folder",
    "sha256",
    "write_atomically",
]


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
