"""Who gets a row: whoever has none, unless the trust domain has no room for another workload.

Which trust domains have none is journalled, so it is the same for whoever reads the log again; how
rows are counted decides only when the owner journals it. A row that is gone by what is journalled
is no row, whether it has been deleted yet or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from stream.events import Full
from stream.identity import trust_domain
from stream.kernel import HashKey
from stream.profiles import Batch, ProfileTable

from .arrival import ConditionTables


class Closed(NamedTuple):
    """The trust domains of a partition that have no room, by their hash.

    `known`: of no others than these is anybody new; None where that is no matter.
    """

    domains: frozenset[int]
    known: frozenset[int] | None

    def is_full(self, domain: int) -> bool:
        """Tell whether a trust domain has no room for another workload."""
        return domain in self.domains or (self.known is not None and domain not in self.known)


def closed_by(full: Full) -> Closed:
    """Return what journalled conditions close."""
    known = full.known
    return Closed(_numbers(full.domains), None if known is None else _numbers(known))


def domains_of(key: HashKey, workloads: Iterable[str]) -> list[int]:
    """Return the hash of each workload's trust domain.

    Requires: canonical workloads.
    """
    texts = [trust_domain(each) for each in workloads]
    distinct = list(dict.fromkeys(texts))
    hashes = dict(zip(distinct, key.hash_all(distinct), strict=True)) if distinct else {}
    return [hashes[each] for each in texts]


def shut_out(
    table: ProfileTable,
    batch: Batch,
    slots: Any,
    conditions: ConditionTables,
    closed: tuple[HashKey, Mapping[int, Closed]],
) -> Any:
    """Return which events are of workloads that would need a new row and get none.

    `closed` has the key of hashes, and what is closed in each partition that has something closed.
    A row that is gone needs a new one; an event that it has applied before does not.
    Shapes: slots, the result [event].
    """
    key, by_partition = closed
    events = batch.events
    shut = np.zeros(len(events), bool)
    if not by_partition:
        return shut
    may = np.isin(events["partition"], list(by_partition)) & (events["authenticated"] != 0)
    gone = np.flatnonzero(may & (slots >= 0))
    gone = gone[_is_gone(table.sections.head[slots[gone]], events[gone], conditions)]
    wanting = np.concatenate((np.flatnonzero(may & (slots < 0)), gone))
    if len(wanting):
        workloads = events["workload"][wanting]
        _, first, group = np.unique(workloads, return_index=True, return_inverse=True)
        ones = wanting[first].tolist()
        domains = domains_of(key, batch.workloads(ones))
        partitions = events["partition"][ones].tolist()
        is_full = np.array(
            [
                by_partition[partition].is_full(domain)
                for partition, domain in zip(partitions, domains, strict=True)
            ]
        )
        shut[wanting] = is_full[group]
    return shut


def _is_gone(head: Any, events: Any, conditions: ConditionTables) -> Any:
    """Tell of each event's row whether it is gone, and the event none that it has applied.

    The same as `arrive` has it, for many at once. Shapes: head, events, the result [event].
    """
    partitions = events["partition"]
    is_fresh = head["era"] >= conditions.fresh_era[partitions]
    is_of_log = head["era"] >= conditions.log_era[partitions]
    is_before = (events["offset"] < head["offset"]) | (
        (events["offset"] == head["offset"]) & (events["ordinal"] <= head["ordinal"])
    )
    is_old = head["clock_ms"] < conditions.forgotten_before_ms[partitions]
    is_applied = is_of_log & is_fresh & is_before
    return (head["first_ms"] > 0) & (is_old | ~is_fresh) & ~is_applied


def _numbers(hashes: Iterable[str]) -> frozenset[int]:
    return frozenset(int(each, 16) for each in hashes)
