"""The explorer's JavaScript: how its modules are joined, and what each of them does."""

import re
import shutil
import subprocess
import tomllib
from graphlib import CycleError
from itertools import chain
from pathlib import Path

import pytest

from radiodiff.explorer import script

ROOT = Path(__file__).parents[1]
EXPLORER = ROOT / "radiodiff" / "explorer"
MODULES = {path.name: path.read_text(encoding="utf-8") for path in EXPLORER.glob("js/*")}
TESTS = sorted((ROOT / "tests" / "explorer").glob("*.test.mjs"))
#: Each host's module, from which all others are found.
ENTRIES = ("frozen.mjs", "widget.mjs")


def imports(text):
    """Imported names by the module they come from."""
    found = re.findall(r'import \{([^}]*)\} from "\./([^"]+)";', text)
    return {name: set(re.findall(r"\w+", names)) for names, name in found}


def declared(text, prefix=""):
    """Names at the top level of a module."""
    return re.findall(rf"^{prefix}(?:const|let|class|function) (\w+)", text, re.MULTILINE)


def behind(entry):
    """Names of a module and of all that it needs."""
    return {entry}.union(*(behind(name) for name in imports(MODULES[entry])))


@pytest.fixture
def written(monkeypatch):
    """Let `join_modules` read modules from a dictionary."""

    def write(texts):
        monkeypatch.setattr(script, "source", lambda name: texts[name.removeprefix("js/")])
        script.join_modules.cache_clear()

    yield write
    script.join_modules.cache_clear()


def test_joined_modules_follow_what_they_import(written):
    written(
        {
            "a.mjs": 'import { b } from "./b.mjs";\nimport {\n  c,\n} from "./c.mjs";\n\n'
            "const a = b + c();\nexport default { a };\n",
            "b.mjs": 'import { c } from "./c.mjs";\n\nexport const b = c();\n',
            "c.mjs": "export function c() {\n  return 1;\n}\n",
        }
    )
    assert script.join_modules("a.mjs") == (
        "function c() {\n  return 1;\n}\n"
        "\nconst b = c();\n"
        "\nconst a = b + c();\nexport default { a };\n"
    )


def test_modules_that_import_each_other_are_refused(written):
    one, other = (f'import {{ x }} from "./{name}.mjs";\n' for name in "ba")
    written({"a.mjs": one, "b.mjs": other})
    with pytest.raises(CycleError):
        script.join_modules("a.mjs")


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_host_gets_each_module_it_needs_once(entry):
    text = script.join_modules(entry)
    for name, module in MODULES.items():
        heading = module.splitlines()[0]
        assert text.count(heading) == (name in behind(entry)), name
    assert not re.search(r"^\s*import\b|^export (?!default \{ render \};$)", text, re.MULTILINE)
    assert len(declared(text)) == len(set(declared(text)))  # they share one scope


def test_every_module_has_a_host():
    assert set.union(*map(behind, ENTRIES)) == set(MODULES)


def test_only_the_widget_has_a_default_export():
    """It is what the notebook's front end asks for; the page calls `mountStatic`."""
    ends = {
        entry: "\nexport default { render };\n" in script.join_modules(entry) for entry in ENTRIES
    }
    assert ends == {"frozen.mjs": False, "widget.mjs": True}
    assert "mountStatic" in declared(script.join_modules("frozen.mjs"))


def code_of(text):
    """A module without its imports, its comments and the words of its strings."""
    pattern = r'^import [^;]*;|//.*$|/\*[\s\S]*?\*/|"[^"\n]*"'
    code = re.sub(pattern, "", text, flags=re.MULTILINE)
    return re.sub("`[^`]*`", lambda match: " ".join(re.findall(r"\$\{([^}]*)", match[0])), code)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_what_it_uses(name):
    """The joined text would hide an import that is missing, and carry one too many for ever."""
    text = MODULES[name]
    code = code_of(text)
    exported = {other: set(declared(MODULES[other], "export ")) for other in MODULES}
    imported = imports(text)
    for module, names in imported.items():
        assert names <= exported[module], module
    words = set(re.findall(r"(?<![.\w])[A-Za-z_]\w*\b(?!:)", code))
    foreign = set().union(*exported.values()) - set(declared(code, "(?:export )?"))
    assert words & foreign == set().union(*imported.values())


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short(name):
    assert len(MODULES[name].splitlines()) < 500


def test_the_wheel_holds_every_file_that_is_not_python():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = options["tool"]["setuptools"]["package-data"]["radiodiff.explorer"]
    packed = set(chain.from_iterable(EXPLORER.glob(pattern) for pattern in patterns))
    files = {path for path in EXPLORER.rglob("*") if path.is_file()}
    assert packed == {path for path in files if path.suffix not in {".py", ".pyc"}}
    assert len(packed) > len(ENTRIES)


# In JavaScript


@pytest.fixture(scope="module")
def node():
    """Path of Node, which also brings the runner of the tests in `tests/explorer/`."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("Node is not installed: the same code runs in tests/browser/test_explorer.py")
    version = subprocess.run(
        [path, "--version"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"Node 20 or newer is needed, found {version.strip()}")
    return path


def run(*command):
    result = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("entry", ENTRIES)
def test_joined_modules_are_a_module(node, entry, tmp_path):
    file = tmp_path / entry
    file.write_text(script.join_modules(entry), encoding="utf-8")
    run(node, "--check", str(file))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.split(".")[0])
def test_in_node(node, path):
    passed = re.search(
        r"^# pass (\d+)$", run(node, "--test", "--test-reporter=tap", path), re.MULTILINE
    )
    assert int(passed[1]) >= 3
