"""Recorded events through the same engine.step: no Kafka, no Redis, the same command bodies.

In a file the append time of an event is its own time, and its partition is its workload's home;
its offset is its place among that partition's lines; a line that is an array of events is as many
lines. Bodies hold none of these, so they are what the live path gives (DESIGN 3.3, 3.15).

`History` reads the same files for what they teach; a replay compares with what was learned. A
`Lesson` does both with a partition of a live log: it judges first, and teaches the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np

from stream.baselines import (
    NAMES_MAX,
    Alarm,
    Aside,
    Baseline,
    Learner,
    Tasks,
    learned_from,
    put_together,
)
from stream.detectors import RateWatch
from stream.enforcement import SCORE, Expectation
from stream.engine import State, StepResult, step
from stream.events import (
    LEARNED_FORMAT,
    Conditions,
    InForce,
    Reject,
    Source,
    decode_request,
    split_requests,
)
from stream.identity import InvalidIdentity, canonical_workload, home_partition, parent_path
from stream.kernel import HashKey
from stream.policy import Policy, compile_policy
from stream.profiles import TICK, Arrival, Batch, Decoder, effect_of
from stream.runtime import Heard

BATCH_EVENTS: Final = 20_000
BATCH_BYTES: Final = 8 << 20
SLOTS: Final = 1_000_000


class Holding(Protocol):
    """What holds a payload, as a line of a file does."""

    @property
    def data(self) -> bytes:
        """Return the payload."""


Item = TypeVar("Item", bound=bytes | Holding)


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
            self.state.adopt(partition, _conditions(policy), policy)

    def expect(self, baseline: Baseline, version: str) -> None:
        """Compare tasks with a baseline from the next payload on. Errors: ConfigError."""
        expectation = Expectation(baseline, version, self._key)
        for partition in range(self.partitions):
            policy = self.state.bound[self.state.conditions[partition].policy_hash].policy
            self.state.adopt(partition, _conditions(policy, version), policy, expectation)
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


def _conditions(policy: Policy, version: str = "") -> Conditions:
    """Return what holds from the first event on; an empty version compares with no baseline."""
    conditions = Conditions(
        nonce="replay", era=0, from_offset=0, policy_hash=policy.hash, policy_text=policy.text
    )
    if not version:
        return conditions
    held = InForce(version)
    return msgspec.structs.replace(conditions, format=LEARNED_FORMAT, baseline=held)


def _events_of(payload: bytes) -> Sequence[bytes]:
    """Return the events of a payload; the decoder judges one that cannot be split."""
    try:
        return split_requests(payload)
    except (ValueError, RecursionError):
        return (payload,)


def batches(payloads: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield a stream of payloads, or of what holds one, in pieces that are bounded.

    One has less than BATCH_EVENTS events and BATCH_BYTES bytes before its last payload.
    """
    batch: list[Item] = []
    events = size = 0
    for each in payloads:
        payload = each if isinstance(each, bytes) else each.data
        batch.append(each)
        events += len(_events_of(payload))
        size += len(payload)
        if events >= BATCH_EVENTS or size >= BATCH_BYTES:
            yield batch
            batch = []
            events = size = 0
    if batch:
        yield batch


class History:
    """What recorded events teach: tasks as they end, and the names behind their hashes.

    `ended` counts tasks, also those that a candidate does not keep, but none that ended aside or
    was taken back; the tasks in `released`, by workload and name, are never held aside. Events of
    failed authentications are left out before anything else, and counted in `unauthenticated`: who
    sent them is not known, so they are no calls, names or ends of the workload that they name. So
    are ticks, which nobody did.
    """

    def __init__(self, key: HashKey, released: Collection[tuple[int, int]] = ()) -> None:
        self.names: dict[str, str] = {}
        self.events = 0
        self.unauthenticated = 0
        self.ended = 0
        self.rejects: Counter[str] = Counter()
        self._key = key
        self._decoder = Decoder(key, 1, with_values=True)
        self._learner = Learner(released)
        self._rates = RateWatch()
        self._groups: dict[int, int] = {}
        self._effects: dict[int, int] = {}
        self._purposes: set[int] = set()
        self._shares: list[Tasks] = []

    def add(self, payloads: Sequence[bytes]) -> list[Reject]:
        """Read payloads, in the order of their log; return what was no event."""
        payloads = list(chain.from_iterable(map(_events_of, payloads)))
        at_ms = [_place(payload, 1)[0] for payload in payloads]
        arrival = Arrival("file", 0, range(len(payloads)), at_ms, payloads)
        batch, rejects = self._decoder.decode([arrival])
        self.rejects.update(each.code.value for each in rejects)
        self.take(batch)
        return rejects

    def take(self, batch: Batch, alarms: Mapping[int, Sequence[Alarm]] | None = None) -> None:
        """Gather what a batch teaches, with what each of its events was answered with."""
        is_tick, is_known = batch.events["kind"] == TICK, batch.events["authenticated"] != 0
        self.events += len(batch.events) - int(np.count_nonzero(is_tick))
        if is_tick.any() or not is_known.all():
            kept = np.flatnonzero(is_known & ~is_tick)
            self.unauthenticated += int(np.count_nonzero(~is_known & ~is_tick))
            batch = batch.chosen(kept)
            if alarms is not None:
                alarms = {
                    new: alarms[old] for new, old in enumerate(kept.tolist()) if old in alarms
                }
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
        rates = self._rates.follow(batch)

        def texts(event: int) -> tuple[str, str, str]:
            said = batch.request(event)
            return batch.workload(event), said.task, said.purpose

        about = (alarms, texts) if alarms is not None else None
        self._learner.add(batch, self._groups, effects, rates, about)
        self._keep(self._learner.ended())

    def tasks(self) -> Tasks:
        """Return the tasks that are learned from, the input being over."""
        self._keep(self._learner.finish())
        taught = self._learner.untaught(self._shares[0])
        self.ended -= len(self._shares[0].tasks) - len(taught.tasks)
        self._shares = [taught]
        return learned_from(taught)

    @property
    def aside(self) -> tuple[list[Aside], int]:
        """Return what was held aside, as far as it is kept, and how many tasks that were."""
        return self._learner.aside, self._learner.aside_count

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


