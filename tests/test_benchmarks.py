"""Benchmarks: one form for all reports, and what each script makes of its times."""

import contextlib
import dataclasses
import json
from pathlib import Path
from subprocess import CalledProcessError

import numpy as np
import pytest

from benchmarks import (
    commands,
    crowded,
    data,
    digests,
    evaluate,
    simulate,
    sionna_crosscheck,
    start,
    time_to_quality,
)
from benchmarks.common import (
    Row,
    earlier_rows,
    make_report,
    median_and_spread,
    provenance,
    publish,
    read_report,
)
from radiodiff.config import load_config
from radiodiff.data import pack_dataset
from radiodiff.runs.train import train_run

from .conftest import ROOT

ROW = Row("ours/theirs", "maps", "1/s", ours=6.0, peer=4.0, peer_name="theirs", spread=(5.0, 8.0))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results/benchmarks").glob("*.json")), ids=lambda p: p.stem
)
def test_published_reports_are_of_the_form(path):
    report, rows = read_report(path)
    assert report["benchmark"] == path.stem
    assert rows
    for row in rows:
        made = row.made_by or report["made_by"]
        assert {"commit", "date"} <= made.keys()
        if row.spread is not None:
            assert row.spread[0] <= row.ours <= row.spread[1]


def test_report_is_read_as_it_was_written(tmp_path):
    alone = dataclasses.replace(ROW, name="alone", peer=None, peer_name=None, spread=None)
    made = provenance("numpy")
    report = make_report("b", "words", [ROW, alone], made=made, parameters={"size": 3})
    publish(report, tmp_path / "b.json")
    assert read_report(tmp_path / "b.json") == (report, [ROW, alone])
    assert [row["ratio"] for row in report["rows"]] == [1.5, None]
    assert {"commit", "date", "versions", "machine"} == report["made_by"].keys()


def test_rows_measured_apart_join_those_of_the_file(tmp_path, monkeypatch):
    """From the folder of the call, as a report is written."""
    monkeypatch.chdir(tmp_path)
    for path in (None, Path("b.json")):
        assert earlier_rows(path) == {}
    publish(make_report("b", "words", [ROW], made=provenance("numpy")), Path("b.json"))
    assert earlier_rows(Path("b.json")) == {ROW.name: ROW}


def test_report_goes_to_standard_output_without_a_file(capsys):
    report = make_report("b", "words", [ROW], made={})
    publish(report, None)
    assert json.loads(capsys.readouterr().out) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratio": 2.0}, "must read"),
        ({"spread": [5.0]}, "spread must be"),
        ({"spread": [7.0, 8.0]}, "spread must be"),
        ({"unknown": 1}, "not of the form"),
    ],
)
def test_row_of_another_form_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Row.of_json(ROW.as_json() | change)


def test_missing_keys_are_refused(tmp_path):
    row = ROW.as_json()
    del row["unit"]
    with pytest.raises(ValueError, match="unit"):
        Row.of_json(row)
    report = make_report("b", "words", [ROW], made={})
    del report["parameters"]
    publish(report, tmp_path / "b.json")
    with pytest.raises(ValueError, match="must hold benchmark, what, parameters"):
        read_report(tmp_path / "b.json")


def test_report_says_once_who_made_it():
    own = dataclasses.replace(ROW, made_by={"commit": "c"})
    make_report("b", "words", [own])
    for rows, made in (([ROW], None), ([own], {"commit": "c"})):
        with pytest.raises(ValueError, match="who made it once"):
            make_report("b", "words", rows, made=made)
    with pytest.raises(ValueError, match="names of their own"):
        make_report("b", "words", [ROW, ROW], made={})


def test_median_and_spread():
    assert median_and_spread([3.0, 1.04, 2.26], 1) == (2.3, (1.0, 3.0))


# The scripts


def test_command_is_measured_beside_the_setup(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "commit_of", lambda folder: "0123456789")
    setup = commands.measure("setup", "true", tmp_path, None)
    assert setup.peer == setup.ours
    assert setup.ratio == (1.0 if setup.ours else None)  # too short for the clock
    setup = dataclasses.replace(setup, ours=60.0)
    book = commands.measure("book", "touch here", tmp_path, setup)
    assert (tmp_path / "here").is_file()
    assert (book.peer, book.peer_name) == (60.0, "setup")
    line = commands.format_commands([dataclasses.replace(book, ours=61.6)]).splitlines()[-1]
    assert line.startswith("| `touch here` | 1 min 02 s | ")
    assert "`0123456`" in line
    assert commands.measure("book", "true", tmp_path, None).ratio is None
    with pytest.raises(SystemExit, match="false failed with exit status 1"):
        commands.measure("book", "false", tmp_path, setup)


