"""The auditor: what rows and commands must be, told from the log and the journal alone.

It shares with the product what a payload, an entry and a policy mean, and nothing else: the model
beside it is slow and obvious, and what holds in a partition at an offset is looked up anew for
each record. A law that is broken is a sentence; none is good news.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import msgspec

from stream.bus import Record
from stream.events import (
    FORWARDED,
    Ancestor,
    Command,
    Conditions,
    DeadLetter,
    Owner,
    SubjectRecord,
    command_id,
    decode_entry,
    decode_request,
    decode_value,
    log_number,
    subject_key,
    unwrap,
)
from stream.gateway import CommandTable, TableSpec
from stream.identity import canonical_workload, home_partition

from .brake import audit_brake
from .estate import KEY, NEVER, Estate, compiled
from .heritage import Expected, Heritage, longest, outlived
from .journeys import Journeys, reject_of
from .model import Change, Enforcer, Held, Line, Outcome, without_texts
from .room import audit_full
from .rows import audit_rows
from .upkeep import audit_acts, audit_ended

SHOWN = 5
DOUBTS = frozenset({"malformed", "foreign_format", "misplaced"})


class Era(NamedTuple):
    """One era of a partition: the entry that opened it, and all entries of the journal."""

    opening: Conditions
    opened_at: int
    entries: list[tuple[int, Conditions]]

    def at(self, offset: int) -> Conditions:
        """What holds at an offset: the latest entry of this log that reaches back to it."""
        here = [
            (each.from_offset, place, each)
            for place, each in self.entries
            if self.opening.log_era <= each.era <= self.opening.era and each.from_offset <= offset
        ]
        if not here:
            return self.opening
        held = max(here, key=lambda each: each[:2])[2]
        if held.era < self.opening.fresh_era:
            held = msgspec.structs.replace(held, full=msgspec.UNSET)  # of rows that are gone
        return msgspec.structs.replace(held, era=self.opening.era)

    def grown_at(self, counts: tuple[int, ...]) -> int:
        """From which offset on these numbers of partitions hold."""
        return min(
            each.from_offset
            for _, each in self.entries
            if self.opening.log_era <= each.era <= self.opening.era
            and each.counts[: len(counts)] == counts
        )


def valid_conditions(records: list[Record]) -> list[tuple[int, Conditions]]:
    """Return the entries of owners while they were owners: epochs rise, others do not count."""
    found: list[tuple[int, Conditions]] = []
    owner, epoch = "", -1
    for record in records:
        entry = decode_entry(record.value or b"")
        if isinstance(entry, Owner):
            if entry.epoch > epoch:
                owner, epoch = entry.nonce, entry.epoch
        elif entry.nonce == owner:
            found.append((record.offset, entry))
    return found


async def audit(estate: Estate) -> list[str]:
    """Return every law that does not hold, at most a few of each kind."""
    violations: list[str] = []
    published = _published(estate, violations)
    heritage = Heritage(outlived(estate), Journeys(estate))
    # A partition's workloads came from one with a lower number, if from anywhere.
    for partition in range(estate.partitions):
        violations += await _Auditor(estate, partition, published[partition], heritage).laws()
    violations += _gateway(estate) + heritage.journeys.broken() + audit_ended(estate)
    return violations + [each for law in estate.laws for each in law()]


def _gateway(estate: Estate) -> list[str]:
    """A gateway that reads the topic now holds exactly what the owners say that it must."""
    table = CommandTable(TableSpec(), estate.plan.enforcement_partitions)
    for record in estate.log.of(estate.topics.enforcement):
        table.apply(record)
    table.finish_loading()
    # Clocks may have stepped, so the last heartbeats may look old; what they say holds even so.
    state = table.state(estate.broker_clock.wall_ms())
    refused = {why: count for why, count in table.counts.items() if why in DOUBTS and count}
    broken = [f"a gateway is in state {state}"] if state in ("mismatch", "overflow") else []
    return broken + ([f"a gateway refuses {refused}"] if refused else [])


def _published(estate: Estate, violations: list[str]) -> dict[int, list[Record]]:
    """Return the records of each home partition in order, tombstones and all."""
    found: dict[int, list[Record]] = defaultdict(list)
    home: dict[bytes, int] = {}
    for record in estate.log.of(estate.topics.enforcement):
        key = record.key or b""
        if not key.startswith(b'["home",'):
            continue
        if record.value is not None:
            value = decode_value(record.value)
            assert isinstance(value, SubjectRecord)
            home[key] = value.partition
            if key != subject_key("home", value.subject):
                violations.append(f"a record of {value.subject} lies under {key!r}")
            if record.partition != value.partition % estate.plan.enforcement_partitions:
                violations.append(f"a record of partition {value.partition} lies elsewhere")
        if key in home:
            found[home[key]].append(record)
    return found


class _Auditor:
    """The laws of one partition."""

    def __init__(
        self, estate: Estate, partition: int, published: list[Record], heritage: Heritage
    ) -> None:
        self.estate = estate
        self.heritage = heritage
        self.partition = partition
        self.published = published
        topic = estate.topics.journal
        journal = [each for each in estate.log.of(topic) if each.partition == partition]
        self.entries = valid_conditions(journal)
        self.model = Enforcer((), KEY.hash, estate.baselines)
        self.broken: list[str] = []
        self.has_begun = False
        self.heard: dict[tuple[str, int, int], int] = {}
        self.counts: tuple[int, ...] = ()

    async def laws(self) -> list[str]:
        """Return what does not hold."""
        if not self.entries:
            return [f"partition {self.partition}: nothing was journalled"]
        eras = self._eras()
        last = max(eras)
        broken = self.broken
        expected: dict[int, Expected] = {}
        for number, era in sorted(eras.items()):
            later = [each.opened_at for each in eras.values() if each.opened_at > era.opened_at]
            expected[number] = self._applied(era, min(later, default=NEVER))
        self.heritage.expected[self.partition] = expected
        broken += self._commands()
        broken += self._records(expected[last])
        broken += self._dead_letters(eras[last])
        broken += self._forwards(eras[last])
        here = self.estate, self.partition
        broken += await audit_rows(*here, self.model, eras[last].at(1 << 60))
        broken += audit_full(*here, eras[last].at(1 << 60))
        broken += audit_brake(*here, self.model.enforced)
        broken += audit_acts(*here, eras[last].at(1 << 60))
        return [f"partition {self.partition}: {each}" for each in broken]

    def _eras(self) -> dict[int, Era]:
        """Return the eras by number, each opened by its first entry."""
        eras: dict[int, Era] = {}
        for offset, entry in self.entries:
            if entry.era not in eras:
                eras[entry.era] = Era(entry, offset, self.entries)
        return eras

    def _applied(self, era: Era, ended_at: int) -> Expected:
        """Apply to the model what the log held in an era; return what must come of it."""
        opening = era.opening
        self.model.refused.clear()
        commands: dict[tuple[int, int], Held] = {}
        records: dict[bytes, tuple[Held, ...]] = {}
        self.counts, journeys = opening.counts, self.heritage.journeys
        journeys.note_modes(opening.modes)
        if opening.ancestors and (not self.has_begun or "store_forgot" in opening.modes):
            journeys.begin_anew(self.partition)
            self._begin(opening, records)
        elif opening.fresh_era == opening.era:
            journeys.begin_anew(self.partition)
            self.model.rows.clear()
            self.heard.clear()
        elif opening.log_era == opening.era:
            for row in self.model.rows.values():
                row.offset = -1
            changed = self.estate.changed
            left = changed.left[self.partition] if changed else opening.from_offset
            if opening.from_offset != left:
                self.broken.append(f"an era began at {opening.from_offset}, its log at {left}")
        lines, is_whole = self.estate.lines_of(self.partition, era.opened_at, ended_at)
        self.has_begun = True
        self._hand_over(opening.era, opening.from_offset, records)
        for record in lines:
            if record.offset < opening.from_offset:
                continue
            conditions = era.at(record.offset)
            self._grow(era, conditions, records)
            event = self._event(record)
            if event is None:
                continue
            journeys.count(self.partition, record.offset)
            policy = compiled(conditions.policy_text, "simulation")
            line = Line(self.partition, record.offset, *event)
            self.model.changes = (Change(self.partition, conditions, policy),)
            for outcome in self.model.apply(line):
                _note(outcome, commands, records)
                self.heritage.note_end(outcome.command, line.append_ms)
        self._grow(era, era.at(NEVER), records)
        return Expected(commands, records, is_whole)

    def _begin(self, opening: Conditions, records: dict[bytes, tuple[Held, ...]]) -> None:
        """Begin with what the partition's workloads had when they left their earlier home."""
        parent = opening.ancestors[0]
        left = self.heritage.left(parent, self.partition)
        if left is None:
            self.broken.append(f"born of {parent}, which handed nothing over there")
            return
        self.model.rows = left.rows
        records.update(left.records)
        log = log_number(opening.topic_id, opening.log_era)
        self.heard = {(self.estate.topics.requests, parent.partition, log): parent.shift - 1}

    def _grow(
        self, era: Era, conditions: Conditions, records: dict[bytes, tuple[Held, ...]]
    ) -> None:
        """Hand over where conditions name more partitions than those before."""
        if len(conditions.counts) > len(self.counts):
            self.counts = conditions.counts
            self._hand_over(era.opening.era, era.grown_at(conditions.counts), records)

    def _hand_over(self, era: int, cut: int, records: dict[bytes, tuple[Held, ...]]) -> None:
        ancestor = Ancestor(self.partition, era, cut)
        self.heritage.hand_over(ancestor, self.counts, self.model.rows, records)

    def _event(self, record: Record) -> tuple[int, bytes] | None:
        """Return what counts here, and when it came; None for what does not.

        That is: what is no event, lies elsewhere than at home, or is repeated.
        """
        value, append_ms = record.value or b"", record.append_ms
        if value.startswith(FORWARDED):
            source, value, first_ms = unwrap(value, KEY.seal)
            append_ms = append_ms if first_ms is None else min(append_ms, first_ms)
            if source.offset <= self.heard.get(source.name, -1):
                return None
            self.heard[source.name] = source.offset
        if reject_of(value) is not None or self._home(value) != self.partition:
            return None
        return append_ms, value

    def _is_bad(self, value: bytes) -> bool:
        return not value.startswith(FORWARDED) and reject_of(value) is not None

    def _home(self, value: bytes) -> int:
        workload = canonical_workload(decode_request(value).workload)
        return home_partition(workload.encode(), self.counts[-1])

    def _forwards(self, era: Era) -> list[str]:
        """What lies elsewhere than at its home has been sent there."""
        sent = set()
        for record in self.estate.log.of(self.estate.topics.requests):
            if (record.value or b"").startswith(FORWARDED):
                source = unwrap(record.value or b"", KEY.seal).source
                if source.topic == self.estate.topics.requests:
                    sent.add((source.partition, source.log, source.offset))
        broken = []
        for record in self.estate.lines(self.partition):
            value = record.value or b""
            if record.offset < era.opening.from_offset or value.startswith(FORWARDED):
                continue
            self.counts = longest(era.opening.counts, era.at(record.offset).counts)
            log = log_number(era.opening.topic_id, era.opening.log_era)
            place = self.partition, log, record.offset
            is_stray = reject_of(value) is None and self._home(value) != self.partition
            if is_stray and place not in sent:
                broken.append(f"offset {record.offset} was not sent home")
        return broken[:SHOWN]

    def _commands(self) -> list[str]:
        """No command is wrong, and none is missing."""
        broken: list[str] = []
        seen: dict[tuple[int, int, int, int], Command] = {}
        for record in self.published:
            if record.value is None or (record.partition, record.offset) in self.heritage.outlived:
                continue
            value = decode_value(record.value)
            assert isinstance(value, SubjectRecord)
            for command in value.commands:
                version, home = command.version, command.partition
                place = home, version.era, version.offset, version.ordinal
                first = seen.setdefault(place, command)
                if command is not first:
                    if command != first:
                        broken.append(f"{version} was published as {first}, then as {command}")
                    continue
                # Of an earlier home, it goes on being in force here.
                broken += _wrong(command, self.heritage.expected.get(home, {}))
        for era, each in self.heritage.expected[self.partition].items():
            lacking = [
                place for place in each.commands if (self.partition, era, *place) not in seen
            ]
            if lacking and each.is_whole:
                broken.append(f"{len(lacking)} commands of era {era} missing, first {lacking[0]}")
        return broken[:SHOWN]

    def _records(self, expected: Expected) -> list[str]:
        """The last record of each subject carries all that is in force there."""
        last = {record.key: record for record in self.published}
        broken = []
        for key, held in expected.records.items():
            record = last.get(key)
            if record is None:
                if self._binds(held) and any(each.home != self.partition for each in held):
                    broken.append(f"{key!r} was in force at an earlier home, and is not here")
                continue  # else said by the law of commands
            if record.value is None:
                if self._binds(held):
                    broken.append(f"{key!r} was tombstoned while in force")
                continue
            value = decode_value(record.value)
            assert isinstance(value, SubjectRecord)
            carried = tuple(without_texts(each) for each in value.commands)
            # What has ended by the row's clock may be left out, as where a record is put right.
            name = value.subject.workload
            row = self.model.rows.get(name) or self.heritage.gone[self.partition, name]
            clock_ms = row.clock_ms
            due = [each for each in held if each in carried or each.body.until_ms > clock_ms]
            if list(carried) != due:
                broken.append(f"{key!r} carries {carried}, not {held}")
        return broken[:SHOWN]

    def _binds(self, held: tuple[Held, ...]) -> bool:
        return max(map(self.heritage.end_of, held)) > self.estate.latest_ms()

    def _dead_letters(self, era: Era) -> list[str]:
        """What is no event of the last era is kept, and nothing else is."""
        topic = self.estate.topics.dead_letters
        kept: dict[int, set[str]] = defaultdict(set)
        for record in self.estate.log.of(topic):
            letter = msgspec.json.decode(record.value or b"", type=DeadLetter)
            if (letter.topic, letter.partition) == (self.estate.topics.requests, self.partition):
                kept[letter.offset].add(letter.code)
        lines = self.estate.lines(self.partition)
        bad = {
            each.offset
            for each in lines
            if each.offset >= era.opening.from_offset and self._is_bad(each.value or b"")
        }
        bad.update(self.model.refused)
        broken = [f"offset {each} has no dead letter" for each in sorted(bad - kept.keys())]
        if era.opening.era == 0:
            extra = sorted(kept.keys() - bad)
            broken += [f"offset {each} is an event, and a dead letter" for each in extra]
        return broken[:SHOWN]


def _note(
    outcome: Outcome,
    commands: dict[tuple[int, int], Held],
    records: dict[bytes, tuple[Held, ...]],
) -> None:
    held = outcome.command
    if held is not None:
        commands[held.version.offset, held.version.ordinal] = held
        records[subject_key("home", held.body.subject)] = outcome.record


def _wrong(command: Command, expected: dict[int, Expected]) -> list[str]:
    version = command.version
    if command.id != command_id(command.body, version):
        return [f"the id of {version} is not that of its body"]
    era = expected.get(version.era)
    held = era.commands.get((version.offset, version.ordinal)) if era else None
    if held is None:
        return [f"{version} should not exist: {command.body}"]
    if held != without_texts(command):
        return [f"{version} says {without_texts(command)}, not {held}"]
    return []
