"""What the compiled loop hands to Python: one record for each decision, complete in itself.

Later events of the same batch may change the row, so a decision carries all that a command's body
is made of; only texts are looked up afterwards, in the event that caused it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from stream.detectors import DETAILS, HABIT_PARTS
from stream.profiles import PARTS

ISSUE, RENEW, RELEASE, LIFT, RESTART, DROP = range(6)  # DROP: no place, so nothing is in force
FREE, COUNTED, BRAKED = range(3)  # what the brake made of a decision, see `brake`

DECISION: Final = np.dtype(
    [
        ("event", np.int32),
        ("slot", np.int32),
        ("rule_id", np.uint64),
        ("subject", np.uint64),
        ("observed", np.int64),
        ("demand", np.int64),
        ("mark_ms", np.int64),
        ("mark_operation", np.uint64),
        ("clock_ms", np.int64),
        ("until_ms", np.int64),
        ("rule", np.int32),
        ("ordinal", np.int32),
        ("repeat", np.int32),
        ("context", np.int32),
        ("what", np.int16),
        ("action", np.int16),
        ("mode", np.int16),
        ("kind", np.int16),
        ("parts", np.int32, (PARTS,)),  # of learned evidence, whose bits are `observed`
        ("compared", np.int32),  # in which mode
        ("exposed", np.int32),
        ("habits", np.int32, (HABIT_PARTS,)),  # bits of each part of habits
        ("habit", np.int32),  # which of these was too rare, -1 for none: novelty decided
        ("details", np.int64, (DETAILS,)),  # of that part
        ("brake", np.int32),  # FREE, COUNTED or BRAKED
    ],
    align=True,
)

TALLIES: Final = (
    "requests",
    "events",
    "duplicates",
    "refused",
    "refused_disbelieved",
    "unauthenticated",
    "late",
    "future",
    "restarted",
    "grants",
    "completions",
    "ticks",
    "contexts_dropped",
    "transitions_dropped",
    "ledger_dropped",
    "issued",
    "renewed",
    "released",
    "contexts_compared",
    "contexts_alarmed",
    "alarms_allowed_ppm",
)
(
    REQUESTS_TALLY,
    EVENTS_TALLY,
    DUPLICATES_TALLY,
    REFUSED_TALLY,
    DISBELIEVED_TALLY,
    UNAUTHENTICATED_TALLY,
    LATE_TALLY,
    FUTURE_TALLY,
    RESTARTED_TALLY,
    GRANTS_TALLY,
    COMPLETIONS_TALLY,
    TICKS_TALLY,
    CONTEXTS_TALLY,
    TRANSITIONS_TALLY,
    LEDGER_TALLY,
    ISSUED_TALLY,
    RENEWED_TALLY,
    RELEASED_TALLY,
    COMPARED_TALLY,
    ALARMED_TALLY,
    ALLOWED_TALLY,
) = range(len(TALLIES))

DECISIONS_MAX: Final = 8_192
DECISIONS_PER_EVENT_MAX: Final = 1_100  # every rule of a policy, every ledger entry, a lift


class Out(NamedTuple):
    """Where the loop writes.

    Shapes: decisions [n] of DECISION; used [1]: how many are written; tallies [tally].
    """

    decisions: Any
    used: Any
    tallies: Any


class Cause(NamedTuple):
    """The event a decision is made at, as kernels pass it on.

    Units: `at_ms` the event's time after clamping, `clock_ms` the row's clock after it.
    """

    event: int
    slot: int
    at_ms: int
    clock_ms: int
    context: int
    force: int  # OFF for an exempt workload, SHADOW while stopped, else ENFORCE
    ordinal: int = 0  # of the first decision at the event: each event of a record has its own


def new_out() -> Out:
    """Return empty outputs."""
    return Out(
        np.zeros(DECISIONS_MAX, DECISION), np.zeros(1, np.int64), np.zeros(len(TALLIES), np.int64)
    )
