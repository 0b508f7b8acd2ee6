"""What holds for the repository as a whole: layers, pairs, versions, words that must not appear."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchmarks import commands
from benchmarks.common import Row
from experiments import ablate_corrections
from radiodiff import format_table, load_config
from radiodiff.config import build_config

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "radiodiff"
MODULES = sorted(PACKAGE.rglob("*.py"))
CHAPTERS = sorted(p for p in (ROOT / "notebooks").glob("*.md"))
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

#: A module imports only from rows above its own, or from its own sub-package.
ROWS = [
    {
        "files",
        "memory",
        "noise",
        "progress",
        "provenance",
        "ranges",
        "signals",
        "threads",
        "units",
        "workers",
    },
    {"ema", "geo", "models", "processes", "scene", "settings"},
    {"losses", "sampler", "simulate"},
    {"conditions"},
    {"checkpoint", "data"},
    {"config"},
    {"predictors"},
    {"scoring", "tasks"},
    {"planning", "plots", "trainer"},
    {"explorer", "runs"},
    {"reference"},
    {"cli", "__main__"},
]
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
ENTRY_POINTS = ROWS[-1]

#: Modules whose `__all__` a chapter may import from.
PUBLIC_MODULES = {
    "radiodiff",
    "radiodiff.conditions",
    "radiodiff.data",
    "radiodiff.explorer",
    "radiodiff.losses",
    "radiodiff.models",
    "radiodiff.plots",
    "radiodiff.predictors",
    "radiodiff.processes",
    "radiodiff.processes.checks",
    "radiodiff.processes.toy",
    "radiodiff.reference",
    "radiodiff.scene",
    "radiodiff.scoring",
    "radiodiff.simulate",
    "radiodiff.tasks",
    "radiodiff.units",
}

NEVER_IMPORTED = {
    "IPython",
    "ipywidgets",
    "jupyter_book",
    "jupytext",
    "lpips",
    "myst_nb",
    "nbclient",
    "nbformat",
    "papermill",
    "timm",
    "torchvision",
}
#: Import names that differ from the name on the package index.
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def relative(path):
    return path.relative_to(ROOT).as_posix()


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree, path=None):
    """Yield `(line, module, name)` of every import; `name` is None for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_name(path).split(".")
                if path.name != "__init__.py":
                    package = package[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join(filter(None, [*package, base]))
            for alias in node.names:
                yield node.lineno, base, alias.name


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements():
    """Every third-party requirement of pyproject.toml, extras included."""
    project = pyproject()["project"]
    lines = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    parsed = [Requirement(line) for line in lines]
    return [r for r in parsed if canonicalize_name(r.name) != project["name"]]


# Layers and habits of the package


def layer_faults(tree, path):
    own = module_name(path).split(".")[1]
    for line, module, name in imported_names(tree, path):
        parts = module.split(".")
        if parts[0] != "radiodiff":
            continue
        target = parts[1] if len(parts) > 1 else name
        if target not in ROW_OF:
            if own not in ENTRY_POINTS:
                yield f"{relative(path)}:{line} imports {module}.{name}; name the module it is in"
        elif target != own and ROW_OF[target] >= ROW_OF[own]:
            if not {target, own} <= ENTRY_POINTS:
                yield f"{relative(path)}:{line} imports {target}, which is not above {own}"


def test_the_book_draws_the_rows():
    """The picture on the page *How it is built*: every module that is there, on its row."""
    drawing = (ROOT / "book/_static/layers.svg").read_text(encoding="utf-8")
    drawn = re.findall(r'font-weight="600"[^>]*>([^<]*)<', drawing)
    rows = [set(text.replace("&#160;", " ").split()) for text in drawn]
    there = {module_name(path).split(".")[1] for path in MODULES if path.parent != PACKAGE}
    there |= {path.stem for path in MODULES if path.parent == PACKAGE} - {"__init__", "__main__"}
    assert rows == [row & there for row in ROWS]


def test_imports_run_downwards_only():
    faults = []
    for path in MODULES:
        if path == PACKAGE / "__init__.py":
            continue
        name = module_name(path).split(".")[1]
        assert name in ROW_OF, f"give {name} a row in ROWS"
        faults += layer_faults(ast.parse(path.read_text(encoding="utf-8")), path)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("module", "source", "is_fault"),
    [
        ("sampler.py", "from radiodiff import units", False),
        ("scene.py", "from radiodiff.sampler import sample", True),
        ("scene.py", "import radiodiff.losses", True),
        ("models/unet.py", "from radiodiff.models.blocks import Block", False),
        ("models/unet.py", "from .blocks import Block", False),
        ("models/unet.py", "from ..trainer import train", True),
        ("models/unet.py", "from .. import units", False),
        ("trainer.py", "def f():\n    from radiodiff import runs", True),
        ("trainer.py", "from radiodiff import ConstantSDE", True),
        ("cli/main.py", "from radiodiff import __version__", False),
        ("__main__.py", "from radiodiff.cli.main import main", False),
    ],
)
def test_layer_check_sees(module, source, is_fault):
    assert bool(list(layer_faults(ast.parse(source), PACKAGE / module))) == is_fault


