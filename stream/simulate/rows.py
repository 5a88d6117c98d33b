"""Stored rows beside the model's: every field that the model knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from stream.engine import State
from stream.events import Conditions
from stream.policy import Policy
from stream.profiles import stored_home
from stream.store import BUCKETS, MemoryStore

from .estate import KEY, Estate, compiled
from .model import Enforcer, Row

SHOWN: Final = 5
SLOTS: Final = 1_024


async def audit_rows(
    estate: Estate, partition: int, model: Enforcer, conditions: Conditions
) -> list[str]:
    """Return what stored rows of a partition say that the model does not."""
    state = _state(estate, partition, conditions)
    # A row holds what the policy of its last event names, which may be an earlier one.
    states = {
        policy.hash: _state(estate, partition, _under(conditions, policy))
        for policy in (compiled(text, "simulation") for text in estate.policies)
    }
    store = MemoryStore(estate.server)
    store.first_partitions = estate.plan.partitions
    stored = {
        row_id: row
        for bucket in range(BUCKETS)
        for row_id, row in await store.scan(partition, bucket)
        if stored_home(row) % conditions.counts[-1] == partition
    }
    names = {KEY.hash(each): each for each in model.rows}
    broken = []
    for row_id in sorted(stored.keys() - names.keys()):
        slot = state.restore("?", (row_id, 0, partition), stored[row_id])
        # What an earlier era counted and no event has met since is gone at its next event.
        if state.table.sections.head[slot]["era"] >= conditions.fresh_era:
            broken.append(f"row {row_id:016x} is of nobody")
        state.evict(slot)
    for row_id, name in names.items():
        row = model.rows[name]
        if row_id not in stored:
            if row.clock_ms >= conditions.forgotten_before_ms:
                broken.append(f"{name} has no row")
            continue
        mine = states[row.policy]
        slot = mine.restore(name, (row_id, 0, partition), stored[row_id])
        broken += [f"{name}: {each}" for each in _differences(mine, slot, row)]
        mine.evict(slot)
    return broken[:SHOWN]


def _state(estate: Estate, partition: int, conditions: Conditions) -> State:
    state = State(KEY, SLOTS, estate.partitions)
    conditions = msgspec.structs.replace(conditions, baseline=msgspec.UNSET)
    state.adopt(partition, conditions, compiled(conditions.policy_text, "simulation"))
    return state


def _under(conditions: Conditions, policy: Policy) -> Conditions:
    return msgspec.structs.replace(conditions, policy_hash=policy.hash, policy_text=policy.text)


def _differences(state: State, slot: int, row: Row) -> Iterator[str]:
    table = state.table
    head = table.sections.head[slot]
    # A row that no event of this log has met keeps the offset it had in another.
    fields = ("clock_ms", "events", "late", "lift_offset", *(("offset",) * (row.offset >= 0)))
    for field in fields:
        if int(head[field]) != getattr(row, field):
            yield f"{field} is {int(head[field])}, not {getattr(row, field)}"
    if int(head["policy"]) != int(row.policy, 16):
        yield f"its policy is {int(head['policy']):016x}, not {row.policy}"
    yield from _contexts(table, slot, row)
    if _record(table.habits, int(table.sections.local["habits"][slot])) != row.habits.tobytes():
        yield "its habits are others"
    totals: list[Any] = [*table.sections.counts[slot]["total"], *table.sections.sums[slot]["total"]]
    mine = sorted(filter(None, (row.total(pair) for pair in row.windows)))
    theirs = sorted(int(each) for each in totals if each)
    if theirs != mine:
        yield f"its windows hold {theirs}, not {mine}"
    until = [entry.until_ms if entry else 0 for entry in row.ledger.places]
    held = table.sections.ledger[slot]["until_ms"].tolist()
    if held != until:
        yield f"its ledger lasts until {held}, not {until}"


def _learned(table: Any, slot: int, place: int) -> bytes:
    """What a context has shown, nothing where it was compared with nothing."""
    return _record(table.learned, int(table.sections.local["learned"][slot, place]))


def _record(records: Any, pointer: int) -> bytes:
    """A record of a row, with all that lies at its place."""
    here = slice(pointer - 1, pointer)
    return b"".join(each[here].tobytes() for each in records.arrays) if pointer > 0 else b""


def _contexts(table: Any, slot: int, row: Row) -> Iterator[str]:
    contexts = table.sections.contexts[slot]
    for place, context in enumerate([row.contexts.own, *row.contexts.tasks]):
        recent = KEY.hash_all(context.recent) if context else []
        if contexts[place]["recent"].tolist() != recent + [0] * (3 - len(recent)):
            yield f"context {place} remembers other operations"
        if contexts[place]["events"] != (context.events if context else 0):
            yield f"context {place} has {contexts[place]['events']} events"
        if _learned(table, slot, place) != (context.learned.tobytes() if context else b""):
            yield f"context {place} was compared otherwise"
        count = len(context.marks) if context else 0
        if int((table.sections.marks[slot, place]["at_ms"] != 0).sum()) != count:
            yield f"context {place} has other marks"
