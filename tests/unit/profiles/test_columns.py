"""Payloads that name few fields: read as a shorter thing, and the same comes of it."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from stream.events import Brief, Request
from stream.profiles import Arrival, Decoder, decoder
from stream.profiles.columns import briefs_of
from stream.profiles.gathering import Gathered
from tests.models.driver import KEY

PLAIN = {"at_ms": 1, "workload": "spiffe://td/a", "operation": "x"}
BRIEF = (
    PLAIN,
    PLAIN | {"status": 200, "bytes": 77, "outcome": "served"},
    PLAIN | {"workload": "SPIFFE://TD/b", "outcome": "denied"},
    PLAIN | {"workload": "no identity", "at_ms": 5},
)
WHOLE = (
    PLAIN | {"task": "t", "purpose": "p", "token": {"id": "j"}, "cost": 3, "count": 2},
    PLAIN | {"kind": "grant", "effect": "read", "authenticated": False},
    PLAIN | {"resources": ["path:a"], "unknown": [1]},
)
BAD = b"{", b'{"at_ms":1}', b'{"at_ms":-1,"workload":"spiffe://td/a","operation":"x"}', b"\xc1"


@pytest.fixture(autouse=True)
def _read_by_msgspec(monkeypatch):
    """No kernel reads a payload."""
    monkeypatch.setattr(Gathered, "read", lambda *_: None)


def encoded(documents):
    """Documents as JSON."""
    return [json.dumps(each).encode() for each in documents]


def decoded(values, append_ms=9):
    """What comes of an arrival of these: events, codes and messages by offset."""
    count = len(values)
    arrival = Arrival("requests", 0, range(count), [append_ms] * count, values)
    batch, rejects = Decoder(KEY, 1).decode([arrival])
    return batch.events, [(each.offset, each.code, each.message) for each in rejects]


def test_it_has_fields_of_a_request_and_means_the_same():
    """Its types, bounds and defaults are the request's, so what it accepts is one."""
    whole = {each.name: each for each in msgspec.structs.fields(Request)}
    brief = msgspec.structs.fields(Brief)
    assert [(each.name, each.type, each.default) for each in brief] == [
        (each.name, whole[each.name].type, whole[each.name].default) for each in brief
    ]


@pytest.mark.parametrize("more", [WHOLE[:1], WHOLE])
def test_events_are_the_same_beside_those_that_name_more(more):
    """An arrival of few fields is read short; one more payload, and all are read whole."""
    few = encoded(BRIEF)
    events, faults = decoded(few)
    beside, faults_beside = decoded([*few, *encoded(more)])
    assert len(events) == 3 and events["authenticated"].all()
    assert np.array_equal(events, beside[:3])
    assert faults == faults_beside and faults[0][0] == 3


def test_what_is_read_short_is_not_read_whole(monkeypatch):
    """It would cost twice as much; one that names more is found at once."""
    asked = []
    monkeypatch.setattr(decoder, "decode_json", asked.append)
    assert len(decoded(encoded(BRIEF))[0]) == 3
    assert asked == []
    assert briefs_of(encoded(WHOLE[:1])) is None


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_event_costs_no_other(bad):
    """Wherever it stands, with the message that it has alone."""
    _, ((_, code, message),) = decoded([bad])
    for place in range(4):
        values = encoded(BRIEF[:3])
        values.insert(place, bad)
        events, faults = decoded(values)
        assert len(events) == 3
        assert faults == [(place, code, message)]


def test_a_payload_that_is_too_long_is_none():
    """However it is read."""
    values = encoded([PLAIN, PLAIN | {"operation": "x" * 2_000_000}])
    events, ((offset, code, _),) = decoded(values)
    assert len(events) == 1 and (offset, str(code.value)) == (1, "too_large")
