"""Splits: the published permutation, exact sizes, and which maps leak."""

import hashlib
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from radiodiff.data import DatasetError, Splits, split_maps, split_overlap
from radiodiff.data.splits import map_permutation

NOWHERE = Path("nowhere")
EVERYTHING = range(701)


def parts(splits):
    names = ("train", "test") if splits == "paper" else ("train", "val", "test")
    return {name: split_maps(NOWHERE, name, EVERYTHING, splits=splits) for name in names}


def test_permutation_is_the_published_one():
    order = map_permutation()
    digest = hashlib.sha256(order.astype("<i2").tobytes()).hexdigest()
    assert digest == "83d106282390389f752a543a926a646797858a57c24ef67c20cf529fa6b3035e"
    assert order[:10].tolist() == [158, 500, 396, 155, 321, 212, 234, 289, 300, 356]
    assert order[[500, 600, 601, 699]].tolist() == [186, 288, 418, 102]


def test_permutation_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    map_permutation()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("splits", "sizes", "first_test_map"),
    [
        ("city", [501, 100, 99], 419),
        ("radiounet", [501, 100, 99], 419),
        ("paper", [500, 200], 187),
        ("radiodiff-r24", [501, 51, 100], 289),
        ("radiodiff-r25", [601, 51, 100], 289),
    ],
)
def test_sizes(splits, sizes, first_test_map):
    found = parts(splits)
    assert [len(maps) for maps in found.values()] == sizes
    assert first_test_map in found["test"]
    assert {159, 501, 397, 156} <= set(found["train"])  # the first of the order, plus 1
    assert all(maps == sorted(maps) for maps in found.values())
    assert 0 not in set().union(*found.values())


def test_paper_has_no_validation_maps():
    with pytest.raises(
        DatasetError, match=r"paper has no val maps, only train and test.*radiounet"
    ):
        split_maps(NOWHERE, "val", EVERYTHING, splits="paper")


#: What leaks, by splits; whoever adds splits says here what they share.
LEAKS = {
    "city": {},
    "radiounet": {},
    "paper": {},
    "radiodiff-r24": {("val", "test"): 51},
    "radiodiff-r25": {("train", "val"): 1, ("train", "test"): 1, ("val", "test"): 51},
}


@pytest.mark.parametrize("splits", get_args(Splits))
def test_leaks_of_every_split_are_named(splits, caplog):
    """X1: shared maps, found by set intersection, are what `split_overlap` and the log name."""
    overlap = split_overlap(splits)
    assert {pair: len(maps) for pair, maps in overlap.items()} == LEAKS[splits]
    found = parts(splits)
    for (first, second), maps in overlap.items():
        assert maps == sorted(set(found[first]) & set(found[second]))
        shown = ", ".join(map(str, maps))
        message = f"splits {splits}: {first} and {second} share {len(maps)} maps: {shown}"
        assert message in caplog.messages
    assert bool(overlap) == any("share" in message for message in caplog.messages)


def test_train_and_test_share_position_600_in_r25():
    assert split_overlap("radiodiff-r25")["train", "test"] == [289]


def test_simulated_datasets_split_by_city(tmp_path):
    rows = [{"id": k, "split": s} for k, s in enumerate(("train", "test", "val", "train"))]
    (tmp_path / "dataset.json").write_text(json.dumps({"maps": rows}), encoding="utf-8")
    assert split_maps(tmp_path, "train", range(4)) == [0, 3]
    assert split_maps(tmp_path, "test", range(4)) == [1]
    assert split_overlap("radiodiff-r25", root=tmp_path) == {}  # its own splits, not those
    with pytest.raises(DatasetError, match=r"lacks 1 of 2 train maps, first \[3\]"):
        split_maps(tmp_path, "train", range(3))
    (tmp_path / "dataset.json").write_text('{"maps": [', encoding="utf-8")
    for call in (lambda: split_maps(tmp_path, "train", range(4)), lambda: split_overlap(
        root=tmp_path)):  # fmt: skip
        with pytest.raises(DatasetError, match=r"dataset\.json does not list"):
            call()


def test_a_simulated_dataset_that_leaks_is_found_out(tmp_path):
    rows = [{"id": 0, "split": "train"}, {"id": 1, "split": "test"}, {"id": 1, "split": "train"}]
    (tmp_path / "dataset.json").write_text(json.dumps({"maps": rows}), encoding="utf-8")
    assert split_overlap(root=tmp_path) == {("train", "test"): [1]}
