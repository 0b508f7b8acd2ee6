"""Are the files those that ``SHA256SUMS`` lists?"""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from radiodiff.data.verify.folder import missing_row, printable
from radiodiff.files import sha256
from radiodiff.simulate.layout import DIGESTS

__all__ = ["check_digests"]


def check_digests(
    root: Path,
    *,
    sample: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any] | None:
    """Compare files with ``SHA256SUMS``, which lists them as ``sha256sum`` does.

    Args:
        root: Folder that holds the list; its paths count from there.
        sample: Read so many of the files, the same in every call; all if ``None``.
        progress: Called as ``progress(done, files)`` for each file.

    Returns:
        ``listed`` and ``checked`` files, ``faults`` and ``missing`` as in a report, or ``None`` if
        there is no list.
    """
    root = Path(root)
    try:
        lines = (root / DIGESTS).read_bytes().splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        fault = {"file": DIGESTS, "fault": str(error)}
        return {"listed": 0, "checked": 0, "faults": [fault], "missing": []}
    chosen = range(len(lines))
    if sample is not None and len(lines) > sample:
        chosen = sorted(np.random.default_rng(0).choice(len(lines), sample, replace=False))
    faults, missing = [], []
    for done, number in enumerate(chosen, 1):
        if progress is not None:
            progress(done, len(chosen))
        match = re.fullmatch(rb"([0-9a-f]{64}) [ *](.+)", lines[number])
        name = os.fsdecode(match[2]) if match else ""
        if match is None or name.startswith("/") or ".." in name.split("/"):
            faults.append({"file": DIGESTS, "fault": f"line {number + 1} is no digest and path"})
            continue
        try:
            if not stat.S_ISREG((root / name).stat().st_mode):
                raise OSError("is no regular file")  # to open a pipe would wait for ever
            if sha256(root / name) != match[1].decode():
                fault = f"is not the file that {DIGESTS} lists"
                faults.append({"file": printable(name), "fault": fault})
        except FileNotFoundError:
            missing.append(printable(name))
        except OSError as error:
            faults.append({"file": printable(name), "fault": str(error)})
    row = missing_row(DIGESTS, len(chosen) - len(missing), len(chosen), missing)
    return {
        "listed": len(lines),
        "checked": len(chosen),
        "faults": faults,
        "missing": [row] if missing else [],
    }
