"""Recorded events through the same engine.step: no Kafka, no Redis, the same command bodies.

In a file the append time of an event is its own time, and its partition is its workload's home;
its offset is its place among that partition's lines; a line that is an array of events is as many
lines. Bodies hold none of these, so they are what the live path gives (DESIGN 3.3, 3.15).

`History` reads the same files for what they teach; a replay compares with what was learned.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stream.baselines import NAMES_MAX, Baseline, Learner, Tasks, put_together
from stream.detectors import RateWatch
from stream.enforcement import SCORE, Expectation
from stream.engine import State, StepResult, step
from stream.events import (
    LEARNED_FORMAT,
    Conditions,
    InForce,
    Reject,
    RejectCode,
    decode_request,
    split_requests,
)
from stream.identity import InvalidIdentity, canonical_workload, home_partition, parent_path
from stream.kernel import HashKey
from stream.policy import Policy
from stream.profiles import Arrival, Batch, Decoder, effect_of

BATCH_EVENTS: Final = 20_000
SLOTS: Final = 1_000_000


class Scores(NamedTuple):
    """Learned evidence of a batch, in its input's order.

    Shapes: positions [event], among all payloads from 0 on; ids [event]; rows [event] of SCORE.
    """

    positions: Any
    ids: list[str]
    rows: Any


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
        self._key = key
        self._position = 0
        for partition in range(partitions):
            conditions = Conditions(
                nonce="replay",
                era=0,
                from_offset=0,
                policy_hash=policy.hash,
                policy_text=policy.text,
            )
            self.state.adopt(partition, conditions, policy)

    def expect(self, baseline: Baseline, version: str) -> None:
        """Compare tasks with a baseline from the next payload on. Errors: ConfigError."""
        expectation = Expectation(baseline, version, self._key)
        for partition in range(self.partitions):
            conditions = self.state.conditions[partition]
            policy = self.state.bound[conditions.policy_hash].policy
            conditions = msgspec.structs.replace(
                conditions, format=LEARNED_FORMAT, baseline=InForce(version)
            )
            self.state.adopt(partition, conditions, policy, expectation)
        self._decoder = Decoder(self._key, self.partitions, with_values=True)

    def apply(self, payloads: Sequence[bytes]) -> tuple[StepResult, list[Reject]]:
        """Apply payloads; return what followed, and what was no event."""
        batch, rejects, _ = self._read(payloads)
        return step(self.state, batch), rejects

    def score(self, payloads: Sequence[bytes]) -> tuple[StepResult, list[Reject], Scores]:
        """Apply payloads; also return the evidence of each event, in the order of the payloads."""
        start = self._position
        batch, rejects, positions = self._read(payloads)
        rows = np.zeros(len(batch.events), SCORE)
        result = step(self.state, batch, rows)
        order = np.argsort(positions, kind="stable")
        ids = [batch.request(event).id for event in order.tolist()]
        return result, rejects, Scores(positions[order] + start, ids, rows[order])

    def _read(self, payloads: Sequence[bytes]) -> tuple[Batch, list[Reject], Any]:
        """Return the events of payloads, what is none, and each event's place among them."""
        by_partition: list[list[tuple[int, bytes]]] = [[] for _ in range(self.partitions)]
        places: list[list[int]] = [[] for _ in range(self.partitions)]
        events = list(chain.from_iterable(map(_events_of, payloads)))
        for position, payload in enumerate(events):
            at_ms, partition = _place(payload, self.partitions)
            by_partition[partition].append((at_ms, payload))
            places[partition].append(position)
        self._position += len(events)
        arrivals = []
        starts = list(self._offsets)
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
        positions = [
            places[event["partition"]][event["offset"] - starts[event["partition"]]]
            for event in batch.events
        ]
        return batch, rejects, np.array(positions, np.int64)

    def run(self, payloads: Iterable[bytes]) -> Iterator[tuple[StepResult, list[Reject]]]:
        """Apply a stream of payloads in batches; yield what each batch came to."""
        for batch in batches(payloads):
            yield self.apply(batch)


