"""The kernel that reads resources against the reference that defines what they say."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.events import Request
from stream.profiles import EVENT, Arrival, Batch, Decoder
from stream.profiles.gathering import Gathered
from tests.models.driver import KEY
from tests.models.plain import disagreement, read_plain, values_of, wanted_values
from tests.models.texts import PIECES, SPECIAL, resources

DOCUMENT = {"at_ms": 1, "workload": "spiffe://td/a", "operation": "tool:x"}

plain_texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join)
texts = st.lists(st.sampled_from(PIECES + SPECIAL), max_size=12).map("".join) | st.text()


def listed(of: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Up to eight resources, each within its bounds."""
    return st.lists(of.map(lambda text: f"n:{text}"[:1_024].ljust(3)), max_size=8)


def written(resources: list[str], *, is_ascii: bool = False) -> bytes:
    """An event with these resources."""
    return json.dumps(DOCUMENT | {"resources": resources}, ensure_ascii=is_ascii).encode()


@given(st.lists(listed(plain_texts), min_size=1, max_size=4))
def test_plain_payloads_say_what_the_reference_says(events: list[list[str]]) -> None:
    """Name, value, shape and tokens of each, in place and in order."""
    payloads = [written(each) for each in events]
    assert read_plain(payloads, KEY).is_plain.all()
    assert disagreement(payloads, KEY) is None


@given(st.integers())
def test_many_kinds_of_text(seed: int) -> None:
    """As above, with longer values than hypothesis makes, several under one name."""
    random = Random(seed)
    assert disagreement([written(resources(random)) for _ in range(8)], KEY) is None


@given(st.lists(listed(texts), min_size=1, max_size=4), st.booleans())
def test_decoded_requests_say_what_the_reference_says(
    events: list[list[str]], is_sparse: bool
) -> None:
    """What msgspec decoded says the same, whether a kernel reads it or the reference."""
    requests = [Request(1, "spiffe://td/a", "x", resources=tuple(each)) for each in events]
    rows: Any = np.zeros(len(requests), EVENT)
    gathered = Gathered(KEY, 1 if is_sparse else 100, with_values=True)
    gathered.add(requests, rows)
    assert values_of(rows, gathered) == [wanted_values(each, KEY) for each in requests]


def check(batch: Batch, wanted: list[Any]) -> None:
    """Compare the values of a batch's events with what they should be."""
    assert values_of(batch.events, batch) == wanted


@given(
    st.lists(st.lists(st.tuples(listed(texts), st.booleans()), max_size=5), max_size=3),
    st.data(),
)
def test_parts_of_a_batch_keep_their_values(
    arrivals: list[list[tuple[list[str], bool]]], data: st.DataObject
) -> None:
    """Several arrivals, plain and other payloads between each other; then any part of the batch."""
    sent = [
        Arrival(
            "t",
            0,
            range(len(each)),
            [0] * len(each),
            [written(said, is_ascii=is_ascii) for said, is_ascii in each],
        )
        for each in arrivals
    ]
    wanted = [
        wanted_values(Request(1, "w", "x", resources=tuple(said)), KEY)
        for each in arrivals
        for said, _ in each
    ]
    batch, rejects = Decoder(KEY, 1, with_values=True).decode(sent)
    assert not rejects
    check(batch, wanted)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(wanted))] * 2)))
    check(batch.part(start, end), wanted[start:end])
    places = [place for place in range(len(wanted)) if data.draw(st.booleans())]
    chosen = batch.chosen(np.array(places, np.int64))
    check(chosen, [wanted[place] for place in places])
    check(chosen.part(0, 1), [wanted[place] for place in places[:1]])


def test_values_are_read_only_where_they_are_asked_for() -> None:
    """Without, an event has none and the batch's arrays are empty; the purpose is there always."""
    payloads = [written(["to:bob"]), written(["to:böb"]), b"{}"]
    payloads.append(json.dumps(DOCUMENT | {"purpose": "pay"}).encode())
    payloads.append(json.dumps(DOCUMENT | {"purpose": "pay", "x": "\n"}).encode())
    arrival = Arrival("t", 0, range(5), [0] * 5, payloads)
    for with_values in (False, True):
        batch, rejects = Decoder(KEY, 1, with_values=with_values).decode([arrival])
        assert len(rejects) == 1
        assert batch.events["values_count"].tolist() == [with_values, with_values, 0, 0]
        assert len(batch.values) == len(batch.tokens) == 2 * with_values
        assert batch.events["purpose"].tolist() == [0, 0, KEY.hash("pay"), KEY.hash("pay")]


def test_room_grows_as_it_is_needed() -> None:
    """Events that each say as much as one can, many more than there was room for."""
    text = " ".join(f"a{number}.b{number}.example" for number in range(60))[:1_000]
    said = [f"n{place}:{text}"[: 1_020 - place] for place in range(8)]
    payloads = [written([*said[:7], f"n:{number} {text[:900]}"]) for number in range(40)]
    assert disagreement(payloads, KEY) is None
    requests = [Request(1, "w", "x", resources=tuple(said))] * 40
    rows: Any = np.zeros(40, EVENT)
    gathered = Gathered(KEY, 1, with_values=True)
    gathered.add(requests, rows)
    assert values_of(rows, gathered) == [wanted_values(requests[0], KEY)] * 40
