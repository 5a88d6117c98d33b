"""The partitions of a session: taken, saved, let go, under one lock and one lasting doubt.

Everything that touches the process's state holds `turn`, one at a time. Whatever was cut short may
have left rows ahead of what was published or stored, so nothing is saved after it: the session
ends, and the next one begins at the checkpoints.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from stream.bus import EventSource, LogReader, Publisher, Rarely
from stream.clock import Clock
from stream.engine import State
from stream.errors import BusUnavailable, ConfigError
from stream.events import Conditions
from stream.metrics import Metrics
from stream.profiles import Decoder
from stream.signing import Signer
from stream.store import Store

from .baselines import Baselines
from .beginning import Place
from .bounds import bounds_of
from .brake import Settled, say_braked
from .counting import known_counts
from .fullness import Fullness
from .growth import Counts, children_of, longest, parent_of
from .handover import HandOver, is_born
from .operators import Operators
from .outbox import Outbox
from .owned import Owned
from .pace import SavePace
from .policies import Policies
from .repair import Repairs
from .returning import returned, start_of
from .saving import Slice, Snapshot, has_news, sliced, slices, snapshots
from .spec import TopicsSpec, WorkerSpec
from .spending import Spending
from .takeover import Unborn, take
from .ticks import Ticks

log = logging.getLogger(__name__)
rarely = Rarely(log, every_s=10.0)


class Tenure:
    """What a session owns, and how it comes and goes; `identify` tells the id of `requests`.

    `counts` are the numbers of partitions as far as it knows, `waiting` the partitions that it has
    been given and that are not born yet, `speakers` those whose heartbeats it has seen.
    """

    identify: Callable[[], Awaitable[str]]
    counts: Counts

    def __init__(
        self,
        specs: tuple[WorkerSpec, TopicsSpec],
        doors: tuple[EventSource, Publisher, LogReader, Store],
        state: tuple[State, Decoder, Operators],
        versions: tuple[Policies, Baselines],
        shown: tuple[Clock, Metrics, str],
        own: tuple[Callable[[], str], Signer | None],
    ) -> None:
        self.spec, self.topics = specs
        self.source, self.publisher, self.reader, self.store = doors
        self.state, self.decoder, self.operators = state
        self.policies, self.baselines = versions
        self.clock, self.metrics, self.name = shown
        self.nonce, signer = own
        self.outbox = Outbox(
            self.publisher,
            self.topics,
            (self.clock, self.metrics),
            self.state.key.seal,
            signer,
        )
        self.settled = Settled(self.state, self.clock)
        self.counts = (self.state.partitions,)
        self.waiting: set[int] = set()
        self.speakers: set[int] = set()
        self._hand_over = HandOver(self.state, self.store, self.reader, self.outbox, self.topics)
        self.repairs = Repairs(
            self.state,
            self.store,
            self.outbox,
            self.topics.enforcement_partitions,
            self.operators.trust,
        )
        self.ticks = Ticks(self.state, self.publisher, self.topics.requests, self.clock)
        self.turn = asyncio.Lock()
        self.owned: dict[int, Owned] = {}
        self._let_go: dict[int, Owned] = {}
        self._let_go_at_s: float | None = None
        self.ends: dict[int, int] = {}
        self.turned_at_s = 0.0
        self.spending = Spending()
        self.is_broken = False
        self.stopping = asyncio.Event()
        self._round = asyncio.Lock()
        self.pace = SavePace(self.spec)
        self.fullness = Fullness(self.stopping)

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

    @contextlib.contextmanager
    def _acting(self) -> Iterator[None]:
        """Go on only where nothing was cut short, and remember if this is.

        Conditions that are journalled may not hold here then: who waited for its turn meanwhile
        would apply events by others than an heir, and publish what comes of that.
        Errors: BusUnavailable, where something was cut short before.
        """
        self.must_be_whole()
        with self._careful():
            yield

    def must_be_whole(self) -> None:
        """See that nothing was cut short: else no more is applied, journalled or stored.

        Errors: BusUnavailable.
        """
        if self.is_broken:
            raise BusUnavailable("something was cut short, the session is ending")

    # Partitions come and go.

    async def assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Take partitions; return where each begins. What is not born yet is left out."""
        # Asked each time: the topic may have been made anew since the session began.
        topic_id = await self.identify()
        if max(partitions) >= self.counts[-1]:
            await self.look_for_growth()
        bounds = await self.source.bounds(partitions)
        places = {
            each: Place(
                each,
                bounds[each],
                topic_id,
                self.topics.requests,
                self.topics.journal,
                (self.topics.enforcement, each % self.topics.enforcement_partitions),
                self.name,
                self.nonce(),
                self.counts,
                trust=self.operators.trust,
            )
            for each in partitions
        }
        back = await self._returned(places)
        new = [place for partition, place in places.items() if partition not in back]
        tried = await asyncio.gather(*(self._take(each) for each in new))
        taken = [each for each in tried if each is not None]
        self.waiting |= set(partitions) - {each.partition for each in taken} - back.keys()
        async with self.turn:
            # Of what did not come back, or not as it was, nothing in memory holds.
            self.state.drop(self._let_go.keys() - back.keys())
            self._let_go = {}
            self.owned |= back
            for owned in taken:
                if children_of(owned.counts, owned.partition):
                    # Of an owner that ended in between, some may be unborn.
                    with self._careful():
                        await self._bear(owned, owned.counts)
                self._adopt(owned, owned.conditions)
                if owned.journalled_ms < 0:
                    owned.journalled_ms = self.clock.wall_ms()
                for mode in owned.began_in:
                    self.metrics.count_mode(mode)
                self.owned[owned.partition] = owned
                self.ends[owned.partition] = owned.replay_until
        self._say_what_came(taken, back)
        return {each.partition: start_of(each) for each in (*taken, *back.values())}

    async def _returned(self, places: Mapping[int, Place]) -> dict[int, Owned]:
        """Return what was let go and comes back with nobody having had it meanwhile."""
        mine = [each for each in self._let_go.values() if each.partition in places]
        if not mine or self.is_broken:
            return {}
        journal = await bounds_of(self.reader, self.topics.journal, ())
        mine = [each for each in mine if each.partition in journal]
        tried = await asyncio.gather(
            *(
                returned(
                    each,
                    places[each.partition],
                    journal[each.partition].end,
                    self.store,
                    self.reader,
                )
                for each in mine
            )
        )
        return {each.partition: each for each in tried if each is not None}

    def _say_what_came(self, taken: Sequence[Owned], back: Mapping[int, Owned]) -> None:
        if taken or not back:
            log.info("took partitions %s", sorted(each.partition for each in taken))
        if back:
            log.info("kept partitions %s", sorted(back))
        self.metrics.count_partitions(taken=len(taken), kept=len(back))
        if self._let_go_at_s is not None:
            self.metrics.pause.observe(self.clock.monotonic_s() - self._let_go_at_s)
            self._let_go_at_s = None

    async def _take(self, place: Place) -> Owned | None:
        """Take one partition, unless there is nothing of it yet."""
        partition, policy = place.partition, self.policies.first
        if partition >= self.counts[-1]:
            return None
        if parent_of(self.counts, partition) is not None and not await is_born(
            self.store, partition
        ):
            return None
        blank = Conditions(
            nonce="", era=0, from_offset=0, policy_hash=policy.hash, policy_text=policy.text
        )
        first = self.baselines.wanted(blank, is_behind=False), self.baselines.has
        try:
            return await take(place, self.store, self.reader, self.publisher, first)
        except Unborn:
            return None

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Save what can be saved of partitions, and let them go.

        What is saved stays in memory until the group says who has it next.
        """
        if self._let_go_at_s is None:
            self._let_go_at_s = self.clock.monotonic_s()
        self.waiting -= set(partitions)
        with self.fullness.hurry():
            await self._let(partitions)
        log.info("let partitions %s go", sorted(partitions))

    async def _let(self, partitions: Sequence[int]) -> None:
        async with self.turn:
            mine = [self.owned[each] for each in partitions if each in self.owned]
            is_saved = False
            try:
                await self.save_round(mine, rows_max=self.spec.slots_max)
                is_saved = not self.is_broken
            finally:
                for owned in mine:
                    del self.owned[owned.partition]
                    self.metrics.forget_partition(owned.partition)
                if is_saved:
                    self._let_go |= {each.partition: each for each in mine}
                else:
                    self.state.drop(each.partition for each in mine)

    def _adopt(self, owned: Owned, conditions: Conditions) -> None:
        policy = self.policies.compiled(conditions)
        expectation = self.baselines.expectation(conditions)
        before = self.state.conditions.get(owned.partition, conditions).braked
        say_braked(owned.partition, before, conditions.braked, conditions.from_offset)
        self.state.adopt(owned.partition, conditions, policy, expectation)
        is_compared = expectation.facts is not None
        self.decoder.adopt(owned.partition, owned.count, with_values=is_compared)
        self.metrics.set_shed(owned.partition, is_shed=bool(conditions.shed))
        self.metrics.set_braked(owned.partition, len(conditions.braked))

    # Partitions become more.

    async def look_for_growth(self) -> None:
        """Ask how many partitions there are, and let the state have room for them.

        New ones count once the journal has them too. Errors: BusUnavailable, ConfigError.
        """
        try:
            found = await self.source.partition_count()
        except ConfigError as error:
            # It is being deleted under us: what reads it ends the session, and the next makes it.
            raise BusUnavailable(error.message) from error
        if found > self.counts[-1]:
            journal = len(await bounds_of(self.reader, self.topics.journal, ()))
            if journal < found:
                rarely.warning(
                    "%s has %d partitions and %s only %d, so the new ones wait: `enforcer"
                    " partitions grow --to %d` makes them equal",
                    *(self.topics.requests, found, self.topics.journal, journal, found),
                )
                return
            # Asked as at the beginning: partitions may have grown more than once since we looked.
            known = await known_counts(self.store, self.reader, self.topics, found)
            counts = longest(self.counts, known)
            # Who is given partitions may have asked at the same time.
            async with self.turn:
                if counts[-1] > self.state.partitions:
                    log.warning("partitions grow from %d to %d", self.counts[-1], counts[-1])
                    self.state.widen(counts[-1])
                self.counts = longest(self.counts, counts)

    async def _take_effect(self, owned: Owned) -> None:
        """Let the conditions in force take effect; where partitions grow, hand over first.

        Requires: the session's turn, and care.
        """
        counts = longest(owned.counts, owned.conditions.counts)
        if len(counts) > len(owned.counts):
            if counts[-1] > self.state.partitions:
                self.state.widen(counts[-1])
            await self.save_round([owned], rows_max=self.spec.slots_max)
            self.must_be_whole()
            await self._bear(owned, counts)
        self._adopt(owned, owned.conditions)

    async def _bear(self, owned: Owned, counts: Counts) -> None:
        """Let the children of a partition be born. Mutates: owned, state."""
        began_s = self.clock.monotonic_s()
        await self._hand_over.carry_out(owned, counts, self.clock.wall_ms())
        self.metrics.spend("hand_over", self.clock.monotonic_s() - began_s)

    # Saving.

    async def save_round(self, owned: Sequence[Owned], rows_max: int) -> None:
        """Save what is unsaved of partitions, once; the order is `saving`'s.

        Requires: the session's turn.
        """
        began_s = self.clock.monotonic_s()
        async with self._round:
            # Asked only now: the round before this one may just have failed, and its rows look
            # as though they were stored.
            if self.is_broken:
                return
            # Nor may it save for one that was let go meanwhile: its rows may be another's now.
            owned = [each for each in owned if self.owned.get(each.partition) is each]
            with self._careful():
                wall_ms = self.clock.wall_ms()
                taken = self._with_news(snapshots(self.state, owned, rows_max, wall_ms))
                await self._store(taken)
        await self.tell_group(taken)
        self._show(taken, began_s)

    async def slices(self, rows_max: int) -> list[list[Slice]]:
        """Return what is unsaved of all partitions, in pieces that hold nobody up for long."""
        async with self.turn:
            owned = list(self.owned.values())
            return slices(self.state, owned, rows_max, self.spec.save_slice_rows)

    async def save_slices(self, some: Sequence[Slice]) -> list[Snapshot]:
        """Save a piece of a round, and let others have the turn meanwhile; return what was stored.

        A step's rows must not be stored before all that it gives is on its way, so the snapshot
        has a turn of its own. Whoever saves asks for the turn first and for the round then.
        """
        async with contextlib.AsyncExitStack() as until_stored:
            async with self.turn:
                await until_stored.enter_async_context(self._round)
                began_s = self.clock.monotonic_s()
                if self.is_broken:
                    return []
                until_stored.enter_context(self._careful())
                wall_ms = self.clock.wall_ms()
                mine = [each for each in some if self.owned.get(each.owned.partition) is each.owned]
                taken = self._with_news([sliced(self.state, each, wall_ms) for each in mine])
            await self._store(taken)
        self.pace.spend(self.clock.monotonic_s() - began_s)
        self._show(taken, began_s)
        return taken

    def _with_news(self, taken: Sequence[Snapshot]) -> list[Snapshot]:
        """Return those that have anything to store."""
        return [each for each in taken if has_news(each)]

    async def _store(self, taken: Sequence[Snapshot]) -> None:
        """Store snapshots side by side."""
        await asyncio.gather(*(self.fullness.save(self.state, self.store, each) for each in taken))

    def _show(self, stored: Sequence[Snapshot], began_s: float) -> None:
        self.metrics.count_rows(saved=sum(len(each.rows) for each in stored))
        self.metrics.spend("save", self.clock.monotonic_s() - began_s)

    async def tell_group(self, stored: Sequence[Snapshot]) -> None:
        """Tell the group how far partitions are whose checkpoints were stored."""
        moved = [each for each in stored if each.checkpoint is not None]
        if moved:
            await self.source.commit({each.owned.partition: each.position for each in moved})
