"""What the book promises: equations that code and tests share, no number typed into prose."""

import ast
import re
from collections import Counter
from pathlib import Path

import jupytext
import pytest

from .test_repository import CHAPTERS, PACKAGE, ROOT, relative

PAGES = sorted(p for p in (ROOT / "book").glob("*.md"))

#: Facts about the public code, from the sources cited at its top; our own results are included.
COUNTS_FOREIGN_FACTS = {"book/reference_audit.md"}


# The citation triangle: a formula that code implements has one label `eq-<name>`, printed in a
# chapter, cited in a docstring of the package and in a docstring of a test.


def labels_in(path: Path) -> list[str]:
    """Labels `eq-...` that a page gives to its equations."""
    return re.findall(
        r"^\$\$ \(eq-([a-z0-9-]+)\)|^:label: eq-([a-z0-9-]+)",
        path.read_text(encoding="utf-8"),
        re.MULTILINE,
    )


def cited_in(folder: Path, pattern: str) -> set[str]:
    """Labels that docstrings below a folder cite behind "eq."."""
    cited = set()
    for path in folder.rglob(pattern):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            text = " ".join((ast.get_docstring(node) or "").split())
            for group in re.findall(r"[Ee]qs?\. ((?:``[a-z0-9-]+``(?:,? and |, )?)+)", text):
                cited |= set(re.findall(r"``([a-z0-9-]+)``", group))
    return cited


def test_each_equation_has_chapter_code_and_test():
    printed = Counter(next(filter(None, label)) for path in CHAPTERS for label in labels_in(path))
    assert not [label for label, count in printed.items() if count > 1], "a label is given twice"
    assert not [p for p in PAGES if labels_in(p)], "equations that code implements are in chapters"
    code, tests = cited_in(PACKAGE, "*.py"), cited_in(ROOT / "tests", "test_*.py")
    assert code == set(printed), "docstrings of the package against labels of the chapters"
    assert tests == set(printed), "docstrings of the tests against labels of the chapters"


# Numbers in prose


def paragraphs(text: str) -> list[str]:
    """Paragraphs of prose: no code, no formulas, no front matter, no targets of links."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(
        r"^(`{3,}|:{3,})\{?(code-cell|math)?\}?.*?^\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE
    )
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$( \([a-z0-9-]+\))?|\$[^$]+\$", "", text, flags=re.DOTALL)
    return re.split(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) )", text)


#: Roles and code, targets of links, numbers of list items and exercises, years after a month.
NO_QUANTITY = (
    r"\{[a-z:-]+\}`[^`]*`|`+[^`]*`+|\]\([^)]*\)|^\s*(\*\*)?\d+\. |(?:Step|Exercise|Solution) \d"
    r"|(?<=[a-z] )20\d\d\b|8-bit"
)


def typed_numbers(text: str) -> list[str]:
    """Numbers of a text that nothing vouches for: not glued, not cited, no code, not 0 or 1."""
    found = []
    for paragraph in paragraphs(text):
        if "{cite" in paragraph:
            continue
        plain = re.sub(NO_QUANTITY, "", paragraph)
        found += [
            f"{number!r} in {' '.join(paragraph.split())[:90]!r}"
            for number in re.findall(r"(?<![\w.-])\d[\d.,]*\d|(?<![\w.,-])[2-9]\b(?!D)", plain)
        ]
    return found


@pytest.mark.parametrize(
    ("text", "is_typed"),
    [
        ("The error is 3.2 dB.", True),
        ("Twice 30 steps.", True),
        ("Within 2 dB.", True),
        ("Between 0 and 1, in November 2026.", False),
        ("The error is {glue:text}`error:.1f` dB.", False),
        ("It is 0.02 {cite}`levie2021radiounet`.", False),
        ("RadioMap3DSeer, IRT2 and `size=64` in 3D, $x^2$.", False),
        ("1. one\n2. two", False),
        ("**Solution 2.** Yes.", False),
        ("```{code-cell} ipython3\nx = 3\n```", False),
        ("$$\nx = 3\n$$ (eq-three)", False),
        ("[a link](https://doi.org/10.1109)", False),
    ],
)
def test_number_check_sees(text, is_typed):
    assert bool(typed_numbers(text)) == is_typed


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_types_no_number(path):
    cells = [c.source for c in jupytext.read(path).cells if c.cell_type == "markdown"]
    faults = [fault for cell in cells for fault in typed_numbers(cell)]
    assert not faults, "glue them:\n" + "\n".join(faults)


@pytest.mark.parametrize(
    "path", [p for p in PAGES if relative(p) not in COUNTS_FOREIGN_FACTS], ids=lambda p: p.stem
)
def test_page_types_no_number(path):
    faults = typed_numbers(path.read_text(encoding="utf-8"))
    assert not faults, "\n".join(faults)
