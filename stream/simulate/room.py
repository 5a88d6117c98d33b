"""Whether rows are counted as they are stored, and whoever has no room is full."""

from __future__ import annotations

from collections import Counter
from typing import Final

from stream.events import Conditions
from stream.identity import trust_domain

from .estate import KEY, Estate
from .model import has_room
from .traffic import workload

SHOWN: Final = 5
OTHERS: Final = 0


def audit_counts(estate: Estate) -> list[str]:
    """Return where the store counts otherwise than it holds rows."""
    plan = estate.plan
    names = [workload(each, plan.domains) for each in range(plan.workloads)]
    own = {KEY.hash(each): KEY.hash(trust_domain(each)) for each in names}
    broken = []
    for group in range(plan.partitions):
        held = estate.server.partition(group)
        if held.members.keys() != held.rows.keys():
            broken.append(f"group {group}: {len(held.rows)} rows, {len(held.members)} counted")
        if held.domains != Counter(held.members.values()):
            broken.append(f"group {group}: counts {held.domains} are not those of its rows")
        wrong = [row for row, domain in held.members.items() if own.get(row, domain) != domain]
        broken += [f"group {group}: row {row:016x} is counted elsewhere" for row in wrong]
    return broken[:SHOWN]


def audit_full(estate: Estate, partition: int, conditions: Conditions) -> list[str]:
    """Return which trust domains have as many rows as they may, and room for more.

    Where partitions have grown, an owner learns at its next save what others have stored.
    """
    plan = estate.plan
    if len(conditions.counts) > 1:
        return []
    counts = estate.server.partition(partition).domains
    over = [domain for domain, count in counts.items() if count >= plan.stored_rows_max]
    if len(counts) >= plan.stored_domains_max:
        over.append(OTHERS)
    return [
        f"trust domain {domain:016x} is full, and has room: {counts}"
        for domain in over
        if has_room(conditions, domain)
    ][:SHOWN]
