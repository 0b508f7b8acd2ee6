"""Nested mappings to frozen dataclasses and back, with exact errors and renamed keys."""

import dataclasses
import difflib
import math
import types
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from radiodiff.files import shorten
from radiodiff.settings.reader import (
    MAX_DEPTH,
    ConfigError,
    Scalar,
    is_number,
    parse_yaml,
    read_scalar,
    shown,
)

__all__ = ["build", "check_key", "config_text", "nearest", "rename_key", "rename_keys"]

Section = TypeVar("Section")

#: Longest text of a field [characters].
MAX_TEXT = 4096


def build(kind: type[Section], values: Mapping[str, Any]) -> Section:
    """Return the dataclass that a mapping describes; keys that are absent have their defaults.

    Args:
        kind: A dataclass whose fields are plain values, tuples of them, or dataclasses.
        values: Nested sections of keys, as read from YAML or JSON.

    Raises:
        ConfigError: If a key is unknown or a value has the wrong type; names the nearest key.
    """
    return _build(kind, values, "", kind)


def rename_key(key: str, table: Mapping[str, str]) -> str:
    """Return a dotted key with its longest part that the table holds replaced."""
    words = key.split(".")
    for length in range(len(words), 0, -1):
        old = ".".join(words[:length])
        if old in table:
            return ".".join([table[old], *words[length:]])
    return key


def rename_keys(values: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    """Return nested sections with the old names of sections and keys replaced by today's.

    Args:
        values: Nested sections of keys.
        table: Old dotted key to today's, of whole sections or single keys.

    Raises:
        ConfigError: If a key is given under its old and its new name, or sections are nested
            without end.
    """
    renamed: dict[str, Any] = {}
    for old, value in _leaves(values, ""):
        *sections, last = rename_key(old, table).split(".")
        place = renamed
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(
                    f"{shorten(old)}: {shorten(section)!r} is given as a value and as a section"
                )
        if last in place:
            key = shorten(".".join([*sections, last]))
            raise ConfigError(f"{key} is given twice, once as {shorten(old)}")
        place[last] = value
    return renamed


def _leaves(values: Mapping[str, Any], prefix: str, depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested sections; an empty section counts as a value."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"{shorten(prefix)} is nested deeper than {MAX_DEPTH} levels")
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.", depth + 1)
        else:
            yield f"{prefix}{name}", value


def config_text(config: Any) -> str:
    """Return a configuration, or one section of it, as YAML."""
    return yaml.safe_dump(_plain(config), sort_keys=False)


def check_key(kind: type, key: str) -> None:
    """Raise with the nearest full key unless ``key`` is a dotted key of a dataclass.

    Raises:
        ConfigError: If there is no such key.
    """
    known = list(_paths(kind, ""))
    if key not in known:
        raise _unknown(key, known)


def _unknown(key: str, known: Sequence[str]) -> ConfigError:
    return ConfigError(f"unknown key {shorten(key)!r}{nearest(key, known)}")


def _paths(kind: type, prefix: str) -> Iterator[str]:
    """All dotted keys below a dataclass, sections included."""
    for name, hint in get_type_hints(kind).items():
        yield prefix + name
        section = _dataclass_of(hint)
        if section is not None:
            yield from _paths(section, f"{prefix}{name}.")


def _dataclass_of(hint: Any) -> type | None:
    """Return the dataclass in a hint such as ``SimulateConfig | None``, if there is one."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((kind for kind in options if dataclasses.is_dataclass(kind)), None)


def nearest(key: str, known: Sequence[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or nothing where no key is near."""
    near = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _build(kind: type, values: Any, path: str, whole: type) -> Any:
    """Build a dataclass from a mapping, checking every key and value."""
    if isinstance(values, Scalar):
        values = parse_yaml(values, path)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'the file'} must be a section of keys, got {shown(values)}")
    hints = get_type_hints(kind)
    prefix = f"{path}." if path else ""
    for key in values:
        if key not in hints:
            raise _unknown(f"{prefix}{key}", list(_paths(whole, "")))
    built = {key: _convert(hints[key], value, prefix + key, whole) for key, value in values.items()}
    for field in dataclasses.fields(kind):
        is_needed = field.default is field.default_factory is dataclasses.MISSING
        if is_needed and field.name not in built:
            raise ConfigError(f"{prefix}{field.name} is missing and has no default")
    try:
        return kind(**built)
    except (TypeError, ValueError) as error:  # a number is out of range, or the sizes do not agree
        where = f"{path}: " if path else ""
        raise ConfigError(f"{where}{shorten(str(error), 300)}") from error


def _convert(hint: Any, value: Any, path: str, whole: type) -> Any:
    """Return ``value`` as the type a field asks for."""
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path, whole)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        (hint,) = (option for option in get_args(hint) if option is not type(None))
        return _convert(hint, value, path, whole)
    if origin is Literal:
        word = read_scalar(str, value) if isinstance(value, Scalar) else value
        if word not in get_args(hint):
            options = ", ".join(map(str, get_args(hint)))
            raise ConfigError(f"{path} must be one of {options}, got {shown(value)}")
        return word
    if origin is tuple:
        return _convert_entries(get_args(hint), value, path, whole)
    return _convert_value(hint, value, path)


def _convert_entries(inner: tuple[Any, ...], value: Any, path: str, whole: type) -> tuple[Any, ...]:
    """Return the entries of a list, each as its type."""
    if isinstance(value, Scalar):
        value = parse_yaml(value, path)
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path} must be a list, got {shown(value)}")
    if inner[-1] is Ellipsis:
        inner = inner[:1] * len(value)
    if len(inner) != len(value):
        raise ConfigError(f"{path} must have {len(inner)} entries, got {shown(value)}")
    pairs = zip(inner, value, strict=True)
    return tuple(_convert(kind, v, f"{path}[{k}]", whole) for k, (kind, v) in enumerate(pairs))


def _convert_value(kind: type, value: Any, path: str) -> Any:
    """Return text, a number or a truth value."""
    given, value = value, read_scalar(kind, value) if isinstance(value, Scalar) else value
    if kind is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    elif kind is float and is_number(value):
        value = float(value)  # PyYAML reads 5e-5 as a string
    if type(value) is not kind:
        hint = ""
        if kind in (int, float) and isinstance(value, str) and any(map(str.isdigit, value)):
            hint = "; write a decimal number, without leading zeros, underscores or quotes"
        raise ConfigError(f"{path} must be {kind.__name__}, got {shown(given)}{hint}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{path} must be a finite number, got {shown(given)}")
    if kind is int and not -(2**63) <= value < 2**63:
        raise ConfigError(f"{path} must be an integer of 64 bits, got {shown(given)}")
    if kind is str:
        _check_text(value, path)
    return value


def _check_text(text: str, path: str) -> None:
    """Refuse what no name and no path holds: nothing, several lines, control characters."""
    if not text or len(text) > MAX_TEXT:
        raise ConfigError(f"{path} must have 1 to {MAX_TEXT} characters, got {len(text)}")
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text):
        raise ConfigError(
            f"{path} must be one line without control characters, got {shorten(ascii(text))}"
        )


def _plain(value: Any) -> Any:
    """Turn nested dataclasses and tuples into dicts and lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
