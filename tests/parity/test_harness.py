"""The parity tests fail where they should, on altered copies of the committed vectors."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT, SHARED
from tests.parity.sets import KINDS, outputs
from tests.parity.vectors import COMMITTED, Answer, VectorFolder, copy_sets


def run(folder):
    """Return the tests that failed on a folder, and what was printed; none is skipped."""
    arguments = ["tests/parity/test_vectors.py", "--vectors", str(folder), "-q", "--color=no"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        encoding="utf-8",
    )
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S+::(\S+)", result.stdout, re.MULTILINE))
    last_line = result.stdout.splitlines()[-1]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) ([a-z]+)[, ]", last_line)}
    sets = VectorFolder(folder).sets.values()
    expected = sum(len(outputs(vectors)) for vectors in sets if vectors.name in KINDS)
    expected += len(sets) + 2
    assert counts == {"passed": expected - len(failed)} | (
        {"failed": len(failed)} if failed else {}
    )
    return failed, result.stdout


def edit(folder, name, change):
    """Change the arrays of a set; the manifest lists what is there afterwards."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    entry = manifest["sets"][name]
    arrays = load_file(folder / entry["file"])
    change(arrays, entry["tolerance"])
    save_file(arrays, folder / entry["file"])
    entry["arrays"] = {k: [str(v.dtype)[6:], list(v.shape)] for k, v in arrays.items()}
    path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    def make(*names):
        copy_sets(COMMITTED, tmp_path / "copy", names)
        return tmp_path / "copy"

    return make


def test_each_fault_fails_its_own_test(copy):
    def change_sde(arrays, _):
        arrays["x_t"][0, 0, 2, 3] += 1e-3
        arrays["losses"][1, 2] = torch.nan

    def change_sampler(arrays, _):
        arrays["steps3/x"][-1] *= 1.0001
        arrays["other/eps"] = torch.zeros(2)

    def change_ema(arrays, _):
        arrays["surplus"] = torch.zeros(2)

    folder = copy("sde", "ema", "sampler")
    edit(folder, "sde", change_sde)
    edit(folder, "sampler", change_sampler)
    edit(folder, "ema", change_ema)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["sets"]["unheard"] = manifest["sets"]["sde"]
    manifest["sets"]["ema"]["arrays"]["absent"] = ["float32", [1]]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    save_file({"a": torch.zeros(1)}, folder / "stray.safetensors")
    failed, printed = run(folder)
    assert failed == {
        "test_array[sde-x_t]",
        "test_array[sde-losses]",
        "test_array[sampler-steps3/x]",
        "test_array[ema-surplus]",
        "test_array[ema-absent]",
        "test_set_is_known_and_complete[ema]",
        "test_set_is_known_and_complete[sampler]",
        "test_set_is_known_and_complete[unheard]",
        "test_every_file_belongs_to_a_set",
    }
    assert re.search(r"sde/x_t: largest error 1\.000e-03 at \[0, 0, 2, 3\], bound \d", printed)
    assert "unheard: unknown set" in printed
    assert "ema/surplus: nothing of ours gives this array" in printed
    assert "neither read nor compared: other/eps" in printed


def test_other_numbers_of_images_and_trajectories_are_fine(copy):
    def replace(old, new):
        def change(*tables):
            for table in tables:
                for key in [key for key in table if key.startswith(old)]:
                    value = table.pop(key)
                    if new:
                        table[new + key.removeprefix(old)] = value

        return change

    folder = copy("sampler", "vae_small")
    edit(folder, "vae_small", replace("1/", None))
    edit(folder, "vae_small", replace("2/", "17/"))
    edit(folder, "sampler", replace("steps10/", None))
    edit(folder, "sampler", replace("steps3/", "three/"))
    failed, _ = run(folder)
    assert failed == set()


def test_comparison():
    """The rule of the manifest, by hand: absolute, relative, and what is no number."""
    vectors = VectorFolder(COMMITTED).sets["sde"]
    vectors._arrays = {"a": torch.tensor([100.0, 0.0, -4.0])}
    vectors.entry["tolerance"] = {"a": {"fp32_vs_fp64_max_abs": 1e-3, "max": 50.0}}

    def ours(*change, **more):
        return vectors.compare("a", Answer(vectors.arrays["a"] + torch.tensor(change), **more))

    worst = ours(0.0, 0.005, 0.001)
    assert (worst.error, worst.bound) == (pytest.approx(0.005), pytest.approx(0.0101))
    assert worst.ratio == pytest.approx(0.005 / 0.0101)
    assert ours(0.0, 0.0, 0.02, labels=["x", "y", "z"]).place == "[2] (z)"
    assert ours(0.0, torch.nan, 0.02).ratio == torch.inf
    vectors.entry["tolerance"]["a"] = {
        "fp32_vs_fp64_max_abs": 1e-3,
        "fp32_two_orders_max_abs": 2e-3,
        "max": 0.0,
    }
    assert ours(0.0, 0.0, 0.0).bound == pytest.approx(0.02)
    vectors.entry["tolerance"]["a"] = {"max_rel": 1e-3}
    assert ours(0.5, 0.0, 0.0).bound == pytest.approx(100 * 0.010002)
    assert ours(0.0, 1e-9, 0.0).ratio == torch.inf
    assert ours(0.0, 0.5, 0.0, scale=torch.ones(3)).bound == pytest.approx(0.010002)
    with pytest.raises(AssertionError, match=r"expected shape \(3,\), got \(2,\)"):
        vectors.compare("a", Answer(torch.zeros(2)))


@pytest.mark.slow
@pytest.mark.skipif(
    not (SHARED / "vectors" / "manifest.json").exists(),
    reason="the whole folder of vectors not found in ../shared/vectors",
)
def test_the_whole_folder_passes():
    """All sets, the small U-Net and its gradients among them, which the committed choice lacks."""
    failed, printed = run(SHARED / "vectors")
    assert not failed, printed[-3000:]