def _events_of(payload: bytes) -> Sequence[bytes]:
    """Return the events of a payload; the decoder judges one that cannot be split."""
    try:
        return split_requests(payload)
    except (ValueError, RecursionError):
        return (payload,)


def batches(payloads: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield a stream of payloads in pieces of at most BATCH_EVENTS."""
    batch: list[bytes] = []
    for payload in payloads:
        batch.append(payload)
        if len(batch) == BATCH_EVENTS:
            yield batch
            batch = []
    if batch:
        yield batch


class History:
    """What recorded events teach: tasks as they end, and the names behind their hashes.

    `ended` counts tasks, also those that a candidate does not keep.
    """

    def __init__(self, key: HashKey) -> None:
        self.names: dict[str, str] = {}
        self.events = 0
        self.ended = 0
        self.rejects: list[RejectCode] = []
        self._key = key
        self._decoder = Decoder(key, 1, with_values=True)
        self._learner = Learner()
        self._rates = RateWatch()
        self._groups: dict[int, int] = {}
        self._effects: dict[int, int] = {}
        self._purposes: set[int] = set()
        self._shares: list[Tasks] = []

    def add(self, payloads: Sequence[bytes]) -> None:
        """Read payloads, in the order of their log."""
        payloads = list(chain.from_iterable(map(_events_of, payloads)))
        at_ms = [_place(payload, 1)[0] for payload in payloads]
        arrival = Arrival("file", 0, range(len(payloads)), at_ms, payloads)
        batch, rejects = self._decoder.decode([arrival])
        self.events += len(batch.events)
        self.rejects += [each.code for each in rejects]
        effects = batch.events["effect"].astype(np.int64) - 1
        for event in self._fresh(batch, "operation", self._effects):
            operation = batch.request(event).operation
            self._effects[int(batch.events["operation"][event])] = effect_of(operation)
            self._name(batch.events["operation"][event], operation)
        for event in self._fresh(batch, "workload", self._groups):
            group = parent_path(batch.workload(event))
            hashed = self._key.hash(group)
            self._groups[int(batch.events["workload"][event])] = hashed
            self._name(hashed, group)
        for event in self._fresh(batch, "purpose", self._purposes):
            self._purposes.add(int(batch.events["purpose"][event]))
            self._name(batch.events["purpose"][event], batch.request(event).purpose)
        for event in np.flatnonzero(effects < 0).tolist():
            effects[event] = self._effects[int(batch.events["operation"][event])]
        rates = self._rates.follow(batch.events)
        self._learner.add(batch, self._groups, effects, rates)
        self._keep(self._learner.ended())

    def tasks(self) -> Tasks:
        """Return the tasks, the input being over."""
        self._keep(self._learner.finish())
        return self._shares[0]

    def _keep(self, ended: Tasks) -> None:
        """Put ended tasks to those that are kept."""
        self.ended += len(ended.tasks)
        self._shares = [put_together([*self._shares, ended])]

    def _fresh(self, batch: Batch, column: str, known: Container[Any]) -> list[int]:
        """Return one event for each value of a column that is not known yet."""
        values, first = np.unique(batch.events[column], return_index=True)
        pairs = zip(values.tolist(), first.tolist(), strict=True)
        return [event for value, event in pairs if value and value not in known]

    def _name(self, hashed: Any, text: str) -> None:
        if len(self.names) < NAMES_MAX:
            self.names[f"{int(hashed):016x}"] = text


def _place(payload: bytes, partitions: int) -> tuple[int, int]:
    """Return the append time and the partition of a payload; the decoder judges bad ones."""
    try:
        request = decode_request(payload)
        workload = canonical_workload(request.workload)
    except (ValueError, RecursionError, InvalidIdentity):
        return 0, 0
    return request.at_ms, home_partition(workload.encode(), partitions)
