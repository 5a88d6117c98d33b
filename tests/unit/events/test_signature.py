"""Where a signature stands in a value, and what its message covers."""

import itertools

import msgspec
import pytest

from stream.events import (
    Heartbeat,
    OperatorRecord,
    decode_value,
    encode,
    signed_message,
    split_signature,
    with_signature,
)
from tests.models.owner import Owner, operator_record, revoked

PAYLOADS = [revoked()[1], Owner().heartbeat()[1], operator_record("")[1]]
SIGNATURES = [bytes(range(32)), bytes(range(64))]


@pytest.mark.parametrize(("payload", "signature"), list(itertools.product(PAYLOADS, SIGNATURES)))
def test_a_signed_value_is_the_payload_and_one_member_more(
    payload: bytes, signature: bytes
) -> None:
    """It comes apart into what went in, and who has no keys reads it as before."""
    value = with_signature(payload, "worker-1", signature)
    assert split_signature(value) == (payload, "worker-1", signature)
    read = decode_value(value)
    assert msgspec.structs.replace(read, signature=msgspec.UNSET) == decode_value(payload)
    assert read.signature.key == "worker-1"
    assert bytes.fromhex(read.signature.value) == signature


@pytest.mark.parametrize("payload", PAYLOADS)
def test_an_unsigned_value_is_all_payload(payload: bytes) -> None:
    """What has no signature, is cut, or is no record at all, comes out as it is."""
    whole = with_signature(payload, "k", bytes(64))
    for value in (payload, b"", b"}", whole[:-1], whole[1:][:-3], whole + b" "):
        assert split_signature(value) == (value, "", b"")


@pytest.mark.parametrize(
    "tail",
    [
        b',"signature":{"key":"","value":"%s"}}' % (b"0" * 64),
        b',"signature":{"key":"k","value":"%s"}}' % (b"0" * 63),
        b',"signature":{"key":"k","value":"%s"}}' % (b"0" * 96),
        b',"signature":{"key":"k","value":"%s"}}' % (b"A" * 64),
        b',"signature":{"key":"k k","value":"%s"}}' % (b"0" * 64),
        b',"signature":{"key":"%s","value":"%s"}}' % (b"k" * 65, b"0" * 64),
        b',"signature":{"value":"%s","key":"k"}}' % (b"0" * 64),
        b', "signature":{"key":"k","value":"%s"}}' % (b"0" * 64),
        b',"signature":null}',
    ],
)
def test_there_is_one_way_to_write_a_signature(tail: bytes) -> None:
    """Anything else at the end of a value is part of it."""
    value = b'{"type":"operator"' + tail
    assert split_signature(value) == (value, "", b"")


def test_text_in_a_record_is_no_signature() -> None:
    """Whoever chooses names cannot write a member: quotes in a text are escaped."""
    forged = ',"signature":{"key":"k","value":"' + "0" * 64 + '"}}'
    value = encode(OperatorRecord(workload=forged, acts=()))
    assert split_signature(value[: value.index(b'"}}') + 3]).key_id == ""
    assert split_signature(value) == (value, "", b"")


def test_no_two_records_have_one_message() -> None:
    """Parts are covered behind their lengths, so moving bytes between them is another message."""
    cuts = [
        signed_message(kid, (installation, topic), key, payload)
        for kid in ("k", "ki")
        for installation in ("", "i", "in")
        for topic in ("t", "nt")
        for key in (b"x", b"xy")
        for payload in (b"z", b"yz")
    ]
    assert len(set(cuts)) == len(cuts)


def test_unsigned_records_are_written_as_before() -> None:
    """Without keys no byte of a record or heartbeat says anything of signatures."""
    for payload in PAYLOADS:
        assert b"signature" not in payload
        assert encode(decode_value(payload)) == payload
    assert isinstance(decode_value(PAYLOADS[1]), Heartbeat)
