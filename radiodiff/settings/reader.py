"""The one reader of YAML: limits, no key twice, and text that stays text.

YAML guesses the type of what is written without quotes: ``2024-05-01`` is a date, ``no`` a truth
value, ``010`` an eight and ``1_000`` a thousand. Here the field decides. What looks like a number
or a truth value is kept as it is written, a `Scalar`, until a field asks for it: a text field takes
it as it is, a number field takes decimal numbers and guesses nothing.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from radiodiff.files import read_text, shorten

__all__ = ["ConfigError", "Scalar", "parse_yaml", "read_scalar", "read_yaml", "resolve", "shown"]

#: Longest YAML file [bytes], deepest nesting, and most values, those of aliases counted each time.
MAX_BYTES, MAX_DEPTH, MAX_VALUES = 1 << 18, 32, 20_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII
)
_NULL = ("", "~", "null", "Null", "NULL")
_TRUTH = {
    word: truth
    for truth, words in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for lower in words
    for word in (lower, lower.capitalize(), lower.upper())
}


class ConfigError(ValueError):
    """A configuration that names an unknown key or holds a value of the wrong type."""


class Scalar(str):
    """A value as it is written, whose type the field decides that takes it."""

    __slots__ = ()


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys a YAML file holds.

    Numbers and truth values are `Scalar`; `build` and `resolve` turn them into values.

    Raises:
        FileNotFoundError: If there is no such file.
        FileError: If it is not UTF-8 text, or too long.
        ConfigError: If it is not YAML, names a key twice, is nested too deep, or holds no keys.
    """
    values = parse_yaml(read_text(path, max_bytes=MAX_BYTES), str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: the file must be a section of keys, got {shown(values)}")
    return values


def parse_yaml(text: str, where: str) -> Any:
    """Return what a text in YAML holds, numbers and truth values as `Scalar`.

    Args:
        text: One YAML document; empty for ``None``.
        where: What errors call it.

    Raises:
        ConfigError: If it is not YAML, names a key twice, has other keys than text, is nested too
            deep, holds too many values, or has a tag that is not of plain values.
    """
    try:
        return _Composer(text).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{where} is not valid YAML{line}: {shorten(problem, 120)}") from error
    except _RefusedError as error:
        raise ConfigError(f"{where}{error}") from None


def resolve(value: Any) -> Any:
    """Return a value, and what is in it, with each `Scalar` as what it looks like."""
    if isinstance(value, dict):
        return {key: resolve(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(resolve(inner) for inner in value)
    if not isinstance(value, Scalar):
        return value
    text = str(value)
    if text[:1] in tuple("'\"[{"):
        return resolve(parse_yaml(text, shorten(text)))
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return _TRUTH.get(text, text)


def read_scalar(kind: type, value: Scalar) -> Any:
    """Return a scalar as text, or as a number or truth value if it is one.

    Args:
        kind: ``str``, ``int``, ``float`` or ``bool``; another takes lists and sections.
        value: What is written.

    Returns:
        A value of the kind; something else where it is none. No number is guessed: ``010``,
        ``0x10``, ``1_000``, ``1:30`` and ``.inf`` stay text.

    Raises:
        ConfigError: If a quoted text, a list or a section of an override is not YAML.
    """
    text = str(value)
    if text[:1] in ("'", '"'):
        return parse_yaml(text, shorten(text))
    if kind is str:
        return text
    if kind is float and _FLOAT.fullmatch(text):
        return float(text)
    if kind in (int, float, bool):
        return resolve(value)
    return parse_yaml(text, shorten(text))


def is_number(value: Any) -> bool:
    """Whether a value is a text that reads as a decimal number."""
    return isinstance(value, str) and bool(_FLOAT.fullmatch(value))


def is_null(text: str) -> bool:
    """Whether an unquoted text stands for nothing."""
    return text in _NULL


def shown(value: Any) -> str:
    """Return what came, for a message."""
    read = resolve(value)
    is_long = isinstance(value, Scalar) and isinstance(read, float)  # an integer of 20 digits, too
    return shorten(str(value) if is_long else repr(read))


class _RefusedError(Exception):
    """Sound YAML that is not read."""


class _Composer:
    """Values out of the events of a YAML text, so that no limit is met too late."""

    def __init__(self, text: str) -> None:
        self.events: Iterator[yaml.Event] = yaml.parse(str(text), Loader=_LOADER)
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.count = 0

    def document(self) -> Any:
        """Return the one document."""
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        value = self.value(next(self.events), 1)
        next(self.events)  # end of the document
        if not isinstance(next(self.events), yaml.StreamEndEvent):
            raise _RefusedError(" holds several documents (a line ---): keep one")
        return value

    def value(self, event: yaml.Event, depth: int) -> Any:
        """Return the value that begins with an event."""
        before = self.count
        self.add(1)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise _RefusedError(
                    f" names *{shorten(event.anchor)} in line {_line(event)}, but no & before it"
                )
            value, size = self.anchors[event.anchor]
            self.add(size)
            return value
        if depth > MAX_DEPTH:
            raise _RefusedError(f" is nested deeper than {MAX_DEPTH} levels in line {_line(event)}")
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event, "seq")
            value = [self.value(inner, depth + 1) for inner in self.until(yaml.SequenceEndEvent)]
        else:
            _check_tag(event, "map")
            value = self.mapping(depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.count - before
        return value

    def mapping(self, depth: int) -> dict[str, Any]:
        """Return the keys up to the end of a mapping; ``<<`` takes in those of others."""
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for event in self.until(yaml.MappingEndEvent):
            key = self.value(event, depth + 1)
            if not isinstance(key, str):
                raise _RefusedError(
                    f": a key must be text, got {shown(key)} in line {_line(event)}"
                )
            if key in lines:
                raise _RefusedError(
                    f" names the key {shorten(key)!r} twice, in line {lines[key]} and in line "
                    f"{_line(event)}: keep one"
                )
            lines[key] = _line(event)
            value = self.value(next(self.events), depth + 1)
            if key == "<<" and getattr(event, "implicit", (False,))[0]:
                others = value if isinstance(value, list) else [value]
                if not all(isinstance(other, dict) for other in others):
                    raise _RefusedError(f": << needs sections of keys in line {_line(event)}")
                for other in others:
                    merged = {**other, **merged}
            else:
                own[str(key)] = value
        return {**merged, **own}

    def until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        """Yield events up to the end of a list or a mapping."""
        while not isinstance(event := next(self.events), end):
            yield event

    def add(self, values: int) -> None:
        """Count values, so that aliases of aliases do not fill the memory."""
        self.count += values
        if self.count > MAX_VALUES:
            raise _RefusedError(
                f" holds more than {MAX_VALUES:,} values, aliases counted each time"
            )


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1


def _check_tag(event: yaml.Event, own: str) -> None:
    if event.tag not in (None, "!", _TAG + own):
        raise _RefusedError(f": the tag {shorten(event.tag)} in line {_line(event)} is not read")


def _scalar(event: yaml.ScalarEvent) -> str | None:
    """Return text, what looks like a number or a truth value as `Scalar`, or nothing."""
    text, tag = event.value, event.tag
    if tag is None and event.implicit[0]:
        if text in _NULL:
            return None
        return text if isinstance(resolve(Scalar(text)), str) else Scalar(text)
    if tag in (None, "!", _TAG + "str"):
        return text
    kinds = {_TAG + "int": int, _TAG + "float": (int, float), _TAG + "bool": bool}
    if tag == _TAG + "null" and text in _NULL:
        return None
    if tag in kinds and isinstance(resolve(Scalar(text)), kinds[tag]):
        return Scalar(text)
    raise _RefusedError(
        f": {shorten(tag.replace(_TAG, '!!'))} {shorten(text)} in line {_line(event)} is not read"
    )
