"""What the product needs of a store: claims, fenced saves, loads.

Everything of a home partition group (rows, names, subject records, state) lies in one hash slot.
A group is what was one partition at first: partitions are only ever multiplied, so partition p of
any number lies in group p mod the first number, and its rows never move.
A save is one atomic script call and a compare-and-set: it names the owner's nonce and the number
of the last write it knows; the store refuses any other (DESIGN 3.9). Rows are opaque bytes here.
Doors raise `StoreUnavailable` (retryable: the same save may be sent again, it is recognised),
`OwnershipLost` (another owner came after us), `StoreForgot` (the store is older than what we know
of it: a failover lost acknowledged writes, or our claim), `RowCorrupt` (what is stored cannot be
ours) and `ConfigError` (who we say we are, or may do there, is wrong).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from stream.errors import OwnershipLost

BUCKETS = 256
NAMES_MAX = 65_536
DOMAINS_MAX = 1_024
"""Of so many trust domains rows are counted one by one, those of all others together."""
OTHERS = 0
"""What stands for the trust domains that are counted together; no text has this hash."""
# What one save may hold, rows and ids to forget together. A script holds up everybody else on
# its server: 8,192 rows of 600 bytes take 25 ms there.
ROWS_PER_SAVE_MAX = 8_192
SAVE_BYTES_MAX = 32 * 1024 * 1024
CHECKPOINT_FORMAT = 1
GROWN_FORMAT = 2  # of checkpoints that a version without growth must not misread


class StoreForgot(OwnershipLost):
    """The store is older than our last acknowledged write: drop the partition, reload, seek."""


class Birth(msgspec.Struct, frozen=True):
    """Whose workloads a partition began with: of which one, in its era, up to which offset.

    `journal_offset` is the entry of the parent's journal that the child goes on from.
    """

    parent: int
    era: int
    offset: int
    journal_offset: int


class Grown(msgspec.Struct, frozen=True):
    """The numbers of partitions there have been, the last one in force at a checkpoint.

    `birth` is there until the first owner of a new partition has saved.
    """

    counts: tuple[int, ...]
    birth: Birth | None = None


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """From where a new owner replays, and what it must find there.

    `next_offset`: the oldest offset that some row or output still needs. `journal_offset`: the
    journal entry in force at it. `version_*`: the highest command version published before it.
    `check`: checksum of the record at `check_offset`, the last one applied (0 when there is
    none). `log_era`, `fresh_era`: of the conditions in force. `heard`: for each source of
    forwarded events (topic, partition, log) the offset of the last one before `next_offset`.
    """

    format: int = CHECKPOINT_FORMAT
    next_offset: int
    journal_offset: int
    topic_id: str
    era: int
    check: int
    version_offset: int
    version_ordinal: int
    at_ms: int
    log_era: int = 0
    fresh_era: int = 0
    check_offset: int = -1
    heard: tuple[tuple[str, int, int, int], ...] = ()
    growth: Grown | msgspec.UnsetType = msgspec.UNSET

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the numbers of partitions there have been, none where nobody has said."""
        return self.growth.counts if self.growth else ()

    @property
    def birth(self) -> Birth | None:
        """Return what a partition began with that nobody has saved yet."""
        return self.growth.birth if self.growth else None


class Claim(NamedTuple):
    """What a new owner finds: the number of the last write, its checkpoint, subject records.

    `damage` says why a checkpoint that is there cannot be read; there is then none.
    """

    epoch: int
    number: int
    checkpoint: Checkpoint | None
    records: dict[bytes, bytes]
    damage: str = ""


class Fence(NamedTuple):
    """What an owner knows of its last write; a load with it never reads an older store."""

    nonce: str
    epoch: int
    number: int


class Save(NamedTuple):
    """One atomic write of a partition.

    Shapes: `rows` (row id, bytes); `names` operation hash -> text; `records` record key -> bytes,
    `records_gone` keys to remove; `forget` ids of rows to delete; `checkpoint` None leaves it.
    `epoch` is that of the claim; by it a lost claim is told from a newer owner (0: not known).
    What is written outlives what the same save forgets. Names of which there are already
    NAMES_MAX are left out; the first text of a hash stays. `domains` are pairs of a row id and the
    hash of its workload's trust domain: a row that was not counted yet is from here on, and until
    it is forgotten. To say it again changes nothing.
    Requires: at most ROWS_PER_SAVE_MAX rows and ids to forget, SAVE_BYTES_MAX in all.
    """

    nonce: str
    number: int
    rows: Sequence[tuple[int, bytes]]
    names: dict[int, str]
    records: dict[bytes, bytes]
    records_gone: Sequence[bytes]
    forget: Sequence[int]
    checkpoint: Checkpoint | None
    epoch: int = 0
    domains: Sequence[tuple[int, int]] = ()

    @property
    def adds(self) -> bool:
        """Whether it needs room; what only forgets or moves the checkpoint makes some."""
        return bool(self.rows or self.names or self.records)


