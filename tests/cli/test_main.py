"""The command line as a whole: bad input, help, and what is imported for it."""

import json
import subprocess
import sys

import pytest

import radiodiff
from radiodiff.cli import choices
from radiodiff.cli.main import main
from radiodiff.reference import PROFILES
from radiodiff.scoring import PROTOCOLS
from radiodiff.simulate import CITY_NAMES, VARIANTS

from ..conftest import ROOT

VERBS = [
    "simulate",
    "data",
    "data verify",
    "data show",
    "data pack",
    "train",
    "sample",
    "reference",
    "reference import",
    "reference export",
    "evaluate",
]
HEAVY = ["torch", "numba", "numpy", "scipy", "matplotlib", "accelerate", "PIL", "yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "demo", "--set", "training.max_stps=3"], "'training.max_steps'"),
        (["train", "--config", "dmeo"], "configs/ holds ablation, demo"),
        (["train", "--config", str(ROOT / "LICENSE")], "is not valid YAML"),
        (["simulate", "--out", __file__, "--maps", "1", "--transmitters", "1"], "to be a folder"),
        (
            ["train", "--config", "smoke", "--set", "data.simulate=null", "--set", "data.root=/x"],
            "no folder /x/gain/DPM",
        ),
        (["evaluate", "--run-dir", "/nowhere"], "is not a run folder"),
        (["simulate", "--out", "/tmp", "--maps", "0", "--transmitters", "1"], "maps"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message, capsys, tmp_path):
    if arguments[0] == "train":
        arguments = [*arguments, "--run-dir", str(tmp_path / "run")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("radiodiff: error: ")
    assert error.count("\n") == 1


def test_help_and_version_start_without_torch():
    """In a process of its own, where nothing else has imported it."""
    words = [["--version"], ["--help"], *([*verb.split(), "--help"] for verb in VERBS)]
    script = (
        "import contextlib, io, json, sys\n"
        "from radiodiff.cli.main import main\n"
        "rows = []\n"
        f"for words in {words!r}:\n"
        "    printed = io.StringIO()\n"
        "    try:\n"
        "        with contextlib.redirect_stdout(printed):\n"
        "            main(words)\n"
        "    except SystemExit as end:\n"
        "        rows.append([words, end.code, printed.getvalue()[:6]])\n"
        f"    found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    assert not found, (words, found)\n"
        "print(json.dumps(rows))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    expected = [[word, 0, "usage:" if word != ["--version"] else "radiod"] for word in words]
    assert json.loads(done.stdout) == expected


def test_every_verb_is_looked_at(capsys):
    """The list above has what the help of the command and of its verbs names."""
    for words in ([], ["data"], ["reference"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        lines = capsys.readouterr().out.splitlines()
        named = {line.split()[0] for line in lines if line[:4] == " " * 4 and line[4:5].isalpha()}
        depth = len(words)
        known = {
            verb.split()[depth]
            for verb in VERBS
            if verb.split()[:depth] == words and len(verb.split()) == depth + 1
        }
        assert named == known


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"radiodiff {radiodiff.__version__}\n"


def test_choices_are_the_names_that_there_are():
    assert choices.CITY_NAMES == CITY_NAMES
    assert choices.VARIANTS == VARIANTS
    assert choices.PROFILES == tuple(PROFILES)
    assert choices.PROTOCOLS == tuple(PROTOCOLS)


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--run-dir", "x", "--protocol", "nmse"],
        ["data", "show", "x", "0_0", "--simulation", "IRT3"],
        ["train", "--config", "demo", "--resume", "yes"],
        ["reference", "import", "x.pt", "--config", "y", "--out", "z", "--profile", "R26"],
    ],
)
def test_a_wrong_choice_is_refused_with_those_there_are(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert f"invalid choice: {words[-1]!r} (choose from " in capsys.readouterr().err


def test_help_lists_the_names(capsys):
    for words, names in (("simulate", CITY_NAMES + VARIANTS), ("evaluate", tuple(PROTOCOLS))):
        with pytest.raises(SystemExit, match="0"):
            main([words, "--help"])
        shown = capsys.readouterr().out
        assert all(name in shown for name in names)
