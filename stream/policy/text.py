"""A policy text -> Policy, and for each mistake in it a message that says where and what to do.

A message reads `file:line: reason - at $.path (hint: ...)`. What a field accepts is known from the
Structs alone (`spec.py` for a policy): names, choices and descriptions in hints come from there, so
the policy language can grow without this file.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec
from msgspec import inspect

from stream.errors import PolicyError
from stream.events import POLICY_BYTES_MAX

from .compiled import Policy, compile_policy
from .document import Document, read_document
from .hints import choice_hint
from .spec import PolicySpec

Spec = TypeVar("Spec", bound=msgspec.Struct)

_split: Final = re.compile(r"(.*?)(?: - at `?(\$[^`]*)`?)?", re.DOTALL).fullmatch
_step: Final = re.compile(r"\.([^.\[\]]+)|\[[0-9]+\]")
_unknown: Final = re.compile(r"Object contains unknown field `(.*)`").fullmatch
_missing: Final = re.compile(r"Object missing required field `(.*)`").fullmatch
_choice: Final = re.compile(r"Invalid enum value '?(.*?)'?", re.DOTALL).fullmatch
_type_name: Final = re.compile(r"`([a-z| ]+)`")
# What msgspec calls a type, and what it is called in a file.
_TYPE_WORDS: Final = {
    "object": "settings",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "bool": "true or false",
    "null": "nothing",
}


def load_policy(text: str, file: str) -> Policy:
    """Return the policy of a YAML text; `file` is what messages call it.

    The canonical text of a policy (`Policy.text`, JSON) gives the same policy again, byte for byte.
    Errors: PolicyError `file:line: reason - at $.path`.
    """
    policy = _canonical(text)
    return policy if policy is not None else read_policy(text, file)[0]


def read_policy(text: str, file: str) -> tuple[Policy, Document]:
    """Return the policy of a YAML text, and the document that knows the line of each path.

    Errors: PolicyError `file:line: reason - at $.path`.
    """
    document = read_document(text, file)
    spec = convert_document(document, PolicySpec)
    try:
        return compile_policy(spec), document
    except PolicyError as error:
        reason, path = _reason_and_path(error.message)
        raise document.fault(reason, path, error.hint) from error


def convert_document(document: Document, spec: type[Spec]) -> Spec:
    """Return the values of a document as a Struct.

    Errors: PolicyError `file:line: reason - at $.path`.
    """
    try:
        return msgspec.convert(document.value, spec)
    except msgspec.ValidationError as error:
        raise _validation_fault(str(error), document, inspect.type_info(spec)) from error


def _canonical(text: str) -> Policy | None:
    """Return the policy if the text is a canonical one, as the journal carries it.

    YAML is nearly a superset of JSON, but folds some line ends inside quotes and refuses some
    control characters; and this is the path of every rebalance, so it is also the fast one. A text
    that is not exactly canonical, or does not compile, goes the way that can say why.
    """
    if not text.startswith("{") or len(text) > POLICY_BYTES_MAX:
        return None
    try:
        policy = compile_policy(msgspec.json.decode(text, type=PolicySpec))
    except (ValueError, RecursionError, PolicyError):
        return None
    return policy if policy.text == text else None


def _reason_and_path(message: str) -> tuple[str, str]:
    match = _split(message)
    assert match is not None
    return match[1], match[2] or "$"


def _validation_fault(message: str, document: Document, whole: inspect.Type) -> PolicyError:
    """Return what msgspec found, in the words of a policy file."""
    reason, path = _reason_and_path(message)
    kind = _type_at(path, whole)
    if match := _unknown(reason):
        hint = choice_hint(match[1], _settings_of(kind))
        return document.fault(f"there is no setting `{match[1]}` here", f"{path}.{match[1]}", hint)
    if match := _missing(reason):
        at = _type_at(f"{path}.{match[1]}", whole)
        return document.fault(f"`{match[1]}` is missing", path, _hint_of(at))
    if match := _choice(reason):
        value = match[1][:40]
        return document.fault(
            f"`{value}` is no choice here", path, choice_hint(value, _words(kind))
        )
    # The expression behind a name says less than its description.
    reason = reason.partition(" matching regex")[0]
    reason = _type_name.sub(_file_words, reason).replace("Expected", "expected")
    if reason == "expected text":
        reason = "this text does not fit"
    return document.fault(reason, path, _hint_of(kind))


def _file_words(match: re.Match[str]) -> str:
    names = [name for name in match[1].split(" | ") if name != "null" or match[1] == "null"]
    return " or ".join(_TYPE_WORDS.get(name, name) for name in names)


def _type_at(path: str, whole: inspect.Type) -> inspect.Type | None:
    """Return what a type has at a path; None where it has nothing."""
    kind: inspect.Type | None = whole
    for name in _step.findall(path):
        kind = _bare(kind)
        if name and isinstance(kind, inspect.StructType):
            kind = next((each.type for each in kind.fields if each.encode_name == name), None)
        elif not name and isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
        else:
            return None
    return kind


def _bare(kind: inspect.Type | None) -> inspect.Type | None:
    """Return a type without its description and without its null."""
    if isinstance(kind, inspect.UnionType):
        rest = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        kind = rest[0]
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _hint_of(kind: inspect.Type | None) -> str:
    """Return what to write where a type stands."""
    described = kind
    if isinstance(kind, inspect.UnionType):
        described = next((each for each in kind.types if isinstance(each, inspect.Metadata)), kind)
    if isinstance(described, inspect.Metadata):
        description = (described.extra_json_schema or {}).get("description")
        return f"write {description}" if description else ""
    if words := _words(kind):
        return f"there is {', '.join(words)}"
    if settings := _settings_of(kind):
        return f"its settings are {', '.join(settings)}"
    if isinstance(_bare(kind), inspect.VarTupleType):
        return "begin each entry with `- `"
    return ""


def _words(kind: inspect.Type | None) -> list[str]:
    bare = _bare(kind)
    return [str(each) for each in bare.values] if isinstance(bare, inspect.LiteralType) else []


def _settings_of(kind: inspect.Type | None) -> list[str]:
    bare = _bare(kind)
    return (
        [each.encode_name for each in bare.fields] if isinstance(bare, inspect.StructType) else []
    )
