"""One look for all figures, whatever a user's settings of matplotlib are."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar

import matplotlib.style
from matplotlib.artist import allow_rasterization
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure as PlainFigure

__all__ = ["Figure", "house_style", "styled"]

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
