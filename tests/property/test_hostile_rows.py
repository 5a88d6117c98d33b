"""Rows that somebody else wrote: well made, and yet nothing a worker would have stored."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import RowCorrupt
from stream.events import Request
from stream.identity import canonical_workload, positive_murmur2
from stream.profiles import with_tail
from stream.profiles.rowwords import checksum, seal
from tests.models.driver import KEY, Driver
from tests.models.logs import Log, log_of, logs, policy_of

ODD = (0, 1, 2, 255, 0xFFFF, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1, 1 << 63)
ALL = (1 << 64) - 1
KEPT = 5  # version, checksum, the head's tag and id, the workload


def forged(stored: bytes, chance: random.Random) -> bytes:
    """A stored row with some numbers changed, and a checksum that says that all is well."""
    count = int.from_bytes(stored[4:8], "little")
    words = np.frombuffer(stored, np.uint64, count).copy()
    tail = stored[count * 8 :]
    at, bodies = 2, []
    while at < count:
        size = int(words[at]) >> 16 & 0xFFFF
        bodies += range(max(KEPT, at + 2), at + 2 + size)
        at += 2 + size
    for place in chance.sample(bodies, min(len(bodies), chance.choice((1, 3, 20)))):
        shift = chance.choice((0, 16, 32, 48))
        value = chance.choice((*ODD, ALL, chance.getrandbits(64), 1 << chance.randrange(64)))
        changed = value if chance.random() < 0.5 else int(words[place]) ^ (value << shift & ALL)
        words[place] = changed
    words[1] = np.uint64(int(checksum(words, 0, count)) ^ seal(tail))
    return words.tobytes() + tail


@pytest.mark.parametrize(("field", "value"), [("mode", 3), ("action", 4), ("kind", -1)])
@pytest.mark.parametrize("tail", [b"", b"[]"])
def test_a_command_of_no_kind_makes_a_row_corrupt(field: str, value: int, tail: bytes) -> None:
    """It was taken for sound, and the next word about it ended the worker, and each after it."""
    request = Request(1_700_000_000_000, "spiffe://td/agents/a", "tool:x")
    log = log_of(policy_of(), request)
    driver = Driver(log).run(log.lines)
    name = canonical_workload(log.lines[0].request.workload)
    slot = driver.state.table.find(KEY.hash(name))
    entry = driver.state.table.sections.ledger[slot, 0]
    entry["rule"], entry[field] = 1, value
    (stored,) = driver.state.stored([slot])
    ids = KEY.hash(name), positive_murmur2(name.encode()), 0
    other = Driver(log)
    with pytest.raises(RowCorrupt, match="no worker would have stored"):
        other.state.restore(name, ids, with_tail(stored, tail) if tail else stored)
    assert other.state.table.find(KEY.hash(name)) < 0


@given(logs(), st.randoms(use_true_random=False))
def test_a_forged_row_stops_nobody(log: Log, chance: random.Random) -> None:
    """It is refused as corrupt, or counts for something: every event after it finds its place."""
    half = len(log.lines) // 2
    driver = Driver(log).run(log.lines[:half])
    driver.save()
    rest = log.lines[half:]
    other = Driver(log, starts={line.partition: line.offset for line in reversed(rest)})
    for line in rest:
        name = canonical_workload(line.request.workload)
        if name in driver.store and other.state.table.find(KEY.hash(name)) < 0:
            ids = KEY.hash(name), positive_murmur2(name.encode()), line.partition
            try:
                other.state.restore(name, ids, forged(driver.store.pop(name), chance))
            except RowCorrupt:
                continue
    other.run(rest)
    other.save()
    other.evict()
