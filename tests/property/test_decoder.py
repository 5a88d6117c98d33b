"""Payloads to a batch: what is an event keeps its place and its fields, what is none has a code."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events import (
    EFFECTS,
    FORWARDED,
    KINDS,
    OUTCOMES,
    RejectCode,
    Source,
    decode_request,
    unwrap,
    wrap,
)
from stream.identity import canonical_workload, home_partition, positive_murmur2
from stream.profiles import Arrival, Batch, Decoder, decoder, token_text
from tests.models.driver import KEY
from tests.models.plain import values_of, wanted_values

PARTITIONS = 3
WORKLOADS = [
    "spiffe://td/a",
    "SPIFFE://TD/a",
    "spiffe://td/agents/b",
    "spiffe://td.example/services/c-1",
    "spiffe://td/d_e.f",
]
INVALID = ["", "td/a", "http://td/a", "spiffe://td", "spiffe://td/a/../b", "spiffe://td/ä", "x"]
BIG = 10**23
texts = st.text(max_size=12)
tokens = st.one_of(
    st.none(),
    st.fixed_dictionaries({"id": st.text(min_size=1, max_size=8)}, optional={"issuer": texts}),
)
documents = st.fixed_dictionaries(
    {
        "at_ms": st.integers(0, 253_402_300_799_999),
        "workload": st.sampled_from(WORKLOADS),
        "operation": st.text(min_size=1, max_size=20),
    },
    optional={
        "kind": st.sampled_from(KINDS),
        "effect": st.sampled_from(EFFECTS),
        "outcome": st.sampled_from(OUTCOMES),
        "status": st.integers(0, 999),
        "bytes": st.integers(0, 1 << 44),
        "cost": st.integers(0, 10**15),
        "count": st.integers(1, 10**6),
        "purpose": texts,
        "task": texts,
        "token": tokens,
        "resources": st.lists(st.text(min_size=3, max_size=9), max_size=3),
        "authenticated": st.booleans(),
        "id": texts,
        "unknown": st.recursive(
            st.one_of(st.none(), texts, st.floats(allow_nan=False, allow_infinity=False)),
            st.lists,
            max_leaves=4,
        ),
    },
)


class Sent(NamedTuple):
    """A payload, and what it should come to: a document or a code."""

    value: bytes | None
    document: dict[str, Any] | None
    code: RejectCode | None


def encodings(document: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The ways in which gateways may write a document."""
    return st.sampled_from(
        [
            msgspec.json.encode(document),
            json.dumps(document).encode(),
            json.dumps(document, ensure_ascii=False, indent=1).encode(),
            json.dumps(dict(reversed(document.items()))).encode() + b"\n ",
            msgspec.msgpack.encode(document),
        ]
    )


good = documents.flatmap(
    lambda document: encodings(document).map(lambda value: Sent(value, document, None))
)
SOURCE, CAME_MS = Source("requests", 1, 0, 5), 2
forwarded = good.map(
    lambda each: each._replace(value=wrap(SOURCE, each.value or b"", CAME_MS, KEY.seal))
)
PLAIN = {"at_ms": 1, "workload": WORKLOADS[0], "operation": "x"}


def changed(code: RejectCode, **fields: Any) -> list[Sent]:
    """A document with fields that do not fit, as JSON and as msgpack where that can say it."""
    document = PLAIN | fields
    values = [json.dumps(document).encode()]
    if BIG not in fields.values():
        values.append(msgspec.msgpack.encode(document))
    return [Sent(value, None, code) for value in values]


def broken(text: str) -> bytes:
    """The plain document with more text before its end."""
    return json.dumps(PLAIN).encode()[:-1] + text.encode() + b"}"


