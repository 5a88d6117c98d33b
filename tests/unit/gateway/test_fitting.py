"""Every event a gateway reports is one that a worker counts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events import (
    OPERATION_LENGTH_MAX,
    PAYLOAD_BYTES_MAX,
    Request,
    Token,
    decode_request,
)
from stream.gateway import clip_operation
from stream.gateway.fitting import encode_fitting
from tests.models.owner import AGENT, NOW_MS

texts = st.text(st.characters(), max_size=400)
numbers = st.integers(-(10**20), 10**20)
requests = st.builds(
    Request,
    at_ms=numbers,
    workload=st.just(AGENT),
    operation=texts,
    status=numbers,
    bytes=numbers,
    cost=numbers,
    count=numbers,
    purpose=texts,
    task=texts,
    token=st.none() | st.builds(Token, issuer=texts, id=texts, issued_at_ms=numbers),
    resources=st.lists(texts, max_size=12).map(tuple),
    scopes=st.lists(texts, max_size=40).map(tuple),
    actors=st.lists(texts, max_size=20).map(tuple),
    gateway=texts,
    id=texts,
)


@given(request=requests)
def test_whatever_is_reported_is_accepted(request: Request) -> None:
    """Too long, too large, unwritable: what is sent is decoded by a worker all the same."""
    sent = decode_request(encode_fitting(request))
    assert sent.workload == AGENT
    assert sent.operation == clip_operation(request.operation)


def test_what_fits_is_left_alone() -> None:
    """An event within its bounds is sent as it is."""
    request = Request(NOW_MS, AGENT, "GET /x", task="t" * 256, resources=("customer:1",))
    assert decode_request(encode_fitting(request)) == request


def test_the_largest_event_is_accepted() -> None:
    """All fields at their bounds make a payload within its own bound."""
    wide = "\U0001f600"
    request = Request(
        NOW_MS,
        AGENT,
        wide * OPERATION_LENGTH_MAX,
        resources=("r:" + wide * 1_022,) * 8,
        actors=("spiffe://example.org/" + "a" * 2_000,) * 16,
        scopes=(wide * 128,) * 32,
    )
    payload = encode_fitting(request)
    assert len(payload) <= PAYLOAD_BYTES_MAX
    assert decode_request(payload).actors == request.actors


@given(one=texts, other=texts)
def test_clipping_keeps_names_apart(one: str, other: str) -> None:
    """Different operations stay different, within the bound; those within it are unchanged."""
    tail = "/x" * OPERATION_LENGTH_MAX
    for text in (one, one + tail):
        assert 0 < len(clip_operation(text)) <= OPERATION_LENGTH_MAX
        assert clip_operation(clip_operation(text)) == clip_operation(text)
    if one.isascii() and other.isascii() and one != other:
        assert clip_operation(tail + one) != clip_operation(tail + other)


@pytest.mark.parametrize("changes", [{"status": "200"}, {"outcome": "eaten"}, {"task": None}])
def test_a_wrong_type_is_an_error(changes: dict[str, Any]) -> None:
    """What no bound can mend is told to the caller, who counts it."""
    with pytest.raises((ValueError, TypeError, AttributeError)):
        encode_fitting(Request(NOW_MS, AGENT, "GET /x", **changes))