class Bequest(NamedTuple):
    """One part of what a new partition begins with, given by the owner of its parent.

    `fence` is the parent's. The first part `begins`; the last one has the checkpoint, with which
    the child is born, and `records_all`, the number of records in all parts together.
    """

    fence: Fence
    child: int
    records: dict[bytes, bytes]
    begins: bool
    records_all: int = 0
    checkpoint: Checkpoint | None = None


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of itself, printed at start."""

    server: str
    version: str
    maxmemory_policy: str
    maxmemory_bytes: int
    mode: str


class Store(Protocol):
    """Rows, names, subject records and checkpoint of home partitions.

    A row id is the keyed 64-bit hash of the canonical workload, unsigned. `names_refused` counts
    the names that found no room, since this store was made. `first_partitions` is the number of
    groups; 0 says that every partition is a group of its own, as where there was no growth.
    """

    names_refused: int
    first_partitions: int

    async def start(self) -> StoreFacts:
        """Connect and check.

        Errors: ConfigError when the server may evict (`noeviction` is required) or is too old.
        """
        ...

    async def owner(self, partition: int) -> str:
        """Return the nonce of whoever claimed the partition last, empty where nobody did.

        Errors: NewerFormat when a newer version has written the checkpoint.
        """
        ...

    async def claim(self, partition: int, nonce: str, seen: str, above: int = 0) -> Claim:
        """Become the owner of the partition: from now on only writes with `nonce` succeed.

        `seen` is the owner to take it from, as `owner` said, or `nonce` itself to claim again:
        compare-and-set, so that a claim that arrives late, or once more, takes nothing from
        whoever claimed meanwhile. The epoch is above that of every earlier owner the store knows,
        and above `above`: a store that has forgotten some of them is told.
        Requires: a nonce that no other claim has ever used; a repeat of the last claim (lost
        reply) changes nothing and returns the same.
        Errors: OwnershipLost when another owner than `seen` has the partition; StoreForgot when it
        is one that growth has added, and has no birth; NewerFormat when a newer version has
        written the checkpoint.
        """
        ...

    async def load(
        self, partition: int, ids: Sequence[int], fence: Fence | None = None
    ) -> list[bytes | None]:
        """Return the stored rows, None where there is none.

        An owner gives its fence: after a failover that lost writes, a row read back would be one
        that has already counted more, and would decide before the next save can notice.
        Without ids it only asks whether the fence still holds.
        Errors: with a fence also OwnershipLost and StoreForgot.
        """
        ...

    async def save(self, partition: int, save: Save) -> int:
        """Write all of it or nothing, as write `save.number + 1`; return that number.

        Errors: StoreFull when there is no room for what it `adds`; what adds nothing is written
        even then. OwnershipLost, StoreForgot.
        A repeat of a write that succeeded (lost reply) returns its number again. After
        StoreUnavailable it is not known whether the write happened: repeat the same save until
        the answer is known; another one under this number may find itself OwnershipLost.
        """
        ...

    async def bequeath(self, partition: int, bequest: Bequest) -> str:
        """Write a part of what a child of a partition begins with, as the parent's next write.

        Returns `written`, and then it was write `fence.number + 1`; `born` where the child was born
        before, `incomplete` where the records are not all there, and then it was none. A repeat of
        a write that succeeded is recognised. Errors: OwnershipLost, StoreForgot.
        """
        ...

    async def scan(self, partition: int, bucket: int) -> list[tuple[int, bytes]]:
        """Return all rows of one of the BUCKETS buckets of a partition's group, ordered by id."""
        ...

    async def domains(self, partition: int) -> dict[int, int]:
        """Return how many counted rows a partition's group has of each trust domain, by its hash.

        Beyond DOMAINS_MAX those of further trust domains stand together under OTHERS.
        """
        ...

    async def names(self, partition: int, hashes: Sequence[int]) -> dict[int, str]:
        """Return the texts of operation hashes that are known."""
        ...

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the checkpoint without claiming anything."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...