WRONG, MALFORMED = RejectCode.WRONG_TYPE, RejectCode.MALFORMED
FORGED = [b"\xc1", b"\xc1\x01" + bytes(60), wrap(SOURCE, b"{}", CAME_MS, KEY.seal)[:-1]]
BAD = [
    *[Sent(value, None, RejectCode.FORGED) for value in FORGED],
    Sent(wrap(SOURCE, b"", CAME_MS, KEY.seal), None, RejectCode.EMPTY),
    *[Sent(value, None, RejectCode.EMPTY) for value in (None, b"")],
    *[Sent(value, None, WRONG) for value in (b"null", b"[]", b"7", b'"x"', b"{}", b"\x80")],
    *[Sent(value, None, MALFORMED) for value in (b"{", b" ", b"\x81", b"\xde\xff", b"nul")],
    *[Sent(broken(text), None, MALFORMED) for text in (',"cost":NaN', ',"cost":00', ",", "}{")],
    Sent(broken("}" + json.dumps(PLAIN)[:-1]), None, MALFORMED),
    Sent(b"\xef\xbb\xbf" + json.dumps(PLAIN).encode(), None, MALFORMED),
    Sent(broken(',"task":"\\ud800 and more"'), None, MALFORMED),
    Sent(json.dumps(PLAIN).encode().replace(b'"x"', b'"\xff"'), None, RejectCode.BAD_TEXT),
    Sent(b"\x81\xa4task\xa2\xed\xa0", None, RejectCode.BAD_TEXT),
    Sent(broken(f',"x":{"[" * 30_000}'), None, RejectCode.TOO_DEEP),
    Sent(broken(f',"token":{"[" * 30_000}')[:-1], None, WRONG),
    Sent(b"\x81\xa1x" + b"\x91" * 30_000, None, RejectCode.TOO_DEEP),
    Sent(broken(f',"x":"{"y" * 10_000_000}"'), None, RejectCode.TOO_LARGE),
    Sent(b"\x81" * 65_537, None, RejectCode.TOO_LARGE),
    *changed(WRONG, cost=BIG),
    *changed(WRONG, at_ms=-1),
    *changed(WRONG, count=0),
    *changed(WRONG, count=1.5),
    *changed(WRONG, count=True),
    *changed(WRONG, bytes=(1 << 44) + 1),
    *changed(WRONG, outcome="lost"),
    *changed(WRONG, kind=None),
    *changed(WRONG, operation="x" * 257),
    *changed(WRONG, operation=""),
    *changed(WRONG, token={"id": ""}),
    *changed(WRONG, authenticated=1),
    *changed(WRONG, actors="spiffe://td/a"),
    *changed(WRONG, workload=""),
    *[each for name in INVALID[1:] for each in changed(RejectCode.BAD_IDENTITY, workload=name)],
]
payloads = st.one_of(good, good, forwarded, st.sampled_from(BAD))
arrivals = st.lists(
    st.tuples(st.integers(0, PARTITIONS - 1), st.lists(payloads, max_size=6)), max_size=4
)


def home_of(document: dict[str, Any]) -> int:
    """The partition of a document's workload."""
    return home_partition(canonical_workload(document["workload"]).encode(), PARTITIONS)


def row_of(document: dict[str, Any]) -> dict[str, Any]:
    """The columns of a document, each by its meaning."""
    name, token = canonical_workload(document["workload"]), document.get("token")
    task, purpose = document.get("task", ""), document.get("purpose", "")
    return {
        "workload": KEY.hash(name),
        "home": positive_murmur2(name.encode()),
        "at_ms": document["at_ms"],
        "operation": KEY.hash(document["operation"]),
        "task": KEY.hash(task) if task else 0,
        "purpose": KEY.hash(purpose) if purpose else 0,
        "token": KEY.hash(token_text(token.get("issuer", ""), token["id"])) if token else 0,
        "bytes": document.get("bytes", 0),
        "cost": document.get("cost", 0),
        "count": document.get("count", 1),
        "kind": KINDS.index(document.get("kind", "request")),
        "effect": EFFECTS.index(document.get("effect", "")),
        "outcome": OUTCOMES.index(document.get("outcome", "served")),
        "authenticated": document.get("authenticated", True),
        "ordinal": 0,
    }


def as_arrivals(drawn: list[tuple[int, list[Sent]]]) -> list[Arrival]:
    """Arrivals whose offsets have holes."""
    return [
        Arrival(
            "requests",
            partition,
            [100 * place + 3 * each for each in range(len(sent))],
            [5_000 * place + each for each in range(len(sent))],
            [each.value for each in sent],
        )
        for place, (partition, sent) in enumerate(drawn)
    ]


