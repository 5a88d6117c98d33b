"""The published schemas are those of the Structs, whole, and refer to nothing that is missing."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from stream.events import (
    KINDS,
    PAYLOAD_BYTES_MAX,
    REQUESTS_MAX,
    Request,
    Token,
    TopicNames,
    asyncapi,
    encode_request,
    json_schemas,
)
from stream.events.schema import FILES, MESSAGES

SCHEMAS = json_schemas()
DOCUMENT = asyncapi("1.2.3", TopicNames(requests="blue.requests"))


def references(value: Any) -> Iterator[str]:
    """All `$ref` in a document."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def resolved(document: Any, reference: str) -> Any:
    """What a local reference points at."""
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


@pytest.mark.parametrize("document", [*SCHEMAS.values(), DOCUMENT])
def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    """Each document is whole: every reference in it is local and has its target."""
    found = list(references(document))
    assert found
    assert all(resolved(document, each) for each in found)
    assert json.loads(json.dumps(document)) == document


def test_several_requests_are_a_list_of_them() -> None:
    """As many as a record may hold, at least one."""
    schema = SCHEMAS["requests"]
    assert (schema["minItems"], schema["maxItems"]) == (1, REQUESTS_MAX)
    assert resolved(schema, schema["items"]["$ref"]) == SCHEMAS["request"]["$defs"]["Request"]


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"requests"}))
def test_every_field_is_described(name: str) -> None:
    """A schema names each field of its Struct, requires those without a default, and no other."""
    kind = FILES[name]
    schema = resolved(SCHEMAS[name], SCHEMAS[name]["$ref"])
    fields = {each.encode_name: each for each in msgspec.structs.fields(kind)}
    tag = kind.__struct_config__.tag_field
    assert set(schema["properties"]) == set(fields) | ({tag} if tag else set())
    required = {name for name, each in fields.items() if each.required}
    assert set(schema["required"]) == required | ({tag} if tag else set())
    assert schema["description"]
    assert "\n    " not in schema["description"]


def test_bounds_travel_into_the_schema() -> None:
    """What decoding refuses, the schema refuses: lengths, ranges and choices."""
    schema = resolved(SCHEMAS["request"], "#/$defs/Request")["properties"]
    assert schema["workload"]["maxLength"] == 2_048
    assert schema["count"] == {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 1}
    assert set(schema["kind"]["enum"]) == set(KINDS)


def test_an_encoded_event_has_the_schema_s_fields() -> None:
    """What we write has no field that the schema does not know."""
    schema = resolved(SCHEMAS["request"], "#/$defs/Request")["properties"]
    event = json.loads(encode_request(Request(1, "spiffe://a/b", "x", token=Token(id="t"))))
    assert event.keys() <= schema.keys()
    assert len(json.dumps(event)) < PAYLOAD_BYTES_MAX


def test_the_document_has_every_message_once() -> None:
    """Each message stands on one channel, and the worker sends or receives it."""
    channels, operations = DOCUMENT["channels"], DOCUMENT["operations"].values()
    on = [name for channel in channels.values() for name in channel["messages"]]
    assert sorted(on) == sorted(MESSAGES) == sorted(DOCUMENT["components"]["messages"])
    assert channels["requests"]["address"] == "blue.requests"
    assert sorted(each["messages"][0]["$ref"].rpartition("/")[2] for each in operations) == sorted(
        MESSAGES
    )
    received = [each for each in operations if each["action"] == "receive"]
    assert {each["channel"]["$ref"] for each in received} == {
        "#/channels/requests",
        "#/channels/enforcement",
        "#/channels/dead_letters",  # an operator's marker of a letter tried again
    }
    assert (DOCUMENT["asyncapi"], DOCUMENT["info"]["version"]) == ("3.0.0", "1.2.3")
