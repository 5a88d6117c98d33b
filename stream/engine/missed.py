"""Who should have called by now: stored rows judged as they lie, so that a tick may ask.

What is found here decides nothing: the tick is judged anew where the log has it, behind all that
came before it. So a row that is a little behind memory, or was tampered with, costs an event.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stream.detectors import (
    SILENCE_PARTS,
    SILENT_FROM_MS,
    UNIT_MAX,
    allowed_silence,
    ask_silence,
    is_sound_workload,
)
from stream.enforcement import workload_of
from stream.kernel import routine
from stream.profiles import stored_habits

from .state import State

AGAIN_BITS: Final = 4 * 1024  # a longer silence is asked about again when it shows so much more


def missed_now(state: State, stored: bytes, rules: Any, span_ms: tuple[int, int]) -> str:
    """Return the name of the workload in a stored row if its silence is to be asked about.

    Empty where it is not: then it shows no more now than a rule allows, or no more than before.
    Shapes: rules [n] of SILENCE_RULE. Units: span = (when it was looked at before, now), Unix
    milliseconds.
    """
    found = stored_habits(stored, state.table.stored_as)
    if found is None:
        return ""
    habits, tail = found
    if not _is_odd(habits, rules, span_ms, np.zeros(SILENCE_PARTS, np.int64)):
        return ""
    if not is_sound_workload(habits[0]):
        return ""
    try:
        name = workload_of(tail)
    except (ValueError, RecursionError):
        return ""
    return name if name and state.key.hash(name) == int(habits[0]["workload"]) else ""


@routine
def _is_odd(habits: Any, rules: Any, span_ms: tuple[int, int], out: Any) -> bool:
    """Tell whether a silence shows more than a rule allows, and so much only since a time.

    Or what the rule asked for then is half over. What a row says may be anything here.
    Shapes: habits [1] of HABITS. Mutates: out.
    """
    behaviour = habits[0]["behaviour"]
    if abs(behaviour["series"][0]["unit"]) > UNIT_MAX:
        return False
    before = int(ask_silence(behaviour, span_ms[0], out))
    now = int(ask_silence(behaviour, span_ms[1], out))
    spans = span_ms[0] - out[SILENT_FROM_MS], span_ms[1] - out[SILENT_FROM_MS]
    for number in range(len(rules)):
        rule = rules[number]
        allowed = int(allowed_silence(behaviour, rule["alarms"], rule["per_ms"]))
        half_ms = max(1, rule["duration_ms"] // 2)
        if now > allowed and (
            before <= allowed
            or (now - allowed) // AGAIN_BITS > (before - allowed) // AGAIN_BITS
            or spans[1] // half_ms > spans[0] // half_ms
        ):
            return True
    return False
