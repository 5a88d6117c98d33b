"""What is kept of a workload's habits, and the names of all their parts.

HABITS is the record of one workload, beside its row: its WORKLOAD, and what each rate showed in the
interval that is open. Evidence of a rate is seen at the event that shows it, at most some ten in an
interval, and holds until the interval ends: who floods is under suspicion for as long as that.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel

from .interval import EXPECTED, OBSERVED, SINCE_MS
from .workload import (
    CONTEXT_NAMES,
    CONTEXT_PARTS,
    DETAILS,
    INTERVAL_MS,
    RATES,
    WORKLOAD,
    WORKLOAD_NAMES,
    WORKLOAD_PARTS,
    follow_workload,
)

assert (EXPECTED, SINCE_MS) == (OBSERVED + 1, OBSERVED + 2)
HELD: Final = RATES + 1  # requests, errors, bytes, cost, different operations
HABIT_NAMES: Final = (
    *CONTEXT_NAMES,
    *(f"{name}_rate" for name in WORKLOAD_NAMES[:HELD]),
    *WORKLOAD_NAMES[HELD:],
)
HABIT_PARTS: Final = CONTEXT_PARTS + WORKLOAD_PARTS
HABITS: Final = np.dtype(
    [
        ("workload", np.uint64),
        ("interval", np.int64),  # that `held` is of, plus 1
        ("held", np.int32, (HELD + 1,)),  # bits; the last is spare
        ("why", np.int64, (HELD, 3)),  # of these: amount observed, expected, and since when
        ("behaviour", WORKLOAD),
    ],
    align=True,
)


@kernel
def observe_workload(record: Any, event: Any, clock_ms: int, known: Any, out: Any) -> int:
    """Follow a workload and hold what its rates show until their interval ends.

    Shapes:  record: HABITS; the rest as `follow_workload` takes it; bits and details in `out` are
             those of this event, but bits of rates are at least what is held.
    Mutates: record, out.
    """
    ready = int(follow_workload(record["behaviour"], event, clock_ms, known, out))
    bits, details = out[0], out[1]
    interval = clock_ms // INTERVAL_MS + 1
    if interval != record["interval"]:
        record["interval"] = interval
        for rate in range(HELD):
            record["held"][rate] = 0
    for rate in range(HELD):
        held, why = int(record["held"][rate]), record["why"][rate]
        for which in range(3):
            if bits[rate] > held:
                why[which] = details[rate, OBSERVED + which]
            else:
                details[rate, OBSERVED + which] = why[which]
        bits[rate] = max(int(bits[rate]), held)
        record["held"][rate] = bits[rate]
    return ready


def no_details() -> tuple[Any, Any]:
    """Return room for the details of a context's and of a workload's parts."""
    return (
        np.zeros((CONTEXT_PARTS, DETAILS), np.int64),
        np.zeros((WORKLOAD_PARTS, DETAILS), np.int64),
    )
