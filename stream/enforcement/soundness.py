"""Whether a stored row is one that a worker may have stored.

Its checksum says that it is whole, not that one of ours wrote it: whoever writes to the store makes
a right one. What kernels and commands reckon with is looked at, so that a forged row counts for
something or for nothing, and stops nobody.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.events import ACTIONS, SUBJECT_KINDS, TIME_MS_MAX
from stream.kernel import kernel
from stream.policy import ENFORCE
from stream.profiles import CONTEXTS, LEDGER, ProfileTable

LAST_MS: Final = 2 * TIME_MS_MAX  # until when a command of the last time there is may bind
COUNTED_MAX: Final = (1 << 62) - 1
ACTION_MAX: Final = ACTIONS.index("revoke")
KIND_MAX: Final = len(SUBJECT_KINDS) - 1


def are_sound(table: ProfileTable, slots: Any) -> Any:
    """Tell which rows a worker may have stored. Shapes: slots, returned [row]."""
    sound = np.zeros(len(slots), bool)
    find_sound(table.sections.head, table.sections.ledger, slots, sound)
    return sound


@kernel
def find_sound(heads: Any, ledgers: Any, slots: Any, sound: Any) -> None:
    """Write which rows are sound. Shapes: slots, sound [row]. Mutates: sound."""
    for place in range(len(slots)):
        slot = slots[place]
        sound[place] = is_sound_head(heads[slot])
        for number in range(LEDGER):
            entry = ledgers[slot, number]
            if entry["rule"] != np.uint64(0) and not is_sound_entry(entry):
                sound[place] = False


@kernel
def is_sound_head(head: Any) -> bool:
    """Tell whether clocks and counters are within what they can count."""
    return bool(
        0 <= head["clock_ms"] <= LAST_MS
        and 0 <= head["first_ms"] <= LAST_MS
        and 0 <= head["events"] <= COUNTED_MAX
        and 0 <= head["late"] <= COUNTED_MAX
        and 0 <= head["contexts_dropped"] <= COUNTED_MAX
        and 0 <= head["transitions_dropped"] <= COUNTED_MAX
        and 0 <= head["ledger_dropped"] <= COUNTED_MAX
        and 0 <= head["tasks"] < CONTEXTS
        and 0 <= head["in_force"] <= LEDGER
    )


@kernel
def is_sound_entry(entry: Any) -> bool:
    """Tell whether something in force is of an action, kind, mode and time that there are."""
    return bool(
        0 <= entry["action"] <= ACTION_MAX
        and 0 <= entry["kind"] <= KIND_MAX
        and 0 <= entry["mode"] <= ENFORCE
        and 0 <= entry["first_ms"] <= LAST_MS
        and 0 <= entry["since_ms"] <= LAST_MS
        and 0 <= entry["until_ms"] <= LAST_MS
        and entry["repeat"] >= 0
    )
