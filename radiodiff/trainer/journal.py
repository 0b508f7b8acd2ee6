"""What training tells while it runs: ``log.jsonl``, TensorBoard, sample grids, a bar."""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from radiodiff.files import naming_what_failed, read_text, shorten, write_atomically
from radiodiff.progress import has_bar

__all__ = ["Journal"]

logger = logging.getLogger(__name__)


class Journal:
    """The files in which one stage of a run is followed; silent where it is not ``active``.

    TensorBoard is a convenience: where its file cannot be written, it ends with a line in the log
    and training goes on.

    Args:
        folder: Receives ``log.jsonl``, events and ``samples-00001000.png``.
        name: Title of the bar.
        step: Steps taken so far; later lines and events are of a run that was stopped, and go.
        steps: Steps of the stage.
        active: Whether this process writes.

    Raises:
        OSError: If the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, *, step: int, steps: int, active: bool) -> None:
        self.folder, self.active = folder, active
        self.log = folder / "log.jsonl"
        self._events: SummaryWriter | None = None
        self._hook = threading.excepthook
        if active:
            self._drop_after(step)
            threading.excepthook = self._end_events
            try:
                self._events = SummaryWriter(str(folder), purge_step=step + 1)
            except OSError as error:
                self._warn(error)
        self.bar = tqdm(total=steps, initial=step, desc=name, disable=not (active and has_bar()))

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
        if self._events is not None:
            self._events.close()
        threading.excepthook = self._hook

    def write(self, step: int, spent: Sequence[float], scalars: Mapping[str, float]) -> None:
        """Add one line of scalars.

        Args:
            step: Steps taken.
            spent: What they took on the clock and on the processor [s].
            scalars: Name to value.
        """
        if not self.active:
            return
        seconds, cpu_seconds = (round(each, 2) for each in spent)
        row = {"step": step, "seconds": seconds, "cpu_seconds": cpu_seconds, **scalars}
        with naming_what_failed(self.log), self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for key, value in scalars.items():
            self._add("add_scalar", f"train/{key}", value, step)

    def show(self, step: int, grid: Tensor) -> None:
        """Add a picture of gray levels in [0, 1], shape ``(h, w)``."""
        picture = Image.fromarray((255 * grid.numpy()).round().astype(np.uint8))
        path = self.folder / f"samples-{step:08d}.png"
        write_atomically(path, lambda temporary: picture.save(temporary, format="png"))
        self._add("add_image", "samples/truth_above_network_below", grid[None], step)

    def _add(self, method: str, *arguments: object) -> None:
        if self._events is None:
            return
        try:
            getattr(self._events, method)(*arguments)
        except OSError as error:
            self._warn(error)

    def _end_events(self, failed: threading.ExceptHookArgs) -> None:
        """Say in one line what TensorBoard's thread died of."""
        if not isinstance(failed.exc_value, OSError):
            self._hook(failed)
            return
        self._warn(failed.exc_value)

    def _warn(self, error: OSError) -> None:
        self._events = None
        logger.warning("no more events for TensorBoard: %s", shorten(str(error), 200))

    def _drop_after(self, step: int) -> None:
        """Cut lines of ``log.jsonl`` that a resumed run will write again, and one cut short."""
        if not self.log.is_file():
            return
        kept, spoilt = [], []
        for line in read_text(self.log).splitlines(keepends=True):
            try:
                is_kept = json.loads(line)["step"] <= step and line.endswith("\n")
            except (ValueError, TypeError, KeyError):
                spoilt.append(line)
            else:
                kept += [line] * is_kept
        if any(line.endswith("\n") for line in spoilt):
            logger.warning("%s: %d lines could not be read and are dropped", self.log, len(spoilt))
        write_atomically(self.log, "".join(kept))
