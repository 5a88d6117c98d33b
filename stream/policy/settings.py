"""Other YAML files than policies, read by the same careful reader; and the shipped policy.

To the reader `1.5` is text, as policies have whole numbers only. Where a setting is a float, such
text is the number it looks like.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from stream.errors import ConfigError

from .compiled import Policy
from .document import read_document
from .text import load_policy

Spec = TypeVar("Spec", bound=msgspec.Struct)

_is_decimal = re.compile(r"-?(?:0|[1-9][0-9]{0,8})\.[0-9]{1,9}").fullmatch
_split = re.compile(r"(.*?)(?: - at `?(\$[^`]*)`?)?", re.DOTALL).fullmatch


def load_settings(text: str, file: str, spec: type[Spec]) -> Spec:
    """Return the settings of a YAML text as a Spec.

    Errors: ConfigError `file:line: reason - at $.path`.
    """
    document = read_document(text, file)
    try:
        return msgspec.convert(_with_decimals(document.value, inspect.type_info(spec)), spec)
    except msgspec.ValidationError as error:
        found = _split(str(error))
        reason, path = (found[1], found[2] or "$") if found else (str(error), "$")
        raise ConfigError(document.fault(reason, path, "").message) from error


def _with_decimals(value: Any, kind: inspect.Type | None) -> Any:
    """Return a value of some kind, with decimal numbers for their text where it has floats."""
    if isinstance(kind, inspect.FloatType) and isinstance(value, str) and _is_decimal(value):
        return float(value)
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        kinds = {each.encode_name: each.type for each in kind.fields}
        return {name: _with_decimals(part, kinds.get(name)) for name, part in value.items()}
    return value


def default_policy_text() -> str:
    """Return the text of the shipped default policy, comments and all."""
    return resources.files(__package__).joinpath("default.yaml").read_text("utf-8")


@functools.cache
def default_policy() -> Policy:
    """Return the shipped default policy."""
    return load_policy(default_policy_text(), "default.yaml")
