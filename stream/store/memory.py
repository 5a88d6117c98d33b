"""The store in memory, with the laws of the one in Redis: for tests, simulation and replay.

Several `MemoryStore`s share one `MemoryServer`, as workers share a Redis. Nothing here waits, so
each call is one atomic step of the loop that runs it. `image` and `restore` make the server an
older replica of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .agreed import (
    Held,
    check_bequest,
    check_save,
    claimed_checkpoint,
    claimed_meanwhile,
    decode_checkpoint,
    encode_checkpoint,
    group_of,
    is_ours,
    must_be_born_of,
    refusal,
    unborn,
    write_id,
)
from .contract import (
    BUCKETS,
    DOMAINS_MAX,
    NAMES_MAX,
    OTHERS,
    Bequest,
    Checkpoint,
    Claim,
    Fence,
    Save,
    StoreFacts,
)

BUCKET_SHIFT = 56


@dataclass(slots=True)
class Partition:
    """All that is stored of one partition; the checkpoint as the bytes that Redis would hold."""

    nonce: str | None = None
    epoch: int = 0
    number: int = 0
    write: bytes = b""
    checkpoint: bytes | None = None
    rows: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    records: dict[bytes, bytes] = field(default_factory=dict)
    members: dict[int, int] = field(default_factory=dict)
    domains: dict[int, int] = field(default_factory=dict)

    def copy(self) -> Partition:
        """Return a copy that later writes do not reach."""
        return replace(
            self,
            rows=dict(self.rows),
            names=dict(self.names),
            records=dict(self.records),
            members=dict(self.members),
            domains=dict(self.domains),
        )

    def join(self, row_id: int, domain: int) -> None:
        """Count a row as one of a trust domain, if it is not counted yet."""
        if row_id not in self.members:
            if domain not in self.domains and len(self.domains) >= DOMAINS_MAX:
                domain = OTHERS
            self.members[row_id] = domain
            self.domains[domain] = self.domains.get(domain, 0) + 1

    def leave(self, row_id: int) -> None:
        """Count a row no more."""
        domain = self.members.pop(row_id, None)
        if domain is not None:
            self.domains[domain] -= 1
            if self.domains[domain] <= 0:
                del self.domains[domain]


class MemoryServer:
    """What stores share, and what outlives them."""

    def __init__(self) -> None:
        self.partitions: dict[int, Partition] = {}

    def partition(self, partition: int) -> Partition:
        """Return what is stored of a partition."""
        return self.partitions.setdefault(partition, Partition())

    def image(self) -> dict[int, Partition]:
        """Return a copy of everything, as a replica would have it."""
        return {number: held.copy() for number, held in self.partitions.items()}

    def restore(self, image: dict[int, Partition]) -> None:
        """Go back to an image: what was written since is lost, as in a failover."""
        self.partitions = {number: held.copy() for number, held in image.items()}


class MemoryStore:
    """A `Store` in a MemoryServer."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self.names_refused = 0
        self.first_partitions = 0

    def _group(self, partition: int) -> Partition:
        """Return where rows and names of a partition lie."""
        return self._server.partition(group_of(partition, self.first_partitions))

    async def start(self) -> StoreFacts:
        """Say that there is nothing to check."""
        return StoreFacts(
            server="memory",
            version="0",
            maxmemory_policy="noeviction",
            maxmemory_bytes=0,
            mode="standalone",
        )

    async def owner(self, partition: int) -> str:
        """Return the nonce of whoever claimed the partition last, empty where nobody did."""
        held = self._server.partition(partition)
        claimed_checkpoint(partition, held.checkpoint)
        return held.nonce or ""

    async def claim(self, partition: int, nonce: str, seen: str, above: int = 0) -> Claim:
        """Become the owner of the partition: from now on only writes with `nonce` succeed."""
        assert nonce, "a claim names its owner"
        held = self._server.partition(partition)
        if (held.nonce or "") not in (nonce, seen):
            raise claimed_meanwhile(partition, held.epoch)
        if held.checkpoint is None and must_be_born_of(partition, self.first_partitions):
            raise unborn(partition)
        if held.nonce != nonce or held.epoch <= above:
            held.nonce = nonce
            held.epoch = max(held.epoch, above) + 1
        checkpoint, damage = claimed_checkpoint(partition, held.checkpoint)
        return Claim(held.epoch, held.number, checkpoint, dict(held.records), damage)

    async def load(
        self, partition: int, ids: Sequence[int], fence: Fence | None = None
    ) -> list[bytes | None]:
        """Return the stored rows, None where there is none."""
        held = self._server.partition(partition)
        state = Held(held.nonce, held.epoch, held.number)
        if fence is not None and not is_ours(state, fence):
            raise refusal(partition, state, fence)
        rows = self._group(partition).rows
        return [rows.get(row_id) for row_id in ids]

    async def save(self, partition: int, save: Save) -> int:
        """Write all of it or nothing, as write `save.number + 1`; return that number."""
        check_save(save)
        held, group = self._server.partition(partition), self._group(partition)
        write, number = write_id(save), save.number + 1
        if held.nonce == save.nonce and (held.number, held.write) == (number, write):
            return number
        if held.nonce != save.nonce or held.number != save.number:
            state = Held(held.nonce, held.epoch, held.number)
            raise refusal(partition, state, Fence(save.nonce, save.epoch, save.number))
        for each, text in save.names.items():
            if each in group.names:
                continue
            if len(group.names) < NAMES_MAX:
                group.names[each] = text
            else:
                self.names_refused += 1
        for key in save.records_gone:
            held.records.pop(key, None)
        held.records.update(save.records)
        for row_id in save.forget:
            group.rows.pop(row_id, None)
            group.leave(row_id)
        for row_id, row in save.rows:
            group.rows[row_id] = row
        for row_id, domain in save.domains:
            group.join(row_id, domain)
        if save.checkpoint is not None:
            held.checkpoint = encode_checkpoint(save.checkpoint)
        held.number, held.write = number, write
        return number

    async def bequeath(self, partition: int, bequest: Bequest) -> str:
        """Write a part of what a child of a partition begins with."""
        check_bequest(partition, self.first_partitions, bequest)
        held, child = self._server.partition(partition), self._server.partition(bequest.child)
        fence, write = bequest.fence, write_id(bequest)
        if held.nonce == fence.nonce and (held.number, held.write) == (fence.number + 1, write):
            return "written"
        if held.nonce != fence.nonce or held.number != fence.number:
            raise refusal(partition, Held(held.nonce, held.epoch, held.number), fence)
        if child.checkpoint is not None:
            return "born"
        if bequest.begins:
            child.records.clear()
        child.records.update(bequest.records)
        if bequest.checkpoint is not None:
            if len(child.records) != bequest.records_all:
                return "incomplete"
            child.checkpoint = encode_checkpoint(bequest.checkpoint)
        held.number, held.write = fence.number + 1, write
        return "written"

    async def scan(self, partition: int, bucket: int) -> list[tuple[int, bytes]]:
        """Return all rows of one of the BUCKETS buckets of a partition's group, ordered by id."""
        assert 0 <= bucket < BUCKETS, bucket
        rows = self._group(partition).rows
        return sorted(item for item in rows.items() if item[0] >> BUCKET_SHIFT == bucket)

    async def domains(self, partition: int) -> dict[int, int]:
        """Return how many counted rows a partition's group has of each trust domain."""
        return dict(self._group(partition).domains)

    async def names(self, partition: int, hashes: Sequence[int]) -> dict[int, str]:
        """Return the texts of operation hashes that are known."""
        known = self._group(partition).names
        return {each: known[each] for each in hashes if each in known}

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the checkpoint without claiming anything."""
        return decode_checkpoint(partition, self._server.partition(partition).checkpoint)

    async def stop(self) -> None:
        """Do nothing: the server outlives its stores."""
