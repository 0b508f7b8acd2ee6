"""Every file of runs and packs, damaged in turn, and what the same command makes of it."""

import os
import random
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import children, jobs
from tests.faults.children import TRACEBACK, Fault, Outcome

#: Pictures and logs that no command computes with: their damage is seen by whoever opens them.
UNREAD = ("*.png", "log.jsonl", "events.out.tfevents.*")
#: Checkpoints of a stage that is over are not read again.
_OVER = "autoencoder/checkpoints/*/*"

#: What is made of a file's bytes; `None` deletes it. The second argument draws places.
DAMAGES: Mapping[str, Callable[[bytes, random.Random], bytes | None]] = {
    "deleted": lambda content, rng: None,
    "emptied": lambda content, rng: b"",
    "half": lambda content, rng: content[: len(content) // 2],
    "one byte short": lambda content, rng: content[:-1],
    "flipped": lambda content, rng: _flip(content, rng.randrange(len(content)), rng),
    "flipped at the head": lambda content, rng: _flip(
        content, rng.randrange(min(16, len(content))), rng
    ),
}
#: The same with another file's bytes.
OTHERS = ("another file", "an older checkpoint's")


def _flip(content: bytes, place: int, rng: random.Random) -> bytes:
    return (
        content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    )


@dataclass(frozen=True)
class State:
    """A folder that was left in some way, and what is done with it.

    Attributes:
        name: Which.
        make: Commands that fill the folder, and where they are killed.
        commands: Those that go on with it.
        torn: Folder below it whose files are damaged.
        result: Folder below it that must hold the same in the end.
        unread: Files that stay as they are, because no command reads them again.
    """

    name: str
    make: tuple[Callable[[Path], list[list[str]]], Fault]
    commands: Callable[[Path], list[list[str]]]
    torn: str = "."
    result: str = "."
    unread: tuple[str, ...] = UNREAD


def states(root: Path) -> list[State]:
    """Return what is damaged."""

    def train(folder: Path) -> list[list[str]]:
        return [jobs.train_words(root, folder / "run")]

    def evaluate(folder: Path) -> list[list[str]]:
        return [*train(folder), jobs.evaluate_words(folder / "run", folder / "results")]

    def pack(folder: Path) -> list[list[str]]:
        return [["data", "pack", str(root), "--out", str(folder / "packs")]]

    def train_packed(folder: Path) -> list[list[str]]:
        return [jobs.train_words(root, folder / "run", steps=1, packed=folder / "packs")]

    steps, whole = jobs.STEPS, Fault()
    over, before = (*UNREAD, _OVER), f"step-{steps - 1:08d}"
    return [
        State("in autoencoder", (train, Fault(write=steps, at_change=1)), train),
        State("in diffusion", (train, Fault(write=2 * steps, at_change=1)), train, unread=over),
        State("finished", (evaluate, whole), evaluate, unread=(*over, f"*/{before}/*")),
        State("in pack", (pack, Fault(at_change=16)), pack),
        # Images of a pack are checked when they are read, which the next one does.
        State("packed", (pack, whole), pack, unread=("*.npy",)),
        State("packed, trained", (pack, whole), train_packed, "packs", "run"),
    ]


class Tears:
    """Trials of all damages to all files of all states, numbered from 0.

    Args:
        base: Folder for states and trials.
        root: Dataset of `jobs.write_data`.
        parts: Names of the states; all of them if empty.
        seed: Of the places that are flipped.
    """

    def __init__(self, base: Path, root: Path, parts: Collection[str] = (), *, seed: int) -> None:
        self.base, self.seed = base, seed
        self.folder = base / "torn"  # always the same: a configuration holds its paths
        chosen = [state for state in states(root) if not parts or state.name in parts]
        self.states = {state.name: state for state in chosen}
        self.wanted: dict[str, dict[str, str]] = {}
        self.cases: list[tuple[str, str, str]] = []
        for state in self.states.values():
            self._open(state)

    def _open(self, state: State) -> None:
        """Make a state, and what it should become."""
        make, fault = state.make
        outcome = self._run(make(self.folder), fault)
        if (outcome.status != 0) != (fault != Fault()):
            raise RuntimeError(f"{state.name}: {outcome.output[-2000:]}")
        master = self.base / state.name
        shutil.copytree(self.folder, master)
        if (outcome := self._run(state.commands(self.folder))).status != 0:
            raise RuntimeError(f"{state.name}: {outcome.output[-2000:]}")
        self.wanted[state.name] = jobs.fingerprint(self.folder / state.result)
        shutil.rmtree(self.folder)
        for path in sorted((master / state.torn).rglob("*")):
            if path.is_file() and path.stat().st_size:
                name = path.relative_to(master).as_posix()
                damages = [*DAMAGES, OTHERS[0], *(OTHERS[1:] if _older(path) else ())]
                self.cases += [(state.name, name, damage) for damage in damages]

    def trial(self, number: int) -> dict[str, Any]:
        """Damage one file in one way and call the same commands."""
        name, file, damage = self.cases[number]
        rng = random.Random(f"{self.seed} {number}")
        state, began = self.states[name], time.monotonic()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.base / name, self.folder)
        path = self.folder / file
        content = self._damaged(path, damage, rng)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        outcome = self._run(state.commands(self.folder))
        verdict, word = self._judge(state, path, outcome)
        is_fault = verdict in ("traceback", "silent", "unnamed")
        case = f"{name}: {file} {damage}"
        return {
            **{"trial": number, "case": case, "verdict": verdict, "word": word[:400]},
            "fault": f"{case}: {verdict}: {word[:400]}" if is_fault else None,
            "seconds": round(time.monotonic() - began, 2),
        }

    def _run(self, commands: list[list[str]], fault: Fault = Fault()) -> Outcome:  # noqa: B008
        return children.run(commands, self.base / "log.txt", fault, prepare=jobs.prepare)

    def _damaged(self, path: Path, damage: str, rng: random.Random) -> bytes | None:
        content = path.read_bytes()
        if damage in DAMAGES:
            return DAMAGES[damage](content, rng)
        if damage == "an older checkpoint's":
            older = _older(path)
            assert older is not None
            return older.read_bytes()
        files = [other for other in sorted(self.folder.rglob("*")) if other.is_file()]
        alike = [other for other in files if other.suffix == path.suffix]
        different = [other for other in alike or files if other.read_bytes() != content]
        return rng.choice(different or [*files, path]).read_bytes()

    def _judge(self, state: State, path: Path, outcome: Outcome) -> tuple[str, str]:
        """Return a verdict, and the word that goes with it."""
        lines = outcome.output.strip().splitlines() or [""]
        if (
            outcome.status == TRACEBACK
            or outcome.status > 128
            or "Traceback (most" in outcome.output
        ):
            return "traceback", f"status {outcome.status}: {lines[-1]}"
        named = [line for line in lines if _names(line, path)]
        if outcome.status != 0:
            error = [line for line in lines if line.startswith("radiodiff: error:")] or lines[-1:]
            return ("named" if _names(error[-1], path) else "unnamed"), error[-1]
        found = jobs.fingerprint(self.folder / state.result)
        unequal, left = jobs.differences(found, self.wanted[state.name])
        if not unequal and not left:
            return "recovered", named[-1] if named else ""
        if named:
            return "warned", named[-1]
        own = os.path.relpath(path, self.folder / state.result)
        if [own] == [*unequal, *left] and any(path.match(pattern) for pattern in state.unread):
            return "unread", own
        return "silent", "differs: " + ", ".join((*unequal, *left))


def _older(path: Path) -> Path | None:
    """Return the same file of the checkpoint before, if there is one with other content."""
    if not path.parent.name.startswith("step-"):
        return None
    for folder in sorted(path.parent.parent.glob("step-*"), reverse=True):
        other = folder / path.name
        if folder.name < path.parent.name and other.is_file():
            return other if other.read_bytes() != path.read_bytes() else None
    return None


def _names(line: str, path: Path) -> bool:
    """Whether a line names a file, or the checkpoint or run folder that it is in."""
    is_checkpoint = path.parent.name.startswith("step-")
    return path.name in line or (is_checkpoint and path.parent.name in line)
