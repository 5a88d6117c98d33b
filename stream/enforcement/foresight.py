"""What events are going to be compared with, asked of memory some events ahead.

Rows, records and a large baseline lie all over memory; waiting for each in turn is most of what
learned evidence would cost. One thing is named by another, so they are asked for at three stages.
Nothing here changes anything: what is asked for in vain is lost.
"""

from __future__ import annotations

from typing import Any

from stream.baselines import ask_call
from stream.detectors import ask_sequence
from stream.kernel import kernel, prefetch_entry, prefetch_line
from stream.profiles import LEARNED_LINES, ask_transition, find_context


@kernel
def ask_expected(event: Any, local: Any, learning: Any) -> None:
    """Ask for what is expected of an event, and for the habits of its workload."""
    ask_call(learning.expected.entries, local["peers"], event, learning.values)
    habits = int(local["habits"]) - 1
    if habits >= 0:
        prefetch_entry(learning.habits.workloads, habits)


@kernel
def _context_of(event: Any, slot: int, table: Any) -> int:
    """Return the place of an event's context, that of the workload's own where it has none."""
    return max(int(find_context(table.contexts[slot], event["task"])), 0)


@kernel
def ask_pair(event: Any, slot: int, table: Any) -> None:
    """Ask for where the pair of an event and the one before is counted; the row is there by now."""
    context = table.contexts[slot, _context_of(event, slot, table)]
    ask_transition(table.transitions[slot], context["recent"][0], event["operation"])


@kernel
def ask_record(event: Any, slot: int, table: Any, learning: Any) -> None:
    """Ask for the record of an event's context; its row is to be there by now."""
    found = int(table.local[slot]["learned"][_context_of(event, slot, table)]) - 1
    if found >= 0:
        for line in LEARNED_LINES:
            prefetch_line(learning.records, found, line)
        prefetch_entry(learning.habits.contexts, found)


@kernel
def ask_order(event: Any, slot: int, table: Any, learning: Any) -> None:
    """Ask for what is usual after the calls before; the context's record is to be there by now."""
    found = int(table.local[slot]["learned"][_context_of(event, slot, table)]) - 1
    if found >= 0:
        order, facts = learning.habits.contexts[found]["sequence"], learning.expected.entries
        ask_sequence(order, event["operation"], table.local[slot]["peers"], facts)
