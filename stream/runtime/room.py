"""Room for another workload of a trust domain: rows are counted, and who is full is journalled.

The store counts what is stored, in the script call that writes or deletes it; what was admitted
since is counted here. How it is counted decides nothing by itself: a trust domain is full from the
offset on that the owner has journalled, so whoever reads log and journal again refuses the same
events (DESIGN 3.12). A full one has room again under nine tenths, so that entries are few.

Nothing is journalled while what an earlier owner may have applied is applied again, so a flood that
waited in the log as the partition was taken is let in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from stream.enforcement import domains_of
from stream.engine import State
from stream.events import Full
from stream.profiles import COUNTED, UNSTORED
from stream.store import OTHERS, Store

from .owned import Owned
from .spec import WorkerSpec


def note_admitted(
    state: State, owned: dict[int, Owned], admitted: Sequence[tuple[int, str]]
) -> None:
    """Count workloads that were given a row; not stored yet. Mutates: their owners."""
    domains = domains_of(state.key, (name for _, name in admitted))
    for (partition, _), domain in zip(admitted, domains, strict=True):
        owned[partition].fresh[domain] += 1


def joining(state: State, slots: Any) -> tuple[dict[int, int], Counter[int]]:
    """Return the trust domain of each row that the store may not count yet, by the row's id.

    And how many rows of each trust domain were never stored. Mutates: state: they count as counted.
    """
    local, head = state.table.sections.local, state.table.sections.head
    some = slots[local["standing"][slots] != COUNTED]
    if not len(some):
        return {}, Counter()
    domains = domains_of(state.key, (state.table.names[slot] or "" for slot in some.tolist()))
    is_new = (local["standing"][some] == UNSTORED).tolist()
    local["standing"][some] = COUNTED
    ids = head["workload"][some].tolist()
    fresh = Counter(domain for domain, new in zip(domains, is_new, strict=True) if new)
    return dict(zip(ids, domains, strict=True)), fresh


async def recount(store: Store, owned: Iterable[Owned]) -> None:
    """Look how many rows there are by now where something is full; others may have deleted some.

    Mutates: owned. Errors: StoreUnavailable.
    """

    async def ask(one: Owned) -> None:
        one.domains = await store.domains(one.partition)

    await asyncio.gather(*(ask(each) for each in owned if each.conditions.full))


def full_of(owned: Owned, spec: WorkerSpec) -> Full | None:
    """Return which trust domains are to be full in a partition, None where all have room."""
    held = owned.conditions.full or None
    counts = Counter(owned.domains)
    counts.update(owned.fresh)
    are_many = _is_full(len(counts), spec.stored_domains_max, is_held=bool(held and held.known))
    if held is None and not are_many and max(counts.values(), default=0) < spec.stored_rows_max:
        return None
    known = None
    if are_many:
        most = (domain for domain, _ in counts.most_common() if domain != OTHERS)
        first = list(most)[: spec.stored_domains_max]
        known = held.known if held and held.known else _texts(first)
    before = set(held.domains) if held else set()
    full = [
        text
        for domain, count in counts.items()
        if _is_full(count, spec.stored_rows_max, is_held=(text := _text(domain)) in before)
        and domain != OTHERS
        and (known is None or text in known)
    ]
    return Full(tuple(sorted(full)), known) if full or known else None


def is_closing(owned: Owned, spec: WorkerSpec) -> bool:
    """Tell whether something is to be full in a partition that is not yet."""
    held, wanted = owned.conditions.full or Full(), full_of(owned, spec) or Full()
    is_known = wanted.known is not None and held.known is None
    return is_known or not set(wanted.domains) <= set(held.domains)


def _is_full(count: int, most: int, *, is_held: bool) -> bool:
    return 10 * count >= 9 * most if is_held else count >= most


def _text(domain: int) -> str:
    return f"{domain:016x}"


def _texts(domains: Iterable[int]) -> tuple[str, ...]:
    return tuple(sorted(map(_text, domains)))