def test_digests_are_measured_beside_none():
    write, resume = digests.measure("smoke", 1)
    assert (write.name, resume.name) == ("write, smoke", "resume, smoke")
    assert write.ours > 0 < write.peer
    assert write.what.endswith(" MB")


def test_start_asks_every_verb():
    words = start.question_words(ROOT)
    assert words[:2] == [("--version",), ("--help",)]
    assert {("train", "--help"), ("evaluate", "--help"), ("reference", "--help")} <= {*words}


def test_start_times_commands_in_turns(tmp_path):
    one, two = ("-c", "open('one', 'a').write('1')"), ("-c", "open('one', 'a').write('2')")
    seconds = start.measure([one, two], tmp_path, 2)
    assert {command: len(times) for command, times in seconds.items()} == {one: 2, two: 2}
    assert (tmp_path / "one").read_text(encoding="utf-8") == "121212"
    with pytest.raises(CalledProcessError):
        start.measure([("-c", "raise SystemExit(3)")], tmp_path, 1)


def test_crowded_takes_turns_alone_and_beside_a_neighbour(monkeypatch):
    monkeypatch.setattr(crowded, "NEIGHBOUR", "print('busy', flush=True)\nwhile True:\n    pass")
    monkeypatch.setattr(crowded, "is_busy", False, raising=False)
    neighbour = crowded.busy_neighbour

    @contextlib.contextmanager
    def noted():
        with neighbour():
            crowded.is_busy = True
            yield
            crowded.is_busy = False

    monkeypatch.setattr(crowded, "busy_neighbour", noted)
    times = iter([9.0, 1.0, 4.0, 2.0, 6.0])
    asked = []
    alone, beside = crowded.take_turns(lambda: asked.append(crowded.is_busy) or next(times), 2)
    assert asked == [False, False, True, False, True]
    assert (alone, beside) == ([1.0, 2.0], [4.0, 6.0])


def test_crowded_stops_without_its_neighbour(monkeypatch):
    monkeypatch.setattr(crowded, "NEIGHBOUR", "")
    with pytest.raises(RuntimeError, match="did not start"), crowded.busy_neighbour():
        pass


