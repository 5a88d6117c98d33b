"""Room in memory: rows that are stored go where others, or their records, have none."""

from __future__ import annotations

import numpy as np

from stream.profiles import Batch, touch

from .state import State


def make_room(state: State, batch: Batch, count: int) -> int:
    """Evict stored rows until `count` more fit, if they can; return how many went.

    Rows of the batch stay. More go than must, so that the search is not needed each time.
    """
    table = state.table
    if table.free >= count:
        return 0
    slots = np.empty(len(batch.events), np.int32)
    table.locate(batch.events["workload"], slots)
    # A number of its own: rows that an earlier, larger batch marked as used may go.
    state.batch_number += 1
    touch(batch.events, slots, table.sections.local, state.batch_number, state.serial)
    wanted = max(count - table.free, table.slots_max // 16)
    victims = table.victims(wanted, state.batch_number).tolist()
    for slot in victims:
        state.evict(slot)
    return len(victims)


def trim_learned(state: State, batch: Batch, records_max: int) -> int:
    """Evict stored rows, but none of the batch, until about so many contexts are compared.

    And the habits of as many workloads are in memory. Returns how many went. Mutates: state.
    """
    table = state.table
    if (excess := max(len(table.learned), len(table.habits)) - records_max) <= 0:
        return 0
    slots = np.empty(len(batch.events), np.int32)
    table.locate(batch.events["workload"], slots)
    state.batch_number += 1
    touch(batch.events, slots, table.sections.local, state.batch_number, state.serial)
    victims = table.learners(excess + records_max // 16, state.batch_number).tolist()
    for slot in victims:
        state.evict(slot)
    return len(victims)