class Lesson:
    """One partition of a live log, whose events are judged before they are learned.

    What a command answers, enforced or in shadow, under the policy and the baseline given, is held
    aside by `history`. Exemptions are not asked: whom commands must not bind may break rules, and
    what breaks rules is not usual for others. Events lie at home once, however often gateways and
    workers sent them: those that lie elsewhere are left out, since they were forwarded, and so is
    what was heard before.
    """

    def __init__(
        self,
        history: History,
        key: HashKey,
        judge: tuple[Policy, Expectation],
        place: tuple[str, int],
        slots_max: int = SLOTS,
    ) -> None:
        self._topic, self._partition = place
        self._history = history
        self._key = key
        self._heard = Heard(())
        self._state = State(key, slots_max, self._partition + 1)
        policy, expectation = _without_exemptions(judge[0]), judge[1]
        conditions = _conditions(policy, expectation.version)
        self._state.adopt(self._partition, conditions, policy, expectation)
        self._decoder = Decoder(key, 1, with_values=True)

    def divide(self, partitions: int) -> None:
        """Judge by so many partitions from now on whether an event lies at home."""
        self._decoder.adopt(self._partition, partitions, with_values=True)

    def take(self, offsets: Sequence[int], append_ms: Sequence[int], values: Sequence[Any]) -> None:
        """Judge records in the order of their log, then learn from them.

        Shapes: all [record]. Units: Unix milliseconds.
        """
        arrival = Arrival(self._topic, self._partition, offsets, append_ms, values)
        batch, rejects = self._decoder.decode([arrival], self._is_new)
        self._history.rejects.update(each.code.value for each in rejects)
        result = step(self._state, batch)
        if result.refused:
            self._history.rejects.update(code.value for _, code in result.refused)
            gone = [event for event, _ in result.refused]
            batch = batch.chosen(np.delete(np.arange(len(batch.events)), gone))
        self._history.take(batch, self._alarms(batch, result))

    def _is_new(self, partition: int, source: Source) -> bool:
        return self._heard.is_new(source)

    def _alarms(self, batch: Batch, result: StepResult) -> dict[int, list[Alarm]]:
        """Return what each event was answered with that causes a command."""
        alarms: dict[int, list[Alarm]] = {}
        events = batch.events
        for outgoing in result.outgoing:
            body = outgoing.command.body
            if body.action == "release":
                continue
            is_cause = events["offset"] == outgoing.offset
            is_cause &= events["workload"] == outgoing.row
            if body.subject.task:
                is_cause &= events["task"] == self._key.hash(body.subject.task)
            alarm = Alarm(body.rule, bool(body.subject.task), body.until_ms)
            for event in np.flatnonzero(is_cause).tolist():
                alarms.setdefault(event, []).append(alarm)
        return alarms


def _without_exemptions(policy: Policy) -> Policy:
    """Return a policy of the same rules that exempts nobody."""
    if not policy.spec.exemptions:
        return policy
    return compile_policy(msgspec.structs.replace(policy.spec, exemptions=()))


def _place(payload: bytes, partitions: int) -> tuple[int, int]:
    """Return the append time and the partition of a payload; the decoder judges bad ones."""
    try:
        request = decode_request(payload)
        workload = canonical_workload(request.workload)
    except (ValueError, RecursionError, InvalidIdentity):
        return 0, 0
    return request.at_ms, home_partition(workload.encode(), partitions)
