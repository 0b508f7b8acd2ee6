"""The images of a folder as one memory-mapped array, so that a GPU never waits for PNG decoding.

`pack_dataset` decodes every image once and writes the array of each folder with its index, see
`radiodiff.data.pack_reader`. A pack is a copy: the images stay where they are, and a pack that no
longer agrees with them is not used.

While a folder is being packed the array is called ``.DPM.npy.partial``; ``.DPM.journal`` beside it
lists the shards (a few hundred rows) that are on disk. The same call goes on from there.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from radiodiff.data.images import DatasetError, is_image_name, read_gray
from radiodiff.data.pack_reader import (
    FOLDER,
    FORMAT,
    ImageFile,
    array_header,
    array_path,
    check_array,
    digest_of,
    index_digest,
    read_index,
    scan,
)
from radiodiff.files import read_text, remove_temporaries, write_atomically
from radiodiff.workers import only_writer, run_jobs

__all__ = ["pack_dataset"]

logger = logging.getLogger(__name__)

#: Images that are decoded and noted in the journal together: 16 MB at 256 x 256.
SHARD = 256


class _Plan(NamedTuple):
    """A folder to pack."""

    source: Path
    array: Path
    files: list[ImageFile]
    shape: tuple[int, int, int]

    @property
    def partial(self) -> Path:
        return self.array.with_name(f".{self.array.name}.partial")

    @property
    def journal(self) -> Path:
        return _journal_path(self.array)

    @property
    def shards(self) -> range:
        return range(-(-len(self.files) // SHARD))

    def rows(self, shard: int) -> list[ImageFile]:
        return self.files[shard * SHARD : (shard + 1) * SHARD]


def _journal_path(array: Path) -> Path:
    """Return the file that lists the finished shards of an array."""
    return array.with_name(f".{array.stem}.journal")


def pack_dataset(
    root: Path,
    *,
    folders: Sequence[str] | None = None,
    out: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Pack the image folders of a dataset; packs that are up to date are left alone.

    Interrupted or killed, the same call goes on with the shards that are missing. Until a folder
    is finished there is no pack of it.

    Args:
        root: Dataset folder.
        folders: Image folders below it; all below ``gain/`` and ``png/`` if ``None``.
        out: Folder of the packs; ``packed`` in the dataset folder if ``None``.
        workers: Processes; the result does not depend on it. Callers with more than one need the
            usual ``if __name__ == "__main__"`` guard, as processes are spawned.
        progress: Called as ``progress(done, images)`` whenever a shard is finished.

    Returns:
        Folder of the packs.

    Raises:
        DatasetError: If there is nothing to pack, an image cannot be read or is of another size
            than the first of its folder, the disk is too small or full, or a process dies; names
            the file or folder.
        ValueError: If ``workers`` is below 1, or a folder does not lie below the root.
    """
    if workers < 1:
        raise ValueError(f"expected workers >= 1, got {workers}")
    root = Path(root)
    folders = _image_folders(root) if folders is None else _folders_below(root, folders)
    if not folders:
        raise DatasetError(f"no images below {root / 'gain'} or {root / 'png'}: nothing to pack")
    out = root / FOLDER if out is None else Path(out)
    with _only_packer(out):
        plans = [plan for folder in folders if (plan := _plan(root, folder, out)) is not None]
        try:
            _pack(plans, out, workers, progress)
        except OSError as error:
            raise DatasetError(
                f"cannot write the packs in {out}: {error.strerror or error}; what is done is "
                "kept: make room or name another folder, and call it again"
            ) from error
        except BrokenProcessPool as error:
            raise DatasetError(
                f"a process that packs into {out} died, perhaps for want of memory: call it again "
                "with fewer workers, it goes on where it stopped"
            ) from error
    return out


