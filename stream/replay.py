"""Recorded events through the same engine.step: no Kafka, no Redis, the same command bodies.

In a file the append time of an event is its own time, and its partition is its workload's home;
its offset is its place among that partition's lines; a line that is an array of events is as many
lines. Bodies hold none of these, so they are what the live path gives (DESIGN 3.3, 3.15).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from stream.engine import State, StepResult, step
from stream.events import Conditions, Reject, decode_request, split_requests
from stream.identity import InvalidIdentity, canonical_workload, home_partition
from stream.kernel import HashKey
from stream.policy import Policy
from stream.profiles import Arrival, Decoder

BATCH_EVENTS: Final = 20_000
SLOTS: Final = 1_000_000


class Replay:
    """A state without doors, fed with payloads in the order of their log.

    The rows of a replay are never evicted: `slots_max` bounds how many workloads a file may have.
    """

    def __init__(
        self, policy: Policy, key: HashKey, partitions: int = 1, slots_max: int = SLOTS
    ) -> None:
        self.state = State(key, slots_max, partitions)
        self.partitions = partitions
        self._decoder = Decoder(key, partitions)
        self._offsets = [0] * partitions
        for partition in range(partitions):
            conditions = Conditions(
                nonce="replay",
                era=0,
                from_offset=0,
                policy_hash=policy.hash,
                policy_text=policy.text,
            )
            self.state.adopt(partition, conditions, policy)

    def apply(self, payloads: Sequence[bytes]) -> tuple[StepResult, list[Reject]]:
        """Apply payloads; return what followed, and what was no event."""
        by_partition: list[list[tuple[int, bytes]]] = [[] for _ in range(self.partitions)]
        for payload in chain.from_iterable(map(_events_of, payloads)):
            at_ms, partition = _place(payload, self.partitions)
            by_partition[partition].append((at_ms, payload))
        arrivals = []
        for partition, records in enumerate(by_partition):
            if records:
                start = self._offsets[partition]
                self._offsets[partition] += len(records)
                arrivals.append(
                    Arrival(
                        topic="file",
                        partition=partition,
                        offsets=range(start, start + len(records)),
                        append_ms=[at_ms for at_ms, _ in records],
                        values=[payload for _, payload in records],
                    )
                )
        batch, rejects = self._decoder.decode(arrivals)
        return step(self.state, batch), rejects

    def run(self, payloads: Iterable[bytes]) -> Iterator[tuple[StepResult, list[Reject]]]:
        """Apply a stream of payloads in batches; yield what each batch came to."""
        batch: list[bytes] = []
        for payload in payloads:
            batch.append(payload)
            if len(batch) == BATCH_EVENTS:
                yield self.apply(batch)
                batch = []
        if batch:
            yield self.apply(batch)


def _events_of(payload: bytes) -> Sequence[bytes]:
    """Return the events of a payload; the decoder judges one that cannot be split."""
    try:
        return split_requests(payload)
    except (ValueError, RecursionError):
        return (payload,)


def _place(payload: bytes, partitions: int) -> tuple[int, int]:
    """Return the append time and the partition of a payload; the decoder judges bad ones."""
    try:
        request = decode_request(payload)
        workload = canonical_workload(request.workload)
    except (ValueError, RecursionError, InvalidIdentity):
        return 0, 0
    return request.at_ms, home_partition(workload.encode(), partitions)
