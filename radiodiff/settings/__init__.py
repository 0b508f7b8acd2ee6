"""Typed settings: YAML and nested mappings to frozen dataclasses, with overrides and exact errors.

Knows no section by name: a section is a frozen dataclass that lives beside the thing it sets, with
one explanation under each field. What has no meaning is refused in its ``__post_init__``.
"""

from radiodiff.settings.build import (
    build,
    check_key,
    config_text,
    nearest,
    rename_key,
    rename_keys,
)
from radiodiff.settings.notebook import check_parameters
from radiodiff.settings.overrides import apply_override, split_overrides
from radiodiff.settings.reader import (
    ConfigError,
    Scalar,
    is_number,
    parse_yaml,
    read_scalar,
    read_yaml,
    resolve,
    shown,
)

__all__ = [
    "ConfigError",
    "Scalar",
    "apply_override",
    "build",
    "check_key",
    "check_parameters",
    "config_text",
    "is_number",
    "nearest",
    "parse_yaml",
    "read_scalar",
    "read_yaml",
    "rename_key",
    "rename_keys",
    "resolve",
    "shown",
    "split_overrides",
]
