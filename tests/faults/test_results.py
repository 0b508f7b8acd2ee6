"""Scores and pictures: kept whatever fails afterwards, and never mixed with what is not ours."""

import errno
import json
import logging
import os
import signal
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from radiodiff.cli.main import main
from radiodiff.config import load_config
from radiodiff.data import DatasetError
from radiodiff.data.loading import sound_batches
from radiodiff.plots import plot_fingerprints, plot_predictions
from radiodiff.runs import evaluate as evaluation
from radiodiff.runs.evaluate import evaluate_run
from radiodiff.runs.sample import sample_run
from radiodiff.runs.train import train_run
from radiodiff.scoring import journal as journals
from radiodiff.scoring.journal import Journal

from ..conftest import TEST_MAPS, TRAIN_MAPS, write_radiomapseer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one step a stage, with a batch size that cuts its six test maps in three."""
    folder = tmp_path_factory.mktemp("run")
    root = write_radiomapseer(folder / "RadioMapSeer", (*TRAIN_MAPS, *TEST_MAPS))
    steps = ("max_steps=1", "batch_size=2", "log_every=1", "checkpoint_every=1", "ema_start=1")
    overrides = [f"{stage}.{k}" for stage in ("autoencoder_training", "training") for k in steps]
    overrides += [f"data.root={root}", "data.simulate=null", "evaluate.batch_size=2"]
    config = load_config("smoke", [*overrides, "evaluate.bootstrap=10", "evaluate.samples=2"])
    return train_run(config, folder / "run")


def same(first, second):
    """Whether two results agree but for time and date."""
    times = ("date", "wall_time_s")
    return {k: v for k, v in first.items() if k not in times} == {
        k: v for k, v in second.items() if k not in times
    }


@pytest.fixture(scope="module")
def expected(run, tmp_path_factory):
    return evaluate_run(run, tmp_path_factory.mktemp("results"))


def test_a_figure_that_fails_costs_no_number(run, tmp_path, expected, monkeypatch, caplog):
    (tmp_path / "predictions.png").write_bytes(b"of an older evaluation")

    def fail(rows):
        assert (tmp_path / "metrics.json").is_file()
        raise RuntimeError("Failed to process string with tex\nbecause latex could not be found")

    monkeypatch.setattr(evaluation, "plot_predictions", fail)
    with caplog.at_level(logging.WARNING):
        result = evaluate_run(run, tmp_path)
    assert same(json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8")), result)
    assert same(result, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json"]
    (record,) = [r for r in caplog.records if "no figure" in r.message]
    assert "\n" not in record.message
    assert main(["evaluate", "--run-dir", str(run), "--out", str(tmp_path)]) == 0


HOSTILE = {
    "text.usetex": True,
    "font.size": 30,
    "savefig.dpi": 20,
    "savefig.bbox": "tight",
    "savefig.format": "pdf",
    "axes.grid": True,
    "image.origin": "lower",
    "image.interpolation": "bicubic",
    "lines.linewidth": 9,
}


def test_figures_do_not_depend_on_the_users_settings(tmp_path):
    """Neither on those when they are made, nor on those when they are saved."""
    gain = np.linspace(-140, -60, 64).reshape(8, 8)
    row = {"name": "1_2", "truth_db": gain, "prediction_db": gain + 3, "transmitter_cell": (5, 3)}
    for name, settings in (("own", {}), ("hostile", HOSTILE)):
        with matplotlib.rc_context(settings):
            figures = plot_predictions([row | {"building_mask": gain < -120}]), plot_fingerprints()
            for number, figure in enumerate(figures):
                figure.savefig(tmp_path / f"{name} {number}.png", dpi=50 if number else None)
    for k in range(2):
        own, hostile = (tmp_path / f"{name} {k}.png" for name in ("own", "hostile"))
        assert own.read_bytes() == hostile.read_bytes()


def test_a_stopped_evaluation_goes_on_with_the_maps_that_are_left(
    run, tmp_path, expected, monkeypatch
):
    scoring = sys.modules["radiodiff.scoring.evaluate"]  # the package has a function of this name
    scored, calls = scoring._scored, []

    def stop_at_the_third(scorer, start):
        calls.append(start)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return scored(scorer, start)

    monkeypatch.setattr(scoring, "_scored", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".evaluation.journal"]
    with (tmp_path / ".evaluation.journal").open("a", encoding="utf-8") as file:
        file.write('1234abcd {"names": ["103_0"')  # killed in the middle of a line
    result = evaluate_run(run, tmp_path)
    assert len(calls) == 4
    assert same(result, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.png"]


@pytest.mark.parametrize("change", ["another byte", "another setting", "no journal at all"])
def test_scores_of_other_maps_or_settings_are_not_gone_on_with(run, tmp_path, change):
    path = tmp_path / "journal"
    journal = Journal(path, {"weights": "a"})
    for row in range(3):
        journal.append({"value": 0.1 + row})
    assert Journal(path, {"weights": "a"}).rows == journal.rows
    if change == "another setting":
        assert Journal(path, {"weights": "b"}).rows == []
    elif change == "another byte":
        path.write_text(path.read_text(encoding="utf-8").replace("1.1", "1.2"), encoding="utf-8")
        assert Journal(path, {"weights": "a"}).rows == journal.rows[:1]
    else:
        path.write_bytes(b"\xff\xfe")
        assert Journal(path, {"weights": "a"}).rows == []


def test_a_full_disk_does_not_end_the_scoring(tmp_path, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journals, "write_atomically", full)
    journal = Journal(tmp_path / "journal", {})
    journal.append(1)
    journal.append(2)
    assert journal.rows == [1, 2]
    assert len([r for r in caplog.records if "a stop would lose it" in r.message]) == 1


def test_vanished_data_is_named_and_the_scores_so_far_are_kept(run, tmp_path, expected, capsys):
    data = run.parent / "RadioMapSeer/gain/DPM/103_2.png"
    content, status = data.read_bytes(), data.stat()
    data.write_bytes(content[:50])
    try:
        assert main(["evaluate", "--run-dir", str(run), "--out", str(tmp_path)]) == 2
    finally:
        data.write_bytes(content)
        os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
    (line,) = [s for s in capsys.readouterr().err.splitlines() if "error" in s]
    assert "103_2.png is cut off" in line
    assert not (tmp_path / "metrics.json").exists()
    assert same(evaluate_run(run, tmp_path), expected)


class Broken(Dataset):
    """Samples whose reading fails, or ends the process that reads."""

    def __init__(self, how):
        self.how = how

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise DatasetError("no file 3_1.png: the dataset is incomplete")


@pytest.mark.parametrize(
    ("how", "workers", "line"),
    [
        ("vanished", 0, "no file 3_1.png: the dataset is incomplete"),
        ("vanished", 1, "no file 3_1.png: the dataset is incomplete"),
        ("killed", 1, "a process that reads data died (DataLoader worker"),
    ],
)
def test_why_a_loader_ends_is_told_in_one_line(how, workers, line):
    with pytest.raises(DatasetError) as error:
        list(sound_batches(DataLoader(Broken(how), num_workers=workers)))
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def drawn(folder, pattern="*"):
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


def test_a_foreign_picture_never_passes_for_a_drawn_one(run, tmp_path, capsys):
    """Neither one that was there before, nor one that took the place of a drawn one."""
    truth = run.parent / "RadioMapSeer/gain/DPM/103_1.png"
    out = tmp_path / "out"
    out.mkdir()
    (out / "103_1.png").write_bytes(truth.read_bytes())
    command = ["sample", "--run-dir", str(run), "--out", str(out), "--steps", "1"]
    assert main(command) == 2
    assert "103_1.png was not drawn by this command (1 such files)" in capsys.readouterr().err
    assert drawn(out) == {"103_1.png": truth.read_bytes()}
    (out / "103_1.png").unlink()
    assert main(command) == 0
    (out / "103_1.png").write_bytes(truth.read_bytes())
    before = drawn(out)
    assert main(command) == 2
    assert drawn(out) == before


def test_pictures_of_other_names_stay_and_are_named(run, tmp_path, caplog):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "999_0.png")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    kept = drawn(tmp_path)
    with caplog.at_level(logging.WARNING):
        sample_run(run, tmp_path, steps=1, max_maps=1)
    assert "1 pictures" in caplog.text
    assert "999_0.png: they stay" in caplog.text
    assert kept.items() <= drawn(tmp_path).items()


@pytest.mark.parametrize("missing", ["103_2.png", ".sample.journal line", "sample.json"])
def test_drawing_goes_on_where_it_was_killed(run, tmp_path, missing):
    out = sample_run(run, tmp_path / "out", steps=1)
    expected = drawn(out)
    if missing.endswith("line"):  # killed between the journal and the picture
        (out / "419_2.png").unlink()
    else:
        (out / missing).unlink()
    found = drawn(sample_run(run, out, steps=1), "[!.]*")
    assert found == {name: content for name, content in expected.items() if name[0] != "."}
    journal = out / ".sample.journal"
    *_, last = Journal(journal, json.loads((out / "sample.json").read_text(encoding="utf-8"))).rows
    journal.write_text(
        journal.read_text(encoding="utf-8")[:-20], encoding="utf-8"
    )  # killed in the middle of a line
    (out / last["name"]).unlink()
    assert drawn(sample_run(run, out, steps=1), "[!.]*") == found


def test_two_commands_do_not_write_to_one_folder(run, tmp_path, monkeypatch):
    """The second is refused at once, in one line."""
    inside = []

    def second(*arguments, **options):
        for call in (evaluate_run, sample_run):
            with pytest.raises(BlockingIOError, match="in use by another process"):
                call(run, tmp_path)
        inside.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", second)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run, tmp_path)
    assert inside


def test_settings_that_differ_are_refused_as_before(run, tmp_path):
    out = sample_run(run, tmp_path, steps=1, max_maps=1)
    with pytest.raises(ValueError, match="pictures of other weights or settings"):
        sample_run(run, out, steps=2, max_maps=1)
    (out / "sample.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"sample\.json is not valid JSON"):
        sample_run(run, out, steps=1, max_maps=1)
