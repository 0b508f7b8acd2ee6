"""A section of a YAML file of the public code, which remembers which of its keys were read."""

from collections.abc import Iterator, Mapping
from typing import Any

from radiodiff.files import user_path
from radiodiff.settings import Scalar, is_number, parse_yaml, read_scalar, resolve, shown

__all__ = ["ELSEWHERE", "IGNORED", "NO_LOSS", "UNKNOWN", "Section"]

#: Why a key has no effect.
IGNORED = "without effect, as in the public code"
ELSEWHERE = "without effect here, where the command line says it"
NO_LOSS = "without effect here, where weights are read and no loss is computed"
UNKNOWN = "not known to the public code"


class Section:
    """A mapping of the file that remembers which keys were asked for."""

    def __init__(self, values: Any, path: str) -> None:
        if isinstance(values, Scalar):  # a whole section as an override
            values = parse_yaml(values, path)
        if not isinstance(values, Mapping):
            raise ValueError(f"{path or 'the file'} must be a section of keys, got {shown(values)}")
        self.values, self.path = values, path
        self.used: set[str] = set()
        self.unused: dict[str, str] = {}
        self.sections: dict[str, Section] = {}

    def get(self, key: str, default: Any) -> Any:
        """Return a value of the default's kind; the default where there is none."""
        found = self.optional(key, type(default))
        return default if found is None else found

    def need(self, key: str, kind: type) -> Any:
        """Return a value that has no default."""
        found = self.optional(key, kind)
        if found is None:
            raise ValueError(f"{self._full(key)} is missing and has no default")
        return found

    def optional(self, key: str, kind: type) -> Any:
        """Return a value of a kind, or ``None``."""
        self.used.add(key)
        value = self.values.get(key)
        return None if value is None else self._as(kind, key, value)

    def file(self, key: str) -> str | None:
        """Return a path, its ``~`` replaced by the home folder, or ``None``."""
        value = self.optional(key, str)
        return None if value is None else str(user_path(value))

    def pair(self, key: str, default: list[int]) -> tuple[int, int]:
        """Return two integers, rows and columns."""
        value = self.get(key, default)
        if len(value) != 2 or not all(type(side) is int for side in value):
            raise ValueError(f"{self._full(key)} must be two integers, got {shown(value)}")
        return value[0], value[1]

    def integers(self, key: str, default: list[int] | None = None) -> tuple[int, ...]:
        """Return a list of integers; without a default it must be there."""
        value = self.need(key, list) if default is None else self.get(key, default)
        if not all(type(entry) is int for entry in value):
            raise ValueError(f"{self._full(key)} must be integers, got {shown(value)}")
        return tuple(value)

    def pairs(self, key: str, default: list[list[int]]) -> tuple[tuple[int, int], ...]:
        """Return a list of pairs of integers."""
        value = self.get(key, default)
        each = Section(dict(enumerate(value)), self._full(key))
        return tuple(each.pair(place, []) for place in each.values)

    def _as(self, kind: type, key: str, value: Any) -> Any:
        """Return a value if it is of a kind; PyYAML reads 5e-5 as text."""
        if isinstance(value, Scalar) and kind is not object:
            value = read_scalar(kind, value)
        value = resolve(value)
        is_bool = isinstance(value, bool)
        if kind is float and not is_bool and (isinstance(value, int) or is_number(value)):
            value = float(value)
        if isinstance(value, kind) and not (is_bool and kind in (int, float)):
            return value
        raise ValueError(f"{self._full(key)} must be {kind.__name__}, got {shown(value)}")

    def expect(self, key: str, only: Any, why: str) -> None:
        """Refuse another value than the one that is supported; absent is fine."""
        value = self.optional(key, object)
        if value is not None and value != only:
            raise ValueError(f"{self._full(key)} must be {only!r}: {why}; got {shown(value)}")

    def section(self, key: str, *, required: bool = True) -> "Section":
        """Return a nested section."""
        self.used.add(key)
        value = self.values.get(key)
        if value is None and required:
            raise ValueError(f"section {self._full(key)} is missing")
        if key not in self.sections:
            self.sections[key] = Section({} if value is None else value, self._full(key))
        return self.sections[key]

    def ignore(self, *keys: str, why: str = IGNORED) -> None:
        """Note keys that have no effect: in the public code, or here."""
        self.unused |= dict.fromkeys(keys, why)

    def leftovers(self) -> Iterator[tuple[str, str]]:
        """Yield the full key of what was not read, and why."""
        for key in self.values:
            if key not in self.used:
                yield self._full(key), self.unused.get(key, UNKNOWN)
        for section in self.sections.values():
            yield from section.leftovers()

    def known(self) -> Iterator[str]:
        """Yield every key the public code reads."""
        for key in sorted(self.used):
            yield self._full(key)
        for section in self.sections.values():
            yield from section.known()

    def _full(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
