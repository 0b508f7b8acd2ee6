"""Hostile inputs: a short run of the fuzzer, its valid files, what it counts, known cases."""

import contextlib
import io
import json
import os
import pickle
import signal
import sys
import time
import zipfile
from pathlib import Path
from random import Random

import pytest

from tests.faults import fuzz, mutate, targets

#: How each valid input ends: ``state`` lacks most of its weights.
ENDS = dict.fromkeys(targets.TARGETS, 0) | {"state": 2}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    base = tmp_path_factory.mktemp("fuzz")
    (base / "seeds").mkdir()
    targets.write_seeds(base / "seeds")
    return base / "seeds"


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The folder of an input, beside an empty project in which commands run."""
    fuzz.make_folders(tmp_path / "around")
    monkeypatch.chdir(tmp_path / "around/project")
    return tmp_path / "around/named"


@pytest.fixture
def no_change(monkeypatch):
    """Files are taken as they are."""
    monkeypatch.setattr(mutate, "tree", lambda rng, tree, kind: mutate.written(tree, kind).encode())
    for name in ("png", "npy", "safetensors", "torch_file", "word"):
        monkeypatch.setattr(mutate, name, lambda rng, content, *_: content)


def test_no_fault_in_a_short_run(tmp_path):
    found = fuzz.fuzz(inputs=506, seed=0, kept=tmp_path / "kept")
    lines = [f"{row['target']}: {row['what']}" for row in found["faults"]]
    assert not lines, "\n".join([*lines, f"the inputs lie in {tmp_path / 'kept'}"])


@pytest.mark.parametrize("target", targets.TARGETS)
def test_valid_files_are_accepted(seeds, named, no_change, target):
    """Else every variant of them would be refused for the same reason."""
    named.mkdir()
    targets.TARGETS[target].alter(Random(1), seeds, named)
    assert targets.TARGETS[target].read(named) == ENDS[target]


def test_number_and_seed_give_an_input_back(seeds, tmp_path):
    for target in targets.TARGETS:
        made = []
        for k, seed in enumerate((3, 3, 4)):
            folder = tmp_path / f"{target}{k}"
            fuzz.alter(7, seed, target, seeds.parent, folder)
            files = [p for p in folder.rglob("*") if p.is_file()]
            made.append({p.relative_to(folder): p.read_bytes() for p in files})
        signs = [str(tmp_path / f"{target}{k}").encode() for k in range(3)]
        assert made[0] == made[1] or any(signs[0] in data for data in made[0].values())
        assert made[0] != made[2]


# What counts as a fault


def outside(folder: Path) -> int:
    (folder.parent / "elsewhere").touch()
    return 0


def runs_code(folder: Path) -> int:
    (folder.parent / targets.SIGN).mkdir()
    return 0


def says(text):
    def read(folder: Path) -> int:
        print(f"radiodiff: error: {text}", file=sys.stderr)
        return 2

    return read


def dies(folder: Path) -> int:
    os.kill(os.getpid(), signal.SIGKILL)


def eats(folder: Path) -> int:
    return len(bytes(8 << 30))


def broken(folder: Path) -> int:
    return {}["key"]


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (lambda folder: 0, None),
        (says("one line"), None),
        (broken, "KeyError"),
        (eats, "MemoryError"),
        (outside, "wrote outside the folder"),
        (runs_code, "a pickle was run"),
        (says("x" * 600), "a message of over 500 characters"),
        (says("two\nlines"), "a message with a line break"),
        (says("a\x1bcode"), "a message with a line break or control code"),
        (lambda folder: time.sleep(9), "longer than 0.5 s"),
        (dies, "the process ended (-9)"),
    ],
)
def test_fuzzer_sees(seeds, monkeypatch, tmp_path, read, what):
    target = targets.Target(lambda rng, seeds, folder: None, read)
    monkeypatch.setitem(targets.TARGETS, "probe", target)
    monkeypatch.setattr(fuzz, "SECONDS", 0.5)
    rows = list(fuzz.outcomes(3, 0, ["probe"], tmp_path))
    assert [number for number, _, _ in rows] == [0, 1, 2]
    for _, _, faults in rows:
        assert len(faults) == (what is not None)
        assert all(what in fault for fault in faults)


def test_hostile_pickles_would_be_seen(seeds, tmp_path):
    """Read without care, a good part of them makes the folder."""
    data, ran = (seeds / "state.pt").read_bytes(), 0
    for k in range(40):
        made = mutate.torch_file(Random(k), data, tmp_path / f"sign{k}")
        with contextlib.suppress(Exception):
            if made[:2] == b"PK":
                with zipfile.ZipFile(io.BytesIO(made)) as file:
                    name = next(n for n in file.namelist() if n.endswith("data.pkl"))
                    made = file.read(name)
            pickle.loads(made)
        ran += (tmp_path / f"sign{k}").is_dir()
    assert ran >= 5


# Known cases


RING = "[[2, 2], [2, 6], [6, 6], [6, 2]]"
KNOWN = [
    ("config", "config.yaml", "[" * 5_000),
    ("config", "config.yaml", f"autoencoder_loss: '{'9' * 5_000}'"),
    ("config", "config.yaml", "network: {filter_size: [0, -1]}"),
    ("config", "config.yaml", "network: {width: 9223372036854775808}"),
    ("config", "config.yaml", "name: ../../x"),
    ("simulate-config", "sim.yaml", f"maps: 1\ntransmitters: 1\nworkers: [1, '{'9' * 5_000}']"),
    ("manifest", "data/dataset.json", "[" * 100_000),
    ("manifest", "data/dataset.json", json.dumps({"maps": "x" * 9_000})),
    ("manifest", "data/dataset.json", json.dumps({"maps": [{"id": 1e400, "split": "x"}]})),
    ("simulated", "data/dataset.json", json.dumps({"parameters": 2147483648})),
    ("simulated", "data/dataset.json", json.dumps({"parameters": [], "constants": 1})),
    ("simulated", "data/dataset.json", "[[]]"),
    ("outlines", "outlines.json", f"[{RING[:-1]}, [NaN, 3]]]"),
    ("outlines", "outlines.json", f"[{RING}, 1e-320, [[1{'0' * 400}, 1], [2, 3], [3, 1]]]"),
    ("outlines", "outlines.json", f"[{RING}, [[1e999, 1], [2, 3], [3, 1]]]"),
    ("outlines", "outlines.json", f"[{RING}, [[1e300, 1], [-1e300, 3], [3, 1e308]]]"),
    ("outlines", "antennas.json", f"[[-0.0, 9], [1{'0' * 400}, 3]]"),
    ("outlines", "antennas.json", "[[1e308, 9], [-Infinity, 3]]"),
    ("packed", "packed/packed/gain/DPM.json", json.dumps({"format": 1, "shape": "../../x"})),
    ("packed", "packed/packed/gain/DPM.json", "[]"),
    *(
        ("run", "run/latents.json", text)
        for text in ('{"latent_scale": ""}', "{}", "[1]", "2", '"a"')
    ),
    *(
        ("run", "run/latents.json", f'{{"latent_scale": {scale}}}')
        for scale in ("NaN", "0", "1e999")
    ),
    ("run", "run/latents.json", "[" * 100_000),
    ("run", "run/scenes.json", "[1.5]"),
    ("run", "run/config.yaml", f"autoencoder_loss: '{'9' * 5_000}'"),
    ("reference", "radio_train.yaml", "2001-01-01: !!timestamp x"),
]


@pytest.mark.parametrize(("target", "name", "text"), KNOWN)
def test_known_case_is_refused_in_one_line(seeds, named, no_change, target, name, text, capsys):
    named.mkdir()
    targets.TARGETS[target].alter(Random(0), seeds, named)
    (named / name).write_text(text, encoding="utf-8")
    status, faults = fuzz.call(target, named)
    faults += fuzz.message_faults(capsys.readouterr().err)
    assert not faults
    assert status != "status 0" or target == "packed"  # then the images are read, with a warning


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"{'descr'", b"\n'descr'"),
        (b"{'descr'", b"\"'descr'"),
        (b"'|u1'", b"'|V1'"),
        (b"'|u1'", b"'|S1'"),
        (b"'|u1'", b"'|O1'"),
        (b"(", b"\x00"),
    ],
)
def test_known_header_of_a_pack(seeds, named, no_change, old, new, capsys):
    named.mkdir()
    targets.TARGETS["packed"].alter(Random(0), seeds, named)
    for array in (named / "packed/packed").rglob("*.npy"):
        array.write_bytes(array.read_bytes().replace(old, new, 1))
    _, faults = fuzz.call("packed", named)
    faults += fuzz.message_faults(capsys.readouterr().err)
    assert not faults
