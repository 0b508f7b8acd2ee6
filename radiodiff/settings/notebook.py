"""Parameters that papermill hands to a notebook."""

import ast
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from radiodiff.files import shorten
from radiodiff.settings.build import nearest
from radiodiff.settings.reader import ConfigError

__all__ = ["check_parameters"]


def check_parameters(cells: Sequence[str]) -> None:
    """Stop a papermill run that was given a parameter the notebook does not have.

    papermill injects its values as a cell that starts with ``# Parameters`` after the notebook's
    own parameters cell and only warns about unknown names. It also guesses types: ``-p name 007``
    hands over a number, of which the text is lost; ``-r name 007`` hands over text. Call this in
    the next cell with IPython's list of executed cells, ``check_parameters(In)``.

    Args:
        cells: Sources of the executed cells, in order.

    Raises:
        ConfigError: If the injected cell assigns a name that the cell before it does not, text to
            a number, or a number to a text.
    """
    for before, cell in pairwise(cells):
        if not cell.startswith("# Parameters"):
            continue
        own = dict(_assigned(before))
        for name, node in _assigned(cell):
            if name not in own:
                known = sorted(own)
                raise ConfigError(
                    f"unknown notebook parameter {shorten(name)!r} (the notebook has "
                    f"{', '.join(known)}){nearest(name, known)}"
                )
            _check_kind(name, own[name], node)


def _check_kind(name: str, own_node: ast.expr | None, node: ast.expr | None) -> None:
    """Refuse text for a number, and a number for text or a list of texts."""
    own, value = _plain(own_node, None), _plain(node, node and ast.unparse(node))
    if isinstance(own, str | list) and isinstance(value, bool | int | float):
        raise ConfigError(
            f"notebook parameter {name} must be text, got {shorten(repr(value))}: papermill takes "
            f"it as it is written with -r {name} VALUE, or in quotes in a file of -f"
        )
    is_number = type(own) in (int, float)
    fits = type(value) is type(own) or (type(own) is float and type(value) is int)
    if (is_number or isinstance(own, bool)) and not fits and value is not None:
        raise ConfigError(
            f"notebook parameter {name} must be {type(own).__name__}, got {shorten(repr(value))}"
        )


def _plain(node: ast.expr | None, other: Any) -> Any:
    """Return a value that is written out, or another one for an expression."""
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return other


def _assigned(source: str) -> Iterator[tuple[str, ast.expr | None]]:
    """Names that plain or annotated assignments of a cell bind, and to what."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
