"""What is killed and torn: tiny commands, the folder each fills, and what in it must be equal."""

import fnmatch
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.conftest import TEST_MAPS, TRAIN_MAPS, write_radiomapseer

#: Fields that tell times, dates and who worked, at any depth of a JSON file.
VOLATILE_FIELDS = (
    "commit",
    "cpu_seconds",
    "data_s",
    "date",
    "seconds",
    "trained_at",
    "wall_time_s",
)
#: Files that hold nothing else; there are as many as there were sessions.
VOLATILE_FILES = ("events.out.tfevents.*",)
#: Sessions are compared without doubles, as each resumption adds one.
SESSIONS = "sessions.json"
#: What a damaged checkpoint is set aside as; it stays for whoever wants to look at it.
ASIDE = ".damaged"
#: Digests of files that hold such fields differ with them, and are not compared.
HOLDERS = ("state.json", "sessions.json", "log.jsonl", "metrics.json", "dataset.json")
DIGESTS = "SHA256SUMS"

#: Commands that can be killed in a child.
KINDS = ("train", "simulate", "pack", "evaluate")
#: Those that compile loops the first time.
COMPILED = ("simulate", "evaluate")
STEPS = 3


class Job(NamedTuple):
    """Commands that fill a folder."""

    name: str
    commands: Callable[[Path], list[list[str]]]  # words after ``radiodiff`` of each, for a folder


def prepare() -> None:
    """Make a child as every other one: what a checkpoint stores of generators is the same."""
    from radiodiff.data import packed

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    packed.SHARD = 4


def write_data(base: Path) -> Path:
    """Write the dataset that all jobs share; a chapter shows three tiles of the training."""
    return write_radiomapseer(base / "data", (*TRAIN_MAPS, 158, *TEST_MAPS))


def overrides(root: Path, *, steps: int = STEPS, packed: Path | None = None) -> list[str]:
    """Return what makes the smoke configuration a matter of a second."""
    pairs = [f"data.root={root}", "data.simulate=null", "autoencoder_loss.discriminator_start=2"]
    pairs += ["evaluate.bootstrap=20", "network.multipliers=[1,2]", "network.conv.widths=[16,16]"]
    pairs += [f"network.{kind}_windows=[[2,2],[1,1]]" for kind in ("condition", "feature")]
    if packed is not None:
        pairs.append(f"data.packed={packed}")
    for stage in ("autoencoder_training", "training"):
        values = {"max_steps": steps, "batch_size": 1, "checkpoint_every": 1, "ema_start": 1}
        values |= {"log_every": 1, "sample_before": "false", "sample_every": steps}
        pairs += [f"{stage}.{key}={value}" for key, value in values.items()]
    return pairs


def train_words(root: Path, run_dir: Path, **options: Any) -> list[str]:
    """Return the command that trains both stages."""
    pairs = overrides(root, **options)
    sets = [word for pair in pairs for word in ("--set", pair)]
    return ["train", "--config", "smoke", "--run-dir", str(run_dir), *sets]


def evaluate_words(run_dir: Path, out: Path) -> list[str]:
    """Return the command that scores a run."""
    return ["evaluate", "--run-dir", str(run_dir), "--out", str(out)]


def make_job(kind: str, root: Path, run_dir: Path) -> Job:
    """Return the job of a kind.

    Args:
        kind: One of `KINDS`.
        root: Folder of `write_data`.
        run_dir: A finished run.
    """
    settings = {"maps": 4, "transmitters": 2, "size": 32, "cell": 4.0, "seed": 1}
    simulate = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    commands: dict[str, Callable[[Path], list[list[str]]]] = {
        "train": lambda out: [train_words(root, out)],
        "simulate": lambda out: [["simulate", "--out", str(out), *simulate]],
        "pack": lambda out: [["data", "pack", str(root), "--out", str(out)]],
        "evaluate": lambda out: [evaluate_words(run_dir, out)],
    }
    return Job(kind, commands[kind])


def fingerprint(folder: Path, *, skip: Sequence[str] = VOLATILE_FILES) -> dict[str, str]:
    """Return a digest of each file below a folder, without what may differ.

    Args:
        folder: What a job fills.
        skip: Patterns of files that are not compared.
    """
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if ASIDE in path.as_posix():
            continue
        if path.is_file() and not any(fnmatch.fnmatch(path.name, pattern) for pattern in skip):
            content = _without_volatile(path, skip)
            name = path.relative_to(folder).as_posix()
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def differences(found: dict[str, str], wanted: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return the files that are missing or differ, and those that should not be there."""
    return (
        [name for name in wanted if found.get(name) != wanted[name]],
        sorted(found.keys() - wanted.keys()),
    )


def _without_volatile(path: Path, skip: Sequence[str]) -> bytes:
    """Return a file's content; of JSON, without the fields of times and dates."""
    content = path.read_bytes()
    if path.name == DIGESTS:
        lines = content.splitlines()
        return b"\n".join(line for line in lines if not line.endswith(b"  dataset.json"))
    if path.suffix not in (".json", ".jsonl"):
        return content
    try:
        texts = content.decode().splitlines() if path.suffix == ".jsonl" else [content.decode()]
        values = [_stable(json.loads(text), skip) for text in texts]
    except ValueError:
        return content
    if path.name in HOLDERS and values and isinstance(values[0], dict):
        values[0].pop("sha256", None)  # of the file itself
    if path.name == SESSIONS and values:
        sessions = values[0].get("sessions") if isinstance(values[0], dict) else values[0]
        values = sorted({json.dumps(value, sort_keys=True) for value in sessions or [values[0]]})
    return json.dumps(values).encode()


def _stable(value: Any, skip: Sequence[str]) -> Any:
    """Return a value of JSON without what may differ, digests of files in ``skip`` among it."""
    if isinstance(value, dict):
        unequal = (*VOLATILE_FIELDS, *HOLDERS, *skip)
        return {key: _stable(item, skip) for key, item in value.items() if key not in unequal}
    return [_stable(item, skip) for item in value] if isinstance(value, list) else value
