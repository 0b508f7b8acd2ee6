"""Changes of single keys, ``a.b=value``, from the command line and from notebooks."""

from collections.abc import Iterator, Sequence
from typing import Any

from radiodiff.files import shorten
from radiodiff.settings.reader import ConfigError, Scalar, is_null, parse_yaml

__all__ = ["apply_override", "split_overrides"]

_CLOSING = {"[": "]", "{": "}"}


def split_overrides(overrides: Sequence[str] | str) -> list[str]:
    """Return the items of a list, or of one text with spaces between them.

    Spaces within quotes and within brackets are part of a value; as in YAML, a quote counts where
    a value begins: ``data.root="/a b" network.multipliers=[1, 2]`` are two items.

    Raises:
        ConfigError: If a quote or a bracket is not closed, or an item is no text.
    """
    if isinstance(overrides, str):
        return list(_items(overrides))
    if not isinstance(overrides, list | tuple) or not all(
        isinstance(item, str) for item in overrides
    ):
        raise ConfigError(
            f"overrides must be a list of texts key=value, or one text, got {shorten(overrides)}"
        )
    return list(overrides)


def _items(text: str) -> Iterator[str]:
    """Cut a text at the spaces outside quotes and brackets."""
    item, open_, quote = "", "", ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"" and _begins_value(item, open_):
            quote = sign
        elif sign in _CLOSING and (open_ or _begins_value(item, open_)):
            open_ += _CLOSING[sign]
        elif open_ and sign == open_[-1]:
            open_ = open_[:-1]
        elif sign.isspace() and not open_:
            if item:
                yield item
            item = ""
            continue
        item += sign
    if quote or open_:
        raise ConfigError(f"override {shorten(item)!r} lacks a closing {quote or open_[-1]}")
    if item:
        yield item


def _begins_value(item: str, open_: str) -> bool:
    """Whether what comes next is the first sign of a value, alone or in a list or a section."""
    if open_:
        return item.rstrip()[-1:] in tuple("[{,:")
    return item.endswith("=") and item.count("=") == 1


def apply_override(values: dict[str, Any], item: str) -> None:
    """Put ``a.b=value`` into a nested mapping, in place, as a `Scalar` that the field reads.

    What stands after the first ``=`` is the value: a text field takes it as it is, without quotes
    around it if there are any; lists and sections are YAML.

    Raises:
        ConfigError: If there is no ``=``.
    """
    key, equals, text = item.partition("=")
    if not equals:
        raise ConfigError(f"an override must read key=value, got {shorten(item)!r}")
    *sections, last = key.strip().split(".")
    for section in sections:  # copied on the way: two sections may be one by a YAML alias
        inner = values.get(section)
        if isinstance(inner, Scalar):  # an override of the whole section came first
            inner = parse_yaml(inner, section)
        values[section] = dict(inner) if isinstance(inner, dict) else {}
        values = values[section]
    text = text.strip()
    values[last] = None if is_null(text) else Scalar(text)
