"""Parity with the public code: every array of a folder of vectors, through our modules.

``pytest tests/parity --vectors DIR`` takes another folder than the committed one.
"""

from functools import cache

import pytest
import torch

from tests.parity.sets import KINDS, outputs
from tests.parity.vectors import Answer, VectorSet, open_folder, recipe


def pytest_generate_tests(metafunc):
    if "set_name" not in metafunc.fixturenames:
        return
    by_array = "array" in metafunc.fixturenames
    rows = []
    for name, vectors in open_folder(metafunc.config.getoption("--vectors")).sets.items():
        marks = [pytest.mark.slow] if name in KINDS and KINDS[name].is_slow else []
        if not by_array:
            rows.append(pytest.param(name, marks=marks))
        elif name in KINDS:
            rows += [pytest.param(name, a, id=f"{name}-{a}", marks=marks) for a in outputs(vectors)]
    metafunc.parametrize(("set_name", "array") if by_array else "set_name", rows)


@pytest.fixture(scope="session")
def folder(request):
    return open_folder(request.config.getoption("--vectors"))


@cache
def answers(vectors: VectorSet) -> tuple[dict[str, Answer], Exception | None]:
    """Return what our code gives for a set, and what stopped it before the end."""
    found: dict[str, Answer] = {}
    with torch.random.fork_rng(devices=[]):
        try:
            for array, answer in KINDS[vectors.name].answers(vectors):
                found[array] = answer if isinstance(answer, Answer) else Answer(answer)
        except Exception as error:
            return found, error
    return found, None


def test_array(folder, set_name, array, record_property):
    vectors = folder.sets[set_name]
    found, error = answers(vectors)
    if array not in found:
        assert array in vectors.arrays, f"{set_name}/{array}: in the manifest, not in the file"
        raise error or AssertionError(f"{set_name}/{array}: nothing of ours gives this array")
    worst = vectors.compare(array, found[array])
    record_property("error over bound", worst.ratio)
    assert worst.error <= worst.bound, (
        f"{set_name}/{array}: largest error {worst.error:.3e} at {worst.place}, "
        f"bound {worst.bound:.3e}"
    )


def test_set_is_known_and_complete(folder, set_name):
    """Each stored array is an input that was read, or is compared by `test_array`."""
    assert set_name in KINDS, f"{set_name}: unknown set, known are {', '.join(KINDS)}"
    vectors = folder.sets[set_name]
    stored = {k: [str(v.dtype)[6:], list(v.shape)] for k, v in vectors.arrays.items()}
    assert stored == vectors.entry["arrays"]
    _, error = answers(vectors)
    assert error is None
    unread = set(stored) - set(outputs(vectors)) - vectors.used
    assert not unread, f"{set_name}: neither read nor compared: {', '.join(sorted(unread))}"


def test_every_file_belongs_to_a_set(folder):
    """Weights of a set may stand alone."""
    known = {vectors.entry["file"] for vectors in folder.sets.values()}
    found = {path.name for path in folder.path.glob("*.safetensors")}
    left = {name for name in found - known if not name.endswith(".weights.safetensors")}
    assert not left, f"in no set of the manifest: {', '.join(sorted(left))}"


def test_recipe_gives_the_values_of_the_manifest(folder):
    check = folder.manifest["recipe"]["check"]
    values = recipe(*(check[name] for name in ("seed", "key", "shape", "mean", "std")))
    assert values.flatten().tolist() == check["values"]