def _pack(
    plans: Sequence[_Plan], out: Path, workers: int, progress: Callable[[int, int], None] | None
) -> None:
    """Write the shards that are missing; a folder whose last one is there becomes a pack."""
    todo = {plan.array: _open_partial(plan) for plan in plans}
    left = [(plan, shard) for plan in plans for shard in todo[plan.array]]
    _check_space(out, sum(len(plan.rows(shard)) * _pixels(plan) for plan, shard in left))
    total = sum(len(plan.files) for plan in plans)
    done = total - sum(len(plan.rows(shard)) for plan, shard in left)
    for plan in plans:
        if not todo[plan.array]:
            _finish(plan)
    jobs = [_shard_arguments(plan, shard) for plan, shard in left]
    for number, _ in run_jobs(_write_shard, jobs, workers):
        plan, shard = left[number]
        _note(plan, shard)
        todo[plan.array].remove(shard)
        done += len(plan.rows(shard))
        if not todo[plan.array]:
            _finish(plan)
        if progress is not None:
            progress(done, total)


def _image_folders(root: Path) -> list[str]:
    """Return the folders below ``gain/`` and ``png/`` that hold PNG files."""
    folders = [path for pattern in ("gain/*", "png/*", "png/*/*") for path in root.glob(pattern)]
    own = {path.resolve(): path for path in reversed(folders) if path.is_dir()}  # links may loop
    return sorted(
        path.relative_to(root).as_posix()
        for path in own.values()
        if any(is_image_name(name) for name in os.listdir(path))
    )


def _folders_below(root: Path, folders: Sequence[str]) -> list[str]:
    """Return the folders in one form, each once; raise ValueError for one not below the root."""
    folders = list(dict.fromkeys(PurePosixPath(folder).as_posix() for folder in folders))
    for folder in folders:
        if folder == "." or folder.startswith("/") or ".." in folder.split("/"):
            raise ValueError(f"expected folders below {root} such as gain/DPM, got {folder}")
    return folders


