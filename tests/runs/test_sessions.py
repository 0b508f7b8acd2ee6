"""The sessions of a run: commits and times, over all interruptions."""

import json

import pytest

from radiodiff.runs import sessions


def write_state(run, stage, step, seconds):
    checkpoint = run / stage / f"checkpoints/step-{step:08d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text(
        json.dumps({"step": step, "seconds": seconds}), encoding="utf-8"
    )


def test_sessions_add_up(tmp_path, monkeypatch):
    commits = iter(["b", "a", "b"])
    monkeypatch.setattr(sessions, "made_by", lambda *_, **__: {"commit": next(commits)})
    for seconds in (1.25, 2.0, 0.31):
        sessions.record_session(tmp_path, seconds)
    assert sessions.trained_at(tmp_path) == ["a", "b"]
    assert sessions.processes_of_run(tmp_path) == [1]
    write_state(tmp_path, "autoencoder", 2, 5.0)
    write_state(tmp_path, "autoencoder", 4, 11.0)
    seconds = sessions.seconds_of_run(tmp_path)
    assert seconds == {"data": pytest.approx(3.5, abs=0.06), "autoencoder": 11.0, "diffusion": 0.0}


def test_weights_from_elsewhere_are_told(tmp_path):
    sessions.record_session(tmp_path, 0.0, commit="imported from x.pt")
    (session,) = json.loads((tmp_path / "sessions.json").read_text(encoding="utf-8"))["sessions"]
    assert session["commit"] == "imported from x.pt"
    assert session["data_s"] == 0
    assert session["processes"] == 1
    assert {"date", "versions", "device"} <= set(session)


def test_a_folder_without_sessions_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError):
        sessions.trained_at(tmp_path)
