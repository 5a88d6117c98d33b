"""What events are going to be compared with, asked of memory some events ahead.

Rows, records and a large baseline lie all over memory; waiting for each in turn is most of what
learned evidence would cost. One thing is named by another, so they are asked for at three stages.
Nothing here changes anything: what is asked for in vain is lost.
"""

from __future__ import annotations

from typing import Any

from stream.baselines import ask_call
from stream.detectors import ask_sequence
from stream.kernel import kernel, prefetch_entry
from stream.profiles import find_context


@kernel
def ask_expected(event: Any, local: Any, learning: Any) -> None:
    """Ask for what is expected of an event, and for the habits of its workload."""
    ask_call(learning.expected.entries, local["peers"], event, learning.values)
    habits = int(local["habits"]) - 1
    if habits >= 0:
        prefetch_entry(learning.habits.workloads, habits)


@kernel
def _record_of(event: Any, slot: int, table: Any) -> int:
    """Return the place of the record that an event's context has, -1 for none."""
    context = max(int(find_context(table.contexts[slot], event["task"])), 0)
    return int(table.local[slot]["learned"][context]) - 1


@kernel
def ask_record(event: Any, slot: int, table: Any, learning: Any) -> None:
    """Ask for the record of an event's context; its row is to be there by now."""
    found = int(_record_of(event, slot, table))
    if found >= 0:
        prefetch_entry(learning.records, found)
        prefetch_entry(learning.habits.contexts, found)


@kernel
def ask_order(event: Any, slot: int, table: Any, learning: Any) -> None:
    """Ask for what is usual after the calls before; the context's record is to be there by now."""
    found = int(_record_of(event, slot, table))
    if found >= 0:
        order, facts = learning.habits.contexts[found]["sequence"], learning.expected.entries
        ask_sequence(order, event["operation"], table.local[slot]["peers"], facts)
