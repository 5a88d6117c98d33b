"""Batches: the seam between bytes and kernels."""

from __future__ import annotations

from stream.events import Request, encode_request, encode_request_msgpack
from stream.kernel import HashKey
from stream.profiles import EVENT, Arrival, Decoder, empty_batch

KEY = HashKey(bytes(16))


def test_an_event_is_as_many_bytes_as_agreed() -> None:
    """Kernels of other languages may fill the same columns: 112 bytes, in this order."""
    assert EVENT.itemsize == 112
    assert EVENT.names[:6] == ("workload", "operation", "task", "token", "purpose", "offset")


def test_an_empty_batch_has_no_events() -> None:
    """Nothing in, nothing out."""
    assert len(empty_batch().events) == len(empty_batch().payloads) == 0
    batch, rejects = Decoder(KEY, 1).decode([])
    assert (len(batch.events), rejects) == (0, [])


def test_a_part_is_events_and_payloads_alike() -> None:
    """A half-open range of both; the workload of an event is canonical, whatever was written."""
    values = [encode_request(Request(each, f"SPIFFE://TD/w{each}", "tool:x")) for each in range(5)]
    arrival = Arrival("t", 0, range(5), [0] * 5, values)
    batch, _ = Decoder(KEY, 1).decode([arrival])
    part = batch.part(1, 3)
    assert part.events["at_ms"].tolist() == [1, 2]
    assert list(part.payloads) == values[1:3]
    assert part.workload(0) == "spiffe://td/w1"
    assert part.request(1).at_ms == 2


def test_events_of_several_arrivals_lie_in_one_array() -> None:
    """Read where they are needed: nothing is copied, unless one of the arrivals is left out."""
    values = [encode_request(Request(each, f"spiffe://td/w{each}", "tool:x")) for each in range(6)]
    arrivals = [
        Arrival("t", 0, range(3), [0] * 3, values[:3]),
        Arrival("t", 0, [], [], []),
        Arrival("t", 0, range(3, 5), [0] * 2, values[3:5]),
        Arrival("t", 0, [5], [0], values[5:]),
    ]
    decoder = Decoder(KEY, 1)
    read = decoder.read(arrivals)
    batch, _ = decoder.finish(read)
    assert batch.events is read[0].events.base
    assert batch.events["at_ms"].tolist() == list(range(6))
    some, _ = decoder.finish(decoder.read(arrivals)[2:])
    assert some.events["at_ms"].tolist() == [3, 4, 5]
    turned, _ = decoder.finish(decoder.read(arrivals)[::-1])
    assert turned.events["at_ms"].tolist() == [5, 3, 4, 0, 1, 2]


def test_workloads_of_some_events_come_in_their_order() -> None:
    """From several buffers, JSON and msgpack, as one by one."""
    named = [Request(each, f"SPIFFE://TD/w{each}", "tool:x") for each in range(6)]
    values = [*map(encode_request, named[:4]), *map(encode_request_msgpack, named[4:])]
    # Several keys of one name: the last counts.
    values[3] = values[3].replace(b'{"at_ms"', b'{"workload":"spiffe://td/other","at_ms"')
    arrivals = [
        Arrival("t", 0, range(3), [0] * 3, values[:3]),
        Arrival("t", 0, range(3, 6), [0] * 3, values[3:]),
    ]
    batch, rejects = Decoder(KEY, 1).decode(arrivals)
    assert not rejects
    wanted = [5, 0, 3, 1]
    assert batch.workloads(wanted) == [f"spiffe://td/w{each}" for each in wanted]
    assert batch.workloads(wanted) == [*map(batch.workload, wanted)]
    assert batch.payloads.listed(wanted) == [values[each] for each in wanted]
    assert batch.workloads([]) == []
