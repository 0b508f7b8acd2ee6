"""Scores of runs: what is refused as no fair test, and what the results tell."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from radiodiff.data import RadioMap3DSeer, RadioMapOptions, RadioMapSeer
from radiodiff.predictors import DistanceLaw, MeanMap, NearestMap
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.train import train_run
from radiodiff.scoring import PROTOCOLS, score_maps

from ..conftest import with_data, write_radiomap3dseer, write_radiomapseer


@pytest.mark.parametrize(
    ("splits", "shared"),
    [
        ("radiodiff-r24", "val and test share 2 maps: 289, 419"),
        ("radiodiff-r25", "train and test share 1 maps: 289"),
    ],
)
def test_a_split_that_leaks_is_not_scored_unless_told(tiny, tmp_path, splits, shared):
    """X1: the error names the maps and the flag; the results tell of the leak."""
    write_radiomapseer(tmp_path / "RadioMapSeer", (289,))
    run = train_run(with_data(tiny, splits=splits), tmp_path / "run")
    with pytest.raises(ValueError, match=f"{shared}.*--allow-leak"):
        evaluate_run(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()
    result = evaluate_run(run, tmp_path / "results", allow_leak=True)
    stored = json.loads((tmp_path / "results/metrics.json").read_text(encoding="utf-8"))
    assert stored["leak"] == result["leak"]
    assert shared in stored["leak"].values()


@pytest.mark.parametrize(
    ("generator", "source"), [({}, "RadioMapSeer"), ({"name": "a"}, "simulated")]
)
def test_only_a_folder_that_names_its_generator_is_simulated(tiny, tmp_path, generator, source):
    """A folder of one's own may hold a dataset.json that says its cell size alone."""
    manifest = Path(tiny.data.root, "dataset.json")
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content |= {"generator": generator} if generator else {}
    manifest.write_text(json.dumps(content), encoding="utf-8")
    result = evaluate_run(train_run(tiny, tmp_path / "run"), tmp_path / "results")
    assert result["data"]["source"] == source


def test_maps_that_are_not_judged_leak_nothing(tiny, tmp_path):
    """Map 103 alone is judged: r24 has it in no other split."""
    config = with_data(tiny, splits="radiodiff-r24")
    config = dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, max_maps=1))
    result = evaluate_run(train_run(config, tmp_path / "run"), tmp_path / "results")
    assert "leak" not in result


def test_a_condition_computed_from_the_answer_is_a_leak(tiny, tmp_path):
    run = train_run(with_data(tiny, 3, k2_channels=1), tmp_path / "run")
    with pytest.raises(ValueError, match=r"computed from the maps to predict.*--allow-leak"):
        evaluate_run(run, tmp_path / "results")
    assert list(evaluate_run(run, tmp_path / "results", allow_leak=True)["leak"]) == ["condition"]


def test_scores_of_maps_without_the_files_scale_are_refused(dataset_root, tmp_path):
    """Wherever they come from: the batch itself says what its gray levels mean."""
    scaled = RadioMapSeer(dataset_root, "train", RadioMapOptions(threshold=0.2))
    unknown = RadioMap3DSeer(write_radiomap3dseer(tmp_path / "3d", (159,)), "train")
    for dataset in (scaled, unknown):
        batch = next(iter(DataLoader(dataset, batch_size=2)))
        gain_db = torch.full_like(batch.radio_map, -90)
        for call in (
            lambda b=batch, g=gain_db: score_maps(g, b, PROTOCOLS["city"]),
            *(lambda d=dataset, k=kind: k.fit(d) for kind in (DistanceLaw, MeanMap, NearestMap)),
        ):
            with pytest.raises(ValueError, match="159_0: scores are defined for path gain"):
                call()
