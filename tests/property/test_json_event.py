"""The kernel that reads plain payloads against msgspec, which defines what a payload means."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.events import PAYLOAD_BYTES_MAX, Request, decode_request
from stream.kernel import HashKey
from stream.profiles import EVENT
from stream.profiles.gathering import Gathered
from stream.profiles.json_scan import value_end
from stream.records import Values
from tests.models.driver import KEY
from tests.models.plain import disagreement, read_plain

FULL: dict[str, Any] = {
    "at_ms": 1_790_000_000_000,
    "workload": "spiffe://acme.example/agents/a-1",
    "operation": "tool:search",
    "kind": "completion",
    "effect": "change",
    "outcome": "denied",
    "status": 404,
    "bytes": 1 << 44,
    "cost": 10**15,
    "count": 1_000_000,
    "purpose": "pay-bill",
    "task": "t-1",
    "token": {"issuer": "idp", "id": "j1", "issued_at_ms": 1, "expires_at_ms": 2, "x": [1.5, {}]},
    "resources": ["customer:1", "iban:2"],
    "scopes": ["", "read"],
    "actors": ["spiffe://acme.example/user"],
    "authenticated": False,
    "gateway": "g1",
    "id": "e1",
    "latency_ms": -1.25,
    "labels": {"a": [True, None, {"b": "c"}], "d": {}},
}
MINIMAL = {name: FULL[name] for name in ("at_ms", "workload", "operation")}
EDGES: list[tuple[str, Any]] = [
    *[("at_ms", each) for each in (0, 253_402_300_799_999, 253_402_300_800_000, -1, 1.0, 10**19)],
    *[("bytes", each) for each in (0, (1 << 44) + 1, "1", None, True)],
    *[("cost", each) for each in (10**15 + 1, 10**18, 10**23)],
    *[("count", each) for each in (0, 1, 1_000_001)],
    *[("status", each) for each in (999, 1_000, -0.0)],
    *[("operation", each) for each in ("", "x" * 256, "x" * 257, "ä", "a\\b", "\x7f", "\u2028")],
    *[("task", each) for each in ("", "t" * 256, "t" * 257, None)],
    *[("kind", each) for each in ("request", "grant", "completion", "completiox", "reques", "")],
    *[("effect", each) for each in ("", "read", "change", "reads", "chang")],
    *[("outcome", each) for each in ("served", "failed", "denied", "refused", "serve", "", "none")],
    *[("authenticated", each) for each in (True, False, None, 0, "true")],
    *[("purpose", "p" * size) for size in (256, 257)],
    *[(name, "g" * size) for name in ("gateway", "id") for size in (0, 128, 129)],
    *[("token", each) for each in (None, {}, {"id": ""}, {"id": "x"}, {"issuer": "i"}, [], "t", 1)],
    *[("token", {"id": "i" * size, "issuer": "s" * size}) for size in (9, 99, 100, 256, 257)],
    ("token", {"id": "a", "issued_at_ms": 253_402_300_800_000}),
    ("token", {"id": "a", "issued_at": 1, "expires_at_mx": 2}),
    *[("resources", each) for each in ([], ["ab"], ["abc"] * 8, ["abc"] * 9, ["r" * 1_025], "abc")],
    *[("scopes", each) for each in (["s"] * 32, ["s"] * 33, ["s" * 129], [1])],
    *[("actors", each) for each in ([""], ["a"] * 16, ["a"] * 17, ["a" * 2_049])],
    *[(name, 1) for name in ("operatioN", "operations", "authenti", "resourcez", "work", "")],
    *[
        ("workload", "spiffe://" + each)
        for each in (
            "td", "td/", "td/a", "TD/a", "td/A", "td//a", "td/.", "td/..", "td/a/..", "td/.a",
            "td/...", "t d/a", "/a", "td/a?b", "td:1/a", "td/%41", "t" * 255 + "/a",
            "t" * 256 + "/a", "td/" + "a" * 2_036, "td/" + "a" * 2_037,
        )
    ],
    ("workload", "SPIFFE://td/a"),
    ("workload", "spiffe:/td/a"),
    ("unknown", [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]),
]  # fmt: skip


def encoded(document: dict[str, Any], form: int) -> bytes:
    """A document in one of the forms in which gateways write."""
    forms = [
        lambda: json.dumps(document, separators=(",", ":")),
        lambda: json.dumps(document),
        lambda: json.dumps(document, indent=1, ensure_ascii=False) + "\r\n\t ",
        lambda: json.dumps(dict(reversed(document.items())), ensure_ascii=False),
    ]
    return forms[form % len(forms)]().encode()


@pytest.mark.parametrize("form", range(4))
def test_what_gateways_write_is_plain(form: int) -> None:
    """Whole events in any order and layout are read by the kernel, not left to msgspec."""
    for document in (FULL, MINIMAL):
        payload = encoded(document, form)
        assert read_plain([payload], KEY).is_plain.all()
        assert disagreement([payload], KEY) is None


@pytest.mark.parametrize("place", range(len(EDGES)))
def test_the_edges_of_every_member(place: int) -> None:
    """At each bound, one step beyond, and for each wrong type: plain only what msgspec takes."""
    name, value = EDGES[place]
    documents = [FULL | {name: value}, MINIMAL | {name: value}]
    payloads = [encoded(each, form) for each in documents for form in range(4)]
    assert disagreement(payloads, KEY) is None


@given(st.integers(0, 3), st.data())
def test_mutated_payloads(form: int, data: st.DataObject) -> None:
    """Bytes changed, cut out, doubled or put in: plain only what msgspec takes, and the same."""
    raw = bytearray(encoded(data.draw(st.sampled_from([FULL, MINIMAL])), form))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw)))
        size = data.draw(st.integers(0, 12))
        new = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from(PIECES)))
        raw[at : at + size] = new
    assert disagreement([bytes(raw)], KEY) is None


PIECES = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b" ", b"\n"]
PIECES += [
    b'"id":"x",',
    b'"count":2,',
    b'"at_ms":1,',
    b"\xc3\xa4",
    b"\x00",
    b"\x1f",
    b"null",
    b"\x7f",
]


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(scalars.map(str), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
@example([])
@example({})
def test_unknown_members_are_skipped_whole(value: Any) -> None:
    """Whatever an unknown member holds, the kernel ends where it ends, or says no."""
    text = json.dumps(value).encode()
    end = value_end(np.frombuffer(text + b",1", np.uint8), 0, len(text) + 2)
    assert end in (-1, len(text))
    assert disagreement([encoded(MINIMAL | {"unknown": value}, 0)], KEY) is None


def test_nothing_beyond_the_payload_is_read() -> None:
    """Every prefix of an event says no, although what is missing lies right behind it."""
    payload = encoded(FULL, 0)
    sizes = np.arange(len(payload), dtype=np.int64)
    values = Values(np.frombuffer(payload, np.uint8), np.zeros_like(sizes), sizes)
    events, is_plain = np.zeros(len(sizes), EVENT), np.zeros(len(sizes), np.bool_)
    gathered = Gathered(KEY, len(sizes), with_values=True)
    gathered.read(values, events, is_plain)
    assert not is_plain.any()
    assert len(gathered.values) == len(gathered.tokens) == 0


def test_a_payload_that_is_too_large_is_left() -> None:
    """The bound of a payload is the same here."""
    fits = encoded(MINIMAL, 0).ljust(PAYLOAD_BYTES_MAX)
    assert read_plain([fits, fits + b" "], KEY).is_plain.tolist() == [True, False]


def test_absent_values_are_left() -> None:
    """A record without a value, or with none of length, is not plain."""
    values = Values.of([None, b"", encoded(MINIMAL, 0)])
    assert read_plain(list(values), KEY).is_plain.tolist() == [False, False, True]


def test_disagreement_is_seen() -> None:
    """The comparison itself can fail: under another key the hashes differ."""
    payload = encoded(FULL, 0)
    assert disagreement([payload], KEY, HashKey(b"another key 0123")) is not None
    assert isinstance(decode_request(payload), Request)
