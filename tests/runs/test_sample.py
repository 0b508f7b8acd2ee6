"""Pictures of maps that are no path gain on the scale of RadioMapSeer's files."""

import pytest
import torch
from PIL import Image

from radiodiff import RadioDiffPipeline, make_scene
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.sample import sample_run
from radiodiff.runs.train import train_run

from ..conftest import with_data, write_radiomap3dseer


def test_radiounets_scale_is_sampled_in_decibels_and_not_scored(tiny, tmp_path):
    """A map drawn on the thresholded scale ends at the threshold, not at the floor."""
    run = train_run(with_data(tiny, threshold=0.2), tmp_path / "run")
    with pytest.raises(ValueError, match=r"data\.threshold 0\.2: look at its maps"):
        evaluate_run(run, tmp_path / "results")
    pipeline = RadioDiffPipeline.from_run(run)
    ends = pipeline.path_gain_db(torch.tensor([-1.0, 1.0]))
    assert ends.tolist() == pytest.approx([-147 + 0.2 * 99.16, -47.84])
    scene = make_scene(torch.zeros(32, 32), (9, 9), cell_size_m=1.0)
    assert pipeline(scene).min() >= -127.2
    out = sample_run(run, tmp_path / "drawn", max_maps=1)
    with Image.open(out / "103_0.png") as picture:
        assert picture.getextrema()[0] >= 51


def test_radiomap3dseer_trains_and_is_drawn(tiny, tmp_path):
    root = write_radiomap3dseer(tmp_path / "3d", (159, 501, 419))
    config = with_data(tiny, source="radiomap3dseer", root=str(root))
    run = train_run(config, tmp_path / "run")
    out = sample_run(run, tmp_path / "drawn")
    assert sorted(path.name for path in out.glob("*.png")) == ["419_0.png", "419_1.png"]
    with pytest.raises(ValueError, match=r"data\.source radiomap3dseer"):
        evaluate_run(run, tmp_path / "results")
    pipeline = RadioDiffPipeline.from_run(run)
    with pytest.raises(ValueError, match="no known scale in dB"):
        pipeline.path_gain_db(torch.zeros(1))
    with pytest.raises(ValueError, match="call radio_maps"):
        pipeline(make_scene(torch.zeros(32, 32), (9, 9), cell_size_m=1.0))
