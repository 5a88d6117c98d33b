"""A baseline's bytes: the same for the same, believed only when sound."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from stream.baselines import ENTRY, Baseline, Tail, decode_baseline, encode_baseline, version_of
from stream.baselines.format import COMPARED_AT_ONCE
from stream.errors import ConfigError, NewerFormat
from tests.models.tasks import baseline

MADE = baseline()
DATA = encode_baseline(MADE)


def sealed(body: bytes) -> bytes:
    """Bytes with the right hash behind them, as an attacker would write them."""
    return body + hashlib.sha256(body).digest()


def test_what_was_written_is_what_is_read():
    """Bytes, baseline and version are one."""
    again = decode_baseline(DATA, "b")
    assert encode_baseline(again) == DATA
    assert again.facts == MADE.facts
    assert (again.listed == MADE.listed).all()
    assert version_of(DATA) == DATA[-32:].hex()[:16]
    # Who copies hundreds of megabytes lets no other thread go on meanwhile.
    assert np.shares_memory(again.listed, np.frombuffer(DATA, np.uint8))


@pytest.mark.parametrize("place", [0, 7, 9, 40, 200, -40, -1])
def test_a_changed_byte_is_refused(place):
    """No byte may differ from what was written."""
    changed = bytearray(DATA)
    changed[place] ^= 1
    with pytest.raises(ConfigError):
        decode_baseline(bytes(changed), "b")


@pytest.mark.parametrize("size", [0, 5, 31, 63, len(DATA) // 2, len(DATA) - 1])
def test_a_part_is_refused(size):
    """What is cut off is no baseline, nor is its start with a hash of its own."""
    for data in (DATA[:size], sealed(DATA[:size])):
        with pytest.raises(ConfigError):
            decode_baseline(data, "b")


def test_a_newer_format_says_so():
    """A file of a later version is not called broken."""
    body = bytearray(DATA[:-32])
    body[6] = 3
    with pytest.raises(NewerFormat, match="upgrade"):
        decode_baseline(sealed(bytes(body)), "b")


def test_a_format_has_the_tails_that_it_has():
    """Format 1 has none of habits, or those of all parts but one; format 2 one for each part.

    What measured none is written as it always was, so an earlier version reads it.
    """
    tail = Tail(tasks=50, rates=(0.1,), bits=(2.0,), beyond=0.1)
    for count, version in ((0, 1), (11, 1), (12, 2)):
        facts = msgspec.structs.replace(MADE.facts, habits=(tail,) * count)
        data = encode_baseline(MADE._replace(facts=facts))
        assert data[6] == version
        assert decode_baseline(data, "b").facts.habits == facts.habits
        body = bytearray(data[:-32])
        body[6] = 3 - version
        with pytest.raises(ConfigError, match="not those of its format"):
            decode_baseline(sealed(bytes(body)), "b")
    for count in (1, 10, 13):
        facts = msgspec.structs.replace(MADE.facts, habits=(tail,) * count)
        with pytest.raises(ConfigError, match="not those of its format"):
            decode_baseline(encode_baseline(MADE._replace(facts=facts)), "b")
    body = bytearray(DATA[:-32])
    body[6] = 0
    with pytest.raises(ConfigError):
        decode_baseline(sealed(bytes(body)), "b")


def test_sizes_are_bounded_before_they_are_believed():
    """Numbers of entries that no baseline may have are refused, whatever is behind them."""
    body = bytearray(DATA[:-32])
    body[16:20] = (1 << 31).to_bytes(4, "little")
    with pytest.raises(ConfigError, match="larger"):
        decode_baseline(sealed(bytes(body)), "b")


@pytest.mark.parametrize("name", ["from_ms", "until_ms", "tasks", "seen", "key_id", "workloads"])
@pytest.mark.parametrize("value", [-1, 10**17, 10**40])
def test_numbers_that_nothing_could_show_are_refused(name, value):
    """A sealed file does not end whoever shows its times or counts its tasks."""
    facts = msgspec.structs.replace(MADE.facts, **{name: value})
    with pytest.raises(ConfigError, match=r"its (times|counts) are none"):
        decode_baseline(encode_baseline(MADE._replace(facts=facts)), "b")


def bad(**fields: object) -> Baseline:
    """The baseline with other parts."""
    return MADE._replace(**fields)


def test_hostile_parts_are_refused():
    """Sealed bytes whose places lead nowhere, whose order or numbers are wrong, are refused."""
    groups = MADE.groups.copy()
    groups["count"] = 64
    swapped = MADE.listed[::-1]
    tails = (Tail(tasks=5, rates=(0.1,), bits=(), beyond=0.1), Tail(), Tail())
    for made in (
        bad(groups=groups),
        bad(listed=swapped),
        bad(places=np.zeros(0, np.uint64)),
        bad(facts=MADE.facts.__class__(key_id=1, tasks=1, tails=tails)),
    ):
        with pytest.raises(ConfigError):
            decode_baseline(encode_baseline(made), "b")


@pytest.mark.parametrize("at", [0, 1, COMPARED_AT_ONCE - 1, COMPARED_AT_ONCE, 2 * COMPARED_AT_ONCE])
def test_order_is_looked_at_everywhere(at):
    """Entries are compared some at a time, and the last of some with the first of the next."""
    listed = np.zeros(2 * COMPARED_AT_ONCE + 2, ENTRY)
    listed["key"] = np.arange(len(listed)) + 1
    decode_baseline(encode_baseline(bad(listed=listed)), "b")
    listed["key"][at + 1] = listed["key"][at]
    with pytest.raises(ConfigError, match="not in order"):
        decode_baseline(encode_baseline(bad(listed=listed)), "b")
