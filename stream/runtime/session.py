"""One session of a worker: events are applied, what follows is carried out, until a door breaks.

Any lost door or lost fence ends the session; the worker then begins a new one from the
checkpoints. What the session owns, and how it comes and goes, is `tenure`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec

from stream.bus import Rarely
from stream.enforcement import TALLIES
from stream.engine import make_room, missing, step, trim_learned
from stream.errors import BusUnavailable, StoreUnavailable
from stream.events import Reject, RejectCode, Source
from stream.identity import trust_domain
from stream.profiles import TICK, Batch, Read
from stream.store import BUCKETS

from .ahead import Ahead, beside
from .baselines import BASELINE_MISSING
from .claiming import check_journal
from .growth import claimed, speaker_of
from .handover import is_born
from .journalling import Journalling
from .loading import fetch_rows, fetched_rows, restore_rows, wanting_rows
from .looking import Looking
from .owned import Owned, cut, record_check
from .paces import Paces
from .room import note_admitted, recount
from .saving import Snapshot, settle, verify
from .sweep import forgettable_before_ms, idle_rows, still_idle

log = logging.getLogger(__name__)
rarely = Rarely(log, every_s=10.0)
CONDITIONS_EVERY_MS: Final = 100
CHANGED_AT_ONCE: Final = 16  # partitions, whose events wait
VERIFY_EVERY_S: Final = 5.0
BASELINE_S: Final = 120.0  # for reading or writing all of one


class Session(Journalling):
    """A member of the group at work."""

    async def _pause(self, span_ms: float) -> bool:
        """Wait, but not beyond the end of the session; tell whether to go on."""
        with contextlib.suppress(TimeoutError):
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with its own end,
            # as all do at once in a process that was stopped and goes on. The session then ends
            # never: its group waits for a task that was not told.
            async with asyncio.timeout(span_ms / 1_000):
                await self.stopping.wait()
        return not self.stopping.is_set()

    async def guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Work until it ends or fails; then the whole session stops.

        A cancellation alone does not end a task reliably: before Python 3.12 `asyncio.wait_for`,
        which redis-py writes with, loses one that comes as its own work is done. All work here is
        loops that look at `stopping`, so what was not cancelled ends by itself, and the next
        session can begin.
        """
        try:
            await work()
        finally:
            self.stopping.set()

    async def consume(self) -> None:
        """Apply events until the session stops, in turns."""
        shown = self.clock, self.metrics
        ahead = Ahead(self.source, self.decoder, self.spec, shown, self.owned)
        try:
            while not self.stopping.is_set():
                fetched = await ahead.next()
                self.turned_at_s = self.clock.monotonic_s()
                self.pace.is_idle = not fetched.read
                self.pace.is_replaying = not all(each.is_settled for each in self.owned.values())
                if not fetched.read:
                    continue
                async with self.turn:
                    began_s = self.clock.monotonic_s()
                    with self._acting():
                        await self._apply(fetched.held(self.owned))
                    ahead.took(fetched.records, self.clock.monotonic_s() - began_s)
        finally:
            await ahead.stop()

    async def _apply(self, reads: list[Read]) -> None:
        """Apply what was read, cut where conditions change."""
        while reads:
            now, later = [], []
            for read in reads:
                owned = self.owned[read.arrival.partition]
                await self._reach(owned)
                head, tail = cut(read.arrival, owned.limit())
                if tail is None:
                    again = not self.decoder.suffices(read)
                    now += self.decoder.read([read.arrival]) if again else [read]
                    continue
                if head is None:
                    owned.position = max(owned.position, int(tail.offsets[0]))
                else:
                    now += self.decoder.read([head])
                later += self.decoder.read([tail])
            if now:
                await self._apply_now(now)
                await self._close_full({each.arrival.partition for each in now})
            reads = later

    async def _apply_now(self, read: Sequence[Read]) -> None:
        """Apply what was read, all of it before any change of conditions."""
        self._allow(read)
        began_s = self.clock.monotonic_s()
        batch, rejects = self.decoder.finish(read, self._hears)
        ticks = Counter(batch.events["partition"][batch.events["kind"] == TICK].tolist())
        self.metrics.spend("decode", self.clock.monotonic_s() - began_s)
        self.metrics.batch.observe(len(batch.events))
        rejects += await self._step(batch)
        for arrival in (each.arrival for each in read):
            owned = self.owned[arrival.partition]
            first, last = int(arrival.offsets[0]), int(arrival.offsets[-1])
            append_ms = int(arrival.append_ms[-1])
            owned.position = last + 1
            owned.clock_ms = max(owned.clock_ms, append_ms)
            if len(arrival.offsets) > ticks[owned.partition]:
                owned.called_ms = max(owned.called_ms, append_ms)
            owned.check_offset = last
            owned.check = record_check(arrival.values[-1], append_ms)
            owned.heard.applied(first, owned.position)
            mine = [each for each in rejects if each.partition == owned.partition]
            if any(each.code is RejectCode.DOMAIN_FULL for each in mine):
                # An heir may have made room since; then what it counts would be a dead letter too.
                await verify(self.store, [owned])
            await self.outbox.send_away(owned, mine)
            if len(owned.outputs) > self.spec.outputs_max:
                await settle(owned)

    def _hears(self, partition: int, source: Source) -> bool:
        return self.owned[partition].heard.is_new(source)

    async def _step(self, batch: Batch) -> list[Reject]:
        """Bring in the rows of a batch and apply it, in halves where not all rows fit.

        Returns what found no row even so.
        """
        began_s = self.clock.monotonic_s()
        evicted = trim_learned(self.state, batch, self.spec.learned_max)
        self.metrics.count_rows(evicted=evicted)
        absent = missing(self.state, batch)
        if absent and not await self._load(batch, absent):
            half = len(batch.events) // 2
            if half:
                rejects = await self._step(batch.part(0, half))
                return rejects + await self._step(batch.part(half, len(batch.events)))
        loaded_s = self.clock.monotonic_s()
        result = await beside(len(batch.events), step, self.state, batch)
        stepped_s = self.clock.monotonic_s()
        note_admitted(self.state, self.owned, result.admitted)
        await self._close_brakes(batch, result.enforced)
        await self.outbox.publish(result, self.owned)
        self.metrics.spend("load", loaded_s - began_s)
        self.metrics.spend("step", stepped_s - loaded_s)
        self.metrics.spend("publish", self.clock.monotonic_s() - stepped_s)
        tallies = dict(zip(TALLIES, result.tallies.tolist(), strict=True))
        allowed_ppm = tallies.pop("alarms_allowed_ppm")
        self.metrics.count_tallies(tallies)
        counted = tallies["contexts_compared"], tallies["contexts_alarmed"], allowed_ppm
        if any(counted):
            self.spending.add(self.clock.monotonic_s(), *counted)
        return [self._homeless(batch, event, code) for event, code in result.refused]

    def _homeless(self, batch: Batch, event: int, code: RejectCode) -> Reject:
        one = batch.events[event]
        said = f"no room for another workload among {self.spec.slots_max} (slots_max)"
        if code is RejectCode.DOMAIN_FULL:
            domain = trust_domain(batch.workload(event))
            said = f"{domain} has no room for another workload in this partition (stored_rows_max)"
            rarely.warning("partition %d: %s", one["partition"], said)
        return Reject(
            code=code,
            message=said,
            topic=self.topics.requests,
            partition=int(one["partition"]),
            offset=int(one["offset"]),
            raw=batch.payloads[event],
            append_ms=int(one["append_ms"]),
            ordinal=int(one["ordinal"]),
        )

    async def _load(self, batch: Batch, absent: list[int]) -> bool:
        """Bring in the rows of workloads that are not in memory; tell whether all fit."""
        stored, count = None, len(absent)
        if self.state.closed or (batch.events["kind"][absent] == TICK).any():
            # A flood of names that get no row must not drive out those that have one.
            stored = await fetch_rows(self.store, self.owned, batch, absent)
            count = wanting_rows(self.state, batch, absent, stored)
        evicted = make_room(self.state, batch, count)
        if self.state.table.free < count:
            # Only stored rows may go: store what is not, then look again.
            await self.save_round(list(self.owned.values()), rows_max=self.spec.slots_max)
            self.must_be_whole()
            evicted += make_room(self.state, batch, count)
        self.metrics.count_rows(evicted=evicted)
        if self.state.table.free < count:
            return False
        if stored is not None:
            restore_rows(self.state, self.metrics, batch, stored)
            return True
        parts = fetched_rows(self.store, self.owned, batch, absent)
        async with contextlib.aclosing(parts):
            async for part in parts:
                restore_rows(self.state, self.metrics, batch, part)
        return True

    async def keep_saving(self) -> None:
        """Save at the declared pace, and see that the store keeps what was saved.

        A round goes in pieces over all of its time: events wait for one of them at most. What few
        rows there are is saved as soon as it is looked up, and so lacks nothing.
        """
        pieces = 1
        began_s = verified_s = self.clock.monotonic_s()
        while await self._pause_to_save(pieces, began_s):
            began_s = self.clock.monotonic_s()
            due = await self.slices(self.pace.rows_max)
            pieces = max(1, len(due))
            stored: list[Snapshot] = []
            for place, each in enumerate(due):
                if place and not await self._pause_to_save(pieces):
                    return
                stored += await self.save_slices(each)
            self.pace.end_round()
            await self.tell_group(stored)
            if self.clock.monotonic_s() - verified_s >= VERIFY_EVERY_S:
                # Inside a round, so that no partition is let go while it is asked about.
                async with self._round:
                    await verify(self.store, list(self.owned.values()))
                    await recount(self.store, list(self.owned.values()))
                verified_s = self.clock.monotonic_s()
            self._show_all()

    async def _pause_to_save(self, pieces: int, began_s: float | None = None) -> bool:
        """Wait before a piece of a round, or where `began_s` is its predecessor's, before it."""
        lasted_ms = None if began_s is None else (self.clock.monotonic_s() - began_s) * 1_000
        return await self.pace.wait(self._pause, pieces, lasted_ms)

    def _show_all(self) -> None:
        """Show how much there is and how far it is; saves may be waiting for hours."""
        owned = list(self.owned.values())
        for each in owned:
            lag = max(0, self.ends.get(each.partition, 0) - each.position)
            self.metrics.set_partition(each.partition, lag, each.position - each.saved_from)
        self.metrics.rows.set(len(self.state.table))
        self.metrics.owned.set(len(owned))
        self.metrics.records.set(sum(len(each.published) for each in owned))
        most = [max(each.domains.values(), default=0) for each in owned]
        full = sum(bool(each.conditions.full) for each in owned)
        self.metrics.set_full(full, max(most, default=0))

    async def keep_looking(self, looking: Looking) -> None:
        """Ask Kafka and Redis whether they are there, how far behind we are, what has changed."""
        while not self.stopping.is_set():
            self.ends |= await looking.look(dict(self.owned))
            self._show_all()
            now_s = self.clock.monotonic_s()
            looking.judge_room(self.fullness.why)
            looking.judge_alarms(self.spending, now_s)
            self.metrics.set_alarms(*self.spending.spent(now_s))
            # Who does not answer, or not in time, is said by name already.
            with contextlib.suppress(BusUnavailable, StoreUnavailable, TimeoutError):
                async with asyncio.timeout(self.spec.answer_ms / 1_000):
                    await self.look_for_growth()
                    await check_journal(self.reader, self.topics.journal, self.owned)
            await self._pause(self.spec.look_every_ms)

    async def keep_beating(self) -> None:
        """Tombstone what has expired and tell gateways how far each partition is."""
        while await self._pause(self.spec.heartbeat_ms):
            async with self.turn:
                with self._acting():
                    for covered in self.operators.covered(self._is_at_home):
                        await self.outbox.write_again(*covered)
                    for owned in list(self.owned.values()):
                        await self.repairs.carry_out(owned)
                        await self.outbox.tombstone(owned, self.spec.tombstone_after_ms)
                        count = claimed(owned.counts, owned.partition, self.speakers)
                        await self.outbox.beat(owned, count, self.spec.heartbeat_ms)

    def _is_at_home(self, workload: int) -> bool:
        return any(each.is_home_of(workload) for each in self.owned.values())

    async def keep_reading_back(self) -> None:
        """Look once, for each partition taken, whether the topic holds what it should."""
        while await self._pause(self.spec.heartbeat_ms):
            for owned in list(self.owned.values()):
                if owned.is_settled and not owned.is_read_back:
                    await self.repairs.read_back(owned, self.reader, self.topics.enforcement)

    async def keep_conditions(self) -> None:
        """Journal what operators and a reloaded policy want, as soon as it may hold."""
        paces = Paces()
        while await self._pause(CONDITIONS_EVERY_MS):
            mine = list(self.owned.values())
            paces.look(mine, self.clock.monotonic_s())
            due = [each for each in mine if each.is_due or self._must_journal(each)]
            await self._journal_ahead(due, paces)
            due = [each for each in due if each.is_due or self._must_journal(each)]
            for start in range(0, len(due), CHANGED_AT_ONCE):
                some = due[start : start + CHANGED_AT_ONCE]
                # With the turn, all events would wait for a piece of a save that is under way.
                async with self._round:
                    pass
                async with self.turn:
                    held = [each for each in some if self.owned.get(each.partition) is each]
                    with self._acting():
                        for each in held:
                            # At the end of a log no event comes that would bring it.
                            await self._reach(each)
                        await self._change([each for each in held if self._must_journal(each)])

    async def keep_sweeping(self) -> None:
        """Forget rows that have been idle too long, and miss who should call, bucket by bucket."""
        bucket = 0
        while await self._pause(max(1, self.spec.sweep_every_ms // BUCKETS)):
            bucket = (bucket + 1) % BUCKETS
            for owned in list(self.owned.values()):
                policy = self.policies.compiled(owned.conditions)
                before_ms = forgettable_before_ms(owned, policy.idle_ms)
                lag = self.ends.get(owned.partition, 0) - owned.position
                may_miss = self.ticks.may_miss(owned, policy, self.owned.values(), lag)
                if not owned.is_settled or not (before_ms or may_miss):
                    continue
                stored = await self.store.scan(owned.partition, bucket)
                if self.owned.get(owned.partition) is not owned:
                    continue
                if may_miss:
                    await self.ticks.ask(owned, bucket, policy, stored)
                if found := idle_rows(self.state, owned, stored, before_ms):
                    await self._forget(owned, found, before_ms)

    async def _forget(self, owned: Owned, ids: list[int], before_ms: int) -> None:
        async with self.turn:
            if self.owned.get(owned.partition) is not owned or not owned.is_settled:
                return
            with self._acting():
                if before_ms > owned.conditions.forgotten_before_ms:
                    wanted = msgspec.structs.replace(
                        self._wanted(owned), forgotten_before_ms=before_ms
                    )
                    await self._journal([(owned, wanted, None)])
                    await self._take_effect(owned)
                async with owned.saving:
                    before_ms = owned.conditions.forgotten_before_ms
                    old = await still_idle(self.store, owned, ids, before_ms)
                owned.forget += [each for each in old if self.state.table.find(each) < 0]

    async def keep_expecting(self) -> None:
        """Hear which baseline is promoted, and make it ready beside all else."""
        while await self._pause(self.spec.look_every_ms):
            held = [each.conditions for each in list(self.owned.values())]
            missing = {each.baseline_version for each in held if each.shed == BASELINE_MISSING}
            # Whoever does not answer, or not in time, is asked again, and others name it.
            with contextlib.suppress(BusUnavailable, TimeoutError):
                async with asyncio.timeout(BASELINE_S):
                    await self.baselines.look(self.publisher, self.clock.wall_ms(), missing)
            self.baselines.forget(self._baselines_in_use())

    def _baselines_in_use(self) -> set[str]:
        """Return the versions that some partition is under, or will be."""
        mine = (*self.owned.values(), *self._let_go.values())
        coming = (held for each in mine for _, held in each.coming)
        return {each.baseline_version for each in (*coming, *(each.conditions for each in mine))}

    async def keep_waiting(self) -> None:
        """Ask for partitions that were not born when they were given, until they are."""
        while await self._pause(CONDITIONS_EVERY_MS):
            for partition in list(self.waiting):
                with contextlib.suppress(StoreUnavailable):
                    if partition < self.counts[-1] and await is_born(self.store, partition):
                        self.waiting.discard(partition)
                        self.source.offer(partition)

    async def keep_following(self, starts: Mapping[int, int]) -> None:
        """Follow the enforcement topic for what operators say."""
        async for records in self.reader.follow(self.topics.enforcement, starts):
            for record in records:
                speaker = speaker_of(record.key)
                if speaker is not None:
                    self.speakers.add(speaker)
                elif not self.operators.apply(record):
                    self.repairs.note(self.owned, record)
            if self.stopping.is_set():
                return
