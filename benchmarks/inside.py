"""The decoder and the step alone, fed in this process: for what a broker adds nothing to.

Costs are CPU microseconds an event of this thread. Events are decoded once; each pass moves their
times and offsets on, so that every pass counts what the first one did.
"""

from __future__ import annotations

from time import thread_time
from typing import Any

import msgspec
import numpy as np

from benchmarks.contenders import KEY
from stream.enforcement import NOTHING_EXPECTED, Expectation
from stream.engine import State, make_room, missing, step
from stream.events import LEARNED_FORMAT, Conditions, InForce
from stream.policy import Policy
from stream.profiles import Arrival, Batch, Decoder

APPENDED_LATER_MS = 1_000


def arrival_of(payloads: list[bytes], at_ms: int) -> Arrival:
    """Payloads as one partition's log brings them."""
    count = len(payloads)
    return Arrival("inside", 0, range(count), [at_ms] * count, payloads)


def conditions_of(policy: Policy, version: str) -> Conditions:
    """A policy and a baseline in force from the first event on; an empty version for none."""
    conditions = Conditions(
        nonce="inside", era=0, from_offset=0, policy_hash=policy.hash, policy_text=policy.text
    )
    if not version:
        return conditions
    held = InForce(version)
    return msgspec.structs.replace(conditions, format=LEARNED_FORMAT, baseline=held)


class Inside:
    """A state under a policy and a baseline, and events to apply to it again and again."""

    def __init__(
        self,
        policy: Policy,
        payloads: list[bytes],
        slots: int,
        end_ms: int,
        expected: Expectation = NOTHING_EXPECTED,
    ) -> None:
        self.state = State(KEY, slots, 1)
        self.state.adopt(0, conditions_of(policy, expected.version), policy, expected)
        arrival = arrival_of(payloads, end_ms + APPENDED_LATER_MS)
        decoder = Decoder(KEY, 1, with_values=bool(expected.version))
        self._batch, rejects = decoder.decode([arrival])
        assert not rejects, rejects[:1]
        at_ms = self._batch.events["at_ms"]
        self._span_ms = int(at_ms.max() - at_ms.min()) + 1

    def apply(self, batch_events: int) -> float:
        """Apply all events once more, so many a step; return microseconds an event."""
        events = self._batch.events
        parts = [
            self._batch.part(start, min(len(events), start + batch_events))
            for start in range(0, len(events), batch_events)
        ]
        began_s = thread_time()
        for part in parts:
            self._step(part)
        took_s = thread_time() - began_s
        for name in ("at_ms", "append_ms"):
            events[name] += self._span_ms
        events["offset"] += len(events)
        return took_s / len(events) * 1e6

    def _step(self, part: Batch) -> None:
        absent = missing(self.state, part)
        if absent:
            make_room(self.state, part, len(absent))
        result = step(self.state, part)
        assert not result.refused, "there is a slot for every workload"


def decode_us(payloads: list[bytes], at_ms: int, *, with_values: bool = False) -> float:
    """Microseconds an event to read payloads into a batch."""
    decoder = Decoder(KEY, 1, with_values=with_values)
    arrival = arrival_of(payloads, at_ms)
    began_s = thread_time()
    batch, rejects = decoder.decode([arrival])
    took_s = thread_time() - began_s
    assert not rejects, rejects[:1]
    assert np.count_nonzero(batch.events["workload"]) == len(payloads)
    return took_s / len(payloads) * 1e6


def alternated(rounds: int, measures: dict[Any, Any]) -> dict[Any, float]:
    """The least of each measure over alternating rounds, after one that warms up.

    Others on the machine only ever make a pass slower.
    """
    least: dict[Any, float] = {}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            cost = measure()
            if number:
                least[name] = min(least.get(name, cost), cost)
    return least
