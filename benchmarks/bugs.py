"""Deliberate bugs: what somebody could break in good faith, each found by the simulator.

A simulator that finds nothing proves nothing until it finds what is there. Every bug is one line
or two of the product done otherwise while `planted` lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

import stream.runtime.claiming
import stream.runtime.fullness
import stream.runtime.journalling
import stream.runtime.repair
import stream.runtime.saving
import stream.runtime.session
import stream.runtime.takeover
from benchmarks import (
    bugs_ahead,
    bugs_brake,
    bugs_gateway,
    bugs_growth,
    bugs_learned,
    bugs_room,
    bugs_saving,
    bugs_upkeep,
)
from stream.engine import State
from stream.events import encode_entry
from stream.profiles import Decoder, ProfileTable
from stream.runtime import Heard, Published
from stream.runtime.claiming import NO_EPOCH
from stream.runtime.outbox import Outbox
from stream.runtime.repair import Repairs
from stream.runtime.session import Session
from stream.store import MemoryStore, Save

saving, takeover = stream.runtime.saving, stream.runtime.takeover
journalling, fullness = stream.runtime.journalling, stream.runtime.fullness
session, claiming = stream.runtime.session, stream.runtime.claiming
Plant = Callable[[], Iterator[tuple[Any, str, Any]]]


class Bug(NamedTuple):
    """A bug by name, what it does, and what it puts where: (owner, attribute, replacement).

    `is_rare`: seeds seldom come to it; a sweep does, or a test that names it.
    """

    name: str
    what: str
    plant: Plant
    is_rare: bool = False


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Have a bug in the product."""
    before = []
    for owner, attribute, replacement in bug.plant():
        before.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, replacement)
    try:
        yield
    finally:
        for owner, attribute, original in before:
            setattr(owner, attribute, original)


def _no_fence() -> Iterator[tuple[Any, str, Any]]:
    original = MemoryStore.save

    async def save(self: MemoryStore, partition: int, given: Save) -> int:
        held = self._server.partition(partition)
        given = given._replace(nonce=held.nonce or given.nonce, number=held.number)
        return await original(self, partition, given)

    yield MemoryStore, "save", save


def _save_before_publish() -> Iterator[tuple[Any, str, Any]]:
    original = saving.save

    async def save(state: Any, store: Any, snapshot: Any, when_full: Any) -> None:
        await original(state, store, snapshot._replace(outputs=[]), when_full)

    yield fullness, "save", save


def _commit_before_save() -> Iterator[tuple[Any, str, Any]]:
    original = saving._parts

    def parts(snapshot: Any) -> list[Save]:
        cut = original(snapshot)
        checkpoint = cut[-1].checkpoint
        blank = Save(cut[0].nonce, 0, [], {}, {}, [], [], checkpoint, cut[0].epoch)
        return [blank, *(each._replace(checkpoint=None) for each in cut)]

    yield saving, "_parts", parts


def _no_skip() -> Iterator[tuple[Any, str, Any]]:
    original = session.restore_rows  # in the worker only: the auditor reads rows too

    def restore_rows(state: State, metrics: Any, batch: Any, stored: Any) -> None:
        original(state, metrics, batch, stored)
        slots = np.empty(len(stored), np.int32)
        state.table.locate(batch.events["workload"][list(stored)], slots)
        state.table.sections.head["offset"][slots[slots >= 0]] = -1

    yield session, "restore_rows", restore_rows


def _duplicate_counted() -> Iterator[tuple[Any, str, Any]]:
    original = State.adopt

    def adopt(self: State, partition: int, conditions: Any, *rest: Any) -> None:
        original(self, partition, conditions, *rest)
        self.condition_tables.log_era[partition] = conditions.era + 1

    yield State, "adopt", adopt


def _late_event_lost() -> Iterator[tuple[Any, str, Any]]:
    original = Decoder.finish

    def finish(self: Decoder, *args: Any) -> Any:
        batch, rejects = original(self, *args)
        in_time = batch.events["at_ms"] >= batch.events["append_ms"] - 1_000
        return batch.chosen(np.flatnonzero(in_time)), rejects

    yield Decoder, "finish", finish


def _version_reused() -> Iterator[tuple[Any, str, Any]]:
    original = takeover.where_to_start

    def where(place: Any, checkpoint: Any, entries: Any) -> Any:
        start = original(place, checkpoint, entries)
        return start._replace(era=max(0, start.era - 1)) if start.modes else start

    yield takeover, "where_to_start", where


def _start_from_the_group_s_offset() -> Iterator[tuple[Any, str, Any]]:
    original = Session.assigned

    async def assigned(self: Session, partitions: Any) -> Any:
        starts = dict(await original(self, partitions))
        committed = self.source.group.committed  # type: ignore[attr-defined] # the memory door's
        for partition in partitions:
            starts[partition] = committed.get(partition, starts[partition])
            self.owned[partition].position = starts[partition]
        return starts

    yield Session, "assigned", assigned


