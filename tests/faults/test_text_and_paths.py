"""Text is UTF-8 and ``~`` is the home folder, whatever the machine's locale."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radiodiff import project_path
from radiodiff.cli.main import main
from radiodiff.config import load_config, load_simulate_config
from radiodiff.files import FileError, user_path
from radiodiff.reference import read_reference_config
from radiodiff.settings import read_yaml

from ..conftest import ROOT

TEXT = "name: münchen\nautoencoder_loss: {perceptual_weight: 0}\n"
#: A locale whose encoding is ASCII, and nothing that mends it.
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MODES = {"r", "w", "a", "x", "rt", "wt", "at", "r+", "w+", "a+"}


def calls_without_encoding(source):
    """Yield the line of each call that leaves the encoding of text to the machine."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: word.value for word in node.keywords}
        is_method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if is_method else getattr(node.func, "id", "")
        if "encoding" in given or None in given:
            continue
        if is_method and name in ("read_text", "write_text"):
            if len(node.args) < (1 if name == "read_text" else 2):
                yield node.lineno
        elif name == "open":
            places = node.args if is_method else node.args[1:]
            mode = given.get("mode", places[0] if places else None)
            has_default = mode is None and not (is_method and (node.args or given))
            if has_default or getattr(mode, "value", None) in MODES:
                yield node.lineno
        elif name in ("run", "Popen", "check_output") and {"text", "universal_newlines"} & {*given}:
            yield node.lineno


@pytest.mark.parametrize(
    ("source", "is_fault"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text('x')", True),
        ("open(path)", True),
        ("open(path, 'rb')", False),
        ("path.open()", True),
        ("path.open('a')", True),
        ("path.open(mode='w')", True),
        ("Image.open(path)", False),
        ("read_text(path)", False),
        ("subprocess.run(words, text=True)", True),
        ("subprocess.run(words, encoding='utf-8')", False),
    ],
)
def test_the_check_of_encodings_itself(source, is_fault):
    assert bool(list(calls_without_encoding(source))) == is_fault


def test_no_code_leaves_the_encoding_of_text_to_the_machine():
    faults = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("radiodiff", "tests", "tools", "experiments", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in calls_without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert not faults, "name the encoding, or use radiodiff.files.read_text: " + ", ".join(faults)


def test_files_are_utf_8_in_a_locale_that_is_not(tmp_path):
    (tmp_path / "utf8.yaml").write_text(TEXT, encoding="utf-8")
    code = (
        "import sys; from pathlib import Path\n"
        "from radiodiff.config import load_config, save_config\n"
        "config = load_config(sys.argv[1]); out = Path(sys.argv[1]).with_name('out.yaml')\n"
        "save_config(config, out)\n"
        "assert load_config(out) == config\n"
        "from radiodiff.scoring import PUBLISHED\n"
        "print(ascii(config.name))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "utf8.yaml")]
    environment = os.environ | PLAIN
    run = subprocess.run(command, env=environment, capture_output=True, cwd=ROOT, check=False)
    assert run.stdout.decode().strip() == ascii("münchen"), run.stderr.decode()


@pytest.mark.parametrize("reader", [load_config, load_simulate_config, read_yaml])
def test_yaml_that_is_not_utf_8_is_named(tmp_path, reader):
    (tmp_path / "gbk.yaml").write_bytes("# 训练步数\nname: x\n".encode("gbk"))
    with pytest.raises(FileError, match=r"gbk\.yaml is not UTF-8 text"):
        reader(tmp_path / "gbk.yaml")
    with pytest.raises(ValueError, match=r"gbk\.yaml is not UTF-8 text"):
        read_reference_config(tmp_path / "gbk.yaml", data_root="x")


def test_a_byte_order_mark_and_other_line_ends_are_no_fault(tmp_path):
    (tmp_path / "x.yaml").write_bytes(TEXT.replace("\n", "\r\n").encode("utf-8-sig"))
    assert load_config(tmp_path / "x.yaml").name == "münchen"


# Home folders


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_tilde_is_the_home_folder(home):
    assert Path(project_path("~/radiomaps")) == home / "radiomaps"
    (home / "x.yaml").write_text(TEXT, encoding="utf-8")
    assert load_config("~/x.yaml").name == "münchen"
    config = load_config("smoke", "data.root=~/maps data.cache=~/cache")
    assert project_path(config.data.root) == home / "maps"
    reference = ROOT / "tests/reference/radio_train.yaml"
    (home / "reference.yaml").write_text(reference.read_text(encoding="utf-8"), encoding="utf-8")
    changes = ["model.first_stage.ckpt_path=~/model-1.pt"]
    run = read_reference_config("~/reference.yaml", data_root="x", overrides=changes)
    assert run.first_stage_weights == str(home / "model-1.pt")


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--run-dir=~/no-run"],
        ["sample", "--run-dir=~/no-run", "--out=~/pictures"],
        ["data", "verify", "~/no-run"],
        ["data", "pack", "~/no-run"],
        ["data", "show", "~/no-run", "0_0"],
        ["train", "--config=~/no-run.yaml"],
        ["reference", "export", "~/no-run", "--out=~/x.pt"],
        ["reference", "import", "~/no-run.pt", "--config=x", "--data=~/y", "--out=~/z"],
        ["train", "--reference=~/no-run.yaml", "--data=~/y"],
    ],
)
def test_every_path_of_the_command_line_may_begin_with_a_tilde(home, words, capsys):
    assert main(words) != 0
    printed = capsys.readouterr()
    assert str(home / "no-run") in printed.err + printed.out
    assert "~" not in printed.err
    assert not [path for path in home.iterdir() if path.name not in (".cache", ".config")]


def test_a_home_that_nobody_has_is_named():
    with pytest.raises(FileError, match="~nobody-of-this-name/x"):
        user_path("~nobody-of-this-name/x")
    assert main(["data", "verify", "~nobody-of-this-name/x"]) == 2
