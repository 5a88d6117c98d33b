"""Other YAML files than policies, read by the same careful reader; and the shipped policy."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import TypeVar

import msgspec

from stream.errors import ConfigError

from .compiled import Policy
from .document import read_document
from .text import load_policy

Spec = TypeVar("Spec", bound=msgspec.Struct)

_split = re.compile(r"(.*?)(?: - at `?(\$[^`]*)`?)?", re.DOTALL).fullmatch


def load_settings(text: str, file: str, spec: type[Spec]) -> Spec:
    """Return the settings of a YAML text as a Spec.

    Errors: ConfigError `file:line: reason - at $.path`.
    """
    document = read_document(text, file)
    try:
        return msgspec.convert(document.value, spec)
    except msgspec.ValidationError as error:
        found = _split(str(error))
        reason, path = (found[1], found[2] or "$") if found else (str(error), "$")
        raise ConfigError(document.fault(reason, path, "").message) from error


def default_policy_text() -> str:
    """Return the text of the shipped default policy, comments and all."""
    return resources.files(__package__).joinpath("default.yaml").read_text("utf-8")


@functools.cache
def default_policy() -> Policy:
    """Return the shipped default policy."""
    return load_policy(default_policy_text(), "default.yaml")