def _journal_after_effect() -> Iterator[tuple[Any, str, Any]]:
    async def journal(
        publisher: Any, topic: str, owned: Any, conditions: Any, from_offset: Any, planned: Any
    ) -> Any:
        entry = msgspec.structs.replace(
            conditions,
            nonce=owned.nonce,
            era=owned.conditions.era,
            from_offset=owned.position if from_offset is None else from_offset,
        )
        owned.conditions = entry

        async def later() -> None:
            await asyncio.sleep(2.0)
            data = encode_entry(entry)
            owned.journal_offset = await (
                await publisher.send(topic, owned.nonce.encode(), data, owned.partition)
            )

        _kept.append(asyncio.ensure_future(later()))
        return entry

    yield journalling, "journal", journal


_kept: deque[Any] = deque(maxlen=64)


def _dirty_rows_forgotten() -> Iterator[tuple[Any, str, Any]]:
    original = saving._snapshot

    def snapshot(state: Any, owned: Any, slots: Any, wall_ms: int, *, moves: bool) -> Any:
        taken = original(state, owned, slots[:1], wall_ms, moves=moves)
        if not moves:
            return taken
        checkpoint = msgspec.structs.replace(taken.checkpoint, next_offset=owned.position)
        return taken._replace(checkpoint=checkpoint)

    yield saving, "_snapshot", snapshot


def _epoch_below_the_journal_s() -> Iterator[tuple[Any, str, Any]]:
    def highest(records: Any) -> int:
        return NO_EPOCH

    yield claiming, "_highest", highest


def _late_claim() -> Iterator[tuple[Any, str, Any]]:
    original = MemoryStore.claim

    async def claim(self: Any, partition: int, nonce: str, seen: str, above: int = 0) -> Any:
        return await original(self, partition, nonce, await self.owner(partition), above)

    yield MemoryStore, "claim", claim


def _rows_kept_of_a_lost_partition() -> Iterator[tuple[Any, str, Any]]:
    def drop(self: State, partitions: Any) -> None:
        for partition in set(partitions):
            self.conditions.pop(partition, None)

    yield State, "drop", drop


def _dead_letters_not_awaited() -> Iterator[tuple[Any, str, Any]]:
    original = Outbox.dead_letters

    async def dead_letters(self: Outbox, owned: Any, rejects: Any) -> None:
        before = list(owned.outputs)
        await original(self, owned, rejects)
        owned.outputs = before

    yield Outbox, "dead_letters", dead_letters


def _tombstones_too_early() -> Iterator[tuple[Any, str, Any]]:
    original = Published.expired

    def expired(self: Published, before_ms: int) -> list[bytes]:
        return original(self, before_ms + 60_000)

    yield Published, "expired", expired


def _nothing_read_back() -> Iterator[tuple[Any, str, Any]]:
    def note(self: Repairs, owned: Any, record: Any) -> None:
        return None

    yield Repairs, "note", note


def _unsaved_rows_evicted() -> Iterator[tuple[Any, str, Any]]:
    original = ProfileTable.victims

    def victims(self: ProfileTable, wanted: int, number: int) -> Any:
        local = self.sections.local
        before = local["unsaved_from"].copy()
        local["unsaved_from"] = 0
        try:
            return original(self, wanted, number)
        finally:
            local["unsaved_from"] = before

    yield ProfileTable, "victims", victims


def _what_comes_is_forgotten() -> Iterator[tuple[Any, str, Any]]:
    original = takeover._conditions

    async def conditions(*given: Any) -> Any:
        offset, held, _ = await original(*given)
        return offset, held, deque()

    yield takeover, "_conditions", conditions


def _a_shortened_log_counted_again() -> Iterator[tuple[Any, str, Any]]:
    original = takeover.where_to_start

    def where(place: Any, checkpoint: Any, entries: Any) -> Any:
        start = original(place, checkpoint, entries)
        if "log_changed" in start.modes:
            return start._replace(log_era=start.era, fresh_era=0)
        return start

    yield takeover, "where_to_start", where


def _another_log_not_noticed() -> Iterator[tuple[Any, str, Any]]:
    async def is_same(*_: Any) -> bool:
        return True

    yield takeover, "_is_same_log", is_same


def _forward_twice() -> Iterator[tuple[Any, str, Any]]:
    def is_new(self: Heard, source: Any) -> bool:
        return True

    yield Heard, "is_new", is_new


def _heard_too_early() -> Iterator[tuple[Any, str, Any]]:
    def at(self: Heard, offset: int) -> tuple[int, Any]:
        return offset, self.now()

    yield Heard, "at", at


def _strays_dropped() -> Iterator[tuple[Any, str, Any]]:
    async def forward(self: Outbox, owned: Any, strays: Any) -> None:
        return None

    yield Outbox, "forward", forward


