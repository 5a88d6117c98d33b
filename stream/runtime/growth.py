"""Partitions multiplied under load: who owns which workload from which offset on, and why.

A workload's home is murmur2 of its key mod N. N grows by multiples only, N to N' = kN, so the
workloads of partition p stay at p or move to one of its *children* p + N, p + 2N, ... below N'.
Rows lie in Redis by murmur2 mod the first number for ever, so none moves; what moves is who may
write them, and in whose offsets they count.

The protocol. Kafka's own number of partitions of `requests` is the intent, once `journal` has as
many; nothing else needs to be told. Producers follow when they notice, workers forward meanwhile.

1. The owner of a parent p, once settled, journals "N' from my next offset c on", as it journals
   any condition: acknowledged first, in force only while its fence holds.
2. It saves every row and moves its checkpoint to c. Nothing of p below c is owed any more.
3. It publishes what is in force on the moving workloads once more, as records of their new homes
   (`rehomed`), and waits until Kafka has them.
4. In one script call, fenced as p's, it gives each child its *birth*: a checkpoint at offset 0
   which names p, c and the journal entry, and the list of those records (`Store.bequeath`). A child
   is born once: where there is a checkpoint the call changes nothing.
5. It drops the moved rows from memory. From c on an event of a moved workload is misrouted, and
   goes home in a sealed forward whose source is (p, offset) like any other.
6. The owner of a child takes nothing before the birth, and the store lets nobody claim what has
   none: its events wait in Kafka. Then it begins at
   offset 0 with the parent's conditions (`inherited`), and with "heard of p up to c". Rows last
   written at an earlier home count as applied up to before offset 0 (`ProfileTable.rehome`).

Nothing is lost or counted twice, because
* each event of a moving workload w in p's log lies below c or not, and c is one number in p's
  journal, whoever owns p, however often. Below c it is applied by p's owners only, and is in the
  stored row before any child exists (2 before 4). From c on it is forwarded only, before p's
  checkpoint passes it; the child counts a forward if its place is beyond what it has heard of p,
  and that begins just before c, so repeats change nothing and none is missed.
* what reaches the child's own log directly is applied by the child's owners only, in its offsets;
  p never sees it.
* a row has one writer. Below c that is p's owner. The birth is the end of it: an owner of p whose
  children are born counts by N' from wherever it begins (`least_of`), also where its checkpoint was
  lost or lies below c; whatever it then forwards from below c the child drops as heard.
  An owner of p that was replaced is refused by the fence of p, in 4 as in every save.
* the birth lies in the slot of p's rows and in the same history, and is a numbered write of p's. A
  store that falls back to before the birth has neither it nor any claim of the child made since,
  and is older than p's owner knows: both owners are refused at their next write or look. The one
  of the child waits again, while the one of p begins at its checkpoint, at most c, and gives the
  birth anew. A store that forgot everything is the same with more to replay.
* a crash between any two steps: before 1 is acknowledged nothing happened; after it, the next owner
  reads it in the journal, stops at c, and does 2 to 5 again. 3 sends the same bytes again. 4
  changes nothing where it was done. The operator's command only adds partitions and watches.

At gateways the records of a key are ordered by era, home, offset: a child has the higher number,
so what it publishes comes after all that its parent did. Records of p and of its children lie in
the same partition of `enforcement` (its number divides the first), so compaction keeps the last.
A parent says N' in its heartbeats when it has seen those of its children; until then gateways
expect nothing of them. A worker of a version that knows no growth meets entries of a newer format.

What is not exact: of a parent that lost its checkpoint alone (`checkpoint_corrupt`), what came from
other partitions' forwards before c may be forwarded again under the parent's name and is dropped; a
grandchild may count what its grandparent forwards again between the two growths, once more. Who
forwards does not know how many growths an owner beside or after it knows, so what lies elsewhere
than at home goes to its home among the first number, and from there from parent to child.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Final

import msgspec

from stream.errors import ConfigError
from stream.events import GROWN_FORMAT, Ancestor, Conditions, Growth
from stream.identity import positive_murmur2
from stream.store import Birth

Counts = tuple[int, ...]
"""The numbers of partitions there have been, each a multiple of the one before."""

PARTITIONS_MAX: Final = 4_096
HEARTBEAT: Final = b'["heartbeat",'


def extended(counts: Counts, found: int, enforcement_partitions: int) -> Counts:
    """Return the counts after the topic was found with so many partitions.

    Errors: ConfigError when no workload's home could be told from that.
    """
    now = counts[-1]
    if found == now:
        return counts
    if found < now:
        raise ConfigError(
            f"requests has {found} partitions, and had {now} before",
            hint="partitions are never taken away; with a new `requests` begin under a new prefix",
        )
    if found % now:
        raise ConfigError(
            f"requests has {found} partitions, which is no multiple of {now}",
            hint=f"add partitions until it has {now * (found // now + 1)}",
        )
    if counts[0] % enforcement_partitions:
        raise ConfigError(
            f"requests cannot grow from {now} to {found}: {enforcement_partitions} partitions of"
            f" enforcement do not divide the first number of partitions, {counts[0]}",
            hint="begin under a new prefix with enforcement_partitions that divide partitions",
        )
    if found > PARTITIONS_MAX:
        raise ConfigError(f"requests has {found} partitions, {PARTITIONS_MAX} is the limit")
    return (*counts, found)


def longest(one: Counts, other: Counts) -> Counts:
    """Return the longer of two histories of one installation.

    Errors: ConfigError when they are of two.
    """
    short, long = sorted((one, other), key=len)
    if long[: len(short)] != short:
        raise ConfigError(
            f"the numbers of partitions do not fit: {one} here, {other} there",
            hint="is this the Redis, and the prefix, that belongs to this Kafka?",
        )
    return long


def parent_of(counts: Counts, partition: int) -> int | None:
    """Return the partition whose workloads a partition began with, None for one of the first."""
    before = [count for count in counts if count <= partition]
    return partition % before[-1] if before else None


def children_of(counts: Counts, partition: int) -> list[int]:
    """Return the partitions that began, or are to begin, with workloads of a partition."""
    found: list[int] = []
    for before, after in pairwise(counts):
        if partition < before:
            found += range(partition + before, after, before)
    return found


def heir_of(counts: Counts, partition: int, home: int) -> int:
    """Return the child of a partition through which a workload comes to its home."""
    heir, parent = home, parent_of(counts, home)
    while parent is not None and parent != partition:
        heir, parent = parent, parent_of(counts, parent)
    assert parent == partition, f"{home} does not descend from {partition}"
    return heir


def least_of(counts: Counts, born: Collection[int]) -> Counts:
    """Return the shortest history in which these partitions are there."""
    most = max(born, default=-1)
    enough = [place for place, count in enumerate(counts) if count > most]
    return counts[: enough[0] + 1] if enough else counts


def home_of(workload: str, count: int) -> int:
    """Return the home of a canonical workload among so many partitions."""
    return positive_murmur2(workload.encode()) % count


def next_home(counts: Counts, partition: int, workload: int) -> int:
    """Return where an event that lies elsewhere than at its home goes from a partition.

    Owners of a partition may know of different growths, and what they forward counts once if all
    send it to the same home: so to that among the first number of partitions, from where it goes
    on; and what was at home here until a growth, to the child that got it then.
    `workload` is its murmur2. Requires: it is not at home here.
    """
    known = [count for count in counts if count > partition]
    if workload % known[0] != partition:
        return workload % counts[0]
    return next(workload % count for count in known if workload % count != partition)


def with_counts(conditions: Conditions, counts: Counts) -> Conditions:
    """Return conditions under which a partition counts by the last of these numbers."""
    kind = max(conditions.format, GROWN_FORMAT) if len(counts) > 1 else conditions.format
    growth = Growth(counts, conditions.ancestors)
    return msgspec.structs.replace(conditions, growth=growth, format=kind)


def inherited(theirs: Conditions, birth: Birth) -> Conditions:
    """Return what holds in a child at its first offset: what held in its parent at the cut.

    Offsets of the parent's log are shifted so that those before the cut are negative.
    """
    shift = birth.offset
    before = [msgspec.structs.replace(each, shift=each.shift + shift) for each in theirs.ancestors]
    lifts = tuple(
        msgspec.structs.replace(each, offset=each.offset - shift) for each in theirs.lifts
    )
    return msgspec.structs.replace(
        theirs,
        from_offset=0,
        lifts=lifts,
        growth=Growth(theirs.counts, (Ancestor(birth.parent, birth.era, shift), *before)),
        modes=(),
    )


def claimed(counts: Counts, partition: int, heard: Collection[int]) -> int:
    """Return how many partitions an owner says that there are, given whose heartbeats it knows."""
    said = [count for count in counts if count > partition]
    able = [
        count
        for count in said
        if all(each in heard for each in children_of(counts, partition) if each < count)
    ]
    return max(able, default=said[0])


def speaker_of(key: bytes | None) -> int | None:
    """Return the home partition that a heartbeat's key names, None where it is no such key."""
    if key is None or not key.startswith(HEARTBEAT):
        return None
    digits = key[len(HEARTBEAT) : -1]
    return int(digits) if digits.isdigit() and len(digits) <= len(str(PARTITIONS_MAX)) else None
