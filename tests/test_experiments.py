"""Experiments: what they share, and that each asks for what it says."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
import torch

from experiments import ablate_corrections as ablation
from experiments import calibrate_dominant_path as calibration
from experiments import calibrate_ray_tracing as ray_calibration
from experiments import sweep_steps
from experiments.common import Origin, make_parser, measured_once, write_result
from radiodiff import units
from radiodiff.config import build_config, load_config, save_config
from radiodiff.data import RadioMapSample
from radiodiff.processes import ConstantSDE
from radiodiff.sampler import SamplerConfig
from radiodiff.simulate import DominantPath, RayTracing


def test_result_says_who_made_it_and_holds_its_configuration(tmp_path, capsys):
    config = load_config("ablation")
    origin = Origin.now("numpy")
    result = write_result(tmp_path / "new", {"rows": [1]}, origin, config=config)
    path = tmp_path / "new/metrics.json"
    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert capsys.readouterr().out == f"{path}\n"
    assert result["rows"] == [1]
    assert {key: result[key] for key in origin.made} == origin.made
    assert result["wall_time_s"] >= 0
    assert build_config(result["config"]) == config


def test_parser_knows_where_results_go(tmp_path):
    parser = make_parser("First line.\n\nMore.", "results/steps")
    assert parser.description == "First line."
    assert parser.parse_args([]).out.parts[-2:] == ("results", "steps")
    assert parser.parse_args(["--out", str(tmp_path)]).out == tmp_path


def test_run_is_measured_once_and_under_one_configuration(tmp_path):
    config, calls = load_config("ablation"), []

    def measure():
        save_config(config, tmp_path / "config.yaml")
        calls.append(1)
        return {"loss": 0.5}

    for _ in range(2):
        assert measured_once(tmp_path, config, measure) == {"loss": 0.5}
    assert len(calls) == 1
    other = dataclasses.replace(config, seed=7)
    with pytest.raises(SystemExit, match="another configuration"):
        measured_once(tmp_path, other, measure)


# Ablation


def test_every_row_of_the_ablation_changes_the_configuration():
    base = load_config("ablation")
    for name, row in ablation.ROWS.items():
        changed = load_config("ablation", (*row.overrides, *row.first_stage))
        assert (changed == base) == (name == ablation.BASE), name


def test_rows_that_concern_sampling_alone_are_not_trained():
    asked_again = {name for name, row in ablation.ROWS.items() if not row.trains}
    assert asked_again == {"schedule", "shared_noise"}


def test_rows_come_with_what_they_are_compared_with():
    assert ablation.wanted_rows(["unsynchronised"]) == ["ours", "two", "unsynchronised"]
    assert ablation.wanted_rows(None) == list(ablation.ROWS)


@pytest.mark.parametrize(
    ("name", "trained", "copied"),
    [
        ("ours", [("autoencoder", "diffusion")], set()),
        ("drift_skip", [("diffusion",)], {"autoencoder.safetensors", "latents.json"}),
        (
            "schedule",
            [],
            {"autoencoder.safetensors", "latents.json", "diffusion.safetensors", "config.yaml"},
        ),
        ("unclipped", [("autoencoder",)], set()),
    ],
)
def test_row_trains_what_it_changes(name, trained, copied, tmp_path, monkeypatch):
    stages_of = []

    def train_run(config, run_dir, stages=("autoencoder", "diffusion")):
        stages_of.append(tuple(stages))

    monkeypatch.setattr(ablation, "train_run", train_run)
    for measure in ("held_out_loss", "sampled_rmse", "reconstruction_rmse"):
        monkeypatch.setattr(ablation, measure, lambda config, run_dir: 1.0)
    base, run_dir = tmp_path / "ours-0", tmp_path / "run"
    base.mkdir()
    for file in (*ablation.FIRST_STAGE, *ablation.SECOND_STAGE):
        (base / file).write_text(file, encoding="utf-8")
    run_dir.mkdir()
    row = ablation.ROWS[name]
    overrides = (*row.overrides, *row.first_stage)
    job = ablation.Job(row, overrides, load_config("ablation", overrides), run_dir, base)
    values = ablation.measure(job)
    assert stages_of == trained
    assert {path.name for path in run_dir.iterdir()} == copied
    assert ("loss" in values) == (not row.first_stage)
    assert ("reconstruction_rmse_db" in values) == (name == "ours")


def test_change_is_clear_where_students_interval_excludes_0():
    def rows(*rmse):
        values = [{"rmse_db": x, "reconstruction_rmse_db": 2.0} for x in (1.0, 2.0, 3.0)]
        undone = [{"rmse_db": x} for x in rmse]
        return {
            "ours": {"switches": [], "against": "ours", "values": values},
            "x": {"switches": ["network.a=b"], "against": "ours", "values": undone},
            "old": {"switches": ["train_autoencoder.a=b"], "against": "ours", "values": undone},
        }

    # Differences 2, 3, 4: mean 3, deviation 1, and t of 2 degrees is 4.3027.
    change = ablation.change_of_rmse(rows(3.0, 5.0, 7.0), "x")
    assert change == (pytest.approx(3), pytest.approx(1), True)
    assert 4.3027 / 3**0.5 < 3
    change = ablation.change_of_rmse(rows(2.0, 4.0, 6.0), "x")  # 1, 2, 3
    assert change == (pytest.approx(2), pytest.approx(1), False)
    assert 2 < 4.3027 / 3**0.5
    # A first stage is judged by its reconstructions, under the old name of the section too.
    assert ablation.change_of_rmse(rows(3.0, 5.0, 7.0), "old").mean_db == pytest.approx(3)
    assert ablation.change_of_rmse(rows(3.0, 5.0, 4.0), "old").mean_db == pytest.approx(2)


# Sweep over steps


def sample_of(value: float, names: tuple[str, ...]) -> RadioMapSample:
    """A batch of flat maps."""
    shape = (len(names), 1, 8, 8)
    return RadioMapSample(
        radio_map=units.path_gain_db_to_model(torch.full(shape, value)),
        condition=torch.zeros(shape),
        scene=None,
        outdoor_mask=torch.ones(shape, dtype=torch.bool),
        name=names,
    )


def test_sweep_asks_each_sampler_for_each_number_of_steps(monkeypatch):
    asked = []

    def draw(pipeline, batch, sampler, *, number):
        asked.append((sampler.schedule, sampler.stochastic, sampler.steps, number))
        return torch.full((2, 1, 8, 8), -90.0 + (2.0, 4.0)[number], dtype=torch.float64)

    monkeypatch.setattr(sweep_steps, "draw", draw)
    run = SimpleNamespace(sampler=SamplerConfig(steps=9, window=(4, 4)))
    pipeline = SimpleNamespace(config=run, process=ConstantSDE())
    batch = sample_of(-90.0, ("1_0", "1_1"))
    measured = sweep_steps.sweep(pipeline, [batch], (1, 5), samples=2)
    assert asked[0] == ("uniform", True, 1, 0)
    assert asked[1:] == [
        (schedule, stochastic, steps, number)
        for schedule, stochastic in (("uniform", True), ("uniform", False), ("reference", True))
        for steps in (1, 5)
        for number in (0, 1)
    ]
    assert all(one.sampler.window == (4, 4) for one in measured)
    assert [one.calls for one in measured] == [1, 5, 1, 5, 2, 6]
    one, four = sweep_steps.rows(measured[-1], measured[0], batch.name, resamples=10)
    assert (one["samples"], four["samples"]) == (1, 2)
    assert one["rmse_db"]["mean"] == pytest.approx(2, abs=0.01)  # the truth is a gray level
    assert four["rmse_db"]["mean"] == pytest.approx(3, abs=0.01)
    assert four["difference_db"]["mean"] == pytest.approx(1, abs=0.01)
    assert one["spread_db"] == pytest.approx(2**0.5)


# Calibration


def test_calibration_counts_cells_above_the_noise():
    engine = DominantPath([], 16, 1.0)
    path_map = engine.trace((8.5, 8.5))
    real = path_map.path_gain_db - 2.0
    real[0] = -147.0  # below the noise: counts in rmse_all_db alone
    one = calibration.Measured(0, (8.5, 8.5), real)
    found = calibration.measure(engine, one, path_map)
    assert found["cells"] == 15 * 16
    assert found["rmse_db"] == pytest.approx(2)
    assert found["bias_db"] == pytest.approx(2)
    assert found["rmse_all_db"] > 2
    assert found["line_of_sight"] == 0  # 2 dB is beyond the tolerance
    (by_bends,) = calibration.by_bends(engine, [(one, path_map)])
    assert (by_bends["bends"], by_bends["cells"]) == ("0", 240)
    assert np.isclose(by_bends["rmse_db"], 2)


def test_calibration_of_rays_counts_heard_cells_in_shadow():
    block = [shapely.box(0, 6, 12, 10)]
    engine = RayTracing(block, 16, 1.0)
    simulated = engine.path_gain_db((2.5, 2.5), interactions=2)
    one = calibration.Measured(0, (2.5, 2.5), np.nan_to_num(simulated, nan=-147.0) - 3.0)
    mask = ray_calibration.shadow(engine, one, block)
    assert 20 < mask.sum() < 96  # behind the block
    assert not mask[10:].any()
    found = ray_calibration.measure(engine, [one], [mask], 2)
    assert found["rmse_db"] == pytest.approx(3)
    assert found["bias_db"] == pytest.approx(3)
    gray = units.path_gain_db_to_uint8(simulated)
    assert found["mean_gray"] == pytest.approx(gray.mean())
    one.path_gain_db[mask] = -130.0  # below the noise
    assert not ray_calibration.shadow(engine, one, block).any()
