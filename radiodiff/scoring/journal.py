"""What was done so far, on disk: what is killed goes on where it stopped."""

import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from radiodiff.files import read_text, write_atomically

__all__ = ["Journal"]

logger = logging.getLogger(__name__)


class Journal:
    """Rows of values in a file that outlives its process; for one writer at a time.

    Each line has a checksum. A torn line and what follows it count for nothing.

    Args:
        path: The file; one of another key is begun anew. ``None`` keeps the rows in memory.
        key: What the rows depend on.

    Attributes:
        rows: What is in the file.
    """

    def __init__(self, path: Path | None = None, key: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._key = json.loads(json.dumps(key))
        lines = _sound_lines(path) if path is not None else []
        self.rows: list[Any] = lines[1:] if lines[:1] == [self._key] else []
        self._state: Literal["new", "open", "lost"] = "new"

    def append(self, row: Any) -> None:
        """Add a row; where nothing can be written any more a warning says so, once."""
        self.rows.append(row)
        if self.path is None or self._state == "lost":
            return
        try:
            if self._state == "new":  # anew: without a torn line, and with the key
                write_atomically(self.path, "".join(map(_line, [self._key, *self.rows])))
            else:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(_line(row))
            self._state = "open"
        except OSError as error:
            self._state = "lost"
            logger.warning("what is done is not noted, a stop would lose it: %s", error)

    def remove(self) -> None:
        """Remove the file: the whole result is written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _line(row: Any) -> str:
    """Return a row as a line with its checksum."""
    text = json.dumps(row)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _sound_lines(path: Path) -> list[Any]:
    """Return the rows of a file up to the first that is not sound."""
    rows = []
    try:
        lines = read_text(path).splitlines(keepends=True)
    except (OSError, ValueError):
        return rows
    for line in lines:
        checksum, _, text = line.partition(" ")
        if not line.endswith("\n") or f"{zlib.crc32(text.rstrip().encode()):08x}" != checksum:
            break
        rows.append(json.loads(text))
    return rows
