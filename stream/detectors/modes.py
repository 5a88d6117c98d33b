"""With what a context can be compared: its purpose, its class's others, all of them, nothing."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.baselines import (
    ESTATE,
    NOWHERE,
    PURPOSES,
    TASKS,
    USUAL_MIN,
    find_entry,
    find_group,
    key_of,
    place_of,
    support_of,
    whole,
)
from stream.kernel import routine

KNOWN, NEW, UNDECLARED, NOT_READY = range(4)
MODES: Final = ("known", "new", "undeclared", "not_ready")
# A purpose of fewer tasks is compared as a new one, so one with a usual call is known.
KNOWN_TASKS: Final = USUAL_MIN
PEERS_MIN: Final = 2


@routine
def mode_of(view: Any, state: Any) -> int:
    """Return with what a context can be compared."""
    entries, group = view.entries, state["group"]
    place = place_of(group, state["purpose"])
    # Where nobody says what for, tasks of the class are of one purpose, which has no name.
    if state["purpose"] == NOWHERE and find_group(view.groups, group) >= 0:
        return UNDECLARED
    known = support_of(entries, (place, NOWHERE, whole(state["own"])), TASKS, np.uint64(0))
    return KNOWN if known >= KNOWN_TASKS else int(_new_mode(view, state))


@routine
def peers_of(view: Any, state: Any) -> np.uint64:
    """Return the place of what a new purpose is compared with; NOWHERE for nothing."""
    entries, group = view.entries, state["group"]
    place = place_of(group, state["purpose"])
    for peers in (group, ESTATE):
        where = (peers, NOWHERE, whole(0))
        others = whole(support_of(entries, where, PURPOSES, np.uint64(0)))
        if find_entry(entries, key_of(place, TASKS, np.uint64(0))) >= 0:
            others -= 1
        if others >= PEERS_MIN:
            return peers
    return NOWHERE


@routine
def _new_mode(view: Any, state: Any) -> int:
    return NEW if peers_of(view, state) != NOWHERE else NOT_READY
