"""One look for all figures, whatever a user's settings of matplotlib are."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib.style
from matplotlib.artist import allow_rasterization
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure as PlainFigure

from radiodiff.files import write_atomically

__all__ = ["Figure", "house_style", "save_figure", "styled"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def house_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib's own defaults hold, not those of a ``matplotlibrc``."""
    return matplotlib.style.context("default")


def styled(plot: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function draw in the house style; what it draws on may be anybody's figure."""

    @functools.wraps(plot)
    def draw(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with house_style():
            return plot(*args, **kwargs)

    return draw


class Figure(PlainFigure):
    """A figure in the house style, when it is made as well as when it is drawn or saved."""

    @styled
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    @allow_rasterization
    @styled
    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure: marks and numbers of the axes are made only now."""
        super().draw(renderer)

    @styled
    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save the figure, see `matplotlib.figure.Figure.savefig`."""
        super().savefig(*args, **kwargs)


def save_figure(figure: PlainFigure, path: Path, *, dpi: float = 110) -> Path:
    """Write a figure and return its file, whole or absent.

    Args:
        figure: What to write.
        path: Where; ``.png`` is added where the name has no extension.
        dpi: Dots an inch.

    Raises:
        ValueError: If there is no format of this extension.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    formats = figure.canvas.get_supported_filetypes()
    kind = path.suffix[1:].lower()
    if kind not in formats:
        raise ValueError(f"{path} must end in one of {', '.join(sorted(formats))}")
    write_atomically(path, functools.partial(figure.savefig, dpi=dpi, format=kind))
    return path