def test_package_imports_only_what_it_declares():
    project = pyproject()["project"]
    declared = {canonicalize_name(Requirement(r).name) for r in project["dependencies"]}
    faults = []
    for path in MODULES:
        for line, module, _ in imported_names(ast.parse(path.read_text(encoding="utf-8")), path):
            top = module.split(".")[0]
            if top == "radiodiff" or top in sys.stdlib_module_names:
                continue
            where = f"{relative(path)}:{line} imports {top}"
            if top == "torchvision" and path == PACKAGE / "models/backbones.py":
                continue  # inside a function, with a clear error where it is missing
            if top == "sklearn" and path == PACKAGE / "predictors/kriging.py":
                continue  # as above, an extra
            if top in {"anywidget", "traitlets"} and path.parent == PACKAGE / "explorer":
                continue  # only the chapter with the interactive map needs it
            if top in NEVER_IMPORTED or top.startswith("jupyter"):
                faults.append(f"{where}, which the package must not need")
            elif canonicalize_name(DISTRIBUTIONS.get(top, top)) not in declared:
                faults.append(f"{where}, which pyproject.toml does not list")
            elif top == "matplotlib" and path.parent != PACKAGE / "plots":
                faults.append(f"{where}; only radiodiff/plots draws")
    assert not faults, "\n".join(faults)


SEEDS_GLOBALLY = re.compile(
    r"torch\.(random\.|cuda\.)?(manual_seed|seed)(_all)?|(np|numpy)\.random\.seed|random\.seed"
    r"|(accelerate\.utils\.)?set_seed"
)


def global_seedings(tree):
    """Lines that seed a global generator and do not give its state back."""
    guarded = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(
            "fork_rng" in ast.unparse(item.context_expr) for item in node.items
        ):
            guarded |= {id(inner) for inner in ast.walk(node)}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and SEEDS_GLOBALLY.fullmatch(ast.unparse(node.func))
        and id(node) not in guarded
    ]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("torch.manual_seed(0)", [1]),
        ("import random\nrandom.seed(0)", [2]),
        ("np.random.seed(0)", [1]),
        ("with torch.random.fork_rng():\n    torch.random.manual_seed(0)", []),
        ("torch.Generator().manual_seed(0)", []),
        ("np.random.default_rng(0)", []),
    ],
)
def test_seed_check_sees(source, lines):
    assert global_seedings(ast.parse(source)) == lines


def test_package_neither_prints_nor_imports_stars_nor_seeds_globally():
    faults = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        faults += [f"{relative(path)}:{line} seeds globally" for line in global_seedings(tree)]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                faults.append(f"{relative(path)}:{node.lineno} star import")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                if path.parent != PACKAGE / "cli":
                    faults.append(f"{relative(path)}:{node.lineno} print")
    assert not faults, "\n".join(faults)


def text_files():
    suffixes = {".py", ".md", ".ipynb", ".yaml", ".yml", ".toml", ".cff", ".json", ".txt", ".bib"}
    folders = ["radiodiff", "configs", "notebooks", "book", "tests", "tools", "benchmarks"]
    folders += ["experiments", "results", ".ci", ".github"]
    found = [p for p in ROOT.iterdir() if p.is_file()]
    for folder in folders:
        found += [p for p in (ROOT / folder).rglob("*") if p.is_file()]
    named = {"Makefile", "run"}
    hidden = {"_build", "__pycache__", ".ipynb_checkpoints"}
    return sorted(
        p
        for p in found
        if (p.suffix in suffixes or p.name in named)
        and not hidden & set(p.parts)
        and p != Path(__file__)
    )


def test_no_file_names_a_user_folder_or_a_device():
    forbidden = re.compile(r"(?<![\w.])/(home|root|Users)/|C:\\\\?Users|CUDA_VISIBLE_DEVICES")
    faults = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if forbidden.search(line):
                faults.append(f"{relative(path)}:{number} {line.strip()[:80]}")
    assert not faults, "\n".join(faults)


def test_package_carries_no_marks_of_unfinished_work():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK|TBD|WIP)\b|NotImplementedError")
    faults = [
        f"{relative(path)}:{number} {line.strip()}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert not faults, "\n".join(faults)


# Versions, environments, configurations


def test_constraints_satisfy_every_range():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(r.name): next(iter(r.specifier)).version for r in pins}
    assert len(versions) == len(pins), "a package is pinned twice"
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not pinned in constraints.txt"
        assert requirement.specifier.contains(versions[name], prereleases=True), requirement