@contextlib.contextmanager
def _only_packer(out: Path) -> Iterator[None]:
    """Hold the folder of the packs against other processes."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_writer(out))
        except OSError as error:
            raise DatasetError(
                f"cannot write {out}: {error.strerror or error}; name another folder with --out, "
                "and as data.packed in the configuration"
            ) from error
        yield


def _plan(root: Path, folder: str, out: Path) -> _Plan | None:
    """Return what there is to do for a folder; ``None`` if its pack is up to date."""
    files = scan(root / folder)
    if not files:
        raise DatasetError(f"no PNG file in {root / folder}: nothing to pack")
    array = array_path(root, folder, out)
    try:
        index = read_index(array.with_suffix(".json"))
        if index["source"] == digest_of(files):
            check_array(array, index)
            _journal_path(array).unlink(missing_ok=True)  # killed before it was removed
            return None
    except (OSError, ValueError, DatasetError) as error:
        logger.debug("%s holds no pack yet: %s", array, error)
    height, width = read_gray(root / folder / files[0].name).shape
    return _Plan(root / folder, array, files, (len(files), height, width))


def _pixels(plan: _Plan) -> int:
    """Return the bytes of one image."""
    return plan.shape[1] * plan.shape[2]


def _open_partial(plan: _Plan) -> set[int]:
    """Make or reopen the array that is being filled; return the shards that it lacks."""
    plan.array.parent.mkdir(parents=True, exist_ok=True)
    remove_temporaries(plan.array.parent)
    try:
        header, *lines = read_text(plan.journal).splitlines()
        is_ours = json.loads(header) == list(plan.shape) and _is_whole(plan)
    except (OSError, ValueError, RecursionError):
        is_ours = False
    if is_ours:
        written = {k for k in plan.shards if _journal_line(plan, k) in lines}
        _write_journal(plan, written)  # without what is to be written again
        return set(plan.shards) - written
    plan.journal.unlink(missing_ok=True)
    with plan.partial.open("wb") as file:
        file.write(array_header(plan.shape))
        file.truncate(file.tell() + plan.shape[0] * _pixels(plan))
    _write_journal(plan, ())
    return set(plan.shards)


def _is_whole(plan: _Plan) -> bool:
    """Whether the array that is being filled begins and ends as it should."""
    header = array_header(plan.shape)
    with plan.partial.open("rb") as file:
        begins = file.read(len(header)) == header
        return begins and file.seek(0, os.SEEK_END) == len(header) + plan.shape[0] * _pixels(plan)


def _write_journal(plan: _Plan, shards: Iterable[int]) -> None:
    """Write the journal anew: the shape of the array and a line for each finished shard."""
    lines = [json.dumps(plan.shape), *(_journal_line(plan, shard) for shard in sorted(shards))]
    write_atomically(plan.journal, "".join(f"{line}\n" for line in lines))


def _journal_line(plan: _Plan, shard: int) -> str:
    """Return what the journal says of a finished shard; a change of images or array changes it."""
    with plan.partial.open("rb") as file:
        file.seek(len(array_header(plan.shape)) + shard * SHARD * _pixels(plan))
        crc32 = zlib.crc32(file.read(len(plan.rows(shard)) * _pixels(plan)))
    return f"{shard} {digest_of(plan.rows(shard))} {crc32:08x} end"


def _note(plan: _Plan, shard: int) -> None:
    """Note a finished shard in the journal."""
    with plan.journal.open("a", encoding="utf-8") as file:
        file.write(_journal_line(plan, shard) + "\n")


def _check_space(out: Path, needed: int) -> None:
    """Raise if the disk has no room for so many bytes."""
    free = shutil.disk_usage(out).free
    if needed > free:
        raise DatasetError(
            f"the packs take {needed / 1e9:.1f} GB more, {out} has {free / 1e9:.1f} GB: name "
            "another folder for them, or fewer image folders"
        )


def _shard_arguments(plan: _Plan, shard: int) -> tuple[Path, Path, list[str], int, tuple[int, ...]]:
    """Return the arguments of `_write_shard`."""
    names = [file.name for file in plan.rows(shard)]
    rows_after = len(plan.files) - shard * SHARD
    return plan.source, plan.partial, names, rows_after, plan.shape


def _write_shard(
    source: Path, partial: Path, names: Sequence[str], rows_after: int, shape: tuple[int, ...]
) -> None:
    """Decode the images of a shard and put them on disk, so many rows before the array's end."""
    images = np.empty((len(names), *shape[1:]), np.uint8)
    for row, name in enumerate(names):
        image = read_gray(source / name)
        if image.shape != shape[1:]:
            raise DatasetError(
                f"{source / name} is {image.shape}, the first image of its folder "
                f"{shape[1:]}: a pack needs one size"
            )
        images[row] = image
    with partial.open("r+b") as stream:
        stream.seek(-rows_after * images[0].nbytes, os.SEEK_END)
        stream.write(images.data)
        stream.flush()
        os.fsync(stream.fileno())


def _finish(plan: _Plan) -> None:
    """Give a filled array its name; the index, written last, makes it a pack."""
    digest, crc32 = _digests(plan)
    index = {
        "format": FORMAT,
        "shape": list(plan.shape),
        "bytes": plan.partial.stat().st_size,
        "sha256": digest,
        "source": digest_of(plan.files),
        "names": [file.name for file in plan.files],
        "crc32": crc32,
    }
    path = plan.array.with_suffix(".json")
    path.unlink(missing_ok=True)  # never an old index beside a new array
    plan.partial.replace(plan.array)
    write_atomically(path, json.dumps(index | {"digest": index_digest(index)}))
    plan.journal.unlink()
    logger.info("packed %d images: %s", plan.shape[0], plan.array)


def _digests(plan: _Plan) -> tuple[str, list[int]]:
    """Return the SHA-256 of a filled array and the CRC-32 of each of its images."""
    crc32 = []
    with plan.partial.open("rb") as file:
        digest = hashlib.sha256(file.read(len(array_header(plan.shape))))
        while image := file.read(_pixels(plan)):
            digest.update(image)
            crc32.append(zlib.crc32(image))
    return digest.hexdigest(), crc32
