"""Every message as JSON Schema, and one AsyncAPI document, generated from the Structs.

Nothing is written twice: fields, bounds, choices and descriptions are those of the Structs, and
what is here is which message travels on which topic, under which key, from whom to whom.

Source: JSON Schema 2020-12 (what msgspec writes); AsyncAPI 3.0.0, Kafka bindings 0.5.0.
"""

from __future__ import annotations

import textwrap
from typing import Any, Final, NamedTuple

import msgspec

from .codec import Requests
from .command import Body, Heartbeat, OperatorRecord, SubjectRecord
from .finding import Finding
from .journal import Conditions, Owner
from .letter import DeadLetter, RetryMarker
from .request import Request

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_COMPONENTS: Final = "#/components/schemas/{name}"


class Message(NamedTuple):
    """One message: its Struct, or a list of one; the record's key (empty: none); who sends it."""

    type: Any
    key: str
    sender: str


MESSAGES: Final = {
    "request": Message(Request, "the canonical workload, UTF-8", "gateway"),
    "requests": Message(Requests, "the canonical workload of the first, UTF-8", "gateway"),
    "commands": Message(SubjectRecord, "JSON [issuer, workload, kind, ...]", "worker"),
    "heartbeat": Message(Heartbeat, 'JSON ["heartbeat", partition]', "worker"),
    "operator": Message(OperatorRecord, 'JSON ["operator", workload]', "operator"),
    "conditions": Message(Conditions, "the owner's nonce", "worker"),
    "owner": Message(Owner, "the owner's nonce", "worker"),
    "dead-letter": Message(DeadLetter, "", "worker"),
    "retry-marker": Message(
        RetryMarker, 'JSON ["retried", topic, partition, offset], and ordinal unless 0', "operator"
    ),
}
"""What travels on topics, by name."""

FILES: Final[dict[str, Any]] = {
    **{name: each.type for name, each in MESSAGES.items()},
    "body": Body,
    "finding": Finding,
}
"""What has a schema of its own: the messages, and what `replay` writes to files."""


class TopicNames(NamedTuple):
    """The addresses of the four channels."""

    requests: str = "requests"
    enforcement: str = "enforcement"
    journal: str = "journal"
    dead_letters: str = "dead-letters"


_CHANNELS: Final = {
    "requests": (
        "One event per request, grant, completion or tick; one or several in a record.",
        ("request", "requests"),
    ),
    "enforcement": (
        "Compacted: all that is in force. A gateway rebuilds its table from it.",
        ("commands", "heartbeat", "operator"),
    ),
    "journal": ("What the log does not say but decisions depend on.", ("conditions", "owner")),
    "dead_letters": (
        "Records that were no events, with code and origin; which of them were tried again.",
        ("dead-letter", "retry-marker"),
    ),
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each message and each line of a replay's files, by name."""
    found = {}
    for name, kind in FILES.items():
        schema = _tidy(msgspec.json.schema(kind))
        found[name] = {"$schema": DIALECT, "title": name, **schema}
    return found


def asyncapi(version: str, topics: TopicNames) -> dict[str, Any]:
    """Return the AsyncAPI document of the topics, as the worker sees them."""
    kinds = tuple(each.type for each in MESSAGES.values())
    references, schemas = msgspec.json.schema_components(kinds, ref_template=_COMPONENTS)
    payloads = dict(zip(MESSAGES, references, strict=True))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "stream-enforcer",
            "version": version,
            "description": "Profiles what AI agents and services do, and stops those that deviate.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            name: {
                "address": getattr(topics, name),
                "description": description,
                "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in messages},
            }
            for name, (description, messages) in _CHANNELS.items()
        },
        "operations": _operations(),
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "summary": _first_line(message.type),
                    "payload": payloads[name],
                    **_key_of(message),
                }
                for name, message in MESSAGES.items()
            },
            "schemas": _tidy(schemas),
        },
    }


def _key_of(message: Message) -> dict[str, Any]:
    """Return the binding that says what a record's key is; nothing for records without one."""
    if not message.key:
        return {}
    key = {"type": "string", "description": message.key}
    return {"bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}}}


def _operations() -> dict[str, Any]:
    """Return what the worker sends and receives, one operation for each message."""
    operations = {}
    for channel, (_, messages) in _CHANNELS.items():
        for name in messages:
            action = "send" if MESSAGES[name].sender == "worker" else "receive"
            operations[f"{action}-{name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"}],
            }
    return operations


def _first_line(kind: Any) -> str:
    said = kind.__doc__ if isinstance(kind, type) else kind.__metadata__[0].description
    return (said or "").partition("\n")[0]


def _tidy(schema: Any) -> Any:
    """Return a schema as JSON has it, its descriptions without the indentation of their source."""
    if isinstance(schema, list | tuple):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {name: _tidy(each) for name, each in schema.items()}
    description = tidied.get("description")
    if isinstance(description, str):
        first, _, rest = description.partition("\n")
        tidied["description"] = f"{first}\n{textwrap.dedent(rest)}".strip()
    return tidied
