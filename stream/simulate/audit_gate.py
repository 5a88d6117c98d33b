"""The auditor of a gateway: what it may have said at each moment, told from the log alone.

A slow table of its own: for each workload the records of its keys in the order of the log, folded
anew; later causes win, tombstones remove. At each answer a gateway has read the log up to some
place: anywhere, unless it says that it is ready; then at least up to the earliest heartbeat that
can still prove it. Its answer must be right at one of these places.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import Final, NamedTuple, TypeVar

import msgspec

from stream.bus import Record
from stream.events import (
    TIME_MS_MAX,
    Command,
    Heartbeat,
    OperatorRecord,
    SubjectRecord,
    decode_value,
    operator_key,
)
from stream.identity import home_partition

from .estate import Estate
from .gate import Asked, Gate

SHOWN: Final = 5
RANKS: Final = {"throttle": 0, "hold": 1, "revoke": 2}
READY_S: Final = 60.0
STALE_S: Final = 8.0
"""Longer than it takes until heartbeats would have come, and been read."""
STEP_S: Final = 0.5

Kept = TypeVar("Kept")
Commands = tuple[Command, ...]
Steps = list[tuple[int, Kept]]


class Beat(NamedTuple):
    """A heartbeat that proves something: where it lies, and until when it does."""

    offset: int
    until_ms: int


class Acts(NamedTuple):
    """An operator record and when it was appended."""

    record: OperatorRecord
    append_ms: int


async def audit_gate(estate: Estate) -> list[str]:
    """Return every law of gateways that does not hold, at most a few."""
    broken: list[str] = []
    for gate in estate.gates:
        auditor = _Auditor(estate, gate)
        found = (why for asked in gate.answers for why in auditor.laws(asked))
        broken += islice(found, SHOWN)
        broken += await auditor.ready_again()
    return broken


class _Auditor:
    """The log of `enforcement` by partition, and what each key held in it from where on."""

    def __init__(self, estate: Estate, gate: Gate) -> None:
        self.estate, self.gate = estate, gate
        self.logs = estate.plan.enforcement_partitions
        self.missed_max = gate.spec.table.heartbeats_missed_max
        # Places in the whole log, by partition: the n-th offset lies at appended[partition][n].
        self.appended: dict[int, list[int]] = defaultdict(list)
        self.beats: dict[int, list[Beat]] = defaultdict(list)
        # How many partitions there are, as each said with each heartbeat, and by offset.
        self.said: dict[int, Steps[int]] = defaultdict(list)
        self.commands: dict[str, Steps[dict[bytes, SubjectRecord]]] = defaultdict(list)
        self.acts: dict[bytes, Steps[Acts | None]] = defaultdict(list)
        self.epochs: dict[int, int] = defaultdict(int)
        self.seen = 0
        self._read()

    def _read(self) -> None:
        """Take in what was appended since the last time."""
        history = self.estate.log.history
        for place in range(self.seen, len(history)):
            topic, _, record = history[place]
            if topic != self.estate.topics.enforcement:
                continue
            self.appended[record.partition].append(place)
            value = decode_value(record.value) if record.value is not None else None
            key = record.key or b""
            if isinstance(value, Heartbeat | SubjectRecord):
                if 0 < value.epoch < self.epochs[value.partition]:
                    continue  # of an owner that had lost the partition
                self.epochs[value.partition] = max(self.epochs[value.partition], value.epoch)
            if isinstance(value, Heartbeat):
                said_ms = min(value.at_ms, record.append_ms)
                until_ms = said_ms + self.missed_max * value.every_ms
                self.said[value.partition].append((record.offset, value.partitions))
                if value.complete:
                    self.beats[value.partition].append(Beat(record.offset, until_ms))
            elif key.startswith(b'["operator"'):
                acts = Acts(value, record.append_ms) if isinstance(value, OperatorRecord) else None
                self.acts[key].append((record.offset, acts))
            else:
                self._fold(record, key, value)
        self.seen = len(history)

    def _fold(self, record: Record, key: bytes, value: object) -> None:
        """Note what the keys of a workload hold from this record on."""
        name = str(msgspec.json.decode(key)[1])
        steps = self.commands[name]
        held = steps[-1][1] if steps else {}
        if value is None:
            held = {each: kept for each, kept in held.items() if each != key}
        else:
            assert isinstance(value, SubjectRecord), "nothing else is in this log"
            before = held.get(key)
            if before is not None and _place(before) > _place(value):
                return
            held = {**held, key: value}
        steps.append((record.offset, held))

    def laws(self, asked: Asked) -> Iterator[str]:
        """Yield what does not hold of one answer."""
        is_ready = asked.state == "ready"
        sure: dict[int, int] = defaultdict(int)
        if is_ready:
            for partition in self._expected(asked):
                log = partition % self.logs
                beat = self._earliest_proof(partition, asked)
                if beat is None:
                    yield f"at {asked.now_ms} it is ready without a proof of {partition}"
                    return
                sure[log] = max(sure[log], beat)
        if not any(self._is_right(asked, *each) for each in self._possible(asked, sure)):
            said = asked.verdict
            yield (
                f"at {asked.now_ms}, {asked.state} in mode {self.gate.plan.mode}, it says"
                f" {said.decision} {said.action} {said.command} to {asked[3:7]}"
            )

    def _expected(self, asked: Asked) -> list[int]:
        """Return the partitions of which a gateway that is ready has a proof.

        One that growth added only if the one it comes from has said so ever since its own proof.
        """
        first = self.estate.plan.partitions
        counts = {count for said in self.said.values() for _, count in said}
        expected = list(range(first))
        for partition in range(first, max(counts, default=first)):
            parent = partition % max(count for count in (first, *counts) if count <= partition)
            proof, end = self._earliest_proof(parent, asked), self._end(parent % self.logs, asked)
            since = [
                count
                for offset, count in self.said[parent]
                if proof is not None and proof <= offset < end
            ]
            if since and min(since) > partition:
                expected.append(partition)
        return expected

    def _earliest_proof(self, partition: int, asked: Asked) -> int | None:
        end = self._end(partition % self.logs, asked)
        found = (
            each.offset
            for each in self.beats[partition]
            if each.offset < end and each.until_ms > asked.now_ms
        )
        return next(found, None)

    def _end(self, log: int, asked: Asked) -> int:
        """Return the end of a partition of `enforcement` when something was asked."""
        return bisect_left(self.appended[log], asked.appended)

    def _possible(
        self, asked: Asked, sure: dict[int, int]
    ) -> Iterator[tuple[Commands, Acts | None, Acts | None]]:
        """Yield all that a gateway may hold that has read as far as it says, or further."""
        name = asked.workload
        home = home_partition(name.encode(), self.estate.plan.partitions) % self.logs
        commands = [
            tuple(command for record in held.values() for command in record.commands)
            for held in self._between(self.commands[name], home, asked, sure, {})
        ]
        acts = [
            self._between(self.acts[key], home_partition(key, self.logs), asked, sure, None)
            for key in (operator_key(name), operator_key(""))
        ]
        # The latest first: it is the likeliest by far.
        yield from product(reversed(commands), reversed(acts[0]), reversed(acts[1]))

    def _between(
        self, steps: Steps[Kept], log: int, asked: Asked, sure: dict[int, int], nothing: Kept
    ) -> Sequence[Kept]:
        """Return what held at the place that was surely read, and everything since."""
        end = self._end(log, asked)
        first = bisect_left(steps, sure[log], key=lambda each: each[0])
        last = bisect_left(steps, end, key=lambda each: each[0])
        before = steps[first - 1][1] if first else nothing
        return [before, *(each[1] for each in steps[first:last])]

    def _is_right(
        self, asked: Asked, commands: Commands, own: Acts | None, all_: Acts | None
    ) -> bool:
        """Tell whether an answer is the one that follows from what is held."""
        said, now_ms, mode = asked.verdict, asked.now_ms, self.gate.plan.mode
        if _free_until_ms(all_, "stop") > now_ms:
            return said.is_allowed and said.action == "stop"
        if _free_until_ms(own, "exempt") > now_ms:
            return said.is_allowed and said.action == "exempt"
        if asked.state != "ready" and mode != "last":
            return said.action == asked.state and said.is_allowed == (mode == "open")
        lifted_ms = max(_lifted_ms(own, now_ms), _lifted_ms(all_, now_ms))
        live = [
            each
            for each in commands
            if each.body.action in RANKS
            and each.body.mode == "enforce"
            and each.expires_at_ms > now_ms
            and each.caused_at_ms >= lifted_ms
            and _is_about(each, asked)
        ]
        hard = [each for each in live if each.body.action != "throttle"]
        if hard:
            most = max(_strength(each) for each in hard)
            strongest = {each.id for each in hard if _strength(each) == most}
            return said.decision == "deny" and said.command in strongest
        if said.decision == "throttle":
            return said.command in {each.id for each in live}
        return said.is_allowed and said.action == ""

    async def ready_again(self) -> list[str]:
        """Return what is wrong if the gateway is not ready a while after all faults ended.

        Where clocks were set apart, heartbeats look old: then it must say so.
        """
        loop = self.estate.loop
        began_s, state = loop.time(), "none"
        while loop.time() < began_s + READY_S:
            if self.gate.gateway is not None and not self.gate.process.is_dead:
                state = self.gate.gateway.state().state
            if state == "ready":
                return []
            # Clocks do not move against each other any more: so it stays.
            if loop.time() > began_s + STALE_S and state == "stale" and self._is_unproven():
                return []
            await asyncio.sleep(STEP_S)
        return [f"a gateway is {state}, {READY_S:.0f} s after the faults"]

    def _is_unproven(self) -> bool:
        """Tell whether a partition has no heartbeat that proves anything now."""
        self._read()
        now_ms = self.estate.broker_clock.wall_ms()
        asked = self.gate.answers[-1]._replace(appended=self.seen, now_ms=now_ms)
        partitions = range(self.estate.partitions)
        return any(self._earliest_proof(each, asked) is None for each in partitions)


def _place(record: SubjectRecord) -> tuple[int, ...]:
    version = record.version
    return version.era, record.partition, version.offset, version.ordinal, record.epoch


def _strength(command: Command) -> tuple[int, int]:
    return RANKS[command.body.action], command.expires_at_ms


def _is_about(command: Command, asked: Asked) -> bool:
    """Tell whether a command binds a request: its workload, and what its subject names of it."""
    subject = command.body.subject
    return (
        subject.workload == asked.workload
        and subject.task in ("", asked.task)
        and subject.token in (None, asked.token)
        and subject.operation in ("", asked.operation)
    )


def _free_until_ms(acts: Acts | None, wanted: str) -> int:
    said = acts.record.acts if acts else ()
    return max((each.until_ms for each in said if each.act == wanted), default=0)


def _lifted_ms(acts: Acts | None, now_ms: int) -> int:
    """Return the time before which an operator has cancelled commands."""
    said = acts.record.acts if acts else ()
    until_ms = max((each.until_ms or TIME_MS_MAX for each in said if each.act == "lift"), default=0)
    return acts.append_ms if acts and now_ms < until_ms else 0
