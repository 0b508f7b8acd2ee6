"""A run's notes that do not hold what they should are named in one line, never a traceback."""

import pytest

from radiodiff.cli.main import main
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.runs.sessions import seconds_of_run
from radiodiff.runs.train import train_run

CONTENTS = ["", "{", "[" * 100_000, "[]x", '"text"', "{}" + " " * 9 + "{}"]


def test_each_note_is_named(tiny, tmp_path, capsys):
    run = train_run(tiny, tmp_path / "run")
    notes = {
        "latents.json": [*CONTENTS, "{}", "[1]", '{"latent_scale": NaN}', '{"latent_scale": "1"}'],
        "scenes.json": [*CONTENTS, "{}", "[1]", '{"cell_size_m": 1, "cell_size_m": 2}'],
        "sessions.json": [*CONTENTS, "{}", "3"],
        "diffusion/checkpoints/step-00000004/state.json": [*CONTENTS, "[1]"],
    }
    for name, contents in notes.items():
        is_pipelines = name in ("latents.json", "scenes.json")
        read = RadioDiffPipeline.from_run if is_pipelines else seconds_of_run
        path = run / name
        sound = path.read_text(encoding="utf-8")
        for content in contents:
            path.write_text(content, encoding="utf-8")
            with pytest.raises(ValueError, match=path.name):
                read(run)
        path.write_text(sound, encoding="utf-8")
    (run / "latents.json").write_text("{}", encoding="utf-8")
    assert main(["evaluate", "--run-dir", str(run)]) == 2
    told = capsys.readouterr().err
    assert "latents.json lacks 'latent_scale'" in told
    assert "Traceback" not in told