def check(batch: Batch, rejects: list[Any], drawn: list[tuple[int, list[Sent]]]) -> None:
    """Compare a batch with what was sent, row by row."""
    rows, values, faults = [], [], []
    for arrival, (partition, sent) in zip(as_arrivals(drawn), drawn, strict=True):
        for offset, append_ms, each in zip(arrival.offsets, arrival.append_ms, sent, strict=True):
            code = each.code
            if code is None and home_of(each.document) != partition:
                code = RejectCode.MISROUTED
            payload, came_ms = each.value or b"", append_ms
            if code in (None, RejectCode.MISROUTED) and payload.startswith(FORWARDED):
                payload = unwrap(payload, KEY.seal).payload
                came_ms = min(append_ms, CAME_MS)
            if code is not None:
                faults.append((partition, offset, code, payload, came_ms))
                continue
            place = {"partition": partition, "offset": offset, "append_ms": came_ms}
            rows.append(row_of(each.document) | place)
            values.append(payload)
    names = list(rows[0]) if rows else []
    found = [dict(zip(names, event[names].tolist(), strict=True)) for event in batch.events]
    assert found == rows
    assert list(batch.payloads) == values
    if len(batch.values):
        requests = [decode_request(value) for value in values]
        assert values_of(batch.events, batch) == [wanted_values(each, KEY) for each in requests]
    for place, value in enumerate(values):
        assert batch.request(place) == decode_request(value)
        assert KEY.hash(batch.workload(place)) == rows[place]["workload"]
    told = [(each.partition, each.offset, each.code, each.raw, each.append_ms) for each in rejects]
    assert sorted(told) == sorted(faults)
    assert all(each.topic == "requests" and each.message for each in rejects)


@given(arrivals)
def test_events_keep_their_place_and_others_get_their_code(
    drawn: list[tuple[int, list[Sent]]],
) -> None:
    """A bad event stops no batch and shifts no column, whatever stands beside it."""
    batch, rejects = Decoder(KEY, PARTITIONS, with_values=True).decode(as_arrivals(drawn))
    check(batch, rejects, drawn)


@given(st.lists(arrivals, min_size=1, max_size=4), st.integers(0, 4), st.integers(0, 60))
def test_caches_are_bounded_and_change_nothing(
    batches: list[list[tuple[int, list[Sent]]]], texts_max: int, characters_max: int
) -> None:
    """A decoder that forgets nearly everything gives what one that forgets nothing gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "CACHE_MAX", texts_max)
        patch.setattr(decoder, "CACHED_CHARACTERS_MAX", characters_max)
        small = Decoder(KEY, PARTITIONS)
        # Caches are emptied between arrivals: beyond the bound there is at most what one brings,
        # an operation, a purpose and a task an event.
        longest = max((len(sent) for drawn in batches for _, sent in drawn), default=0)
        most = texts_max + 3 * longest + 1
        for drawn in batches:
            check(*small.decode(as_arrivals(drawn)), drawn)
            for cache in (small._workloads, small._texts, small._tokens, small._identities):
                assert len(cache) <= most
            assert len(small._faulty) <= most


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_are_events_or_rejects(values: list[bytes]) -> None:
    """Nothing is raised and nothing is lost: each record is in the batch or among the rejects."""
    arrival = Arrival("t", 0, range(len(values)), [0] * len(values), values)
    batch, rejects = Decoder(KEY, 1).decode([arrival])
    offsets = sorted([*batch.events["offset"].tolist(), *(each.offset for each in rejects)])
    assert offsets == list(range(len(values)))


@pytest.mark.parametrize("place", range(len(BAD)))
def test_each_fault_has_its_code(place: int) -> None:
    """Every known way to be no event, alone and between good ones, gets the code meant for it."""
    fine = Sent(json.dumps(PLAIN).encode(), PLAIN, None)
    here = home_of(PLAIN)
    for sent in ([BAD[place]], [fine, BAD[place], fine]):
        check(*Decoder(KEY, PARTITIONS).decode(as_arrivals([(here, sent)])), [(here, sent)])
