"""The page's script: small modules of JavaScript, joined into the one text that a notebook holds.

The modules in ``js/`` are plain ES modules, which a browser or Node also loads one by one. A widget
and a page without requests need a single text instead, so the modules behind an entry are put one
after the other and lose the lines that tie them together. They share one scope then: a name at the
top level of a module must be its alone.
"""

import functools
import re
from graphlib import TopologicalSorter
from importlib import resources

__all__ = ["join_modules", "source"]

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.mjs)";\n+', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default )", re.MULTILINE)


def source(name: str) -> str:
    """Return the text of a file of this sub-package.

    Args:
        name: Path below the sub-package, with slashes.
    """
    return resources.files("radiodiff.explorer").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def join_modules(entry: str) -> str:
    """Return a module and all that it imports as one text, each module once and after its own.

    Args:
        entry: Name of a file in ``js/``; its default export, if it has one, is that of the text.

    Raises:
        CycleError: If modules import each other.
    """
    texts: dict[str, str] = {}
    imported: dict[str, list[str]] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name not in texts:
            texts[name] = source(f"js/{name}")
            imported[name] = _IMPORT.findall(texts[name])
            waiting += imported[name]
    order = TopologicalSorter(imported).static_order()
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", texts[name])) for name in order)