BUGS: Final = (
    Bug("no-fence", "the store takes any owner's write", _no_fence),
    Bug("save-before-publish", "rows are stored before commands are known", _save_before_publish),
    Bug("commit-before-save", "the checkpoint moves before the rows", _commit_before_save),
    Bug("no-skip", "rows read back forget what they have counted", _no_skip),
    Bug("duplicate-counted", "an offset read again counts again", _duplicate_counted),
    Bug("late-event-lost", "an event a second late is dropped", _late_event_lost),
    Bug("version-reused", "a new era begins under the old one's number", _version_reused),
    Bug(
        "group-offset",
        "a partition starts where the group's offset is",
        _start_from_the_group_s_offset,
    ),
    Bug(
        "journal-after-effect", "conditions hold before the journal has them", _journal_after_effect
    ),
    Bug("dirty-rows", "the checkpoint passes rows that are not stored", _dirty_rows_forgotten),
    Bug("epoch-reused", "an emptied store counts epochs anew", _epoch_below_the_journal_s),
    Bug("late-claim", "a claim that comes late takes the partition", _late_claim),
    Bug("rows-kept", "rows outlive the partition in memory", _rows_kept_of_a_lost_partition),
    Bug("saved-after-failure", "a session saves after a call of it failed", bugs_saving.saves_on),
    # tests/unit/runtime/test_cut_short.py
    Bug("acts-after-failure", "a session applies after one failed", bugs_saving.acts_on, True),
    # tests/unit/runtime/test_saving.py
    Bug(
        "round-after-failure",
        "a save waits for one that fails",
        bugs_saving.one_behind_a_failed_one,
        True,
    ),
    Bug(
        "between-commands", "rows are stored before a step's commands", bugs_saving.between_commands
    ),
    Bug("full-is-stored", "what found no room counts as stored", bugs_saving.full_is_stored),
    Bug("dead-letters", "the checkpoint does not wait for dead letters", _dead_letters_not_awaited),
    Bug("tombstones", "records are erased before they expire", _tombstones_too_early),
    Bug("nothing-read-back", "what a zombie writes stays", _nothing_read_back),
    Bug("unsaved-evicted", "rows that are not stored are evicted", _unsaved_rows_evicted),
    Bug("coming-forgotten", "conditions journalled for later are lost", _what_comes_is_forgotten),
    Bug("shortened-log", "what a shortened log holds counts twice", _a_shortened_log_counted_again),
    Bug("forward-twice", "a forwarded event that comes again counts again", _forward_twice),
    Bug("heard-too-early", "what was heard is stored for an earlier offset", _heard_too_early),
    Bug("strays-dropped", "misrouted events go nowhere", _strays_dropped),
    Bug("second-hop", "what was sent on is not sent on again", bugs_upkeep.second_hop_dropped),
    Bug("acts-ignored", "what operators say reaches no journal", bugs_upkeep.acts_ignored),
    Bug("never-erased", "records stay after they ended", bugs_upkeep.nothing_erased),
    Bug("moved-offsets", "a row keeps the offsets of its earlier home", bugs_growth.moved_offsets),
    Bug("early-child", "a new partition begins before its parent is done", bugs_growth.early_child),
    Bug("records-left", "what is in force is not handed over", bugs_growth.records_left),
    Bug("not-inherited", "a new partition begins under the policy file", bugs_growth.not_inherited),
    Bug(
        "full-too-early",
        "who is full is refused before that is journalled",
        bugs_room.full_before_journal,
    ),
    Bug("gone-go-on", "rows that are gone go on where none is admitted", bugs_room.gone_rows_go_on),
    Bug("braked-unjournalled", "the brake holds unjournalled", bugs_brake.unjournalled),
    Bug("exact-braked", "the brake holds limits and sequences too", bugs_brake.exact_braked),
    Bug("brake-never", "the brake lets everybody through", bugs_brake.never),
    Bug("braked-late", "a brake is journalled from too late on", bugs_brake.journalled_late),
    Bug("not-counted", "rows are stored and not counted", bugs_room.not_counted),
    # tests/unit/runtime/test_planned.py
    Bug("ahead-unwaited", "events do not wait for the journal", bugs_ahead.unwaited, True),
    Bug("ahead-outlived", "a plan comes into force that was given up", bugs_ahead.outlived),
    Bug("contexts-lost", "learned contexts are not read back", bugs_learned.contexts_lost),
    Bug("habits-lost", "habits of workloads are not read back", bugs_learned.habits_lost),
    Bug("log-check", "another log under the same id is not noticed", _another_log_not_noticed),
    Bug("stale-unnoticed", "a gateway's proof holds for ever", bugs_gateway.stale_unnoticed),
    Bug("replay-proves", "a replaying owner's heartbeat is proof", bugs_gateway.replay_proves),
    Bug("expired-enforced", "a command binds beyond its end", bugs_gateway.expired_enforced),
    Bug("zombies-believed", "gateways take a zombie's word", bugs_gateway.zombies_believed, True),
    Bug("mode-ignored", "a gateway that does not know decides", bugs_gateway.mode_ignored),
    Bug("erased-held", "gateways hold what was erased", bugs_gateway.tombstones_ignored),
    Bug("lifts-ignored", "what was lifted is enforced", bugs_gateway.lifts_ignored),
    Bug("went-on-at-end", "a gateway skips what it missed", bugs_gateway.went_on_at_the_end),
)