def test_crowded_says_nothing_of_threads_by_itself(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.setenv("HOMPAGE", "kept")
    environment = crowded.clean_environment()
    assert not {"OMP_WAIT_POLICY", "MKL_NUM_THREADS"} & environment.keys()
    assert environment["HOMPAGE"] == "kept"


def test_reading_compares_each_way_with_both_kinds_of_png():
    passes = {"png_per_item": [1.0], "png": [2.0], "pack": [8.0, 2.0, 4.0]}
    passes |= {"pack_bytes": [10.0], "pack_bytes_to_samples": [6.0]}
    rows = data.compare({way: {"getitem": rates} for way, rates in passes.items()})
    assert {row.name: row.ratio for row in rows} == {
        "pack/png_per_item, getitem": 4.0,
        "pack_bytes/png_per_item, getitem": 10.0,
        "pack_bytes_to_samples/png_per_item, getitem": 6.0,
        "pack/png, getitem": 2.0,
        "pack_bytes/png, getitem": 5.0,
        "pack_bytes_to_samples/png, getitem": 3.0,
    }
    assert rows[0].spread == (2.0, 8.0)


def test_all_ways_to_read_give_the_same_samples(dataset_root, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "PASSES", 1)
    packed = pack_dataset(dataset_root, out=tmp_path / "packed")
    report = data.measure(dataset_root, packed, samples=32)
    assert len(report["rows"]) == 18
    assert all(row["ours"] > 0 for row in report["rows"])
    assert report["parameters"]["samples_per_pass"] == 32
    to_samples = data.to_samples
    monkeypatch.setattr(
        data,
        "to_samples",
        lambda batch: (found := to_samples(batch))._replace(radio_map=-found.radio_map),
    )
    with pytest.raises(ValueError, match="pack_bytes_to_samples reads another radio_map"):
        data.measure(dataset_root, packed, samples=32)


def test_evaluation_takes_turns_with_one_map_by_map(tiny, tmp_path, monkeypatch):
    small = dataclasses.replace(tiny.evaluate, bootstrap=10, samples=2, batch_size=4)
    run = train_run(dataclasses.replace(tiny, evaluate=small), tmp_path / "run")
    asked, score = [], evaluate.evaluate

    def noted(predictors, dataset, config, *, workers):
        asked.append((config.batch_size, workers))
        return score(predictors, dataset, config)

    monkeypatch.setattr(evaluate, "evaluate", noted)
    report = evaluate.measure(run, max_maps=1, workers=2, repeats=1)
    assert asked == 2 * [(4, 2), (1, 1)]
    assert [row["name"] for row in report["rows"]] == ["wall", "cpu"]
    assert all(row["ours"] > 0 < row["peer"] for row in report["rows"])
    assert (report["parameters"]["maps"], report["parameters"]["workers"]) == (3, 2)


def test_evaluation_is_compared_turn_by_turn():
    seconds = [evaluate.Seconds(*pair) for pair in ((1, 2), (4, 4), (2, 2), (4, 6), (1, 4), (5, 8))]
    wall, cpu = evaluate.compare([*zip(seconds[::2], seconds[1::2], strict=True)])
    assert (wall.ours, wall.spread, wall.peer, wall.ratio) == (1, (1, 2), 4, 0.25)
    assert wall.details["times_faster"] == 4
    assert wall.details["spread_of_times_faster"] == [2, 5]
    assert (cpu.ours, cpu.peer) == (2, 6)


def test_evaluation_of_other_scores_is_refused():
    result = {"protocols": {"city": {"scores": {"law": {"rmse_db": {"value": 4.0}}}}}}
    other = json.loads(json.dumps(result).replace("4.0", "4.0009"))
    evaluate.check_equal(other, result)
    for word in ("4.002", "NaN"):
        with pytest.raises(ValueError, match=r"city law rmse_db is .*, map by map it is 4\.0"):
            evaluate.check_equal(json.loads(json.dumps(result).replace("4.0", word)), result)


def test_simulating_compares_rates_with_and_without_the_setup():
    ours = simulate.Measured([0.5, 0.25, 0.75], [1.0], [0.0], [0.5])
    peer = simulate.Measured([0.25], [0.5], [0.0], [0.5])
    plain, with_setup = simulate.compare({"dominant_path": ours, "peer": peer}, transmitters=2)
    assert (plain.ours, plain.spread, plain.peer) == (2.0, (1.33, 4.0), 4.0)
    assert (with_setup.ours, with_setup.peer) == (1.0, 2.0)
    assert {plain.ratio, with_setup.ratio} == {0.5}
    assert ours.as_json()["map_s"] == {"mean": 0.5, "max": 0.75}


def test_crosscheck_tells_a_factor_in_decibels():
    theirs = np.full((80, 80), 1e-9)
    ours = 2 * theirs
    ours[0, 0] = 0  # heard by them alone
    ours[40, 41] = 1  # too near the transmitter to count
    is_clear = np.ones((80, 80), bool)
    is_clear[79] = False
    found = sionna_crosscheck.differences(ours, theirs, is_clear, [40, 40])
    assert found["median_db"] == found["mean_absolute_error_db"] == 3.01
    assert found["cells_heard_by_one"] == 1
    rows, cols = np.indices((80, 80))
    far = np.hypot(rows - 40, cols - 40) > 30
    assert found["cells"] == (far & is_clear).sum() - 1


def test_time_to_quality_adds_the_stages_and_keeps_their_errors_apart(tmp_path):
    for stage, rows in {
        "autoencoder": [
            {"cpu_seconds": 1.0},
            {"cpu_seconds": 5.0, "validation_rmse_db": 1.0},
        ],
        "diffusion": [
            {"cpu_seconds": 2.0, "validation_rmse_db": 9.0},
            {"cpu_seconds": 3.0},
            {"cpu_seconds": 4.0, "validation_rmse_db": 3.5},
        ],
    }.items():
        (tmp_path / stage).mkdir()
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / stage / "log.jsonl").write_text(lines, encoding="utf-8")
    latent, on_maps = load_config("demo-latent"), load_config("demo")
    assert time_to_quality.read_curve(latent, tmp_path) == (9.0, [(7.0, 9.0), (9.0, 3.5)])
    assert time_to_quality.read_curve(on_maps, tmp_path) == (4.0, [(2.0, 9.0), (4.0, 3.5)])


@pytest.mark.parametrize("name", list(time_to_quality.METHODS))
def test_every_method_of_time_to_quality_is_a_configuration_that_validates(name):
    method = time_to_quality.METHODS[name]
    config = load_config(method.config, method.overrides)
    assert config.training.validate_every > 0
    assert config.condition_fits