def test_environment_agrees_with_pyproject():
    project = pyproject()["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == project["name"]
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["-c constraints.txt", "-e .[all]"]
    conda = {d for d in environment["dependencies"] if isinstance(d, str)}
    assert conda == {f"python{project['requires-python']}", "pip"}
    assert Version("3.11") in SpecifierSet(project["requires-python"])


def test_versions_agree():
    version = pyproject()["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == version
    headings = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert next(h for h in headings if h != "Unreleased") == version


def test_readme_names_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    assert phony == targets
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "book").glob("*.md")]
    for page in pages:
        named = set(
            re.findall(
                r"(?:^|[`$(]|\$ )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE
            )
        )
        assert named <= targets, f"{page.name}: {named - targets}"


# Chapters


def code_of(cell):
    """Python source of a cell, without the lines that only IPython understands."""
    lines = cell.source.splitlines()
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in lines)


def test_every_chapter_is_a_pair():
    notebooks = {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert {p.stem for p in CHAPTERS} == notebooks


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_pair_agrees(path):
    halves = [jupytext.read(path), jupytext.read(path.with_suffix(".ipynb"))]
    cells = [
        [(c.cell_type, c.source.rstrip(), c.metadata.get("tags", [])) for c in half.cells]
        for half in halves
    ]
    for number, (text, notebook) in enumerate(zip(*cells, strict=False)):
        assert text == notebook, f"cell {number} differs; run `make notebooks`"
    assert len(cells[0]) == len(cells[1]), "run `make notebooks`"
    kernels = [half.metadata.kernelspec.name for half in halves]
    assert kernels == ["python3", "python3"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_pair_stores_no_outputs(path):
    for cell in jupytext.read(path.with_suffix(".ipynb")).cells:
        if cell.cell_type == "code":
            assert not cell.outputs, "run `make notebooks`"
            assert cell.execution_count is None, "run `make notebooks`"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_has_one_parameters_cell_and_defines_nothing(path):
    cells = [c for c in jupytext.read(path).cells if c.cell_type == "code"]
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for statement in ast.parse(code_of(tagged[0])).body:
        assert isinstance(statement, ast.Assign | ast.AnnAssign), ast.unparse(statement)
    for cell in cells:
        for node in ast.walk(ast.parse(code_of(cell))):
            assert not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef), (
                f"move it into the package, with a test: {ast.unparse(node)[:60]}"
            )


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_imports_public_names_only(path):
    for cell in jupytext.read(path).cells:
        if cell.cell_type != "code":
            continue
        for _, module, name in imported_names(ast.parse(code_of(cell))):
            if module.split(".")[0] != "radiodiff" or f"{module}.{name}" in PUBLIC_MODULES:
                continue
            assert module in PUBLIC_MODULES, f"{module} is not public"
            if name is not None:
                assert name in importlib.import_module(module).__all__, f"{module}.{name}"


def committed(path: str) -> str:
    """Text of a file as committed: `make demo` rewrites its results in the working tree."""
    command = ["git", "-C", str(ROOT), "show", f"HEAD:{path}"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        pytest.skip(f"needs {path} in a git checkout: {done.stderr.strip()}")
    return done.stdout


def test_readme_shows_the_demo_as_measured():
    stored = json.loads(committed("results/demo/metrics.json"))
    assert format_table(stored) in committed("README.md")
    used = build_config(stored["config"])
    assert used == load_config("demo"), "results/demo is of another configuration: `make demo`"


def test_table_of_the_commands_is_what_was_measured():
    stored = json.loads(committed("results/benchmarks/commands.json"))
    rows = [Row.of_json(row) for row in stored["rows"]]
    assert commands.format_commands(rows) == committed("results/benchmarks/commands.md")
    measured = {row.name: row.details["command"] for row in rows}
    assert measured.items() <= commands.COMMANDS.items()


def test_published_weights_are_of_the_configuration_that_names_them():
    stored = json.loads(committed("results/small/metrics.json"))
    assert build_config(stored["config"]) == load_config("small")
    assert load_config(ROOT / "results/small/config.yaml") == load_config("small")


def test_table_of_the_ablation_is_its_results():
    """The audit page includes the table; nobody typed it."""
    stored = json.loads(committed("results/ablation/metrics.json"))
    assert ablate_corrections.format_ablation(stored) == committed("results/ablation/table.md")
    assert build_config(stored["config"]) == load_config("ablation")
    assert list(stored["rows"]) == list(ablate_corrections.ROWS)
