"""An event on its way home: what was wrapped comes out, and nothing that was touched does."""

import struct

import pytest

from stream.events import Forwarded, Source, unwrap, wrap
from stream.kernel import HashKey

SEAL = HashKey(b"a key for tests.").seal
SOURCE = Source("requests.zone-é", 4_095, 3, (1 << 63) - 1)
PAYLOAD = b'{"at_ms":1}'
AT_MS = 1_790_000_000_000


def test_what_was_wrapped_comes_out() -> None:
    """Source and payload are the same, whatever the payload is."""
    for payload in (PAYLOAD, b"", b"\xc1\x01", bytes(range(256))):
        assert unwrap(wrap(SOURCE, payload, AT_MS, SEAL), SEAL) == (SOURCE, payload, AT_MS)


def of_format_1(payload: bytes) -> bytes:
    """An envelope as it was before it said when the event had come."""
    topic = SOURCE.topic.encode()
    place = struct.pack(">IIQ", *SOURCE[1:])
    sealed = bytes((len(topic),)) + topic + place + payload
    return b"\xc1\x01" + SEAL(sealed) + sealed


def test_the_first_format_is_read_and_neither_passes_for_the_other() -> None:
    """It comes out without a time; an envelope with the head of the other format is none."""
    old, new = of_format_1(PAYLOAD), wrap(SOURCE, PAYLOAD, AT_MS, SEAL)
    assert unwrap(old, SEAL) == Forwarded(SOURCE, PAYLOAD, None)
    for value, head in ((old, new[:2]), (new, old[:2])):
        with pytest.raises(ValueError, match="does not hold"):
            unwrap(head + value[2:], SEAL)


def test_an_event_came_when_it_came_to_its_source() -> None:
    """Time on the way makes it no younger, and a broker's clock ahead of this one does not."""
    for first_ms, here_ms, came_ms in ((5, 9, 5), (9, 5, 5), (None, 7, 7)):
        assert Forwarded(SOURCE, b"", first_ms).appended_ms(here_ms) == came_ms


def test_any_other_byte_breaks_the_seal() -> None:
    """Each byte changed, left out or put behind is noticed; another secret's seal does not hold."""
    value = wrap(SOURCE, PAYLOAD, AT_MS, SEAL)
    touched = [value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :] for at in range(len(value))]
    touched += [value[:at] for at in range(len(value))]
    touched += [value + b"x", wrap(SOURCE, PAYLOAD, AT_MS, HashKey(b"another key, 16b").seal)]
    for each in touched:
        with pytest.raises(ValueError, match=r"seal|known format"):
            unwrap(each, SEAL)


def test_a_sealed_scrap_is_an_error_too() -> None:
    """Bytes under a good seal that are too short for a place are refused."""
    for sealed in (b"\x05abc", b"\x00", b"\xff" + b"a" * 20):
        for head, covered in ((b"\xc1\x01", sealed), (b"\xc1\x02", b"\xc1\x02" + sealed)):
            with pytest.raises(ValueError, match="cut short"):
                unwrap(head + SEAL(covered) + sealed, SEAL)
