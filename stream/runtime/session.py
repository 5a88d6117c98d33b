"""One session of a worker: partitions come and go, events are applied, what follows is carried out.

The session owns the process's state. Everything that touches it holds `turn`, one at a time:
a batch, a partition coming or going, a heartbeat, a change of conditions. Any lost door or lost
fence ends the session; the worker then begins a new one from the checkpoints.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from stream.bus import Chunk, EventSource, LogReader, Publisher
from stream.clock import Clock
from stream.enforcement import TALLIES
from stream.engine import State, make_room, missing, step
from stream.events import (
    Conditions,
    Reject,
    RejectCode,
    Source,
)
from stream.metrics import Metrics
from stream.profiles import Arrival, Batch, Decoder
from stream.store import BUCKETS, Store

from .loading import load_rows
from .operators import Operators
from .outbox import Outbox
from .owned import Owned, cut, record_check
from .policies import Policies
from .repair import Repairs
from .saving import Snapshot, has_news, save, settle, snapshots
from .spec import TopicsSpec, WorkerSpec
from .sweep import forgettable_before_ms, idle_rows, still_idle
from .takeover import Place, journal, take

log = logging.getLogger(__name__)
CONDITIONS_EVERY_MS: Final = 100
_json = msgspec.json.Encoder()


class Session:
    """A member of the group with everything it owns."""

    def __init__(
        self,
        specs: tuple[WorkerSpec, TopicsSpec],
        doors: tuple[EventSource, Publisher, LogReader, Store],
        state: tuple[State, Decoder, Operators],
        policies: Policies,
        shown: tuple[Clock, Metrics, str],
        nonce: Callable[[], str],
    ) -> None:
        self.spec, self.topics = specs
        self.source, self.publisher, self.reader, self.store = doors
        self.state, self.decoder, self.operators = state
        self.policies = policies
        self.clock, self.metrics, self.name = shown
        self.nonce = nonce
        self.outbox = Outbox(
            self.publisher,
            self.topics,
            (self.clock, self.metrics),
            (self.state.partitions, self.state.key.seal),
        )
        self.repairs = Repairs(
            self.state, self.store, self.outbox, self.topics.enforcement_partitions
        )
        self.turn = asyncio.Lock()
        self.owned: dict[int, Owned] = {}
        self.topic_id = ""
        self.ends: dict[int, int] = {}
        self.turned_at_s = 0.0
        self.is_broken = False
        self.stopping = asyncio.Event()
        self._round = asyncio.Lock()

    @contextlib.contextmanager
    def _careful(self) -> Iterator[None]:
        """Remember that something was cut short: nothing may be saved after that.

        Rows may then be ahead of what was published, or of what was stored; the checkpoint is not.
        """
        is_whole = False
        try:
            yield
            is_whole = True
        finally:
            if not is_whole:
                self.is_broken = True

    async def _pause(self, span_ms: int) -> bool:
        """Wait, but not beyond the end of the session; tell whether to go on."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), span_ms / 1_000)
        return not self.stopping.is_set()

    # Partitions come and go.

    async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Take partitions; return where each begins."""
        bounds = await self.source.bounds(partitions)
        places = [
            Place(
                each,
                bounds[each],
                self.topic_id,
                self.topics.requests,
                self.topics.journal,
                (self.topics.enforcement, each % self.topics.enforcement_partitions),
                self.name,
                self.nonce(),
            )
            for each in partitions
        ]
        first = self.policies.first
        taken = await asyncio.gather(
            *(
                take(each, self.store, self.reader, self.publisher, (first.hash, first.text))
                for each in places
            )
        )
        async with self.turn:
            for owned in taken:
                self._adopt(owned, owned.conditions)
                for mode in owned.began_in:
                    self.metrics.count_mode(mode)
                self.owned[owned.partition] = owned
                self.ends[owned.partition] = owned.replay_until
        log.info("took partitions %s", sorted(partitions))
        return {each.partition: each.position for each in taken}

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Save what can be saved of partitions, and let them go."""
        async with self.turn:
            mine = [self.owned[each] for each in partitions if each in self.owned]
            try:
                await self.save_round(mine, rows_max=self.spec.slots_max)
            finally:
                for owned in mine:
                    del self.owned[owned.partition]
                    self.metrics.forget_partition(owned.partition)
                self.state.drop(partitions)
        log.info("let partitions %s go", sorted(partitions))

    def _adopt(self, owned: Owned, conditions: Conditions) -> None:
        policy = self.policies.compiled(conditions)
        self.state.adopt(owned.partition, conditions, policy)

    # Events.

    async def consume(self) -> None:
        """Apply events until the session stops, in turns."""
        while not self.stopping.is_set():
            began_s = self.clock.monotonic_s()
            chunks = await self.source.fetch(
                self.spec.batch_events_max, self.spec.fetch_wait_ms / 1_000
            )
            # No await stands between the fetch and this line, so the chunks are of these owners.
            owners = dict(self.owned)
            self.metrics.spend("fetch", self.clock.monotonic_s() - began_s)
            self.turned_at_s = self.clock.monotonic_s()
            if chunks:
                async with self.turn:
                    with self._careful():
                        await self._apply(chunks, owners)

    async def _apply(self, chunks: Sequence[Chunk], owners: Mapping[int, Owned]) -> None:
        arrivals = []
        for chunk in chunks:
            owned = self.owned.get(chunk.partition)
            if owned is not None and owned is owners.get(chunk.partition):
                arrivals.append(Arrival(*chunk))
        while arrivals:
            now, later = [], []
            for arrival in arrivals:
                owned = self.owned[arrival.partition]
                while (due := owned.due()) is not None:
                    owned.journal_offset, owned.conditions = due
                    self._adopt(owned, owned.conditions)
                head, tail = cut(arrival, owned.limit())
                if head is not None:
                    now.append(head)
                elif tail is not None:
                    owned.position = max(owned.position, tail.offsets[0])
                if tail is not None:
                    later.append(tail)
            if now:
                await self._apply_now(now)
            arrivals = later

    async def _apply_now(self, arrivals: Sequence[Arrival]) -> None:
        """Apply arrivals that all lie before any change of conditions."""
        began_s = self.clock.monotonic_s()
        batch, rejects = self.decoder.decode(arrivals, self._hears)
        decoded_s = self.clock.monotonic_s()
        self.metrics.spend("decode", decoded_s - began_s)
        self.metrics.batch.observe(len(batch.events))
        rejects += await self._step(batch)
        for arrival in arrivals:
            owned = self.owned[arrival.partition]
            owned.position = arrival.offsets[-1] + 1
            owned.clock_ms = max(owned.clock_ms, arrival.append_ms[-1])
            owned.check_offset = arrival.offsets[-1]
            owned.check = record_check(arrival.values[-1], arrival.append_ms[-1])
            owned.heard.applied(arrival.offsets[0], owned.position)
            mine = [each for each in rejects if each.partition == owned.partition]
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
        absent = missing(self.state, batch)
        if absent and not await self._load(batch, absent):
            half = len(batch.events) // 2
            if half:
                rejects = await self._step(batch.part(0, half))
                return rejects + await self._step(batch.part(half, len(batch.events)))
        loaded_s = self.clock.monotonic_s()
        result = step(self.state, batch)
        stepped_s = self.clock.monotonic_s()
        await self.outbox.publish(result, self.owned)
        self.metrics.spend("load", loaded_s - began_s)
        self.metrics.spend("step", stepped_s - loaded_s)
        self.metrics.spend("publish", self.clock.monotonic_s() - stepped_s)
        tallies = zip(TALLIES, result.tallies.tolist(), strict=True)
        self.metrics.count_tallies(dict(tallies))
        return [self._homeless(batch, event, code) for event, code in result.refused]

    def _homeless(self, batch: Batch, event: int, code: RejectCode) -> Reject:
        one = batch.events[event]
        return Reject(
            code=code,
            message=f"no room for another workload among {self.spec.slots_max} (slots_max)",
            topic=self.topics.requests,
            partition=int(one["partition"]),
            offset=int(one["offset"]),
            raw=batch.payloads[event],
            append_ms=int(one["append_ms"]),
        )

    async def _load(self, batch: Batch, absent: list[int]) -> bool:
        """Bring in the rows of workloads that are not in memory; tell whether all fit."""
        evicted = make_room(self.state, batch, len(absent))
        if self.state.table.free < len(absent):
            # Only stored rows may go: store what is not, then look again.
            await self.save_round(list(self.owned.values()), rows_max=self.spec.slots_max)
            evicted += make_room(self.state, batch, len(absent))
        self.metrics.count_rows(evicted=evicted)
        if self.state.table.free < len(absent):
            return False
        by_partition: dict[int, list[int]] = {}
        for event in absent:
            by_partition.setdefault(int(batch.events["partition"][event]), []).append(event)
        await asyncio.gather(
            *(
                load_rows(self.state, self.store, self.metrics, self.owned[each], (batch, events))
                for each, events in by_partition.items()
            )
        )
        return True

    # Regular work.

    async def save_round(self, owned: Sequence[Owned], rows_max: int) -> None:
        """Save what is unsaved of partitions, once; the order is `saving`'s."""
        began_s = self.clock.monotonic_s()
        async with self._round:
            # Asked only now: the round before this one may just have failed, and its rows look
            # as though they were stored.
            if self.is_broken:
                return
            with self._careful():
                news = await self._save_all(owned, rows_max)
        if news:
            await self.source.commit({each.owned.partition: each.position for each in news})
        self.metrics.count_rows(saved=sum(len(each.rows) for each in news))
        self.metrics.spend("save", self.clock.monotonic_s() - began_s)

    async def _save_all(self, owned: Sequence[Owned], rows_max: int) -> list[Snapshot]:
        """Save the unsaved of partitions side by side; return what was saved."""
        taken = snapshots(self.state, owned, rows_max, self.clock.wall_ms())
        news = [each for each in taken if has_news(each)]
        await asyncio.gather(*(save(self.state, self.store, each) for each in news))
        for each in taken:
            lag = max(0, self.ends.get(each.owned.partition, 0) - each.position)
            age = each.position - each.checkpoint.next_offset
            self.metrics.set_partition(each.owned.partition, lag, age)
        return news

    async def keep_saving(self) -> None:
        """Save at the declared pace."""
        while await self._pause(self.spec.save_every_ms):
            await self.save_round(list(self.owned.values()), self.spec.save_rows_max)
            self.metrics.rows.set(len(self.state.table))
            self.metrics.owned.set(len(self.owned))
            if self.owned:
                bounds = await self.source.bounds(list(self.owned))
                self.ends = {partition: each.end for partition, each in bounds.items()}

    async def keep_beating(self) -> None:
        """Tombstone what has expired and tell gateways how far each partition is."""
        while await self._pause(self.spec.heartbeat_ms):
            async with self.turn:
                with self._careful():
                    for owned in list(self.owned.values()):
                        await self.repairs.carry_out(owned)
                        await self.outbox.tombstone(owned, self.spec.tombstone_after_ms)
                        await self.outbox.beat(owned, self.state.partitions, self.spec.heartbeat_ms)
            self.metrics.records.set(sum(len(each.published) for each in self.owned.values()))

    async def keep_reading_back(self) -> None:
        """Look once, for each partition taken, whether the topic holds what it should."""
        while await self._pause(self.spec.heartbeat_ms):
            for owned in list(self.owned.values()):
                if owned.is_settled and not owned.is_read_back:
                    await self.repairs.read_back(owned, self.reader, self.topics.enforcement)

    async def keep_conditions(self) -> None:
        """Journal what operators and a reloaded policy want, as soon as it may hold."""
        while await self._pause(CONDITIONS_EVERY_MS):
            for owned in list(self.owned.values()):
                if owned.is_settled and self._wanted(owned) != owned.conditions:
                    async with self.turn:
                        if self.owned.get(owned.partition) is owned:
                            with self._careful():
                                await self._change(owned)

    async def _change(self, owned: Owned) -> None:
        wanted = self._wanted(owned)
        await journal(self.publisher, self.topics.journal, owned, wanted)
        self._adopt(owned, owned.conditions)

    async def keep_sweeping(self) -> None:
        """Forget rows that have been idle too long, a bucket at a time."""
        bucket = 0
        while await self._pause(max(1, self.spec.sweep_every_ms // BUCKETS)):
            bucket = (bucket + 1) % BUCKETS
            for owned in list(self.owned.values()):
                policy = self.policies.compiled(owned.conditions)
                before_ms = forgettable_before_ms(owned, policy.idle_ms)
                if before_ms and owned.is_settled:
                    found = await idle_rows(self.state, self.store, owned, bucket, before_ms)
                    if found:
                        await self._forget(owned, found, before_ms)

    async def _forget(self, owned: Owned, ids: list[int], before_ms: int) -> None:
        async with self.turn:
            if self.owned.get(owned.partition) is not owned or not owned.is_settled:
                return
            with self._careful():
                if before_ms > owned.conditions.forgotten_before_ms:
                    wanted = msgspec.structs.replace(
                        owned.conditions, forgotten_before_ms=before_ms
                    )
                    await journal(self.publisher, self.topics.journal, owned, wanted)
                    self._adopt(owned, owned.conditions)
                async with owned.saving:
                    before_ms = owned.conditions.forgotten_before_ms
                    old = await still_idle(self.store, owned, ids, before_ms)
                owned.forget += [each for each in old if self.state.table.find(each) < 0]

    def _wanted(self, owned: Owned) -> Conditions:
        wall = self.clock.wall_ms(), owned.position
        wanted = self.operators.wanted(
            owned.conditions, owned.partition, self.state.partitions, wall
        )
        policy = self.policies.reloaded
        if policy is not None and policy.hash != wanted.policy_hash:
            wanted = msgspec.structs.replace(
                wanted, policy_hash=policy.hash, policy_text=policy.text
            )
        return wanted

    async def keep_following(self, starts: Mapping[int, int]) -> None:
        """Follow the enforcement topic for what operators say."""
        async for records in self.reader.follow(self.topics.enforcement, starts):
            for record in records:
                if not self.operators.apply(record):
                    self.repairs.note(self.owned, record)
            if self.stopping.is_set():
                return
