"""One member of a group in memory: `KafkaSource` with a list for a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from .contract import Bounds, Chunk, Committed, Listener, Record
from .membership import Membership
from .memory import GROUP, Group, MemoryLog


class MemorySource:
    """One member of a group over a topic."""

    def __init__(self, log: MemoryLog, topic: str, group: str = GROUP) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._members: Membership | None = None
        self._positions: dict[int, int] = {}

    @property
    def group(self) -> Group:
        """The group this is a member of."""
        return self._log.group(self._group, self._topic)

    async def start(self, listener: Listener) -> None:
        """Begin to join the group; the listener hears of partitions from here on."""
        assert self._members is None, "started twice"
        group = self.group
        self._members = Membership(listener, self._place)
        group.join(self)

    def take(self) -> asyncio.Task[None]:
        """Let all partitions go; done when the listener did."""
        return self._started().take()

    def give(self, partitions: Sequence[int]) -> None:
        """Have these partitions, once the listener says from where."""
        self._positions = {}
        self._started().give(partitions)

    def _place(self, starts: Mapping[int, int]) -> None:
        self._positions |= starts

    async def fetch(self, records_max: int, wait_s: float) -> list[Chunk]:
        """Return what has come, at most `records_max` records, waiting at most `wait_s`."""
        members, loop = self._started(), asyncio.get_running_loop()
        turn, over_at = members.turn, loop.time() + wait_s
        await asyncio.sleep(0)
        while True:
            members.check()
            was_open, changed, grown = members.is_open, members.changed, self._log.grown
            chunks = self._take(records_max) if was_open else []
            left_s = over_at - loop.time()
            if chunks or left_s <= 0:
                return chunks
            await asyncio.wait(
                {changed, grown}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )
            if members.turn != turn:
                return []

    def _take(self, records_max: int) -> list[Chunk]:
        logs = self._log.partitions(self._topic)
        ready: list[tuple[int, int]] = []
        for partition, position in list(self._positions.items()):
            if not logs[partition].start <= position <= logs[partition].end:
                del self._positions[partition]
                self._started().give_again(partition)
            elif position < logs[partition].end:
                ready.append((logs[partition].end - position, partition))
        chunks: list[Chunk] = []
        left = records_max
        # The smallest first, each an equal share of what is left: as the Kafka door does.
        for place, (_, partition) in enumerate(sorted(ready)):
            share = -(-left // (len(ready) - place))
            position = self._positions[partition]
            records = logs[partition].between(position, position + share)
            if records:
                chunks.append(self._chunk(partition, records))
                self._positions[partition] = records[-1].offset + 1
                left -= len(records)
        return chunks

    def _chunk(self, partition: int, records: Sequence[Record]) -> Chunk:
        return Chunk(
            self._topic,
            partition,
            [record.offset for record in records],
            [record.append_ms for record in records],
            [record.value for record in records],
        )

    def offer(self, partition: int) -> None:
        """Take a partition from the listener and give it again, if it is still ours."""
        self._positions.pop(partition, None)
        self._started().give_again(partition)

    async def commit(self, next_offsets: Mapping[int, int], note: str = "") -> None:
        """Tell the group how far we are; an expired member is not heard."""
        group = self.group
        if self in group:
            held = self._started().held
            ours = {p: o for p, o in next_offsets.items() if p in held}
            group.committed |= ours
            group.notes |= dict.fromkeys(ours, note)

    async def committed(self, partitions: Sequence[int]) -> dict[int, Committed]:
        """Return what the group was told last, of the partitions of which it was told anything."""
        group = self.group
        told = [each for each in partitions if each in group.committed]
        return {each: Committed(group.committed[each], group.notes[each]) for each in told}

    async def bounds(self, partitions: Sequence[int]) -> dict[int, Bounds]:
        """Return what the log holds of each partition."""
        logs = self._log.partitions(self._topic)
        return {p: Bounds(logs[p].start, logs[p].end) for p in partitions}

    async def partition_count(self) -> int:
        """Return the number of partitions of the topic."""
        return len(self._log.partitions(self._topic))

    async def stop(self) -> None:
        """Leave the group; the listener hears of the partitions lost by it before they are."""
        if self._members is None:
            return
        letting_go = self._members.leave()
        try:
            await asyncio.wait({letting_go})
        finally:
            self.group.drop(self)
        letting_go.result()

    def _started(self) -> Membership:
        assert self._members is not None, "not started"
        return self._members

    def expire(self) -> None:
        """End this member's session: others get its partitions, and it goes on without knowing."""
        self.group.drop(self)

    def notice(self) -> None:
        """Find out that the session has ended: partitions are lost, then the group is joined."""
        self.group.join(self)
