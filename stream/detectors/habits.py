"""What is kept of a workload's habits, and the names of all their parts.

HABITS is the record of one workload, beside its row: its WORKLOAD, and what each rate showed in the
interval that is open. Evidence of a rate is seen at the event that shows it, at most some ten in an
interval, and holds until the interval ends: who floods is under suspicion for as long as that.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.kernel import kernel

from .interval import AMOUNT_MAX, EXPECTED, OBSERVED, SINCE_MS
from .series import LEVEL_MAX, POINTS_MAX
from .silence import is_sound_silence
from .tail import EXCEEDED_MAX
from .workload import (
    CONTEXT_NAMES,
    CONTEXT_PARTS,
    DETAILS,
    HELD,
    INTERVAL_MS,
    WORKLOAD,
    WORKLOAD_BEFORE,
    WORKLOAD_NAMES,
    WORKLOAD_PARTS,
    follow_workload,
)

assert (EXPECTED, SINCE_MS) == (OBSERVED + 1, OBSERVED + 2)
HABIT_NAMES: Final = (
    *CONTEXT_NAMES,
    *(f"{name}_rate" for name in WORKLOAD_NAMES[:HELD]),
    *WORKLOAD_NAMES[HELD:],
)
HABIT_PARTS: Final = CONTEXT_PARTS + WORKLOAD_PARTS
INTERVALS_MAX: Final = 1 << 40
UNIT_MAX: Final = 256  # powers of 2 of a series' unit, either way
# What each event touches comes first, in the lines that are asked for (`kernel.prefetch_entry`).
HABITS: Final = np.dtype(
    [
        ("workload", np.uint64),
        ("followed", np.int64),  # requests of the row when it was last followed
        ("interval", np.int64),  # that `held` is of, plus 1
        ("held", np.int32, (HELD,)),  # bits
        ("behaviour", WORKLOAD),
        ("why", np.int64, (HELD, 3)),  # of these: amount observed, expected, and since when
    ],
    align=True,
)
# As it was stored before silence was judged.
HABITS_BEFORE: Final = np.dtype(
    [
        ("workload", np.uint64),
        ("followed", np.int64),
        ("interval", np.int64),
        ("held", np.int32, (HELD,)),
        ("behaviour", WORKLOAD_BEFORE),
        ("why", np.int64, (HELD, 3)),
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
        if held == 0 and bits[rate] == 0:
            continue
        for which in range(3):
            if bits[rate] > held:
                why[which] = details[rate, OBSERVED + which]
            else:
                details[rate, OBSERVED + which] = why[which]
        bits[rate] = max(int(bits[rate]), held)
        record["held"][rate] = bits[rate]
    return ready


@kernel
def begin_rates(record: Any) -> None:
    """Let rates go on as from now: their past stays, what was not followed is no silence.

    Mutates: record.
    """
    record["interval"] = 0
    for rate in range(HELD):
        record["behaviour"]["rates"][rate]["opened"] = 0
        record["held"][rate] = 0


def is_sound_workload(record: Any) -> bool:
    """Tell whether kernels may follow what a stored HABITS says."""
    behaviour = record["behaviour"]
    rates, series, tails = behaviour["rates"], behaviour["series"], behaviour["series"]["tails"]
    return bool(
        _is_sound_spread(behaviour["operations"])
        and _is_sound_spread(behaviour["resources"])
        and (rates["opened"] >= 0).all()
        and (rates["opened"] <= INTERVALS_MAX).all()
        and (rates["amount"] >= 0).all()
        and (rates["amount"] <= AMOUNT_MAX).all()
        and (np.abs(series["unit"].astype(np.int64)) <= UNIT_MAX).all()
        and (series["points"] >= 0).all()
        and (series["points"] <= POINTS_MAX).all()
        and (np.abs(series["level"].astype(float)) <= LEVEL_MAX).all()
        and (np.abs(series["highest"].astype(float)) <= LEVEL_MAX).all()
        and (np.abs(series["lowest"].astype(float)) <= LEVEL_MAX).all()
        and (tails["exceeded"] >= 0).all()
        and (tails["exceeded"] <= EXCEEDED_MAX).all()
        and (series["peaks"]["faded"] >= 0).all()
        and is_sound_silence(behaviour["silence"])
    )


def _is_sound_spread(spread: Any) -> bool:
    cells = int.from_bytes(spread["cells"].tobytes(), "little")
    return bool(spread["filled"] == cells.bit_count())


def no_details() -> tuple[Any, Any]:
    """Return room for the details of a context's and of a workload's parts."""
    return (
        np.zeros((CONTEXT_PARTS, DETAILS), np.int64),
        np.zeros((WORKLOAD_PARTS, DETAILS), np.int64),
    )
