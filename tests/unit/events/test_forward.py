"""An event on its way home: what was wrapped comes out, and nothing that was touched does."""

import pytest

from stream.events import Source, unwrap, wrap
from stream.kernel import HashKey

SEAL = HashKey(b"a key for tests.").seal
SOURCE = Source("requests.zone-é", 4_095, 3, (1 << 63) - 1)
PAYLOAD = b'{"at_ms":1}'


def test_what_was_wrapped_comes_out() -> None:
    """Source and payload are the same, whatever the payload is."""
    for payload in (PAYLOAD, b"", b"\xc1\x01", bytes(range(256))):
        assert unwrap(wrap(SOURCE, payload, SEAL), SEAL) == (SOURCE, payload)


def test_any_other_byte_breaks_the_seal() -> None:
    """Each byte changed, left out or put behind is noticed; another secret's seal does not hold."""
    value = wrap(SOURCE, PAYLOAD, SEAL)
    touched = [value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :] for at in range(len(value))]
    touched += [value[:at] for at in range(len(value))]
    touched += [value + b"x", wrap(SOURCE, PAYLOAD, HashKey(b"another key, 16b").seal)]
    for each in touched:
        with pytest.raises(ValueError, match=r"seal|known format"):
            unwrap(each, SEAL)


def test_a_sealed_scrap_is_an_error_too() -> None:
    """Bytes under a good seal that are too short for a place are refused."""
    for sealed in (b"\x05abc", b"\x00", b"\xff" + b"a" * 20):
        with pytest.raises(ValueError, match="cut short"):
            unwrap(b"\xc1\x01" + SEAL(sealed) + sealed, SEAL)
