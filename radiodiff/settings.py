"""Typed settings: YAML and nested mappings to frozen dataclasses, with overrides and exact errors.

Knows no section by name: a section is a frozen dataclass that lives beside the thing it sets, with
one explanation under each field. What has no meaning is refused in its ``__post_init__``.
"""

import ast
import dataclasses
import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

__all__ = [
    "ConfigError",
    "apply_override",
    "build",
    "check_key",
    "check_parameters",
    "config_text",
    "nearest",
    "read_yaml",
    "rename_key",
    "rename_keys",
]

Section = TypeVar("Section")


class ConfigError(ValueError):
    """A configuration that names an unknown key or holds a value of the wrong type."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys a YAML file holds.

    Raises:
        ConfigError: If it is not YAML, or holds no keys.
    """
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {message}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections of keys, got {values!r}")
    return values


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
        ConfigError: If a key is given under its old and its new name.
    """
    renamed: dict[str, Any] = {}
    for old, value in _leaves(values, ""):
        *sections, last = rename_key(old, table).split(".")
        place = renamed
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{old}: {section!r} is given as a value and as a section")
        if last in place:
            raise ConfigError(f"{'.'.join([*sections, last])} is given twice, once as {old}")
        place[last] = value
    return renamed


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested sections; an empty section counts as a value."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def config_text(config: Any) -> str:
    """Return a configuration, or one section of it, as YAML."""
    return yaml.safe_dump(_plain(config), sort_keys=False)


def check_parameters(cells: Sequence[str]) -> None:
    """Stop a papermill run that was given a parameter the notebook does not have.

    papermill injects its values as a cell that starts with ``# Parameters`` after the notebook's
    own parameters cell and only warns about unknown names. Call this in the next cell with
    IPython's list of executed cells, ``check_parameters(In)``.

    Args:
        cells: Sources of the executed cells, in order.

    Raises:
        ConfigError: If the injected cell assigns a name that the cell before it does not.
    """
    for before, cell in pairwise(cells):
        if not cell.startswith("# Parameters"):
            continue
        known = sorted(set(_assigned_names(before)))
        for name in _assigned_names(cell):
            if name not in known:
                raise ConfigError(
                    f"unknown notebook parameter {name!r} (the notebook has {', '.join(known)})"
                    f"{nearest(name, known)}"
                )


def _assigned_names(source: str) -> Iterator[str]:
    """Names that plain or annotated assignments of a cell bind."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def apply_override(values: dict[str, Any], item: str) -> None:
    """Put ``a.b=value`` into a nested mapping, in place.

    Raises:
        ConfigError: If there is no ``=``, or the value is not YAML.
    """
    key, equals, text = item.partition("=")
    if not equals:
        raise ConfigError(f"an override must read key=value, got {item!r}")
    *sections, last = key.strip().split(".")
    for section in sections:  # copied on the way: two sections may be one by a YAML alias
        inner = values.get(section)
        values[section] = dict(inner) if isinstance(inner, dict) else {}
        values = values[section]
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: {text!r} is not valid YAML") from error


def check_key(kind: type, key: str) -> None:
    """Raise with the nearest full key unless ``key`` is a dotted key of a dataclass.

    Raises:
        ConfigError: If there is no such key.
    """
    known = list(_paths(kind, ""))
    if key not in known:
        raise _unknown(key, known)


def _unknown(key: str, known: Sequence[str]) -> ConfigError:
    return ConfigError(f"unknown key {key!r}{nearest(key, known)}")


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
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _build(kind: type, values: Any, path: str, whole: type) -> Any:
    """Build a dataclass from a mapping, checking every key and value."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'the file'} must be a section of keys, got {values!r}")
    hints = get_type_hints(kind)
    prefix = f"{path}." if path else ""
    for key in values:
        if key not in hints:
            raise _unknown(f"{prefix}{key}", list(_paths(whole, "")))
    built = {key: _convert(hints[key], value, prefix + key, whole) for key, value in values.items()}
    try:
        return kind(**built)
    except (TypeError, ValueError) as error:  # a field is missing, or the sizes do not agree
        raise ConfigError(f"{path or 'the file'}: {error}") from error


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
        if isinstance(value, bool):  # YAML 1.1 reads `no` and `off` so
            words = ("yes", "on") if value else ("no", "off")
            value = next((word for word in words if word in get_args(hint)), value)
        if value not in get_args(hint):
            options = ", ".join(map(str, get_args(hint)))
            raise ConfigError(f"{path} must be one of {options}, got {value!r}")
        return value
    if origin is tuple:
        inner = get_args(hint)
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} must be a list, got {value!r}")
        if inner[-1] is Ellipsis:
            inner = inner[:1] * len(value)
        if len(inner) != len(value):
            raise ConfigError(f"{path} must have {len(inner)} entries, got {value!r}")
        pairs = zip(inner, value, strict=True)
        return tuple(_convert(kind, v, f"{path}[{k}]", whole) for k, (kind, v) in enumerate(pairs))
    if hint is float and not isinstance(value, bool):
        try:
            return float(value)  # PyYAML reads 5e-5 as a string
        except (TypeError, ValueError):
            pass
    elif type(value) is hint:
        return value
    raise ConfigError(f"{path} must be {hint.__name__}, got {value!r}")


def _plain(value: Any) -> Any:
    """Turn nested dataclasses and tuples into dicts and lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
